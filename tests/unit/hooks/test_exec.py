"""Running a script in a running pod from any Python code."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_script_provider._airflow import AirflowTaskTimeout
from airflow_script_provider.clusters.access import ClusterAccess, ClusterRef
from airflow_script_provider.exceptions import KubernetesApiError, RunKilledError
from airflow_script_provider.hooks.exec import ExecTaskRun
from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.exec.request import ExecOptions
from airflow_script_provider.kube.request.inputs import ScriptInputs

LEFT: Any = object()
"""Stands for the outcome of a process that may still run."""


class Interrupted:
    """A run whose process goes on at the task's own deadline, until it is waited for."""

    may_still_run = True

    def outlast_timeout(self) -> None:
        """Wait until the process has ended."""
        self.may_still_run = False

    def outcome_of_timeout(self, deadline: Deadline) -> Any:
        """What is not tried again, None if the process is gone."""
        assert deadline == Deadline(60, "execution_timeout")
        return LEFT if self.may_still_run else None


class TimedOut(ExecTaskRun):
    """A run that ``execution_timeout`` ends; ``after`` is what ends the wait for its process."""

    asked = 0
    after: BaseException | None = None

    def run(self, access: Any, do: Any) -> Any:
        """Airflow's timeout at first, then the wait for the process."""
        self.asked += 1
        if self.asked == 1:
            self._exec = Interrupted()  # type: ignore[assignment]  # what the hook asks of a run
            raise AirflowTaskTimeout
        if self.after is not None:
            raise self.after
        do()


class Ended(ExecTaskRun):
    """A run that has ended with ``LEFT``, which is to be handed over."""

    def run(self, access: Any, do: Any) -> Any:
        """The outcome of the run; it is not asked for the end of its process."""
        assert self._exec is None
        self._exec = SimpleNamespace(may_still_run=False, outcome_of_timeout=lambda _: LEFT)  # type: ignore[assignment]
        return LEFT


def a_run(after: BaseException | None = None) -> TimedOut:
    """Such a run."""
    run = TimedOut(ClusterRef(None, config_file="/none"), logging.getLogger(__name__))
    run.after = after
    return run


def outcome_of(run: ExecTaskRun, seconds_left: float | None, on_outcome: Any = None) -> Any:
    """Its outcome in a task with so much time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClusterRef, "resolve", lambda _: ClusterAccess(config={}))
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

    run = Ended(ClusterRef(None, config_file="/none"), logging.getLogger(__name__))
    if seconds_left is None:
        with pytest.raises(AirflowTaskTimeout):
            outcome_of(run, seconds_left, save)
    else:
        assert outcome_of(run, seconds_left, save) is LEFT
    assert saved == ([] if seconds_left is None else [LEFT])


def test_an_outcome_after_the_tasks_time_is_handed_over() -> None:
    """Downstream tasks read it as after any other end (R5, R21)."""
    saved: list[Any] = []
    assert outcome_of(a_run(RunKilledError("killed")), 60, saved.append) is LEFT
    assert saved == [LEFT]


@pytest.mark.parametrize("has_ended", [True, False])
def test_a_kill_after_the_end_does_not_undo_it(has_ended: bool) -> None:
    """The session is closed meanwhile; the script would run a second time (R1, R2)."""

    class Killed(ExecTaskRun):
        def run(self, access: Any, do: Any) -> Any:
            self._exec = SimpleNamespace(known_outcome=LEFT if has_ended else None)  # type: ignore[assignment]
            raise RunKilledError("the run was killed. Nothing was started.")

    saved: list[Any] = []
    run = Killed(ClusterRef(None, config_file="/none"), logging.getLogger(__name__))
    if has_ended:
        assert outcome_of(run, 60, saved.append) is LEFT
    else:
        with pytest.raises(RunKilledError):
            outcome_of(run, 60, saved.append)
    assert saved == [LEFT] * has_ended
