"""Running a task as in a pod: with a service account's files and a pod's environment, and no kubeconfig anywhere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.cluster.kubectl import Kubectl

_ROOT = Path(__file__).parents[2]
_MOUNTED = """
run=$(readlink -f /var/run)
mount -t tmpfs tmpfs "$run"
mkdir -p "$run/secrets/kubernetes.io/serviceaccount"
mount --bind "$1" "$run/secrets/kubernetes.io/serviceaccount"
shift
exec "$@"
"""


@dataclass(frozen=True)
class PodLike:
    """A mount namespace in which a service account's files are where a pod has them. ``folder`` is theirs, and HOME."""

    folder: Path
    server: str

    @classmethod
    def of_account(cls, kubectl: Kubectl, namespace: str, token: str, folder: Path) -> PodLike:
        """For an account with this token."""
        cluster = json.loads(kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))["clusters"][0]
        pod = cls(folder, cluster["cluster"]["server"])
        pod._files.mkdir()
        pod.gets_token(token)
        (pod._files / "namespace").write_text(namespace)
        (pod._files / "ca.crt").write_bytes(base64.b64decode(cluster["cluster"]["certificate-authority-data"]))
        return pod

    def gets_token(self, token: str) -> None:
        """The token from now on; replaced as a whole, as kubelet does."""
        new = self._files / "token.new"
        new.write_text(token)
        new.rename(self._files / "token")

    def run(self, **arguments: Any) -> dict[str, Any]:
        """Run a task with these arguments of the operator; its ``error``, ``warnings``, ``lines`` and ``result``."""
        command = ["unshare", "--mount", "sh", "-ec", _MOUNTED, "sh", str(self._files), sys.executable, "-m", __name__]
        address = urlsplit(self.server)
        variables = {
            "HOME": str(self.folder),
            "KUBERNETES_SERVICE_HOST": str(address.hostname),
            "KUBERNETES_SERVICE_PORT": str(address.port or 443),
        }
        environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"} | variables
        text = json.dumps(arguments)
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, cwd=_ROOT, env=environment
        )
        if done.returncode:
            raise AssertionError(done.stderr)
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told

    @property
    def _files(self) -> Path:
        return self.folder / "serviceaccount"


def main() -> None:
    """Run a task whose arguments come as JSON, and print what it came to."""
    from tests.cluster.tasks import run_task

    run = run_task(**json.load(sys.stdin))
    error = None if run.error is None else repr(run.error)
    told = {"error": error, "warnings": run.warnings, "lines": run.lines, "result": run.xcoms.get("return_value")}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
