"""System packages by dnf, from a repository in the cluster; the tests by apt are in test_installation.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import run_task
from tests.patience import PATIENCE

IMAGE = "dnf:bookworm"
GREET = "#!/bin/sh\ngreet"
# Its requirements would be sought among RPMs, where this Debian has none.
SPEC = r"""
Name: script-greeter
Version: 1.0
Release: 1
Summary: Says hello
License: Apache-2.0
BuildArch: noarch
AutoReqProv: no
%description
Says hello.
%install
mkdir -p %{buildroot}/usr/bin
printf '#!/bin/sh\necho "hello from a package"\n' > %{buildroot}/usr/bin/greet
chmod 755 %{buildroot}/usr/bin/greet
%files
/usr/bin/greet
"""
SERVE = """
mkdir /repository && cd /repository || exit
echo "$SPEC" > /tmp/greeter.spec
rpmbuild -bb --define "_rpmdir $PWD" /tmp/greeter.spec && createrepo_c . && exec python3 -m http.server 8000
"""


@pytest.fixture(scope="module")
def repository(kubectl: Kubectl, shared_namespace: str) -> Iterator[str]:
    """The URL of a repository of one RPM, in the pod that made both."""
    container = {
        "name": "repository",
        "image": IMAGE,
        "command": ["sh", "-c", SERVE],
        "env": [{"name": "SPEC", "value": SPEC}],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
    }
    metadata = {"name": "repository", "namespace": shared_namespace}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "restartPolicy": "Never"}
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    kubectl("wait", "-n", shared_namespace, "pod/repository", "--for=condition=Ready", f"--timeout={PATIENCE:g}s")
    address = kubectl("get", "pod", "repository", "-n", shared_namespace, "-o", "jsonpath={.status.podIP}")
    yield f"http://{address}:8000/"
    kubectl("delete", "pod/repository", "-n", shared_namespace, "--wait=false")


def with_repository(kubectl: Kubectl, own: dict[str, Any], url: str) -> dict[str, Any]:
    """Arguments for a pod whose dnf knows one repository, by a file from a ConfigMap."""
    settings = f"[greetings]\nname=greetings\nbaseurl={url}\ngpgcheck=0\n"
    metadata = {"name": "repositories", "namespace": own["namespace"]}
    data = {"greetings.repo": settings}
    kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    return {
        "image": IMAGE,
        "volumes": [{"name": "repositories", "configMap": {"name": "repositories"}}],
        "volume_mounts": [{"name": "repositories", "mountPath": "/etc/yum.repos.d"}],
        **own,
    }


def test_dnf_installs_before_the_script(
    own: dict[str, Any], kubectl: Kubectl, repository: str, waiting: dict[str, Any]
) -> None:
    """The package's program is there; dnf's lines are a group and no part of the output. Deferred, too (R29)."""
    arguments = with_repository(kubectl, own | waiting, repository)
    run = run_task(script=GREET, install_packages=["script-greeter"], **arguments).succeeded()
    assert run.result["output"] == "hello from a package\n"
    start, end = run.lines.index("::group::Installing packages: script-greeter"), run.lines.index("::endgroup::")
    assert any("script-greeter-1.0-1.noarch" in line for line in run.lines[start:end])


def test_a_package_that_dnf_lacks_is_named(own: dict[str, Any], kubectl: Kubectl, repository: str) -> None:
    """In dnf's words, and sought only once."""
    run = run_task(script=GREET, install_packages=["no-such-package"], **with_repository(kubectl, own, repository))
    assert "could not install packages: Error: Unable to find a match: no-such-package" in run.headline
    assert run.result["category"] == "InstallFailed"
    assert len(run.result["attempts"]) == 1


def test_a_repository_out_of_reach_is_tried_again(own: dict[str, Any], kubectl: Kubectl) -> None:
    """dnf ends with "unable to find a match" then, too; but the package may be there."""
    arguments = with_repository(kubectl, own, "http://127.0.0.1:9/")
    run = run_task(script=GREET, install_packages=["script-greeter"], backoff_limit=1, **arguments)
    assert "could not install packages: Error: Failed to download metadata for repo 'greetings'" in run.headline
    assert run.result["category"] == "PackageIndexUnreachable"
    assert len(run.result["attempts"]) == 2
