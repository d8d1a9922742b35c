"""Requirements come from a private index, by pip and by uv, and its password is nowhere to be seen."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest

from tests.cluster.kubectl import Kubectl
from tests.cluster.node_folder import node_folder
from tests.cluster.package_index import TOOL, Index, package_index
from tests.cluster.tasks import TaskRun, run_task

SCRIPT = "import private_tool\nprint(private_tool.ANSWER)"
PASSWORD = "index-hunter2"


@pytest.fixture(scope="module")
def index(kubectl: Kubectl, shared_namespace: str) -> Iterator[Index]:
    """An index in a pod, with one package that is nowhere else."""
    with package_index(kubectl, shared_namespace, PASSWORD) as index:
        yield index


@pytest.fixture(scope="module")
def with_uv(kubeconfig: str, shared_namespace: str) -> Iterator[dict[str, Any]]:
    """Arguments for pods that have uv on their PATH: the same version as this project's."""
    install = ["pip", "install", "-q", "--target", "/uv", f"uv=={version('uv')}"]
    with node_folder({"config_file": kubeconfig, "namespace": shared_namespace}) as folder:
        script = f"import subprocess\nsubprocess.run({install}, check=True)"
        run_task(script=script, **folder.mounted("/uv")).succeeded()
        yield folder.mounted("/usr/local/sbin", "/bin") | {"backoff_limit": 0}


def shown(run: TaskRun, kubectl: Kubectl, namespace: str) -> str:
    """Everything of a run that people can see but its Secret: log, XComs, error, and its objects."""
    ours = "app.kubernetes.io/managed-by=airflow-script-provider"
    objects = kubectl("get", "jobs,pods,configmaps", "-n", namespace, "-l", ours, "-o", "yaml")
    return "\n".join([*run.lines, str(run.xcoms), str(run.error), objects])


def test_the_index_of_env(own: dict[str, Any], kubectl: Kubectl, index: Index) -> None:
    """PIP_INDEX_URL with user and password reaches the installer, and nobody sees the password (R26)."""
    env = index.settings(PIP_INDEX_URL=index.url(PASSWORD))
    run = run_task(script=SCRIPT, install_dependencies=[TOOL], env=env, **own).succeeded()
    assert run.result["output"] == "42\n"
    assert any(f"@{index.address}/simple" in line for line in run.lines)
    assert PASSWORD not in shown(run, kubectl, own["namespace"])


def test_the_index_of_env_from(own: dict[str, Any], kubectl: Kubectl, index: Index) -> None:
    """PIP_EXTRA_INDEX_URL of a Secret in the cluster, beside the usual index."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "pip", "namespace": own["namespace"]},
        "stringData": index.settings(PIP_EXTRA_INDEX_URL=index.url(PASSWORD)),
    }
    kubectl.apply(secret)
    env_from = [{"secretRef": {"name": "pip"}}]
    script = f"import six\n{SCRIPT}"
    run = run_task(script=script, install_dependencies=[TOOL, "six==1.16.0"], env_from=env_from, **own).succeeded()
    assert run.result["output"] == "42\n"
    assert PASSWORD not in shown(run, kubectl, own["namespace"])


def test_a_wrong_password_is_said(own: dict[str, Any], kubectl: Kubectl, index: Index) -> None:
    """An index that denies access is not one that lacks the package; no attempt is wasted on it (R22)."""
    env = index.settings(PIP_INDEX_URL=index.url("wrong-hunter3"))
    run = run_task(script=SCRIPT, install_dependencies=[TOOL], env=env, **own)
    assert "could not install: the index denies access (see the error above); check its credentials" in run.headline
    assert any("401 Client Error" in line for line in run.lines)
    assert len(run.result["attempts"]) == 1
    assert "wrong-hunter3" not in shown(run, kubectl, own["namespace"])


def test_uv_installs_where_the_image_has_it(with_uv: dict[str, Any], kubectl: Kubectl, index: Index) -> None:
    """From the index that UV_DEFAULT_INDEX names, into the folder that the script's Python looks into."""
    env = {"UV_DEFAULT_INDEX": index.url(PASSWORD)}
    run = run_task(script=SCRIPT, install_dependencies=[TOOL], env=env, **with_uv).succeeded()
    assert run.result["output"] == "42\n"
    assert f" + {TOOL}==1.0" in run.lines
    assert PASSWORD not in shown(run, kubectl, with_uv["namespace"])


def test_uv_says_what_is_missing(with_uv: dict[str, Any], index: Index) -> None:
    """A requirement that does not exist is named, whichever installer seeks it."""
    env = {"UV_DEFAULT_INDEX": index.url(PASSWORD)}
    run = run_task(script=SCRIPT, install_dependencies=["pandaz"], env=env, **with_uv)
    assert 'could not install "pandaz": no matching distribution' in run.headline
    assert run.result["category"] == "InstallFailed"


def test_uv_says_when_the_index_denies_access(with_uv: dict[str, Any], index: Index) -> None:
    """As pip does."""
    env = {"UV_DEFAULT_INDEX": index.url("wrong-hunter3")}
    run = run_task(script=SCRIPT, install_dependencies=[TOOL], env=env, **with_uv)
    assert "could not install: the index denies access" in run.headline


def test_pip_installs_where_its_index_is_named(with_uv: dict[str, Any], index: Index) -> None:
    """uv would not read PIP_INDEX_URL, and ask an index where anybody may have taken the package's name."""
    env = index.settings(PIP_INDEX_URL=index.url(PASSWORD))
    run = run_task(script=SCRIPT, install_dependencies=[TOOL], env=env, **with_uv).succeeded()
    assert f"Successfully installed {TOOL}-1.0" in run.lines
