"""Running a script in a running pod from any Python code."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from airflow_script_provider._airflow import AirflowTaskTimeout
from airflow_script_provider.clusters.access import ClusterAccess, ClusterRef
from airflow_script_provider.exceptions import KubernetesApiError, RunKilledError
from airflow_script_provider.hooks import exec as exec_hook
from airflow_script_provider.hooks.exec import ExecTaskRun
from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.exec.request import ExecOptions
from airflow_script_provider.kube.request.inputs import ScriptInputs

LEFT: Any = object()
"""Stands for the outcome of a process that may still run."""
KILLED = RunKilledError("the run was killed. Nothing was started.")


class Interrupted:
    """A run whose process goes on at the task's own deadline, until it is waited for."""

    may_still_run = True

    async def outcome(self) -> Any:
        """What Airflow raises."""
        raise AirflowTaskTimeout

    async def outlast_timeout(self, _: Any) -> None:
        """Wait until the process has ended."""
        self.may_still_run = False

    def outcome_of_timeout(self, deadline: Deadline) -> Any:
        """What is not tried again, None if the process is gone."""
        assert deadline == Deadline(60, "execution_timeout")
        return LEFT if self.may_still_run else None


class Ended:
    """A run that has ended with ``LEFT``; ``interruption`` comes before that is returned."""

    may_still_run = False

    def __init__(self, interruption: BaseException | None = None) -> None:
        self.interruption = interruption

    async def outcome(self) -> Any:
        """The outcome, unless it is interrupted."""
        if self.interruption is not None:
            raise self.interruption
        return LEFT

    def own_outcome(self, _: Any) -> Any:
        """It is known."""
        return LEFT

    outcome_of_timeout = own_outcome


class Unfinished(Ended):
    """A run that is killed before it has an outcome; ``meanwhile`` comes before that."""

    def __init__(self, meanwhile: Any) -> None:
        super().__init__(KILLED)
        self.meanwhile = meanwhile

    async def outcome(self) -> Any:
        """What the kill raises."""
        await asyncio.to_thread(self.meanwhile)
        return await super().outcome()

    def own_outcome(self, _: Any) -> Any:
        """There is none."""
        return None


class Unconnected(ExecTaskRun):
    """Runs without a session; ``after`` is what each but the first comes to, or None."""

    asked = 0
    after: BaseException | None = None

    def run(self, access: Any, do: Any) -> Any:
        """The result of a coroutine in a session."""
        self.asked += 1
        if self.asked > 1 and self.after is not None:
            raise self.after
        return asyncio.run(do(None))


def a_run(after: BaseException | None = None) -> Unconnected:
    """Such runs."""
    run = Unconnected(ClusterRef(None, config_file="/none"), logging.getLogger(__name__))
    run.after = after
    return run


def outcome_of(run: ExecTaskRun, seconds_left: float | None, on_outcome: Any = None, begun: Any = None) -> Any:
    """Its outcome in a task with so much time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClusterRef, "resolve", lambda _: ClusterAccess(config={}))
        patch.setattr(exec_hook, "ExecRun", lambda *_, **__: begun or Interrupted())
        inputs, options = ScriptInputs(script="print(1)"), ExecOptions(pod="api-x1")
        return run.outcome(inputs, options, seconds_left=seconds_left, on_outcome=on_outcome)


def test_a_timeout_in_a_worker_waits_for_the_process() -> None:
    """Another try begins after its end (R2, R5)."""
    run = a_run()
    with pytest.raises(AirflowTaskTimeout):
        outcome_of(run, 60)
    assert run.asked == 2


@pytest.mark.parametrize(
    "after", [RunKilledError("killed"), KubernetesApiError("no session"), AirflowTaskTimeout("killed")], ids=repr
)
def test_a_wait_that_is_broken_off_is_no_end(after: BaseException) -> None:
    """The process is not seen to be gone, so there is no other try (R2, R5)."""
    assert outcome_of(a_run(after), 60) is LEFT


def test_code_around_a_hook_gets_the_timeout_at_once() -> None:
    """It ends what else the task does, so it must not be taken for a failure of the script (R5)."""
    run = a_run()
    with pytest.raises(AirflowTaskTimeout):
        outcome_of(run, None)
    assert run.asked == 1


@pytest.mark.parametrize("seconds_left", [60, None], ids=["operator", "other code"])
def test_a_timeout_while_the_outcome_is_handed_over(seconds_left: float | None) -> None:
    """The script has run; another try would run it a second time (R1, R2, R5)."""
    interruptions, saved = [AirflowTaskTimeout()], []

    def save(outcome: Any) -> None:
        if interruptions:
            raise interruptions.pop()
        saved.append(outcome)

    if seconds_left is None:
        with pytest.raises(AirflowTaskTimeout):
            outcome_of(a_run(), seconds_left, save, Ended())
    else:
        assert outcome_of(a_run(), seconds_left, save, Ended()) is LEFT
    assert saved == ([] if seconds_left is None else [LEFT])


def test_an_outcome_after_the_tasks_time_is_handed_over() -> None:
    """Downstream tasks read it as after any other end (R5, R21)."""
    saved: list[Any] = []
    assert outcome_of(a_run(RunKilledError("killed")), 60, saved.append) is LEFT
    assert saved == [LEFT]


@pytest.mark.parametrize("has_ended", [True, False])
def test_a_kill_after_the_end_does_not_undo_it(has_ended: bool) -> None:
    """The session is closed meanwhile; the script would run a second time (R1, R2)."""
    saved: list[Any] = []
    if has_ended:
        assert outcome_of(a_run(), 60, saved.append, Ended(KILLED)) is LEFT
    else:
        with pytest.raises(RunKilledError):
            outcome_of(a_run(), 60, saved.append, Unfinished(lambda: None))
    assert saved == [LEFT] * has_ended


@pytest.mark.parametrize("seconds_left", [60, None], ids=["operator", "other code"])
@pytest.mark.parametrize("interruption", [KILLED, AirflowTaskTimeout()], ids=repr)
def test_a_run_that_never_began_has_no_outcome(interruption: BaseException, seconds_left: float | None) -> None:
    """The same hook has run another script before, whose outcome it is not (R1, R3)."""
    run, saved = a_run(after=interruption), list[Any]()
    assert outcome_of(run, 60, begun=Ended()) is LEFT
    with pytest.raises(type(interruption)):
        outcome_of(run, seconds_left, saved.append, Ended())
    assert saved == []


def test_threads_with_one_hook_have_an_outcome_each() -> None:
    """A kill ends one of them after the other has ended (R1, R3)."""
    run = a_run()
    killed = Unfinished(lambda: outcome_of(run, None, begun=Ended()))
    with pytest.raises(RunKilledError):
        outcome_of(run, None, begun=killed)
    assert run.asked == 2
