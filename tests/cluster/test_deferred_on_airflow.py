"""Deferred tasks on a whole Airflow: logs, results and ends are those of a task that keeps its worker."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from airflow_script_provider._airflow.triggers import HAS_ON_KILL
from airflow_script_provider.kube.labels import READ_ANNOTATION
from tests.cluster.airflow_start import Airflow, Triggerer
from tests.cluster.airflow_tasks import Run, RunningTask
from tests.cluster.kubectl import Kubectl
from tests.faulty_api import FaultyApi
from tests.patience import LONG, wait_for

Runs = dict[str, Run]


@pytest.fixture(scope="module")
def runs(airflow: Airflow, kubectl: Kubectl) -> Runs:
    """Runs that go on at the same time: most of what the tests wait for has happened before they ask.

    The first one goes alone: a triggerer builds an API server of its own when a trigger first asks for a connection.
    """

    def start(dag_id: str) -> Run:
        return Run(airflow, kubectl, dag_id, airflow.trigger(dag_id))

    succeeds = start("deferred_succeeds")
    succeeds["succeed"].end_deferral()
    succeeds["succeed"].ended()
    others = ("counts", "times_out", "sleeps", "deleted")
    return {"succeeds": succeeds} | {name: start(f"deferred_{name}") for name in others}


def test_success_is_that_of_a_worker(airflow: Airflow, runs: Runs) -> None:
    """One deferral and resume: result and value are in XCom, the outlet has its event, the Job is marked as read."""
    task = runs["succeeds"]["succeed"]
    assert task.ended() == "success"
    assert task.deferrals() == 1
    result = task.xcom()
    assert (result["status"], result["output"]) == ("completed", 'begun\n{"rows": 3}\n')
    assert task.xcom("value") == {"rows": 3}
    assert [task.lines().count(line) for line in result["output"].splitlines()] == [1, 1]
    events = airflow.call("GET", "assets/events?source_dag_id=deferred_succeeds&source_task_id=succeed")
    assert events["total_entries"] == 1
    (job,) = task.jobs()
    assert READ_ANNOTATION in job["metadata"]["annotations"]


def test_job_over_within_defer_after_is_not_deferred(runs: Runs) -> None:
    """A Job that is over within defer_after ends in the worker that launched it."""
    task = runs["succeeds"]["be_quick"]
    assert task.ended() == "success"
    assert task.deferrals() == 0
    assert task.xcom()["output"] == "done\n"


def test_lines_are_live_and_none_is_lost_or_doubled(runs: Runs) -> None:
    """Lines, then exit 1: each once, though worker, trigger and worker log, and shown while the script runs (R20)."""
    task = runs["counts"]["count"]
    task.deferred()
    wait_for(lambda: len(_numbers(task.lines())) >= 30, "thirty lines of a script that runs")
    assert task.state == "deferred"
    task.end_deferral()
    assert task.ended() == "failed"
    numbers = _numbers(task.lines())
    assert numbers == list(range(len(numbers))) == _numbers(task.xcom()["output"].splitlines())
    error = task.error()
    assert "failed: the script ended with exit code 1." in error
    assert task.xcom()["exit_code"] == 1


@pytest.mark.parametrize(
    ("task_id", "headline"),
    [
        ("time_out", "ran longer than its timeout of 60 s"),
        ("not_start", "got no node within schedule_timeout of 60 s"),
        ("not_be_executed", "ran longer than its execution_timeout of"),
    ],
)
def test_timeouts_stop_the_work(runs: Runs, task_id: str, headline: str) -> None:
    """Each timeout ends a deferred Job, says which one it was, and nothing runs or starts afterwards (R5)."""
    task = runs["times_out"][task_id]
    assert task.ended() == "failed"
    assert task.deferrals() == 1
    error = task.error()
    assert headline in error
    wait_for(lambda: not task.pods(), "the end of the pods")
    wait_for(lambda: not any(job["status"].get("active") for job in task.jobs()), "the end of the Job")


def test_no_secret_is_kept_while_deferred(airflow: Airflow, runs: Runs, kubectl: Kubectl) -> None:
    """Neither the trigger's arguments nor those of the resume hold a value, the script or a credential (R16, R26)."""
    task = runs["sleeps"]["cleared"]
    task.deferred()
    kept = json.dumps(airflow.kept_while_deferred())
    (job,) = task.jobs()
    assert job["metadata"]["name"] in kept
    for secret in ("argument-secret", "environment-secret", "connection-secret", "this is try"):
        assert secret not in kept
    (user,) = json.loads(kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))["users"]
    for credential in user["user"].values():
        assert str(credential) not in kept


@pytest.mark.parametrize("state", ["failed", "success"])
def test_marking_a_deferred_task_ends_its_job(runs: Runs, state: str) -> None:
    """A deferred task that somebody marks takes Job, pods, ConfigMap and Secret along (R3).

    The API server takes three seconds to delete the Job of the failed one. Airflow cancels ``on_kill`` every second.
    """
    task = runs["sleeps"][f"marked_{state}"]
    task.running()
    task.mark(state)
    wait_for(lambda: not task.objects(), "the end of all objects")
    assert task.state == state


def test_clearing_a_deferred_task_runs_it_again(runs: Runs) -> None:
    """What the cleared try had goes, at the latest when the new try begins; the Job of that one succeeds (R3, R8)."""
    task = runs["sleeps"]["cleared"]
    task.running()
    (old,) = task.jobs()
    name = old["metadata"]["name"]
    task.clear()
    wait_for(lambda: not any(thing.startswith(name) for thing in task.objects()), "the end of the old Job")
    task.end_deferral(try_number=2)
    wait_for(lambda: task.state == "success", "the success of the new try")
    assert task.lines(try_number=2).count("this is try 2") == 1
    wait_for(lambda: [job["status"].get("succeeded") for job in task.jobs()] == [1], "one Job that succeeded")


def test_deleting_the_run_of_a_deferred_task_ends_its_job(runs: Runs) -> None:
    """With a run go the objects of its deferred task (R3)."""
    task = runs["deleted"]["sleep"]
    task.running()
    runs["deleted"].delete()
    wait_for(lambda: not task.objects(), "the end of all objects")


def test_killed_triggerer(airflow: Airflow, kubectl: Kubectl) -> None:
    """After SIGKILL another goes on with the same Jobs; what it repeats stands below one line that says so (R4)."""
    for task in _scripts_that_change_hands(airflow, kubectl, Triggerer.kill):
        assert _without_what_was_repeated(task.lines()) == _numbers(task.xcom()["output"].splitlines())


def test_schedule_timeout_of_a_job_whose_triggerer_was_killed(
    airflow: Airflow, kubectl: Kubectl, late_clock: FaultyApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock goes on where it was: a trigger that starts anew does not start it anew (R5).

    The pod is as old as its schedule_timeout when the next triggerer comes: for the API server it is much later then.
    """
    task = Run(airflow, kubectl, "deferred_never_starts", airflow.trigger("deferred_never_starts"))["never"]
    task.deferred()
    wait_for(lambda: "Unschedulable" in str(task.lines()), "the first triggerer's look at the pod")
    first = airflow.triggerer
    airflow.start_triggerer()
    monkeypatch.setattr(late_clock, "ahead", LONG)
    assert task.state == "deferred"
    first.kill()
    assert task.ended() == "failed"
    error = task.error()
    assert f"got no node within schedule_timeout of {LONG} s" in error


def test_triggerer_that_is_told_to_end(airflow: Airflow, kubectl: Kubectl) -> None:
    """After SIGTERM another goes on with the same Jobs, and no line is lost or doubled (R4)."""
    for task in _scripts_that_change_hands(airflow, kubectl, Triggerer.terminate):
        assert _numbers(task.lines()) == _numbers(task.xcom()["output"].splitlines())


def test_triggerer_that_hangs_and_comes_back(airflow: Airflow, kubectl: Kubectl) -> None:
    """A triggerer whose triggers another took over gets on_kill when it goes on, and leaves their Jobs alone (R4)."""

    def come_back(triggerer: Triggerer, scripts: Sequence[RunningTask]) -> None:
        triggerer.thaw()
        for task in scripts if HAS_ON_KILL else ():  # an older Airflow only cancels the trigger, and says nothing
            wait_for(partial(_is_killed, task, triggerer), f"on_kill of {task.task_id}")

    for task in _scripts_that_change_hands(airflow, kubectl, Triggerer.freeze, come_back):
        assert set(_numbers(task.lines())) == set(_numbers(task.xcom()["output"].splitlines()))
    airflow.triggerers[-2].kill()


def _scripts_that_change_hands(
    airflow: Airflow,
    kubectl: Kubectl,
    take_away: Callable[[Triggerer], None],
    afterwards: Callable[[Triggerer, Sequence[RunningTask]], None] = lambda *_: None,
) -> Sequence[RunningTask]:
    """Two scripts whose only triggerer is taken away from beside a second one, and that have succeeded since.

    For the second one the startup_timeout of one of them was over long before, which its row says.
    """
    first = airflow.triggerer
    run = Run(airflow, kubectl, "deferred_outlives", airflow.trigger("deferred_outlives"))
    scripts = (run["young"], run["old"])
    for task in scripts:
        task.deferred()
    airflow.start_triggerer()
    wait_for(lambda: all(len(_numbers(task.lines())) > 20 for task in scripts), "output of both")
    (job,) = run["old"].jobs()
    airflow.shorten_startup_timeout(job["metadata"]["name"])
    uids = [task.uids() for task in scripts]
    take_away(first)
    _wait_for_more_lines(scripts)
    afterwards(first, scripts)
    for task in scripts:
        task.end_deferral()
    assert [task.ended() for task in scripts] == ["success", "success"]
    assert [task.uids() for task in scripts] == uids
    assert [len(both) for both in uids] == [2, 2], "one Job and one pod each"
    return scripts


def _is_killed(task: RunningTask, triggerer: Triggerer) -> bool:
    """Whether on_kill was called; Airflow writes what a trigger says at its very end into either log."""
    word = "invoking on_kill"
    return word in str(task.lines()) or any(
        word in line and f"task_id={task.task_id} " in line for line in triggerer.log()
    )


def _wait_for_more_lines(tasks: Sequence[RunningTask]) -> None:
    """Lines that were printed from now on; a task that has ended in the meantime will have no more."""
    now = time.time()

    def has_more(task: RunningTask) -> bool:
        return task.state == "failed" or any(printed_at > now for _, printed_at in _numbered(task.lines()))

    wait_for(lambda: all(has_more(task) for task in tasks), "lines after the take-over")


def _numbered(lines: Sequence[str]) -> list[tuple[int, float]]:
    """Number and time of day of the lines that a counting script printed."""
    found = (re.fullmatch(r"line (\d+) ([\d.]+)", line) for line in lines)
    return [(int(line[1]), float(line[2])) for line in found if line]


def _numbers(lines: Sequence[str]) -> list[int]:
    return [number for number, _ in _numbered(lines)]


def _without_what_was_repeated(lines: Sequence[str]) -> list[int]:
    """The numbers, each once where a line says that those below it may be repeated; at most one line does."""
    said = [index for index, line in enumerate(lines) if re.search(r"\brepeat", line)]
    if not said:
        return _numbers(lines)
    (index,) = said
    before, after = _numbers(lines[:index]), _numbers(lines[index:])
    return before + [number for number in after if number not in before]
