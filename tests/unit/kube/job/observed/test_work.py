"""How long a run has worked: from the begin of its script on, without its waits for a node."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.kube.job.follow_state import FollowState
from airflow_script_provider.kube.job.observed import clocks
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.observed.work import Work
from airflow_script_provider.kube.job.progress import decide, is_work_over
from airflow_script_provider.kube.job.verdict import Verdict, Wait
from airflow_script_provider.kube.labels import TIMEOUT_ANNOTATION
from tests.builders import a_job, a_pod, a_view, some_limits

WORK = some_limits(timeout=600, deadline=1800, schedule_timeout=900, startup_timeout=300)
SERVER = 1_767_225_600.0
"""The API server's time of day, which is far from this machine's."""
ROOM = "0/2 nodes are available"


def at(seconds: int) -> str:
    """So many seconds after the start of the Job's clock, as the cluster writes it."""
    return f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}Z"


def the_job(**changes: Any) -> dict[str, Any]:
    """The Job with the deadline that was asked for, on whose clock nothing was yet at 0."""
    return a_job(started=at(0), **{"deadline": 1800} | changes)


def working(name: str = "load-x1", *, created: int = 0, scheduled: int | None = None, began: int = 0) -> dict[str, Any]:
    """A pod whose script has begun at a time."""
    pod = a_pod(name, running=True, created=at(created), scheduled=at(created if scheduled is None else scheduled))
    pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"] = at(began)
    return pod


def waiting(created: int) -> dict[str, Any]:
    """A second pod, which has no node."""
    return a_pod("load-x2", unschedulable=ROOM, created=at(created))


def seen(*pods: dict[str, Any], now: float = 0.0, job: dict[str, Any] | None = None, **changes: Any) -> View:
    """A Job that is followed from ``now`` on; its clock began at 0."""
    view = replace(View(), started_at=0.0, had_begun=None, pods_known=False, **changes).with_job(job or the_job(), now)
    for pod in pods:
        view = view.with_pod(pod, now)
    return view.with_all_pods(now)


def at_work() -> View:
    """A run that was followed from the start of its Job, and whose script has begun after a second."""
    return a_view(job=the_job()).with_pod(working(began=1), 1)


def handed_on(view: View, job: dict[str, Any], *pods: dict[str, Any], now: float) -> View:
    """The view of the next follower, which lists Job and pods."""
    state = FollowState.from_dict(json.loads(json.dumps(FollowState.of_view(view, SERVER).to_dict())))
    following = replace(state.view(SERVER), started_at=0.0).with_job(job, now)
    for pod in pods:
        following = following.with_pod(pod, now)
    return following.with_all_pods(now)


def test_work_begins_with_the_script() -> None:
    """By the cluster's clock, whoever looks, and when: neither the wait nor the start before it counts (R5)."""
    view = a_view(a_pod(unschedulable=ROOM), job=the_job())
    assert clocks.work_over_at(view, WORK) is None
    assert clocks.work_over_at(view.with_pod(a_pod(), 3500), WORK) is None
    late = working(scheduled=3500, began=3520)
    assert clocks.work_over_at(view.with_pod(late, 3521), WORK) == 3520 + 600
    assert clocks.work_over_at(seen(late, now=4000), WORK) == 3520 + 600


def test_work_never_begins_before_its_node() -> None:
    """Nor in the future: the clock of a node may be wrong by hours (R5)."""
    assert seen(working(scheduled=3500, began=10), now=3521).work == Work(0.0, 3500)
    assert seen(working(began=3599), now=100).work == Work(0.0, 100)


def test_all_attempts_and_their_pauses_are_work() -> None:
    """Two attempts have the time of one (R5, R7)."""
    failed = a_pod(exit_code=1, created=at(0))
    limits = replace(WORK, backoff_limit=3)
    view = seen(failed, now=5.0)
    assert clocks.work_over_at(view, limits) == 1 + 600
    second = view.with_pod(working("load-x2", created=15, began=16), 17)
    assert clocks.work_over_at(second, limits) == 1 + 600


def test_a_wait_for_a_node_is_no_work() -> None:
    """A preempted script has the rest of its time when it begins again (R5, R11)."""
    view = at_work()
    gone = view.with_pod(view.pods["uid-load-x1"], 101, deleted=True).with_pod(waiting(101), 102)
    assert (gone.work.worked, clocks.work_over_at(gone, WORK)) == (100, None)
    again = gone.with_pod(working("load-x2", created=101, scheduled=2001, began=2010), 2010)
    assert clocks.work_over_at(again, WORK) == 2001 + 500


def test_suspension_is_no_work() -> None:
    """A queue may take the place away, and give it back hours later (R5, R11)."""
    view = at_work()
    view = view.with_job(the_job(suspended=True), 101).with_pod(view.pods["uid-load-x1"], 101, deleted=True)
    assert (view.work, clocks.work_over_at(view, WORK)) == (Work(100.0, None, 101), None)
    resumed = view.with_job(the_job() | {"status": {"startTime": "2026-01-01T02:00:00Z"}}, 7200)
    again = a_pod("load-x2", running=True, created="2026-01-01T02:00:00Z", scheduled="2026-01-01T02:00:01Z")
    assert clocks.work_over_at(resumed.with_pod(again, 7202), WORK) == 7200 + 500


def test_between_two_followers_work_goes_on() -> None:
    """A worker that is lost for an hour takes nothing from the clock, and adds nothing to it (R4, R5)."""
    first = replace(at_work(), work=Work(50.0, time.monotonic() - 40))
    state = FollowState.of_view(first, SERVER)
    assert (state.worked, round(SERVER - (state.works_since or 0))) == (50.0, 40)
    next_one = handed_on(first, the_job(), working(began=1), now=time.monotonic() + 400)
    over_at = clocks.work_over_at(next_one, WORK)
    assert over_at is not None
    assert round(over_at - time.monotonic()) == 600 - 50 - 40


def test_between_two_followers_a_wait_is_no_work() -> None:
    """The wait may also end meanwhile: then the work goes on from the node on (R4, R5)."""
    first = at_work()
    first = first.with_pod(first.pods["uid-load-x1"], 101, deleted=True).with_pod(waiting(101), 102)
    still = handed_on(first, the_job(), waiting(101), now=3000)
    assert (still.work.worked, still.work.since) == (100, None)
    back = handed_on(first, the_job(), working("load-x2", created=101, scheduled=2900, began=2910), now=3000)
    assert clocks.work_over_at(back, WORK) == 2900 + 500


def test_a_wait_that_began_between_two_followers_is_no_work() -> None:
    """The pod that waits says since when (R4, R5)."""
    state = replace(View(), started_at=0.0, had_begun=True, pods_known=False, work=Work(0.0, 1.0))
    view = state.with_job(the_job(), 3000).with_pod(waiting(101), 3000).with_all_pods(3000)
    assert (view.work.worked, view.work.since) == (100, None)


@pytest.mark.parametrize("pods", [1, 2], ids=["the first pod is gone", "both are there"])
def test_a_wait_that_nobody_saw_is_no_work(pods: int) -> None:
    """A later attempt waited for its node before this follower came: its pod has both times (R4, R5)."""
    failed = a_pod(exit_code=1, created=at(0), scheduled=at(0), phase="Failed")
    listed = [failed, working("load-x2", created=101, scheduled=2001, began=2010)][-pods:]
    view = replace(View(), started_at=0.0, had_begun=True, pods_known=False, work=Work(0.0, 1.0, seen_until=1.0))
    view = view.with_job(the_job(failed=1), 2020)
    for pod in listed:
        view = view.with_pod(pod, 2020)
    view = view.with_all_pods(2020)
    assert (view.work.worked, view.work.since) == (100, 2001)
    assert clocks.work_over_at(view.with_pod(listed[-1], 2500), WORK) == 2001 + 500


def test_a_wait_that_a_broken_watch_did_not_show_is_no_work() -> None:
    """The pod is first seen on its node (R5, R10)."""
    view = at_work().with_pod(a_pod(exit_code=1, created=at(0), scheduled=at(0), phase="Failed"), 50)
    view = view.with_pod(working("load-x2", created=101, scheduled=2001, began=2010), 2020)
    assert clocks.work_over_at(view, WORK) == 2001 + 500


def test_each_wait_that_nobody_saw_is_no_work() -> None:
    """A retry finds the pods of all attempts (R4, R5)."""
    failed = [
        a_pod(exit_code=1, created=at(0), scheduled=at(0), phase="Failed"),
        a_pod("load-x2", exit_code=1, created=at(101), scheduled=at(501), phase="Failed"),
    ]
    view = seen(*failed, working("load-x3", created=601, scheduled=901, began=910), now=950.0)
    assert clocks.work_over_at(view, WORK) == 901 + 600 - 100 - 100


def test_a_suspension_that_nobody_saw_is_no_work() -> None:
    """Only what the follower before has seen of the work counts, because its end is unknown (R5, R11)."""
    work = Work(50.0, 1.0, seen_until=31.0)
    view = replace(View(), started_at=3000.0, had_begun=True, pods_known=False, work=work)
    view = view.with_job(a_job(started=at(0), deadline=1800), 3020)
    view = view.with_pod(working("load-x2", created=0, scheduled=1, began=2), 3020).with_all_pods(3020)
    assert clocks.work_over_at(view, WORK) == 3000 + 600 - 50 - 30


def test_a_suspension_that_began_between_two_followers_is_no_work() -> None:
    """The next follower finds the Job suspended, without a pod (R5, R11)."""
    work = Work(50.0, 1.0, seen_until=31.0)
    view = replace(View(), started_at=0.0, had_begun=True, pods_known=False, work=work)
    view = view.with_job(the_job(suspended=True), 3000).with_all_pods(3000)
    assert (view.work.worked, view.work.since) == (80.0, None)


def test_a_start_time_that_comes_late_is_no_suspension() -> None:
    """A worker watches the Job only after some seconds: until then its start is unknown (R5)."""
    unstarted = a_job(deadline=1800)
    view = a_view(job=unstarted).with_pod(working(began=1), 1)
    since = view.work.since
    assert since is not None
    assert view.with_job(the_job(), 120).with_pod(working(began=1), 121).work.since == since


def test_what_a_follower_saw_of_the_work_is_handed_on() -> None:
    """By the API server's clock, and only until the next follower sees the work itself (R4, R5)."""
    first = replace(at_work(), work=Work(50.0, time.monotonic() - 40))
    state = FollowState.from_dict(json.loads(json.dumps(FollowState.of_view(first, SERVER).to_dict())))
    until = state.work(SERVER + 500).seen_until
    assert until is not None
    assert round(time.monotonic() - until) == 500
    assert handed_on(first, the_job(), working(began=1), now=time.monotonic()).work.seen_until is None


def test_a_follower_that_saw_nothing_hands_on_what_the_one_before_saw() -> None:
    """It may not have reached the cluster (R4, R5)."""
    unseen = replace(View(), had_begun=True, work=Work(50.0, time.monotonic() - 900, seen_until=time.monotonic() - 600))
    state = FollowState.of_view(unseen, SERVER)
    assert round(SERVER - (state.seen_at or 0)) == 600


def a_failed_installation() -> dict[str, Any]:
    """A pod whose init container failed after two seconds."""
    state = {"exitCode": 1, "reason": "Error", "startedAt": at(1), "finishedAt": at(2)}
    installer = {"name": "install", "state": {"terminated": state}}
    return a_pod(waiting="PodInitializing", phase="Failed", installers=[installer], created=at(0), scheduled=at(0))


def test_an_attempt_that_fails_before_its_script_is_work() -> None:
    """Later attempts have no time to start of their own, so the work bounds an installation that hangs (R5, R12)."""
    limits = replace(WORK, backoff_limit=3)
    installing = {"name": "install", "state": {"running": {"startedAt": at(13)}}}
    second = a_pod("load-x2", waiting="PodInitializing", installers=[installing], created=at(12), scheduled=at(12))
    view = a_view(job=the_job()).with_pod(a_failed_installation(), 3).with_pod(second, 14)
    assert clocks.work_over_at(view, limits) == 2 + 600
    assert is_work_over(view, limits, 602)


def test_an_attempt_that_was_gone_before_the_first_look_is_work() -> None:
    """It may have run, so nothing but the work bounds the next one (R4, R5)."""
    second = a_pod("load-x2", waiting="PodInitializing", created=at(12), scheduled=at(12))
    view = seen(second, job=the_job(failed=1), now=100.0)
    assert clocks.work_over_at(view, replace(WORK, backoff_limit=3)) == 100 + 600


def test_without_a_state_the_pods_say_when_the_work_began() -> None:
    """The oldest one that is there (R4, R5)."""
    evicted = a_pod(exit_code=1, created=at(0), phase="Failed", disrupted="EvictionByEvictionAPI")
    view = seen(evicted, working("load-x2", created=10, began=60), now=100)
    assert clocks.work_over_at(view, WORK) == 1 + 600
    assert clocks.work_over_at(seen(working(began=60), now=100), WORK) == 60 + 600
    assert clocks.work_over_at(seen(now=100), WORK) is None


def test_nothing_is_over_before_the_pods_are_known() -> None:
    """The run may wait for a node (R4)."""
    view = replace(View(), started_at=0.0, had_begun=True, pods_known=False, work=Work(0.0, 1.0))
    assert clocks.work_over_at(view.with_job(the_job(), 3000), WORK) is None


def test_the_end_of_the_work_is_waited_for() -> None:
    """And nothing else is decided then (R5)."""
    view = at_work()
    assert decide(view, WORK, 600) == Wait(601)
    assert (is_work_over(view, WORK, 600), is_work_over(view, WORK, 601)) == (False, True)
    assert isinstance(decide(view, WORK, 601), Wait)


@pytest.mark.parametrize(
    "limits",
    [replace(WORK, timeout=None, deadline=None), some_limits()],
    ids=["no timeout", "of an earlier version"],
)
def test_work_without_a_limit_is_never_over(limits: Any) -> None:
    """The Job of an earlier version is ended by Kubernetes (R5)."""
    assert clocks.work_over_at(at_work(), limits) is None


def test_what_is_decided_by_then_counts() -> None:
    """The script ended in the last second, or the Job was ended for another reason (R1, R5)."""
    view = at_work()
    assert not is_work_over(view.with_pod(a_pod(exit_code=0), 601), WORK, 601)
    assert not is_work_over(view.with_job(the_job(condition="Failed", reason="BackoffLimitExceeded"), 601), WORK, 601)
    assert not is_work_over(view.with_job(the_job(), 601, deleted=True), WORK, 601)


def test_a_job_is_ended_once() -> None:
    """From then on its own end is waited for, and its silence has an end (R5, R10)."""
    ended = the_job(deadline=600)
    ended["metadata"]["annotations"] = {TIMEOUT_ANNOTATION: "600"}
    view = at_work().with_job(ended, 601)
    assert not is_work_over(view, WORK, 602)
    until = decide(view, WORK, 602)
    assert until == Wait(600 + 30 + 120)
    assert isinstance(decide(view, WORK, 750), Verdict)


@pytest.mark.parametrize(("own", "over_at"), [(1800, 600), (1900, 700), (60, 600), (None, None)])
def test_a_user_may_give_the_work_more_time(own: int | None, over_at: float | None) -> None:
    """By ``kubectl patch`` of the Job's deadline, as before (R5)."""
    view = a_view(working(began=1), job=the_job(deadline=own))
    assert clocks.work_over_at(view, WORK) == over_at
