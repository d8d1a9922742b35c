"""Kubeconfigs on a real cluster: the API server sees the user and the proxy that the file names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_script_provider import exceptions
from airflow_script_provider.hooks.script import KubernetesScriptHook
from airflow_script_provider.result import Status
from tests.cluster.accounts import author, with_user, written
from tests.cluster.execs import run_exec
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import run_task
from tests.command_line import airflow_script
from tests.servers import web_server

NOBODY = "system:serviceaccount:default:nobody"


@pytest.fixture
def strong(kubeconfig: str) -> dict[str, Any]:
    """The kubeconfig of the cluster's administrator."""
    found: dict[str, Any] = yaml.safe_load(Path(kubeconfig).read_text())
    return found


def acting_as(config: dict[str, Any], **who: Any) -> dict[str, Any]:
    """A kubeconfig whose user acts as another one."""
    user = config["users"][0]["user"]
    return with_user(config, user | {name.replace("_", "-"): value for name, value in who.items()})


def by_operator(config: dict[str, Any], namespace: str, folder: Path) -> str:
    """The error of a task."""
    return str(run_task(script="print(1)", config_file=written(config, folder), namespace=namespace).error)


def by_connection(config: dict[str, Any], namespace: str, folder: Path) -> str:
    """The error of a task whose connection holds the kubeconfig as YAML."""
    with pytest.MonkeyPatch.context() as environment:
        definition = {"conn_type": "kubernetes", "extra": {"kube_config": yaml.safe_dump(config)}}
        environment.setenv("AIRFLOW_CONN_STRONG", json.dumps(definition))
        return str(run_task(script="print(1)", kubernetes_conn_id="strong", namespace=namespace).error)


def by_hook(config: dict[str, Any], namespace: str, folder: Path) -> str:
    """The error of a hook in plain code."""
    with pytest.raises(exceptions.ApiForbiddenError) as caught:
        KubernetesScriptHook(config_file=written(config, folder)).run("print(1)", namespace=namespace)
    return str(caught.value)


def by_exec(config: dict[str, Any], namespace: str, folder: Path) -> str:
    """The error of a task in a running pod."""
    where = {"config_file": written(config, folder), "namespace": namespace}
    return str(run_exec(script="print(1)", pod="web", **where).error)


def by_command_line(config: dict[str, Any], namespace: str, folder: Path) -> str:
    """The error of the command line."""
    env = {"KUBECONFIG": written(config, folder)}
    (folder / "script.py").write_text("print(1)")
    return airflow_script("run", "-x", "job", "-n", namespace, str(folder / "script.py"), env=env).stderr.decode()


@pytest.mark.parametrize("way", [by_operator, by_connection, by_hook, by_exec, by_command_line])
def test_a_weak_user_is_acted_as(
    way: Callable[[dict[str, Any], str, Path], str],
    strong: dict[str, Any],
    namespace: str,
    kubectl: Kubectl,
    tmp_path: Path,
) -> None:
    """``as`` beside a strong user's credentials: the API server refuses the weak one, and nothing is made (R40)."""
    said = way(acting_as(strong, **{"as": NOBODY}), namespace, tmp_path)
    assert f'User "{NOBODY}" cannot' in said
    assert kubectl.names("jobs", namespace) == []


def test_a_user_with_rights_is_acted_as(
    strong: dict[str, Any], namespace: str, kubectl: Kubectl, kubeconfig: str, tmp_path: Path
) -> None:
    """An account with the Role of the docs is acted as by worker and trigger, to the end (R40)."""
    author(kubectl, namespace, kubeconfig)
    config = acting_as(strong, **{"as": f"system:serviceaccount:{namespace}:author"})
    run = run_task(
        script="import time\nprint([1], flush=True)\ntime.sleep(2)",
        config_file=written(config, tmp_path), namespace=namespace, deferrable=True, defer_after=0,
    ).succeeded()  # fmt: skip
    assert (run.result["value"], run.result["status"], run.warnings) == ([1], Status.COMPLETED, [])


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_proxy_with_a_login_and_without_a_scheme(
    deferrable: bool, kubeconfig: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``HTTPS_PROXY=user:password@host:port`` works as with curl, and its password is in no message (R26, R40)."""
    with web_server() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"user:hunter2@{proxy.url.removeprefix('http://')}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        run = run_task(
            script="print([1])", config_file=kubeconfig, namespace=namespace, deferrable=deferrable, defer_after=0
        ).succeeded()
        assert {request.method for request in proxy.requests} == {"CONNECT"}
        assert {request.headers["proxy-authorization"] for request in proxy.requests} == {"Basic dXNlcjpodW50ZXIy"}
    assert run.result["value"] == [1]
    assert "hunter2" not in str(run)
