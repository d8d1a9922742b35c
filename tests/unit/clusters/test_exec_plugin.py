"""The protocol of exec plugins."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider.clusters import exec_plugin
from airflow_script_provider.clusters.identity import Certificate
from airflow_script_provider.clusters.kubeconfig import Entry

V1 = "client.authentication.k8s.io/v1"
CLUSTER = Entry("cluster 'a'", {"server": "https://a"}, Path("/etc"))


def a_plugin(**fields: Any) -> Entry:
    """A plugin of a kubeconfig in /home/jane/.kube."""
    return Entry("exec of user 'a'", {"apiVersion": V1, "command": "/bin/true"} | fields, Path("/home/jane/.kube"))


def info_of(command: exec_plugin.Command) -> Any:
    """What the plugin is told."""
    return json.loads(command.environment["KUBERNETES_EXEC_INFO"])


@pytest.mark.parametrize(
    ("command", "started"),
    [
        ("/opt/bin/login", "/opt/bin/login"),
        ("./login", "/home/jane/.kube/login"),
        ("bin/login", "/home/jane/.kube/bin/login"),
        (Path(sys.executable).name, sys.executable),
    ],
)
def test_where_a_command_is_looked_for(command: str, started: str) -> None:
    """Beside the kubeconfig if it has a slash, otherwise in PATH, as for kubectl (R40)."""
    found = exec_plugin.command_of(
        a_plugin(command=command, args=["get-token", 1]), CLUSTER, {"PATH": str(Path(sys.executable).parent)}
    )
    assert found.words == [started, "get-token", "1"]


def test_what_a_plugin_is_told() -> None:
    """Our environment with its own variables, and that there is no keyboard."""
    command = exec_plugin.command_of(a_plugin(env=[{"name": "A", "value": "2"}]), CLUSTER, {"A": "1", "B": "1"})
    assert {name: command.environment[name] for name in "AB"} == {"A": "2", "B": "1"}
    assert info_of(command) == {"apiVersion": V1, "kind": "ExecCredential", "spec": {"interactive": False}}


def test_a_plugin_may_ask_for_its_cluster(tmp_path: Path) -> None:
    """``provideClusterInfo``: address, TLS, proxy, and the plugin's own settings (R40)."""
    (tmp_path / "ca").write_bytes(b"a PEM")
    fields = {
        "server": "https://a",
        "certificate-authority": "ca",
        "tls-server-name": "b",
        "proxy-url": "http://proxy",
        "insecure-skip-tls-verify": True,
        "extensions": [
            {"name": "other", "extension": 1},
            {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x", "n": 1}},
        ],
    }
    command = exec_plugin.command_of(a_plugin(provideClusterInfo=True), Entry("cluster 'a'", fields, tmp_path), {})
    assert info_of(command)["spec"] == {
        "interactive": False,
        "cluster": {
            "server": "https://a",
            "certificate-authority-data": base64.b64encode(b"a PEM").decode(),
            "tls-server-name": "b",
            "proxy-url": "http://proxy",
            "insecure-skip-tls-verify": True,
            "config": {"audience": "x", "n": 1},
        },
    }


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"command": ""}, "missing key 'command'"),
        ({"apiVersion": None}, "missing key 'apiVersion'"),
        ({"command": "no-such-plugin"}, "the kubeconfig's plugin 'no-such-plugin' is not in PATH"),
        ({"args": "hunter2"}, "args of exec of user 'a' is not a list of texts"),
        ({"env": {"A": "hunter2"}}, "env of exec of user 'a' is not a list of mappings"),
        ({"interactiveMode": "Always"}, "interactiveMode is Always, and there is no keyboard"),
    ],
)
def test_a_plugin_that_cannot_be_started(fields: dict[str, Any], words: str) -> None:
    """Which field is wrong, without what stands in it."""
    with pytest.raises(ValueError, match=words) as caught:
        exec_plugin.command_of(a_plugin(**fields), CLUSTER, {"PATH": "/nowhere"})
    assert "hunter2" not in str(caught.value)


def an_answer(version: str = V1, **status: Any) -> bytes:
    """A plugin's output."""
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status}).encode()


def test_what_a_plugin_answers() -> None:
    """A token, a certificate, or both."""
    pair = {"clientCertificateData": "C", "clientKeyData": "K"}
    assert exec_plugin.answer_in(an_answer(token="t\n"), V1) == exec_plugin.Answer("t", None)
    assert exec_plugin.answer_in(an_answer(**pair), V1) == exec_plugin.Answer(None, Certificate(b"C", b"K"))
    assert exec_plugin.answer_in(an_answer(token="t", **pair), V1) == exec_plugin.Answer("t", Certificate(b"C", b"K"))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (b"hunter2", "failed to decode process output"),
        (b'["hunter2"]', "missing key 'apiVersion'"),
        (an_answer("hunter2", token="t"), f"has another apiVersion than {V1}"),
        (an_answer(), "missing token or clientCertificateData field"),
        (an_answer(token={"hunter2": 1}), "token of status of the plugin's answer is not a text"),
        (an_answer(clientCertificateData="hunter2"), "missing clientCertificateData or clientKeyData"),
        (json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": "hunter2"}).encode(), "is not a mapping"),
    ],
)
def test_an_answer_that_is_of_no_use_is_not_quoted(output: bytes, words: str) -> None:
    """It may be a credential (R26)."""
    with pytest.raises(ValueError, match=words) as caught:
        exec_plugin.answer_in(output, V1)
    assert "hunter2" not in str(caught.value)
