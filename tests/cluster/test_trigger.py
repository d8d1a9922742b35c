"""The trigger by itself: in one event loop that nothing may block, without Airflow's triggerer around it."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
import structlog

from airflow_script_provider._airflow.lines import ScriptLines
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.clusters.credentials import open_api
from airflow_script_provider.hooks.script import KubernetesScriptHook
from airflow_script_provider.jobs.conclude import Deferral, conclude_or_defer
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.launching import launch
from airflow_script_provider.kube.job import manifest
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.job.verdict import Cause
from airflow_script_provider.kube.labels import FOLLOW_STATE_ANNOTATION, INSTALL_CONTAINER
from airflow_script_provider.run_log import OUTPUT_LOGGER, LoggerRunLog
from airflow_script_provider.triggers import _base as trigger_base
from airflow_script_provider.triggers import script as trigger_module
from airflow_script_provider.triggers._base import JobTrigger
from airflow_script_provider.triggers.script import ScriptTrigger
from tests.cluster.kubectl import Kubectl
from tests.cluster.told_to_end import STEPS, UNTIL_TOLD, tell_all
from tests.faulty_api import FaultyApi
from tests.kept_log import KeptLog
from tests.patience import LONG, PATIENCE, until, wait_for
from tests.task_runs import a_script_run

Log = list[Any]

pytestmark = pytest.mark.usefixtures("nothing_blocks")


@pytest.fixture(autouse=True)
async def asyncio_tells() -> None:
    """asyncio's debug mode: what is never awaited is a warning, and warnings are errors."""
    asyncio.get_running_loop().set_debug(True)


async def launched(shared: dict[str, Any], script: str, **arguments: Any) -> LaunchedJob:
    """A Job that runs this script, and that nobody follows."""
    hook = KubernetesScriptHook(config_file=shared["config_file"])
    request = await asyncio.to_thread(hook.prepare, script, namespace=shared["namespace"], **arguments)
    await asyncio.to_thread(manifest.config_map, request)  # reads what is put into the pod, which blocks
    async with open_api(ClusterAccess(config_file=shared["config_file"])) as api:
        return LaunchedJob.of(request, JobRef.of(await launch(api, request, KeptLog())), time.time())


def a_trigger(job: LaunchedJob, shared: dict[str, Any], **arguments: Any) -> ScriptTrigger:
    """A trigger as it comes out of the database."""
    kwargs = {"job": job.to_dict(), "config_file": shared["config_file"], "kubernetes_conn_id": None} | arguments
    path, travelled = ScriptTrigger(**kwargs).serialize()
    assert path == "airflow_script_provider.triggers.script.ScriptTrigger"
    return ScriptTrigger(**json.loads(json.dumps(travelled)))


async def event_of(trigger: JobTrigger) -> dict[str, Any]:
    """The payload of its one event."""
    async with asyncio.timeout(PATIENCE):
        events = [event async for event in trigger.run()]
    await trigger.cleanup()
    assert len(events) == 1
    payload: dict[str, Any] = json.loads(json.dumps(events[0].payload))
    return payload


def lines(log: Log, start: str) -> list[str]:
    """The logged lines that start so."""
    return [str(entry["event"]) for entry in log if str(entry["event"]).startswith(start)]


async def test_success_is_told_with_its_log(shared: dict[str, Any], log: Log) -> None:
    """The event has the end, the log has the lines, and nothing blocked the event loop meanwhile (R30)."""
    job = await launched(shared, "import time\nfor i in range(5):\n    print('n', i)\n    time.sleep(0.3)")
    ended = JobEnd.from_dict((await event_of(a_trigger(job, shared)))["ended"])
    assert ended.verdict.cause is Cause.SCRIPT_SUCCEEDED
    assert lines(log, "n ") == [f"n {i}" for i in range(5)]


async def test_failure_is_told_with_its_log(shared: dict[str, Any], log: Log) -> None:
    """A failed Job's log is as complete as a successful one's (R20)."""
    job = await launched(shared, "print('n 0')\nraise SystemExit(3)", backoff_limit=0)
    ended = JobEnd.from_dict((await event_of(a_trigger(job, shared)))["ended"])
    assert ended.verdict.cause is Cause.SCRIPT_FAILED
    assert lines(log, "n ") == ["n 0"]


async def test_nothing_secret_travels(shared: dict[str, Any]) -> None:
    """Neither arguments nor event hold a value of env or args, script text or a credential (R16, R26)."""
    job = await launched(shared, "print('text-secret-1')", env={"A": "env-secret-2"}, args={"a": "args-secret-3"})
    trigger = a_trigger(job, shared)
    event = await event_of(trigger)
    told = json.dumps([trigger.serialize()[1], event])
    assert "-secret-" not in told
    assert "certificate" not in told


async def test_without_logs_none_is_read(shared: dict[str, Any], log: Log) -> None:
    """``get_logs=False`` opens no stream."""
    job = replace(await launched(shared, "import time\nprint('n 0')\ntime.sleep(3)"), get_logs=False)
    await event_of(a_trigger(job, shared))
    assert lines(log, "n ") == []


async def test_a_job_that_is_gone(shared: dict[str, Any], kubectl: Kubectl) -> None:
    """Somebody deleted the Job before the trigger began: the worker finds out, and nobody waits for ever (R9)."""
    job = await launched(shared, f"import time\ntime.sleep({LONG})", termination_grace_period=1)
    await asyncio.to_thread(kubectl, "delete", "job", job.ref.name, "-n", job.ref.namespace, "--wait=false")
    event = await event_of(a_trigger(job, shared))
    assert f"has no Job {job.ref}, which the worker launched" in event["reason"]
    outcome = await asyncio.to_thread(a_script_run(shared["config_file"]).resume, event)
    assert "was deleted" in str(outcome.result.error)


async def test_a_triggerer_without_the_kubeconfig_hands_back(shared: dict[str, Any]) -> None:
    """The worker follows what the triggerer cannot reach; another cluster is never asked instead (R16)."""
    job = await launched(shared, "print(1)")
    event = await event_of(a_trigger(job, shared, config_file="/nowhere/kubeconfig"))
    assert "/nowhere/kubeconfig does not exist" in event["reason"]


async def test_no_attempt_follows_while_a_worker_is_awaited(shared: dict[str, Any], kubectl: Kubectl) -> None:
    """A helper that still runs might fail and have the script started again; the Job keeps the end (R4, R12)."""
    helper = {"name": "helper", "image": "python:3.11-slim", "command": ["sh", "-c", "sleep 5; exit 143"]}
    overrides = {"spec": {"containers": [helper]}}
    job = await launched(shared, "print('[1]')", backoff_limit=3, pod_overrides=overrides)
    event = await event_of(a_trigger(job, shared))
    assert event["ended"]["verdict"]["cause"] == "script succeeded"
    starts = f"reason=SuccessfulCreate,involvedObject.name={job.ref.name}"

    def is_gone() -> bool:
        return job.ref.name not in str(kubectl.names("pods", shared["namespace"]))

    await asyncio.to_thread(wait_for, is_gone, "the end of the pod")
    of_the_next_triggerer = await event_of(a_trigger(job, shared))
    assert of_the_next_triggerer["ended"]["verdict"] == event["ended"]["verdict"]
    of_pods = await asyncio.to_thread(kubectl.names, "events", shared["namespace"], "--field-selector", starts)
    assert len(of_pods) == 1
    handed_back = await event_of(a_trigger(job, shared, config_file="/nowhere/kubeconfig"))
    outcome = await asyncio.to_thread(a_script_run(shared["config_file"]).resume, handed_back)
    assert (outcome.diagnosis, outcome.value.value) == (None, [1]), "the Job is not followed again"


async def test_another_cluster_is_told_from_a_deleted_job(shared: dict[str, Any]) -> None:
    """A Job that this server does not have, launched on another one, was not deleted (R16)."""
    job = await launched(shared, "print(1)")
    stranger = replace(job, ref=replace(job.ref, uid="of-another-cluster"))
    event = await event_of(a_trigger(stranger, shared, server="https://elsewhere:6443"))
    assert "which the worker launched on https://elsewhere:6443" in event["reason"]


async def test_a_timeout_of_the_task_ends_the_job(shared: dict[str, Any], kubectl: Kubectl) -> None:
    """``execution_timeout`` ends a Job whose own clock does not run, because it is suspended (R5)."""
    job = await launched(shared, "print(1)", pod_overrides={"spec": {"nodeSelector": {"no": "node"}}})
    patch = '{"spec": {"suspend": true}}'
    await asyncio.to_thread(kubectl, "patch", "job", job.ref.name, "-n", job.ref.namespace, "-p", patch)
    event = await event_of(a_trigger(job, shared, expires_at=time.time() + 3))
    assert JobEnd.from_dict(event["ended"]).verdict.cause is Cause.DEADLINE
    assert job.ref.name not in str(await asyncio.to_thread(kubectl.names, "jobs", job.ref.namespace))


@asynccontextmanager
async def running(trigger: ScriptTrigger, *, ends: bool = True) -> AsyncIterator[asyncio.Task[dict[str, Any]]]:
    """The trigger at work, until the block cancels it: as a triggerer's end does, else so that it saves nothing."""
    task = asyncio.create_task(event_of(trigger))
    try:
        yield task
    finally:
        task.cancel(*(() if ends else ("a user acted, or another triggerer took over",)))
        await asyncio.wait({task})


COUNTS = "import time\nfor i in range(40):\n    print('n', i)\n    time.sleep(0.25)"


async def logged(log: Log, start: str, count: int) -> None:
    """Wait until so many lines that start so are in the log."""
    await until(lambda: len(lines(log, start)) >= count, f"line {count} with {start}")


async def go_on(kubectl: Kubectl, job: LaunchedJob, step: object = "") -> None:
    """Let the script of a Job go on beyond a step."""
    await asyncio.to_thread(tell_all, kubectl, job.ref.namespace, "-l", f"job-name={job.ref.name}", step=step)


async def test_a_triggerer_ends_and_the_next_goes_on(shared: dict[str, Any], log: Log) -> None:
    """The position is saved with the Job; the next triggerer logs each line that is missing, and no other (R4, R19)."""
    job = await launched(shared, COUNTS)
    async with running(a_trigger(job, shared)):
        await logged(log, "n ", 8)
    await event_of(a_trigger(job, shared))
    assert lines(log, "n ") == [f"n {i}" for i in range(40)]
    assert not lines(log, "The triggerer that followed")


SAYS_WHEN = f"""
{STEPS}
def say(*numbers):
    print("at", time.time())
    for number in numbers:
        print("n", number)
    print("at", time.time())

say(*range(10))
wait(1)
say(10)
wait(2)
say(*range(11, 25))
wait(3)
say(*range(25, 40))
"""


async def saved_since(kubectl: Kubectl, job: LaunchedJob, log: Log, number: int) -> None:
    """Wait until the saved position is behind the moment that the script has said so, the first one being 0."""
    await logged(log, "at ", number + 1)
    said_at = float(lines(log, "at ")[number].removeprefix("at "))

    def is_saved() -> bool:
        found = json.loads(kubectl("get", "job", job.ref.name, "-n", job.ref.namespace, "-o", "json"))
        state = json.loads(found["metadata"]["annotations"].get(FOLLOW_STATE_ANNOTATION, "{}"))
        positions = FollowState.from_dict(state).logs.values()
        newest = [position.newest for position in positions if position.newest]
        return any(datetime.fromisoformat(stamp).timestamp() > said_at for stamp in newest)

    await asyncio.to_thread(wait_for, is_saved, "a newer position")


async def test_a_killed_triggerers_last_lines_are_repeated(
    shared: dict[str, Any], log: Log, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a SIGKILL the lines since the last saving come again, under one line that says so (R4, R19).

    The first eleven lines are saved, the last of them with what it takes until the next saving; fourteen are not.
    The script ends after the second triggerer has opened its log: if it had ended before, a worker would read it.
    """
    monkeypatch.setattr(trigger_module, "SAVE_INTERVAL", 0.1)
    job = await launched(shared, SAYS_WHEN)
    async with running(a_trigger(job, shared), ends=False):
        await saved_since(kubectl, job, log, 1)
        monkeypatch.setattr(trigger_module, "SAVE_INTERVAL", LONG)
        await go_on(kubectl, job, 1)
        await saved_since(kubectl, job, log, 2)
        await go_on(kubectl, job, 2)
        await logged(log, "n ", 25)
    async with running(a_trigger(job, shared)) as following:
        await logged(log, "n ", 26)
        await go_on(kubectl, job, 3)
        await following
    assert set(lines(log, "n ")) == {f"n {i}" for i in range(40)}
    said = [str(entry["event"]) for entry in log]
    mark = next(index for index, line in enumerate(said) if line.startswith("The triggerer that followed"))
    before, after = ([line for line in part if line.startswith("n ")] for part in (said[:mark], said[mark:]))
    assert before == [f"n {i}" for i in range(len(before))]
    assert after == [f"n {i}" for i in range(int(after[0][2:]), 40)]
    assert len(before) == 25
    assert after[0] in ("n 10", "n 11")


async def test_a_take_over_after_startup_timeout_is_harmless(shared: dict[str, Any], log: Log) -> None:
    """The clock of a script that runs is not taken for one of a script that never began (R4)."""
    job = await launched(shared, COUNTS, startup_timeout=LONG)
    async with running(a_trigger(job, shared)):
        await logged(log, "n ", 20)
    late = replace(job, launched_at=job.launched_at - 100, limits=replace(job.limits, startup_timeout=3))
    handover = FollowState(clock=job.launched_at - 100, deferral="other").to_dict()
    ended = JobEnd.from_dict((await event_of(a_trigger(late, shared, handover=handover)))["ended"])
    assert ended.verdict.cause is Cause.SCRIPT_SUCCEEDED


async def test_a_take_over_does_not_restart_the_clock(shared: dict[str, Any], api: FaultyApi, log: Log) -> None:
    """A script that gets no node ends at its ``schedule_timeout``, whoever follows it when (R5).

    The second trigger comes an hour later, by the API server's clock: the time is over.
    """
    late = shared | {"config_file": api.kubeconfig}
    limits = {"schedule_timeout": LONG, "timeout": 2 * LONG}
    job = await launched(late, "print(1)", node_selector={"no": "such-node"}, **limits)
    async with running(a_trigger(job, late)) as following:
        await until(lambda: "Unschedulable" in str(log), "the first trigger's look at the pod")
        assert not following.done()
    api.ahead = LONG
    ended = JobEnd.from_dict((await event_of(a_trigger(job, late)))["ended"])
    assert ended.verdict.cause is Cause.SCHEDULE_TIMEOUT


async def test_the_worker_stopped_in_the_middle(shared: dict[str, Any], log: Log, kubectl: Kubectl) -> None:
    """What the worker logged and said before it deferred does not come again, and nothing is left out (R19)."""
    script = f"{STEPS}for i in range(24):\n    print('n', i)\n    i == 12 and wait('')"
    job = await launched(shared, script)
    async with open_api(ClusterAccess(config_file=shared["config_file"])) as api:
        worker = JobContext(api, job, LoggerRunLog(structlog.get_logger(), ScriptLines(OUTPUT_LOGGER)))
        state = FollowState()
        while not lines(log, "n "):  # it defers too early where the machine is slow; the next one goes on
            deferral = await conclude_or_defer(worker, state, defer_after=4)
            assert isinstance(deferral, Deferral)
            state = deferral.state
    assert 0 < len(lines(log, "n ")) < 24
    trigger = a_trigger(job, shared, handover=replace(state, deferral="next").to_dict())
    event = asyncio.ensure_future(event_of(trigger))
    # A log whose script has ended before is left to the worker.
    await until(lambda: trigger._follower and trigger._follower.view.pods, "the pod in the trigger's view")
    await go_on(kubectl, job)
    await event
    assert lines(log, "n ") == [f"n {i}" for i in range(24)]
    said = [str(entry["event"]) for entry in log if str(entry["event"]).startswith("Pod ")]
    assert len(said) == len(set(said))


async def test_a_hand_over_while_packages_are_installed(shared: dict[str, Any], log: Log) -> None:
    """Each triggerer shows its part of the installation's lines as a group of its own (R19)."""
    slow = "import time\nfor i in range(12):\n    print('n', i, flush=True)\n    time.sleep(0.4)"
    install = {"name": INSTALL_CONTAINER, "command": ["python3", "-c", slow]}
    overrides = {"spec": {"initContainers": [install]}}
    job = await launched(shared, "print('done')", install_dependencies=["six"], pod_overrides=overrides)
    async with running(a_trigger(job, shared)):
        await logged(log, "n ", 4)
    await event_of(a_trigger(job, shared))
    said = [str(entry["event"]) for entry in log]
    assert [line for line in said if line.startswith("n ")] == [f"n {i}" for i in range(12)]
    markers = [line for line in said if line.startswith("::")]
    assert markers == ["::group::Installing dependencies", "::endgroup::"] * (len(markers) // 2)
    assert said.index("n 11") < len(said) - 1 - said[::-1].index("::endgroup::")


def test_the_row_holds_all_arguments() -> None:
    """What a triggerer makes of the stored row is the same trigger, argument by argument (R4)."""
    given: dict[str, Any] = {
        "job": {"ref": {}}, "handover": {"logs": []}, "kubernetes_conn_id": "a", "in_cluster": True, "config_file": "b",
        "cluster_context": "c", "server": "d", "expires_at": 1.5, "execution_timeout": 2.5,
        "in_one_process": True,
    }  # fmt: skip
    path, travelled = ScriptTrigger(**given).serialize()
    assert travelled == given
    parameters = inspect.signature(ScriptTrigger).parameters.values()
    assert set(given) == {one.name for one in parameters if one.kind is not one.VAR_KEYWORD}
    of_a_later_version = json.loads(json.dumps(travelled)) | {"new": 1}
    assert ScriptTrigger(**of_a_later_version).serialize() == (path, given)


async def test_saved_positions_are_small(shared: dict[str, Any], kubectl: Kubectl) -> None:
    """What is saved with the Job is a position, not what was read."""
    job = await launched(shared, f"for i in range(3000):\n    print('n', i)\n{UNTIL_TOLD}")

    def saved_position() -> str:
        found = json.loads(kubectl("get", "job", job.ref.name, "-n", job.ref.namespace, "-o", "json"))
        return str(found["metadata"]["annotations"].get(FOLLOW_STATE_ANNOTATION, ""))

    async with running(a_trigger(job, shared)) as following:
        await asyncio.to_thread(wait_for, saved_position, "a saved position")
        await go_on(kubectl, job)
        await following
    saved = await asyncio.to_thread(saved_position)
    assert len(saved) < 4096
    assert FollowState.from_dict(json.loads(saved)).logs


async def test_the_output_of_a_pod_that_is_gone(shared: dict[str, Any], log: Log, kubectl: Kubectl) -> None:
    """At its deadline Kubernetes deletes the pod: what the triggerer has read of it is in the result (R5, R21)."""
    script = f"print('n 0')\nprint('{{\"a\": 1}}')\nimport time\ntime.sleep({LONG})"
    job = await launched(shared, script, timeout=LONG)
    async with running(a_trigger(job, shared)) as following:
        await logged(log, '{"a": 1}', 1)
        await asyncio.to_thread(kubectl.let_expire, job.ref.name, job.ref.namespace)
        event = await following
    of_the_job = ("-l", f"job-name={job.ref.name}")
    await asyncio.to_thread(
        wait_for, lambda: not kubectl.names("pods", job.ref.namespace, *of_the_job), "the end of the pod"
    )
    result = (await asyncio.to_thread(a_script_run(shared["config_file"]).resume, event)).result
    assert (result.output, result.value) == ('n 0\n{"a": 1}\n', {"a": 1})
    assert (result.output_bytes, result.output_truncated) == (13, False)
    assert "n 0" in str(result.error) or result.reason == "DeadlineExceeded"
    assert "is gone" not in str(log)  # all of it was kept, so that it is not read again


def exists(kubectl: Kubectl, job: LaunchedJob) -> bool:
    """Whether the Job is there and nobody deletes it."""
    template = "jsonpath={.items[?(@.metadata.name=='%s')].metadata.deletionTimestamp}-{.items[*].metadata.name}"
    deleted, _, names = kubectl("get", "jobs", "-n", job.ref.namespace, "-o", template % job.ref.name).partition("-")
    return job.ref.name in names.split() and not deleted


@pytest.mark.parametrize("has_on_kill", [True, False], ids=["3.3", "3.1"])
@pytest.mark.parametrize(
    ("state", "stays"), [("failed", False), ("gone", False), ("deferred", True), ("queued", True), (None, True)]
)
async def test_a_user_acts_or_does_not(
    shared: dict[str, Any],
    log: Log,
    kubectl: Kubectl,
    monkeypatch: pytest.MonkeyPatch,
    state: str | None,
    stays: bool,
    has_on_kill: bool,
) -> None:
    """What ends a trigger ends the Job only if Airflow says that the task is over (R3, R4)."""

    async def answer(trigger: ScriptTrigger) -> str | None:
        return state

    monkeypatch.setattr(trigger_base, "HAS_ON_KILL", has_on_kill)
    monkeypatch.setattr(ScriptTrigger, "_state_of_task", answer)
    job = await launched(shared, COUNTS, termination_grace_period=1)
    trigger = a_trigger(job, shared)
    async with running(trigger, ends=False):
        await logged(log, "n ", 2)
    if has_on_kill:
        await trigger.on_kill()
    await trigger.cleanup()
    assert await asyncio.to_thread(exists, kubectl, job) == stays


@pytest.mark.parametrize("has_on_kill", [True, False], ids=["3.3", "3.1"])
async def test_a_kill_survives_being_cancelled(
    shared: dict[str, Any], log: Log, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, has_on_kill: bool
) -> None:
    """Airflow cancels a trigger once a second until it has ended, also while it is being killed (R3)."""

    async def slow_answer(trigger: ScriptTrigger) -> str:
        await asyncio.sleep(1)
        return "failed"

    monkeypatch.setattr(trigger_base, "HAS_ON_KILL", has_on_kill)
    monkeypatch.setattr(ScriptTrigger, "_state_of_task", slow_answer)
    job = await launched(shared, COUNTS, termination_grace_period=1)
    trigger = a_trigger(job, shared)
    async with running(trigger, ends=False):
        await logged(log, "n ", 1)
    killing = asyncio.create_task(trigger.on_kill() if has_on_kill else trigger.cleanup())
    for _ in range(5):
        await asyncio.sleep(0.2)
        killing.cancel()
    await asyncio.wait({killing})
    assert not await asyncio.to_thread(exists, kubectl, job)
