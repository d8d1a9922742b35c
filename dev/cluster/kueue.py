"""Kueue beside the cluster: its controller as a process of this machine, built from its Go module."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import binaries
import cache
import go
import kueue_settings
import network
import processes
from commands import run, succeeds
from errors import ClusterError
from instance import Instance
from kueue_settings import Endpoint
from progress import Step
from steps import Steps, say

COMPONENT = "kueue"
SOURCES = Path(__file__).with_name("kueue")
MODULE = "sigs.k8s.io/kueue"
READY_SECONDS = 60.0
START = Step("start Kueue's controller")
STOP = Step("remove Kueue's controller and its resource definitions")
COPY = Step("copy the manifests of Kueue's Go module", "once per machine")
KINDS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations", "customresourcedefinitions")
# The controller reads the certificate of its metrics from this folder, with any settings.
METRICS_CERTIFICATES = "/etc/kueue/metrics/certs"
# The folder is mounted for the controller alone; the kernel unmounts it when the process ends.
ENTER_NAMESPACE = f'mount --bind "$0" {METRICS_CERTIFICATES}; exec "$@"'
CERTIFICATE = (
    *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"),
    *("-subj", "/CN=kueue-webhooks", "-addext", f"subjectAltName=IP:{kueue_settings.ADDRESS}"),
    *("-addext", "extendedKeyUsage=serverAuth"),
)


@dataclass(frozen=True)
class Kueue:
    """The controller of one cluster; `instance` keeps its process id, its log and its files.

    The cluster of `kubeconfig` may be another checkout's, but must be on this machine.
    """

    instance: Instance
    kubeconfig: Path

    def up(self) -> None:
        """Start the controller, after the remains of an earlier one are removed; wait until it is ready."""
        build = program()
        steps = Steps([*build.planned(), *([] if _manifests_folder(build).exists() else [COPY]), START])
        steps.announce("start Kueue")
        folder, manifests = build.programs(steps), _manifests(build, steps)
        with steps.doing(START):
            self._remove()
            started = time.monotonic()
            endpoint = self._create_endpoint()
            self._apply(manifests, endpoint)
            self._start(folder / "kueue", endpoint)
            self._wait_until_ready(endpoint)
        say(f"Kueue is ready after {time.monotonic() - started:.1f} s")

    def down(self) -> None:
        """End the controller and delete everything of it, also queues and workloads."""
        with Steps([STOP]).doing(STOP):
            self._remove()

    @property
    def _folder(self) -> Path:
        return self.instance.state / "kueue"

    def _create_endpoint(self) -> Endpoint:
        certificates = self._folder / "certificates"
        certificates.mkdir(parents=True)
        files: list[str | Path] = ["-keyout", certificates / "tls.key", "-out", certificates / "tls.crt"]
        run([*CERTIFICATE, *files])
        webhook_port, health_port = network.choose_ports(self.instance, 2)
        return Endpoint(webhook_port, health_port, (certificates / "tls.crt").read_text())

    def _apply(self, manifests: Path, endpoint: Endpoint) -> None:
        """Create definitions and webhooks.

        The controller caches what the definitions define, so they are there before it starts.
        """
        definitions = kueue_settings.definitions(self._read(manifests / "bases"), endpoint)
        self._create("definitions", definitions)
        names = [f"customresourcedefinition/{name}" for name in kueue_settings.plurals(definitions)]
        self._kubectl("wait", "--for=condition=established", "--timeout=30s", *names)
        self._create("webhooks", kueue_settings.webhooks(self._read(manifests / "manifests.yaml"), endpoint))

    def _read(self, manifests: Path) -> list[dict[str, Any]]:
        """The objects of a YAML file or of a folder of them; kubectl parses them, for lack of a library."""
        text = self._kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", manifests)
        return kueue_settings.parsed(text)

    def _create(self, name: str, objects: Sequence[dict[str, Any]]) -> None:
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        self._kubectl("create", "-f", path)

    def _start(self, controller: Path, endpoint: Endpoint) -> None:
        certificates = self._folder / "certificates"
        config = self._folder / "config.json"
        config.write_text(json.dumps(kueue_settings.configuration(endpoint, certificates)))
        Path(METRICS_CERTIFICATES).mkdir(parents=True, exist_ok=True)
        enter: list[str | Path] = ["unshare", "--mount", "sh", "-euc", ENTER_NAMESPACE, certificates]
        flags = [f"--kubeconfig={self.kubeconfig}", f"--config={config}", "--zap-log-level=2"]
        processes.start(self.instance, COMPONENT, [*enter, controller, *flags])

    def _wait_until_ready(self, endpoint: Endpoint) -> None:
        """Wait until the webhooks are served and the API server reaches them."""
        deadline = time.monotonic() + READY_SECONDS
        flavor = self._folder / "flavor.json"
        metadata = {"name": "is-kueue-ready"}
        flavor.write_text(
            json.dumps({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": metadata})
        )
        probe: list[str | Path] = ["--kubeconfig", self.kubeconfig, "create", "--dry-run=server", "-f", flavor]
        while not (_answers(endpoint.ready) and succeeds([self._program, *probe])):
            if not processes.running(self.instance, COMPONENT):
                raise ClusterError(f"Kueue ended; {processes.log_tail(self.instance, COMPONENT)}")
            if time.monotonic() > deadline:
                log = processes.log_tail(self.instance, COMPONENT)
                raise ClusterError(f"Kueue is not ready after {READY_SECONDS:.0f} s; {log}")
            time.sleep(0.1)

    def _remove(self) -> None:
        """Webhooks go first: without the controller they would refuse every change.

        Finalizers, which the controller would have removed, are removed before the definitions.
        """
        mutating, validating, definitions = KINDS
        selector = ",".join(f"{key}={value}" for key, value in kueue_settings.OURS.items())
        self._kubectl("delete", f"{mutating},{validating}", "-l", selector)
        processes.stop(self.instance, COMPONENT)
        found = self._kubectl("get", definitions, "-l", selector, "-o", "name").split()
        for definition in found:
            self._remove_finalizers(definition.partition("/")[2])
        self._kubectl("delete", definitions, "-l", selector, "--timeout=60s")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _remove_finalizers(self, plural: str) -> None:
        path = 'jsonpath={range .items[?(@.metadata.finalizers)]}{.metadata.namespace},{.metadata.name}{"\\n"}{end}'
        for line in self._kubectl("get", plural, "--all-namespaces", "-o", path).splitlines():
            namespace, _, name = line.partition(",")
            where = ["-n", namespace] if namespace else []
            self._kubectl(*where, "patch", plural, name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')

    def _kubectl(self, *arguments: str | Path) -> str:
        return run([self._program, "--kubeconfig", self.kubeconfig, *arguments])

    @property
    def _program(self) -> str | Path:
        """The kubectl of the instance's own cluster, or the machine's."""
        own = self.instance.state / "kubectl"
        return own if own.exists() else "kubectl"


def program() -> binaries.Build:
    """The controller, in the version that `kueue/go.mod` requires."""
    go_mod = SOURCES / "go.mod"
    module = go.Module(SOURCES, ("-trimpath", "-buildvcs=false", "-ldflags", "-s -w"), binaries.ENVIRONMENT, go_mod)
    packages = {"kueue": f"{MODULE}/cmd/kueue"}
    sources = (go_mod, go_mod.with_suffix(".sum"))
    return binaries.Build(COMPONENT, "Kueue", module, packages, sources, (1, 25), "3 to 5 minutes on two free cores")


def _manifests_folder(build: binaries.Build) -> Path:
    return build.folder.with_name(f"{build.folder.name}-manifests")


def _manifests(build: binaries.Build, steps: Steps) -> Path:
    """The folder in the cache with the manifests of the Go module, copied if it is missing.

    Go may clean its own cache of modules at any time.
    """
    folder = _manifests_folder(build)
    if not folder.exists():
        with cache.lock(COMPONENT), cache.scratch(COMPONENT) as work, steps.doing(COPY):
            found = go.program(build.oldest_go, steps)
            command: list[str | Path] = [found, "mod", "download", "-json", MODULE]
            module = Path(json.loads(run(command, cwd=SOURCES, env=binaries.ENVIRONMENT))["Dir"])
            components = module / "config" / "components"
            copied = work / "manifests"
            copied.mkdir()
            shutil.copytree(components / "crd" / "bases", copied / "bases", copy_function=shutil.copyfile)
            shutil.copyfile(components / "webhook" / "manifests.yaml", copied / "manifests.yaml")
            (copied / "bases").chmod(0o755)  # folders of Go's cache are read-only
            copied.rename(folder)
    return folder


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False
