"""The lines of runs on nodes: read while there is a pod, shown run by run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.jobs import job_logs, log_reader
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.nodes import lines as module
from airflow_script_provider.jobs.nodes.lines import NodeLines
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.nodes.board import NodeRun
from airflow_script_provider.kube.nodes.plan import Start
from airflow_script_provider.kube.nodes.progress import Lost
from tests.builders import a_container, a_launched_job, a_pod, some_limits
from tests.kept_log import KeptLog
from tests.patience import LONG, PATIENCE
from tests.servers import Answer, WebServer
from tests.stand_in_api import NOT_FOUND, api_of, stand_in

LOG = "/api/v1/namespaces/etl/pods/load-x1/log"
DEADLINE = Verdict(Cause.DEADLINE, "uid-load-x1")
BEGUN = b"2026-01-01T00:00:01.000000001Z begun\n"


def a_run(**pod: Any) -> NodeRun:
    """A run whose pod was seen so."""
    run = NodeRun(Start("node-1", 0), "load", some_limits(), time.monotonic())
    run.seen = run.seen.with_pod(a_pod(**pod), time.monotonic())
    return run


async def shown(server: WebServer, *, end: threading.Event, ended: dict[str, Any]) -> tuple[str, list[str]]:
    """The output of a run that its deadline ends, and all lines: its pod is gone right after its script."""
    log = KeptLog()
    async with api_of(server) as api, asyncio.timeout(PATIENCE):
        lines, run = NodeLines(JobContext(api, a_launched_job(), log)), a_run(running=True)
        lines.begin(run, DEADLINE)
        while not server.requests:
            await asyncio.sleep(0.01)
        end.set()
        server.answers(LOG, NOT_FOUND)
        run.seen = run.seen.with_pod(a_pod(**ended), time.monotonic())
        run.seen = run.seen.with_pod(a_pod(**ended), time.monotonic(), deleted=True)
        lines.see(run)
        output = await lines.whole(run, "Node node-1: failed", "uid-load-x1")
    return output.tail(), log.lines


def begun_until(end: threading.Event) -> Iterator[bytes]:
    """The log of a script that has begun, open until it ends."""
    yield BEGUN
    end.wait(PATIENCE)


async def test_a_log_that_goes_with_its_pod_was_read_before() -> None:
    """The kubelet removes a pod that is being deleted as soon as its script has ended (R5, R13)."""
    end = threading.Event()
    with stand_in() as server:
        server.answers(LOG, Answer(begun_until(end)))
        text, said = await shown(server, end=end, ended={"exit_code": 143})
    assert text == "begun\n"
    assert said[-3:] == ["::group::Node node-1: failed", "begun", "::endgroup::"]


async def test_only_some_logs_are_read_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of runs may have the same deadline, and each reading is a connection (R30)."""
    monkeypatch.setattr(module, "EARLY", 1)
    with stand_in() as server:
        server.answers(LOG, BEGUN)
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            lines = NodeLines(JobContext(api, a_launched_job(), KeptLog()))
            runs = [replace(a_run(running=True), start=Start(node, 0)) for node in ("node-1", "node-2")]
            gone = replace(a_run(exit_code=1), start=Start("node-0", 0))
            gone.seen = gone.seen.with_pod(a_pod(exit_code=1), time.monotonic(), deleted=True)
            for run in (gone, *runs, *runs):
                lines.begin(run, DEADLINE)
            (reading,) = lines.early
            for run in runs:
                run.seen = run.seen.with_pod(a_pod(exit_code=143), time.monotonic())
                lines.see(run)
                output = await lines.whole(run, run.node, "uid-load-x1")
                assert output.tail() == "begun\n"
            assert (reading.done(), lines.early) == (True, [])


async def test_a_log_that_goes_while_its_rest_is_read_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pod of a script that the task has ended is removed a moment after its end (R5, R10)."""
    monkeypatch.setattr(log_reader, "FINAL_PATIENCE", LONG)
    monkeypatch.setattr(job_logs, "LOG_MARGIN", LONG)
    end = threading.Event()
    with stand_in() as server:
        server.answers(LOG, Answer(begun_until(end)))
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            lines, run = NodeLines(JobContext(api, a_launched_job(), KeptLog())), a_run(running=True)
            lines.begin(run, DEADLINE)
            while not server.requests:
                await asyncio.sleep(0.01)
            server.answers(LOG, NOT_FOUND)
            run.seen = run.seen.with_pod(a_pod(exit_code=143), time.monotonic())
            whole = asyncio.create_task(lines.whole(run, "Node node-1: failed", "uid-load-x1"))
            await asyncio.sleep(0)
            end.set()
            while len(server.requests) < 2:
                await asyncio.sleep(0.01)
            run.seen = run.seen.with_pod(a_pod(exit_code=143), time.monotonic(), deleted=True)
            lines.see(run)
            assert (await whole).tail() == "begun\n"


FAILED = Verdict(Cause.SCRIPT_FAILED, "uid-load-x1")
LOST = Lost("not ready", None, "load-x1", "", is_confirmed=False)


@pytest.mark.parametrize(
    ("pod", "decision", "is_live", "is_begun"),
    [
        ({"exit_code": 143, "being_deleted": True}, DEADLINE, False, True),
        ({"exit_code": 143, "being_deleted": True}, DEADLINE, True, False),
        ({"exit_code": 1}, FAILED, False, False),
        ({"exit_code": 1, "phase": "Failed"}, Verdict(Cause.JOB_FAILED, "uid-load-x1"), False, False),
        ({"running": True}, LOST, False, False),
    ],
    ids=["ended at once", "shown live", "stays", "stays with its Job", "node lost"],
)
async def test_the_log_of_a_pod_that_goes_is_read_before_anything_is_asked(
    pod: dict[str, Any], decision: Verdict | Lost, is_live: bool, is_begun: bool
) -> None:
    """A script that takes SIGTERM at once may have ended when its deadline is heard of (R5, R13)."""
    with stand_in() as server:
        server.answers(LOG, BEGUN)
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            lines, run = NodeLines(JobContext(api, a_launched_job(), KeptLog())), a_run(**pod)
            lines.begin(run, decision, is_live=is_live)
            assert len(lines.early) == is_begun
            output = await lines.whole(run, "Node node-1: failed", "uid-load-x1")
    assert output.tail() == "begun\n"


async def test_what_was_read_of_a_run_that_goes_on_is_dropped() -> None:
    """It is read as a whole later, each line once (R13)."""
    log = KeptLog()
    with stand_in() as server:
        server.answers(LOG, BEGUN)
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            lines, run = NodeLines(JobContext(api, a_launched_job(), log)), a_run(running=True)
            lines.begin(run, DEADLINE)
            (reading,) = lines.early
            while not server.requests:
                await asyncio.sleep(0.01)
            lines.forget(run)
            lines.forget(run)
            assert not lines.early
            await asyncio.wait({reading})
            assert reading.cancelled()
            run.seen = run.seen.with_pod(a_pod(exit_code=0), time.monotonic())
            output = await lines.whole(run, "Node node-1: ended", "uid-load-x1")
    assert output.tail() == "begun\n"
    assert log.lines.count("begun") == 1


LONG_LOG = ["::group::load", *(f"line {number}" for number in range(100))]


@pytest.mark.parametrize(
    ("ended", "is_cut"),
    [
        ({"exit_code": 0, "phase": "Succeeded"}, False),
        ({"exit_code": 0, "others": [a_container(name="proxy", running=True)]}, False),
        ({"exit_code": 143, "phase": "Failed", "being_deleted": True}, True),
    ],
    ids=["stays", "stays for now", "goes"],
)
async def test_a_long_log_that_was_read_early_is_cut_only_if_its_pod_goes(
    monkeypatch: pytest.MonkeyPatch, ended: dict[str, Any], is_cut: bool
) -> None:
    """A script may have ended by itself when its deadline is heard of (R5, R13)."""
    monkeypatch.setattr(module, "BUFFER", 150)
    log = KeptLog()
    stamped = [f"2026-01-01T00:00:01.{number + 1:09}Z {line}\n" for number, line in enumerate(LONG_LOG)]
    with stand_in() as server:
        server.answers(LOG, "".join(stamped).encode())
        async with api_of(server) as api, asyncio.timeout(PATIENCE):
            lines, run = NodeLines(JobContext(api, a_launched_job(), log)), a_run(running=True)
            lines.begin(run, DEADLINE)
            (early,) = lines._early.values()
            await early.waiting.is_full.wait()
            run.seen = run.seen.with_pod(a_pod(**ended), time.monotonic())
            lines.see(run)
            output = await lines.whole(run, "Node node-1: ended", "uid-load-x1")
    assert output.tail() == "\n".join([*LONG_LOG, ""])
    if is_cut:
        assert module._CUT in log.notes
        assert set(LONG_LOG) - set(log.lines)
    else:
        assert log.lines == ["::group::Node node-1: ended", *LONG_LOG, "::endgroup::", "::endgroup::"]


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        ([["::group::a", "1"], ["x" * 20], ["::endgroup::", "2"]], ["::group::a", "1", "::endgroup::"]),
        ([["1"], ["x" * 20], ["::group::a", "2", "::endgroup::"]], ["1"]),
        (
            [["::group::a"], ["x" * 20, "::group::b"], ["::endgroup::"], ["::endgroup::"]],
            ["::group::a", "::endgroup::"],
        ),
    ],
)
def test_a_log_that_is_cut_ends_its_groups(
    monkeypatch: pytest.MonkeyPatch, printed: list[list[str]], kept: list[str]
) -> None:
    """An open group hides all that comes after it, also other nodes (R13)."""
    monkeypatch.setattr(module, "BUFFER", 20)
    waiting = module._Waiting(KeptLog())
    for lines in printed:
        waiting.output(lines)
    assert (waiting.lines, waiting.is_full.is_set()) == (kept, True)
