"""What comes next on which node."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_script_provider.kube.nodes.plan import (
    OWNER_MARGIN,
    Mode,
    NextRuns,
    NodePlan,
    NodeSettings,
    NodeState,
    OnNodes,
    Start,
    next_step,
)
from tests.builders import a_plan

ENDED = NodeState(ended=1, ended_at=10.0)
FAILED = NodeState(ended=1, failed=1, ended_at=10.0)
RUNNING = NodeState(is_running=True)


def test_all_nodes_start_at_once() -> None:
    """Without a bound nobody waits."""
    assert next_step(a_plan("a", "b"), {}, 0.0) == NextRuns([Start("a", 0), Start("b", 0)])


def test_a_bound_is_kept() -> None:
    """The next node starts when one is done, in the order of the plan."""
    plan = a_plan("a", "b", "c", max_parallel=2)
    assert next_step(plan, {}, 0.0).starts == [Start("a", 0), Start("b", 0)]
    assert next_step(plan, {"a": RUNNING, "b": RUNNING}, 0.0) == NextRuns([])
    assert next_step(plan, {"a": RUNNING, "b": ENDED}, 10.0).starts == [Start("c", 0)]


def test_runs_follow_after_the_interval() -> None:
    """The pause is counted from a run's end."""
    plan = a_plan("a", runs=2, interval=5)
    assert next_step(plan, {"a": ENDED}, 12.0) == NextRuns([], until=15.0)
    assert next_step(plan, {"a": ENDED}, 15.0) == NextRuns([Start("a", 1)])


def test_a_node_keeps_its_place_between_runs() -> None:
    """Rolling work is done with a node before the next one is touched."""
    plan = a_plan("a", "b", runs=2, interval=5, max_parallel=1)
    assert next_step(plan, {"a": ENDED}, 12.0).starts == []


def test_another_run_follows_one_that_failed() -> None:
    """One failure is no reason to stop, unless the author says so."""
    assert next_step(a_plan("a", runs=2), {"a": FAILED}, 10.0).starts == [Start("a", 1)]


def test_a_lost_node_gets_no_other_run() -> None:
    """Each would take ``startup_timeout`` to find out the same."""
    lost = NodeState(ended=1, failed=1, is_lost=True, ended_at=10.0)
    assert next_step(a_plan("a", runs=3), {"a": lost}, 10.0).is_over


def test_it_is_over_when_all_have_ended() -> None:
    """Nothing runs and nothing is left to run."""
    assert next_step(a_plan("a", "b"), {"a": ENDED, "b": FAILED}, 10.0) == NextRuns([], is_over=True)
    assert next_step(a_plan(), {}, 0.0).is_over


def test_too_many_failures_stop_the_rest() -> None:
    """What runs may end; nothing else is started, no other run of a node either."""
    plan = a_plan("a", "b", "c", runs=2, max_parallel=2, stop_after_failures=1)
    assert next_step(plan, {"a": FAILED, "b": RUNNING}, 10.0) == NextRuns(is_over=False)
    assert next_step(plan, {"a": FAILED, "b": ENDED}, 10.0) == NextRuns(is_over=True)


def test_failures_are_counted_by_nodes() -> None:
    """A node that fails twice is one that failed."""
    plan = a_plan("a", "b", runs=3, stop_after_failures=2)
    twice = NodeState(ended=2, failed=2, ended_at=10.0)
    assert next_step(plan, {"a": twice, "b": RUNNING}, 10.0).starts == [Start("a", 2)]


@pytest.mark.parametrize(
    ("nodes", "settings", "is_live"), [(1, {}, True), (2, {}, False), (2, {"max_parallel": 1}, True)]
)
def test_lines_are_live_where_one_node_runs_at_a_time(nodes: int, settings: dict[str, Any], is_live: bool) -> None:
    """Those of several would be torn apart."""
    assert a_plan(*(f"n{i}" for i in range(nodes)), **settings).is_live == is_live


def test_the_longest_time() -> None:
    """Waves of nodes, with their runs, grace periods and pauses."""
    plan = a_plan("a", "b", "c", max_parallel=2, runs=2, interval=10, timeout=100)
    assert plan.longest(30) == 2 * (2 * 130 + 10) + OWNER_MARGIN
    assert replace(plan, begins_within=70).longest(30) == 2 * (2 * 200 + 10) + OWNER_MARGIN
    assert a_plan("a", timeout=None).longest(30) is None
    assert a_plan("a", timeout=10**9, runs=10).longest(30) is None


def test_a_run_has_what_is_left_of_the_tasks_time() -> None:
    """``execution_timeout`` bounds all runs together."""
    plan = a_plan("a", timeout=100)
    assert [plan.run_deadline(left) for left in (200.0, 49.5, -1000.0, None)] == [100, 50, 1, 100]
    assert a_plan("a", timeout=None).run_deadline(None) is None


def test_the_deadline_of_a_run_has_time_for_its_wait_and_its_start() -> None:
    """A follower ends its work; of a plan of an earlier version, Kubernetes does (R5)."""
    plan = a_plan("a", timeout=100, begins_within=70)
    assert [plan.run_deadline(left) for left in (200.0, 49.5, None)] == [170, 50, 170]
    assert (plan.time_for_work, a_plan("a", timeout=100).time_for_work) == (100, None)


@pytest.mark.parametrize(
    ("timeout", "expires_at", "seconds"),
    [(100, None, 730), (None, None, None), (None, 1050.0, 650), (100, 1050.0, 650), (10, 1050.0, 640)],
)
def test_an_owner_ends_when_all_its_runs_must_have(
    timeout: int | None, expires_at: float | None, seconds: int | None
) -> None:
    """With a margin: by then, a follower has ended them (R5)."""
    assert a_plan("a", timeout=timeout, expires_at=expires_at).owner_deadline(30, 1000.0) == seconds


def test_a_plan_travels() -> None:
    """In an annotation of the Job that owns the others."""
    plan = a_plan("a", "b", runs=3, skipped={"c": "cordoned"}, earlier=("d",), expires_at=1.5)
    assert NodePlan.from_text(plan.to_text()) == plan


def test_as_many_nodes_as_kubernetes_has_fit() -> None:
    """Five thousand nodes with names that a cloud gives them."""
    plan = a_plan(
        *(f"gke-production-default-pool-{number * 2654435761 % 2**32:08x}-x{number % 97:02}" for number in range(5000))
    )
    assert len(plan.to_text()) < 100_000


@pytest.mark.parametrize(
    ("argument", "value"),
    [("runs", 0), ("runs", True), ("runs", None), ("history_limit", 0), ("max_parallel", 0),
     ("stop_after_failures", -1), ("interval", -1), ("interval", "5"), ("retry_failed_only", "no")],
)  # fmt: skip
def test_settings_are_checked(argument: str, value: Any) -> None:
    """The error names the argument."""
    with pytest.raises(ValueError, match=f"{argument}="):
        NodeSettings(**{argument: value}).check()


def test_unknown_modes_are_refused() -> None:
    """With those that there are."""
    with pytest.raises(ValueError, match="mode='root' must be one of normal, privileged, host"):
        NodeSettings(mode="root").check()


def test_settings_become_a_plan() -> None:
    """Whose nodes are chosen later."""
    settings = NodeSettings(mode="host", runs=2, interval=timedelta(minutes=1))
    plan = a_plan(runs=2, interval=60.0, timeout=100, begins_within=90, expires_at=5.0)
    assert settings.on_nodes(timeout=100, begins_within=90, expires_at=5.0) == OnNodes(Mode.HOST, plan)


def test_modes_say_what_they_grant() -> None:
    """For the warning in the log; the ordinary one grants nothing."""
    assert Mode.NORMAL.grants == ""
    assert "/host" in Mode.HOST.grants
