"""Credentials of every form: worker and trigger reach the same server as the same user, and survive their expiry."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import TaskDeferred
from airflow_script_provider.api import sessions, watch
from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.result import Status
from tests.cluster.accounts import author, token_of, written
from tests.cluster.credentials import FORMS, Place, Plugin
from tests.cluster.in_a_pod import PodLike
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import FakeTaskInstance, meanwhile, run_task
from tests.cluster.test_trigger import Log, a_trigger, event_of, go_on, launched, lines
from tests.cluster.told_to_end import STEPS, UNTIL_TOLD, tell_all
from tests.faulty_api import Fault, faulty_api
from tests.patience import LONG, wait_for
from tests.stand_in_api import stand_in
from tests.task_runs import a_script_run

NUMBERED = f"{STEPS}for i in range(32):\n    print('n', i)\n    i == 16 and wait('')"
MARKED: dict[str, Any] = {"labels": {"test": "expires"}}
"""Arguments of the one task in the shared namespace that is told to go on."""
REFUSED = Fault(status=401, message="Unauthorized")
ALL = r"."
CREATE_JOB = r"^POST .*/jobs\?"
LOG = r"^GET .*/log\?"
FAILS = "echo 'bad token stderr-secret' >&2; exit 1"
SHARED_WATCH = r"^GET .*/jobs\?(?=.*watch=1).*labelSelector="


@pytest.fixture(scope="module")
def account(kubectl: Kubectl, kubeconfig: str, shared_namespace: str) -> dict[str, Any]:
    """A kubeconfig of an account that has the Role of the docs in the shared namespace, and nothing more."""
    return author(kubectl, shared_namespace, kubeconfig)


@pytest.fixture
def place(account: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """That account's server behind a proxy; KUBECONFIG and the home's kubeconfig are of another one."""
    with faulty_api(written(account, tmp_path), tmp_path) as api, stand_in() as elsewhere:
        config = account | {"clusters": api.clusters}
        found = Place(api, elsewhere, config, tmp_path, monkeypatch)
        (tmp_path / ".netrc").write_text("default login somebody password netrc-secret")
        (tmp_path / ".kube").mkdir()
        usual = written(found.config_of_elsewhere(), tmp_path / ".kube")
        Path(usual).rename(tmp_path / ".kube" / "config")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / ".kube" / "config"))
        yield found


@pytest.fixture
def plugin(place: Place) -> Plugin:
    """A plugin that gives the account's token."""
    return place.plugin()


@pytest.fixture
def by_plugin(place: Place, plugin: Plugin, shared_namespace: str) -> dict[str, Any]:
    """Operator arguments whose credentials come from the plugin."""
    return {"config_file": place.file(plugin.user), "namespace": shared_namespace}


@pytest.fixture
def next_token(kubectl: Kubectl, shared_namespace: str) -> str:
    """Another token of the account."""
    return kubectl("create", "token", "author", "-n", shared_namespace).strip()


def expire(place: Place) -> None:
    """Refuse the account's token from now on, also to those whose connections are open."""
    place.api.on(ALL, REFUSED, token=place.token)
    place.api.outage()


def numbers(lines: list[str]) -> list[str]:
    """The script's lines."""
    return [line for line in lines if line.startswith("n ")]


@pytest.mark.parametrize("form", FORMS)
def test_worker_and_trigger_are_the_same_user_of_the_same_server(
    place: Place, shared_namespace: str, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever names the cluster, each step reaches it alike, no other is asked, and no credential is logged (R16)."""
    caplog.set_level("DEBUG")
    arguments = FORMS[form](place) | {"namespace": shared_namespace, "deferrable": True, "defer_after": 0}
    run = run_task(script="import time\nprint([1], flush=True)\ntime.sleep(2)", **arguments).succeeded()
    assert run.result["value"] == [1]
    assert run.warnings == []
    assert place.api.count(SHARED_WATCH) == 1
    assert set(place.api.tokens) == {place.token}
    assert place.elsewhere.requests == []
    assert place.token not in str(run) + caplog.text


@pytest.mark.parametrize("form", ["path", "text in the connection", "another context", "plugin in the connection"])
def test_what_travels_names_the_cluster_and_has_no_credential(place: Place, shared_namespace: str, form: str) -> None:
    """A trigger's arguments are a connection's id, a path and a context (R16)."""
    arguments = FORMS[form](place)
    operator = KubernetesScriptOperator(
        task_id="task", script="print(1)", namespace=shared_namespace, deferrable=True, defer_after=0, **arguments
    )
    with pytest.raises(TaskDeferred) as caught:
        operator.execute({"ti": FakeTaskInstance(), "dag": None})  # type: ignore[typeddict-item]  # all it looks at
    travels = caught.value.trigger.serialize()[1]
    usual = {"kubernetes_conn_id": "kubernetes_default", "in_cluster": None, "config_file": None}
    named = usual | {"cluster_context": None} | arguments
    assert {name: travels[name] for name in named} == named
    assert place.token not in json.dumps(travels)
    assert "certificate" not in json.dumps(travels)


def test_a_token_expires_in_a_worker(
    place: Place, plugin: Plugin, by_plugin: dict[str, Any], next_token: str, kubectl: Kubectl
) -> None:
    """The plugin is asked once more; the run goes on with one Job and its whole log (R16)."""

    def renew() -> None:
        wait_for(lambda: place.api.count(LOG), "the log is read")
        plugin.gives(next_token)
        expire(place)
        wait_for(lambda: next_token in place.api.tokens, "the use of the next token")
        tell_all(kubectl, by_plugin["namespace"], "-l", "test=expires")

    renewing = meanwhile(renew)
    run = run_task(script=NUMBERED, **MARKED, **by_plugin).succeeded()
    renewing.join()
    assert numbers(run.lines) == [f"n {i}" for i in range(32)]
    assert place.api.count(CREATE_JOB) == 1
    assert plugin.calls == 2


async def test_a_token_expires_in_a_triggerer(
    place: Place,
    plugin: Plugin,
    by_plugin: dict[str, Any],
    next_token: str,
    nothing_blocks: None,
    log: Log,
    kubectl: Kubectl,
) -> None:
    """All triggers of a process go on after one look at the plugin, and nothing blocks their event loop (R16)."""
    jobs = [await launched(by_plugin, f"# {number}\n{NUMBERED}") for number in range(3)]
    before = plugin.calls
    events = [asyncio.create_task(event_of(a_trigger(job, by_plugin))) for job in jobs]
    await asyncio.to_thread(wait_for, lambda: place.api.count(LOG) >= 3, "the logs are read")
    plugin.gives(next_token)
    await asyncio.to_thread(expire, place)
    await asyncio.to_thread(wait_for, lambda: next_token in place.api.tokens, "the use of the next token")
    for job in jobs:
        await go_on(kubectl, job)
    assert all("ended" in event for event in await asyncio.gather(*events))
    assert Counter(lines(log, "n ")) == {f"n {i}": 3 for i in range(32)}
    assert plugin.calls == before + 2


def test_a_plugin_that_fails_for_a_while(
    place: Place,
    plugin: Plugin,
    by_plugin: dict[str, Any],
    next_token: str,
    kubectl: Kubectl,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the plugin cannot renew an expired token the run is patient, and says nothing of its words (R14, R16)."""
    monkeypatch.setattr(sessions, "RENEW_INTERVAL", 1.0)
    monkeypatch.setattr(watch, "REFUSAL_PATIENCE", 1.0)

    def renew() -> None:
        wait_for(lambda: place.api.count(LOG), "the log is read")
        plugin.does(FAILS)
        before = plugin.calls
        expire(place)
        wait_for(lambda: plugin.calls >= before + 3, "three looks at the plugin")
        plugin.gives(next_token)
        wait_for(lambda: next_token in place.api.tokens, "the use of the next token")
        tell_all(kubectl, by_plugin["namespace"], "-l", "test=expires")

    renewing = meanwhile(renew)
    run = run_task(script=NUMBERED, **MARKED, **by_plugin).succeeded()
    renewing.join()
    assert numbers(run.lines) == [f"n {i}" for i in range(32)]
    assert "stderr-secret" not in str(run)


def test_refused_for_good(place: Place, plugin: Plugin, by_plugin: dict[str, Any]) -> None:
    """A server that refuses the new credentials, too, is not asked for ever: an error after one renewal (R16)."""
    place.api.on(ALL, REFUSED)
    run = run_task(script="print(1)", **by_plugin)
    assert isinstance(run.error, exceptions.ApiUnauthorizedError)
    assert run.headline.startswith("the API server refused the credentials (401): Unauthorized.")
    assert plugin.calls == 2
    assert len(place.api.seen) < 5


async def test_refused_for_good_while_deferred(
    place: Place, plugin: Plugin, by_plugin: dict[str, Any], nothing_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trigger hands back what it may follow no longer, after one renewal; the worker says why it fails (R16)."""
    monkeypatch.setattr(watch, "REFUSAL_PATIENCE", 3.0)
    monkeypatch.setattr(sessions, "RENEW_INTERVAL", float(LONG))
    job = await launched(by_plugin, f"import time\ntime.sleep({LONG})", termination_grace_period=1)
    before = plugin.calls
    following = asyncio.create_task(event_of(a_trigger(job, by_plugin)))
    await asyncio.to_thread(wait_for, lambda: place.api.count(SHARED_WATCH), "the watch")
    await asyncio.to_thread(expire, place)
    event = await following
    assert event["reason"].startswith("the API server refused the credentials (401)")
    assert plugin.calls == before + 2
    with pytest.raises(exceptions.ApiUnauthorizedError):
        await asyncio.to_thread(a_script_run(by_plugin["config_file"]).resume, event)


def test_a_failing_plugins_words_are_not_told(
    place: Place, plugin: Plugin, by_plugin: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What a plugin writes where it fails may be a credential: no error and no log has it (R16)."""
    caplog.set_level("DEBUG")
    plugin.does(FAILS)
    run = run_task(script="print(1)", **by_plugin)
    assert run.headline.startswith("no credentials for a Kubernetes cluster: exec: process returned 1 (its output may")
    assert "-secret" not in str(run) + caplog.text


@pytest.mark.parametrize("is_back", [True, False], ids=["back", "gone"])
async def test_a_triggerer_without_the_file(
    place: Place, shared_namespace: str, nothing_blocks: None, log: Log, is_back: bool
) -> None:
    """It hands back, and asks no other cluster; the worker ends the task, or names the file that is missing (R16)."""
    path = place.file()
    job = await launched({"config_file": path, "namespace": shared_namespace}, "print('n', 0)")
    kept = Path(path).rename(place.folder / "kept")
    event = await event_of(a_trigger(job, {"config_file": path}))
    assert event["reason"].startswith(f"no credentials for a Kubernetes cluster: {path} does not exist.")
    if is_back:
        kept.rename(path)
    resuming = asyncio.to_thread(a_script_run(path).resume, event)
    if is_back:
        assert (await resuming).result.status is Status.COMPLETED
        assert lines(log, "n ") == ["n 0"]
    else:
        with pytest.raises(exceptions.ApiUnreachableError, match=f"{path} does not exist"):
            await resuming
    assert place.elsewhere.requests == []


@pytest.fixture
def pod(kubectl: Kubectl, account: dict[str, Any], shared_namespace: str, tmp_path: Path) -> PodLike:
    """Where a task runs as in a pod of that account."""
    return PodLike.of_account(kubectl, shared_namespace, token_of(account), tmp_path)


@pytest.mark.parametrize("in_cluster", [True, None], ids=["asked for", "found"])
def test_in_a_pod(pod: PodLike, shared_namespace: str, in_cluster: bool | None) -> None:
    """A pod's own account serves in worker and triggerer, in the pod's namespace (R16, R32)."""
    ran = pod.run(script="print([1])", in_cluster=in_cluster, deferrable=True, defer_after=0)
    assert (ran["error"], ran["warnings"]) == (None, [])
    assert (ran["result"]["value"], ran["result"]["namespace"]) == ([1], shared_namespace)


def test_a_pods_token_is_rotated(kubectl: Kubectl, pod: PodLike, shared_namespace: str, next_token: str) -> None:
    """kubelet puts a new token into the file before the old one expires: it is read when the old one is refused."""
    where = ("-n", shared_namespace)
    kubectl("create", "secret", "generic", "bound", *where)
    bound = ("--bound-object-kind", "Secret", "--bound-object-name", "bound")
    old_token = kubectl("create", "token", "author", *where, *bound).strip()
    pod.gets_token(old_token)

    def is_refused() -> bool:
        return not kubectl("auth", "whoami", f"--token={old_token}", check=False)

    def rotate() -> None:
        kubectl.running_pods(shared_namespace, "-l", "test=rotated")
        pod.gets_token(next_token)
        kubectl("delete", "secret", "bound", *where)
        wait_for(is_refused, "the end of the old token")
        tell_all(kubectl, shared_namespace, "-l", "test=rotated")

    rotating = meanwhile(rotate)
    ran = pod.run(labels={"test": "rotated"}, script=f"{UNTIL_TOLD}print([1])")
    rotating.join()
    assert (ran["error"], ran["warnings"], ran["result"]["value"]) == (None, [], [1])


@pytest.mark.parametrize("was_followed", [True, False], ids=["followed", "handed back"])
async def test_a_worker_of_another_cluster(
    place: Place, shared_namespace: str, nothing_blocks: None, was_followed: bool
) -> None:
    """With another cluster's kubeconfig the Job is not called deleted, and its known end counts (R1, R16)."""
    job = await launched({"config_file": place.file(), "namespace": shared_namespace}, "print([1])")
    path = place.file() if was_followed else "/nowhere/kubeconfig"
    event = await event_of(a_trigger(job, {"config_file": path}, server=place.server))
    assert ("ended" in event) == was_followed
    worker = a_script_run(written(place.config_of_elsewhere(), place.folder))
    words = f"{place.elsewhere.url} has no Job {job.ref}, which the worker launched on {place.server}"
    if was_followed:
        assert (await asyncio.to_thread(worker.resume, event)).diagnosis is None
        return
    with pytest.raises(exceptions.KubernetesApiError, match=words):
        await asyncio.to_thread(worker.resume, event)
