"""From an Airflow connection to how a cluster is reached."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowNotFoundException
from airflow_script_provider.api import client as calls
from airflow_script_provider.clusters import credentials
from airflow_script_provider.clusters.access import ClusterAccess, ClusterRef
from airflow_script_provider.clusters.credentials import open_api
from tests.builders import a_kubeconfig
from tests.command_line import wait_until_gone
from tests.patience import PATIENCE, wait_for
from tests.servers import Answer, web_server

CONFIG = {"current-context": "a", "clusters": []}

A_POD = b'{"kind": "Pod", "metadata": {"name": "load"}}'


def a_connection(monkeypatch: pytest.MonkeyPatch, name: str = "kubernetes_default", **extra: Any) -> None:
    """Define a Kubernetes connection with these extra fields."""
    definition = json.dumps({"conn_type": "kubernetes", "extra": extra})
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", definition)


@pytest.mark.parametrize(
    ("extra", "access"),
    [
        ({}, ClusterAccess()),
        ({"in_cluster": True}, ClusterAccess(in_cluster=True)),
        ({"in_cluster": "true"}, ClusterAccess(in_cluster=True)),
        ({"in_cluster": "False"}, ClusterAccess()),
        ({"kube_config_path": "/k"}, ClusterAccess(config_file="/k")),
        ({"kube_config": json.dumps(CONFIG)}, ClusterAccess(config=CONFIG)),
        ({"kube_config": "current-context: a\nclusters: []\n"}, ClusterAccess(config=CONFIG)),
        ({"kube_config": CONFIG}, ClusterAccess(config=CONFIG)),
        ({"namespace": "etl", "cluster_context": "b"}, ClusterAccess(namespace="etl", cluster_context="b")),
        ({"disable_verify_ssl": True}, ClusterAccess(verify_ssl=False)),
        ({"extra__kubernetes__kube_config_path": "/k"}, ClusterAccess(config_file="/k")),
        ({"in_cluster": False, "kube_config": "", "kube_config_path": ""}, ClusterAccess()),
    ],
)
def test_every_form_of_the_connection(extra: dict[str, Any], access: ClusterAccess) -> None:
    """The fields that the cncf.kubernetes provider defines, in their old and new spelling (R16)."""
    assert ClusterAccess.from_extra(extra, ClusterRef()) == access


def test_arguments_win_over_the_connection() -> None:
    """What the operator says is above what the connection says (R16)."""
    access = ClusterAccess.from_extra(
        {"in_cluster": True, "cluster_context": "b"}, ClusterRef(in_cluster=False, config_file="/k")
    )
    assert access == ClusterAccess(config_file="/k", cluster_context="b")


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (
            {"in_cluster": True, "kube_config_path": "/k"},
            "in_cluster and kube_config_path exclude each other; keep one",
        ),
        ({"kube_config": CONFIG, "kube_config_path": "/k"}, "kube_config_path and kube_config exclude each other"),
        ({"kube_config": "{"}, "kube_config is not valid JSON"),
        ({"kube_config": "[1]"}, "kube_config is not a mapping"),
        ({"kube_config": [1]}, "kube_config is not a mapping"),
        ({"kube_config": "a: 1\nb: hunter2: 3"}, "kube_config is not valid YAML: line 2, column 11: .*"),
    ],
)
def test_contradictions_name_the_connection(extra: dict[str, Any], words: str) -> None:
    """A connection that says two things is refused by its name, and no other try reads it again (R26)."""
    with pytest.raises(ValueError, match=f"connection 'mine': {words}") as caught:
        ClusterAccess.from_extra(extra, ClusterRef("mine"))
    assert isinstance(caught.value, exceptions.ConnectionFieldError)
    assert not caught.value.retryable
    assert "hunter2" not in str(caught.value)


def test_the_connection_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that Airflow knows is used."""
    a_connection(monkeypatch, "mine", namespace="etl")
    assert ClusterRef("mine").resolve() == ClusterAccess(namespace="etl")


def test_the_default_connection_need_not_exist() -> None:
    """Without any connection the usual places are used (R32)."""
    assert ClusterRef().resolve() == ClusterAccess()


def test_another_connection_must_exist() -> None:
    """A connection that somebody names and nobody defined is an error."""
    with pytest.raises(AirflowNotFoundException, match="nowhere"):
        ClusterRef("nowhere").resolve()


def test_no_connection_at_all() -> None:
    """``kubernetes_conn_id=None`` asks for none (R32)."""
    assert ClusterRef(None, in_cluster=True).resolve() == ClusterAccess(in_cluster=True)


@pytest.mark.parametrize(
    ("argument", "connection", "namespace"),
    [("a", "b", "a"), (None, "b", "b"), ("", "b", "b"), (None, None, "default")],
)
def test_one_rule_for_the_namespace(argument: str | None, connection: str | None, namespace: str) -> None:
    """The argument's, else the connection's, else ``default``."""
    assert ClusterAccess(config_file="/k", namespace=connection).namespace_for(argument) == namespace


async def test_without_credentials_the_error_says_where_to_put_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing kubeconfig is named, with the ways to give one (R16)."""
    words = f"no credentials.*: {tmp_path}/none does not exist. .*config_file or KUBECONFIG"
    with caplog.at_level(logging.WARNING), pytest.raises(exceptions.ApiUnreachableError, match=words):
        async with open_api(ClusterAccess(config_file=str(tmp_path / "none"))):
            pass
    assert caplog.records == []


def test_in_cluster_is_true_or_false() -> None:
    """A text that reads like no would be true."""
    with pytest.raises(ValueError, match="in_cluster='no' must be True or False or None"):
        ClusterAccess.from_extra({}, ClusterRef(in_cluster="no"))  # type: ignore[arg-type]  # the mistake


def a_file(folder: Path, text: str | dict[str, Any], name: str = "config") -> str:
    """The path of a file with this text, or with this as JSON, which YAML is too."""
    (folder / name).write_text(text if isinstance(text, str) else json.dumps(text))
    return str(folder / name)


def a_plugin(folder: Path, shell: str) -> dict[str, Any]:
    """A user whose credentials come from these commands."""
    Path(a_file(folder, f"#!/bin/sh\n{shell}\n", "plugin")).chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(folder / "plugin")}}


async def refusal(access: ClusterAccess) -> str:
    """What is said where no credentials can be loaded."""
    with pytest.raises(exceptions.ApiUnreachableError, match="no credentials for a Kubernetes cluster: ") as caught:
        async with open_api(access):
            pass
    return str(caught.value)


async def test_a_plugins_words_are_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What a failing plugin writes may hold a credential: neither error nor log has it (R16)."""
    config = a_kubeconfig(**a_plugin(tmp_path, "echo 'bad token stderr-secret' >&2; exit 3"))
    said = await refusal(ClusterAccess(config=config))
    assert "exec: process returned 3 (its output may be secret: run the plugin by hand)" in said
    assert "-secret" not in said
    assert caplog.records == []


async def test_a_plugin_that_gives_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A plugin's answer without credentials is an error; the client would go on as nobody."""
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {}}
    config = a_kubeconfig(**a_plugin(tmp_path, f"echo '{json.dumps(answer)}'"))
    assert "missing token or clientCertificateData" in await refusal(ClusterAccess(config=config))
    assert caplog.records == []


async def test_a_plugin_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that asks for a password waits for ever; a task doesn't, and ends it (R10)."""
    config = a_kubeconfig(
        **a_plugin(tmp_path, f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 3600")
    )
    seconds = 0.25
    while not (tmp_path / "pid").exists():  # the plugin has not begun in time
        seconds *= 2
        monkeypatch.setattr(credentials, "LOAD_TIMEOUT", seconds)
        assert f"plugin has not answered within {seconds:g} s" in await refusal(ClusterAccess(config=config))
    await asyncio.to_thread(wait_until_gone, int((tmp_path / "pid").read_text()))


async def test_a_run_that_ends_ends_its_plugin(tmp_path: Path) -> None:
    """A task that is killed while its plugin works leaves neither the plugin nor its children (R10)."""
    shell = f"sleep 3600 & echo $! > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; wait"
    opening = asyncio.create_task(refusal(ClusterAccess(config=a_kubeconfig(**a_plugin(tmp_path, shell)))))
    await asyncio.to_thread(wait_for, (tmp_path / "pid").exists, "the plugin")
    opening.cancel()
    await asyncio.to_thread(wait_until_gone, int((tmp_path / "pid").read_text()))
    await asyncio.wait([opening])
    assert opening.cancelled()


async def test_a_plugin_has_no_keyboard(tmp_path: Path) -> None:
    """It would take what is meant for the script."""
    config = a_kubeconfig(**a_plugin(tmp_path, 'test -z "$(cat)" && exit 5'))
    assert "exec: process returned 5" in await refusal(ClusterAccess(config=config))


@pytest.mark.parametrize("in_connection", [True, False])
async def test_whether_another_try_can_help(tmp_path: Path, in_connection: bool) -> None:
    """A kubeconfig's file may be another one by then, what stands in the connection is the same."""
    config = a_kubeconfig() | {"current-context": "b"}
    path = a_file(tmp_path, config)
    access = ClusterAccess(config=config) if in_connection else ClusterAccess(config_file=path)
    with pytest.raises(exceptions.ApiUnreachableError, match="has no context named 'b'") as caught:
        async with open_api(access):
            pass
    assert caught.value.retryable != in_connection


def an_oidc_user(**settings: str) -> dict[str, Any]:
    """A user whose tokens come from an issuer."""
    return {"auth-provider": {"name": "oidc", "config": {"client-id": "c", **settings}}}


NOT_IN_PATH = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin"}}


@pytest.mark.parametrize(
    ("user_in", "words", "is_passing"),
    [
        (lambda folder, _: a_plugin(folder, "exit 1"), "process returned 1", True),
        (lambda folder, _: a_plugin(folder, "exec sleep 3600"), "plugin has not answered within", True),
        (lambda folder, _: a_plugin(folder, "echo 503 Service Unavailable"), "it is not JSON", True),
        (lambda folder, _: NOT_IN_PATH, "is not in PATH", True),
        (lambda folder, _: {"tokenFile": a_file(folder, "", "token")}, "tokenFile of user .* is empty", True),
        (lambda _, url: an_oidc_user(**{"idp-issuer-url": url, "refresh-token": "r"}), r"its settings \(503\)", True),
        (lambda *_: an_oidc_user(**{"idp-issuer-url": "http://127.0.0.1:1", "refresh-token": "r"}), "be asked", True),
        (lambda _, url: an_oidc_user(**{"idp-issuer-url": url}), "without refresh-token", False),
        (lambda *_: {"exec": {"apiVersion": "v1"}}, "missing key 'command'", False),
    ],
    ids=["fails", "hangs", "output", "PATH", "token file", "issuer", "no issuer", "no refresh token", "no command"],
)
async def test_what_fails_outside_of_the_connection_may_pass(
    user_in: Callable[[Path, str], dict[str, Any]],
    words: str,
    is_passing: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next try asks a plugin or an issuer again; what is missing in the connection stays so (R15, R16)."""
    if "has not answered" in words:
        monkeypatch.setattr(credentials, "LOAD_TIMEOUT", 0.25)
    with web_server() as issuer:
        issuer.unknown = Answer(b"away", 503)
        access = ClusterAccess(config=a_kubeconfig(**user_in(tmp_path, issuer.url)))
        with pytest.raises(exceptions.ApiUnreachableError, match=words) as caught:
            await credentials.load(access)
    assert caught.value.retryable == is_passing


async def test_an_issuer_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next try asks it again (R10, R16)."""
    monkeypatch.setattr(credentials, "LOAD_TIMEOUT", 0.25)
    with web_server() as issuer:
        issuer.unknown = Answer(b"late", delay=PATIENCE)
        user = an_oidc_user(**{"idp-issuer-url": issuer.url, "refresh-token": "r"})
        with pytest.raises(exceptions.ApiUnreachableError, match="has not answered within") as caught:
            await credentials.load(ClusterAccess(config=a_kubeconfig(**user)))
    assert caught.value.retryable


@pytest.mark.parametrize(("of_kubeconfig", "is_passing"), [(False, True), (True, False)])
async def test_a_proxy_of_the_environment_may_be_mended(
    of_kubeconfig: bool, is_passing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker may have another one; that of the kubeconfig in the connection is the same (R16)."""
    config = a_kubeconfig()
    if of_kubeconfig:
        config["clusters"][0]["cluster"]["proxy-url"] = "socks5://a"
    else:
        monkeypatch.setenv("HTTPS_PROXY", "socks5://a")
    with pytest.raises(exceptions.ApiUnreachableError, match="names a SOCKS proxy") as caught:
        await credentials.load(ClusterAccess(config=config))
    assert caught.value.retryable == is_passing


async def test_an_incomplete_user_is_not_quoted(tmp_path: Path) -> None:
    """What is missing is named, and nothing of what is there: it may be a secret (R16)."""
    user: dict[str, Any] = {"exec": {"apiVersion": "v1", "args": ["--key=plugin-secret"]}, "token": ""}
    said = await refusal(ClusterAccess(config_file=a_file(tmp_path, a_kubeconfig(**user))))
    assert "exec: malformed request. missing key 'command'" in said
    assert "-secret" not in said


@pytest.mark.parametrize("text", ["", "[]", "a", "a: [", "clusters: 1", "current-context: b"])
async def test_what_is_no_kubeconfig_is_named(tmp_path: Path, text: str) -> None:
    """Whatever the file holds, the error says which file it is."""
    path = a_file(tmp_path, text)
    assert path in await refusal(ClusterAccess(config_file=path))


async def test_several_files_are_read_as_kubectl_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file that names a current context decides; the client would take the last one's (R16, R40)."""
    none = a_file(tmp_path, {"current-context": ""}, "none")
    first = a_file(tmp_path, a_kubeconfig("https://first"), "first")
    second = a_file(tmp_path, json.dumps(a_kubeconfig("https://second")).replace('"a"', '"b"'), "second")
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(tmp_path / "missing"), none, first, second]))
    async with open_api(ClusterAccess()) as api:
        assert api.host == "https://first"


async def test_a_proxys_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that refuses is told by its answer; its address may hold a login (R16)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    with web_server() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//user:proxy-secret@"))
        async with open_api(ClusterAccess(config=a_kubeconfig("https://somewhere"))) as api:
            with pytest.raises(exceptions.ApiUnreachableError, match="https://somewhere: 502 ") as caught:
                await api.get("pods", "etl", "load")
    assert "proxy-secret" not in str(caught.value)


@pytest.mark.parametrize(("exempt", "is_asked"), [("", True), ("10.0.0.0/8,127.0.0.0/8", False), ("127.0.0.1", False)])
async def test_the_environments_proxy(monkeypatch: pytest.MonkeyPatch, exempt: str, is_asked: bool) -> None:
    """A proxy of the environment is used but for what NO_PROXY names, ranges of addresses too."""
    with web_server() as server, web_server() as proxy:
        server.answers("/api/v1/namespaces/etl/pods/load", A_POD)
        proxy.answers(f"{server.url}/api/v1/namespaces/etl/pods/load", A_POD)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", exempt)
        async with open_api(ClusterAccess(config=a_kubeconfig(server.url))) as api:
            await api.get("pods", "etl", "load")
    assert (len(proxy.requests), len(server.requests)) == ((1, 0) if is_asked else (0, 1))


async def test_a_login_of_the_machine_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ~/.netrc of the user's is for other programs: the credentials are those of the form that was chosen (R16)."""
    monkeypatch.setenv("NETRC", a_file(tmp_path, "default login somebody password netrc-secret"))
    with web_server() as server:
        server.answers("/api/v1/namespaces/etl/pods/load", A_POD)
        async with open_api(ClusterAccess(config=a_kubeconfig(server.url))) as api:
            await api.get("pods", "etl", "load")
    assert "authorization" not in server.requests[0].headers


async def test_a_token_file_may_end_with_a_lines_end(tmp_path: Path) -> None:
    """As ``echo`` writes it, and editors do."""
    token = a_file(tmp_path, "a-token\n", "token")
    with web_server() as server:
        server.answers("/api/v1/namespaces/etl/pods/load", A_POD)
        async with open_api(ClusterAccess(config=a_kubeconfig(server.url, tokenFile=token))) as api:
            await api.get("pods", "etl", "load")
    assert server.requests[0].headers["authorization"] == "Bearer a-token"
