"""Which Job of an earlier try a retry takes over, and how long that Job has been at it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_script_provider.kube import kill, labels
from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.job import earlier_tries
from airflow_script_provider.kube.job.observed.pruning import pruned_job
from airflow_script_provider.kube.names import LaunchIdentity
from tests.builders import LAUNCH_ID, REQUEST_DIGEST, a_task

NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)


def a_left_job(
    name: str = "left",
    *,
    try_number: int = 1,
    max_tries: int | None = 2,
    request: str = REQUEST_DIGEST,
    call: str | None = None,
    read: bool = False,
    being_deleted: bool = False,
    created: str = "2026-01-01T00:00:00Z",
    started: str | None = None,
    suspended: bool = False,
    ended: str | None = None,
) -> dict[str, Any]:
    """A Job that a try of the task has left: unread and running, launched at midnight."""
    task = a_task(try_number=try_number, max_tries=max_tries)
    identity = LaunchIdentity(LAUNCH_ID, task=task, request=request, call=call)
    metadata: dict[str, Any] = {"name": name, "uid": f"uid-{name}", "creationTimestamp": created}
    metadata["labels"] = identity.labels()
    metadata["annotations"] = identity.annotations() | ({labels.READ_ANNOTATION: created} if read else {})
    conditions = [{"type": "Complete", "status": "True", "lastTransitionTime": ended}] if ended else []
    return {
        "metadata": metadata | ({"deletionTimestamp": created} if being_deleted else {}),
        "spec": {"suspend": suspended},
        "status": {"conditions": conditions} | ({"startTime": started} if started else {}),
    }


def a_retry(
    *,
    try_number: int = 2,
    max_tries: int | None = 2,
    request: str = REQUEST_DIGEST,
    call: str | None = None,
) -> LaunchIdentity:
    """The same launch in the second of three tries."""
    task = a_task(try_number=try_number, max_tries=max_tries)
    return LaunchIdentity("ffffffffff", task=task, request=request, call=call)


def planned(
    *jobs: dict[str, Any], retry: LaunchIdentity | None = None, alone: bool = True, claimed: Collection[str] = ()
) -> tuple[str | None, list[str]]:
    """Names: of the Job that is followed, of those that are deleted."""
    found = earlier_tries.earlier_jobs(jobs, retry or a_retry(), alone=alone, claimed=claimed)
    wanted = found.wanted["metadata"]["name"] if found.wanted else None
    return wanted, [job["metadata"]["name"] for job in found.obsolete]


def test_a_retry_takes_over_the_unread_job() -> None:
    """What the lost worker has started goes on (R2)."""
    assert planned(a_left_job()) == ("left", [])


def test_a_job_that_has_ended_meanwhile_is_taken_over_too() -> None:
    """Its outcome is waiting for a reader (R2)."""
    assert planned(a_left_job(ended="2026-01-01T00:05:00Z")) == ("left", [])


def test_a_job_that_was_taken_over_once_is_taken_over_again() -> None:
    """Two workers may be lost (R2)."""
    assert planned(a_left_job(try_number=1), retry=a_retry(try_number=3)) == ("left", [])


@pytest.mark.parametrize("alone", [True, False])
def test_a_job_that_was_read_stays(alone: bool) -> None:
    """The failure that this try repeats was told: its Job is there to be looked at, until its TTL (R8)."""
    assert planned(a_left_job(read=True), alone=alone) == (None, [])


def test_a_job_that_is_being_deleted_is_no_more() -> None:
    """Somebody has ended it (R8)."""
    assert planned(a_left_job(being_deleted=True)) == (None, [])


@pytest.mark.parametrize("try_number", [2, 3])
def test_jobs_of_this_try_are_left_alone(try_number: int) -> None:
    """Two runs in one task, perhaps in parallel, never touch each other's Jobs (R2)."""
    assert planned(a_left_job(try_number=try_number)) == (None, [])


def test_a_cleared_task_runs_again() -> None:
    """A clear raises ``max_tries``: the old Job is no outcome of the new order, and nobody will read it (R8)."""
    assert planned(a_left_job(max_tries=2), retry=a_retry(max_tries=3)) == (None, ["left"])


def test_a_try_after_the_last_one_is_a_clears() -> None:
    """Where the task was running a clear leaves ``max_tries`` as it is (R8)."""
    assert planned(a_left_job(max_tries=0), retry=a_retry(max_tries=0)) == (None, ["left"])


def test_another_request_is_another_job() -> None:
    """A script that was changed between the tries is run (R8)."""
    assert planned(a_left_job(request="0000000000")) == (None, ["left"])


def test_where_the_task_runs_more_another_request_waits_for_its_launch() -> None:
    """The second run of a task may be the one that was lost."""
    assert planned(a_left_job(request="0000000000"), alone=False) == (None, [])


def test_after_a_clear_nothing_waits() -> None:
    """No launch of this try can ask for what was started before the clear (R8)."""
    left = a_left_job(request="0000000000", max_tries=2)
    assert planned(left, retry=a_retry(max_tries=3), alone=False) == (None, ["left"])


@pytest.mark.parametrize("alone", [True, False])
def test_of_several_the_newest_is_taken_over(alone: bool) -> None:
    """The others are of no use to anybody (R2)."""
    old, new = a_left_job("old"), a_left_job("new", created="2026-01-01T00:01:00Z", try_number=2)
    assert planned(new, old, retry=a_retry(try_number=3), alone=alone) == ("new", ["old"])


def test_without_max_tries_nothing_is_taken_over() -> None:
    """A retry cannot be told from a clear then (R8)."""
    assert planned(a_left_job(max_tries=None), retry=a_retry(max_tries=None)) == (None, ["left"])


@pytest.mark.parametrize("annotations", [{}, {labels.TRY_NUMBER_ANNOTATION: "x"}])
def test_jobs_of_nobody_are_left_alone(annotations: dict[str, str]) -> None:
    """A Job with our label that no try of ours has launched (R33)."""
    job = a_left_job()
    job["metadata"]["annotations"] = annotations
    del job["metadata"]["labels"][labels.TRY_NUMBER_LABEL]
    assert planned(job) == (None, [])


def a_bare_job(*, in_template: bool = True, **changes: Any) -> dict[str, Any]:
    """A Job whose annotations a webhook has replaced, perhaps also those of its pods' template."""
    job = a_left_job(**changes)
    kept = {"annotations": job["metadata"]["annotations"]} if in_template else {}
    job["metadata"]["annotations"] = {"sidecar/injected": "true"}
    job["spec"]["template"] = {"metadata": kept}
    return job


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    ("job", "plan"),
    [
        (a_bare_job(), ("left", [])),
        (a_bare_job(max_tries=1), (None, ["left"])),
        (a_bare_job(in_template=False), (None, ["left"])),
        (a_bare_job(try_number=2, in_template=False), (None, [])),
        (a_bare_job(ended="2026-01-01T00:05:00Z"), (None, [])),
    ],
    ids=["whole in the template", "before a clear", "of unknown series", "of this try", "ended"],
)
def test_a_job_without_its_annotations(alone: bool, job: dict[str, Any], plan: tuple[str | None, list[str]]) -> None:
    """No script begins beside its script; whether an outcome was read is unknown then (R2, R8)."""
    assert planned(job, alone=alone) == plan


def test_an_owner_without_its_annotations_is_not_followed() -> None:
    """Its plan was one of them, so the runs that it owns end with it (R2)."""
    owner = a_bare_job()
    owner["metadata"]["labels"][labels.NODES_LABEL] = LAUNCH_ID
    assert planned(owner) == (None, ["left"])


@pytest.mark.parametrize("alone", [True, False])
def test_a_job_of_an_earlier_version_has_its_try_in_annotations(alone: bool) -> None:
    """A rollout between two tries changes nothing, also where the Job lacks its own ones (R2)."""
    for job in (a_left_job(), a_bare_job()):
        del job["metadata"]["labels"][labels.TRY_NUMBER_LABEL]
        assert planned(job, alone=alone) == ("left", [])


def a_left_pod(job: str = "left", **changes: Any) -> dict[str, Any]:
    """A pod of the Job that a try of the task has left."""
    pod = a_left_job(job, **changes)["metadata"]
    pod["labels"][labels.CONTROLLER_LABEL] = pod["uid"]
    return {"metadata": pod}


@pytest.mark.parametrize(
    ("job", "alone", "is_left_over"),
    [
        (a_left_job(), True, False),
        (a_left_job(request="0000000000"), True, True),
        (a_left_job(request="0000000000"), False, False),
        (a_left_job(read=True), True, True),
        (a_left_job(being_deleted=True), False, True),
        (a_left_job("other"), True, True),
    ],
    ids=["followed", "obsolete", "of another launch", "read", "being deleted", "gone"],
)
def test_a_pod_is_left_over_if_no_launch_of_this_try_follows_its_job(
    job: dict[str, Any], alone: bool, is_left_over: bool
) -> None:
    """Its script may still run, and this try must not begin beside it (R2, R8)."""
    task, pod = a_task(try_number=2), a_left_pod()
    jobs = earlier_tries.earlier_jobs([job], a_retry(), alone=alone)
    assert earlier_tries.pods_left_over([pod], jobs, task) == [pod] * is_left_over


@pytest.mark.parametrize("annotations", [{}, {"sidecar/injected": "true"}])
def test_a_pod_without_its_annotations_is_waited_for(annotations: dict[str, str]) -> None:
    """A webhook may have replaced them: the label says which try it is of (R2, R8)."""
    pod = a_left_pod()
    pod["metadata"]["annotations"] = annotations
    assert earlier_tries.pods_left_over([pod], earlier_tries.EarlierJobs(), a_task(try_number=2)) == [pod]
    assert earlier_tries.pods_left_over([pod], earlier_tries.EarlierJobs(), a_task(try_number=1)) == []


@pytest.mark.parametrize("try_number", [2, 3])
def test_pods_of_this_try_are_not_left_over(try_number: int) -> None:
    """Two runs in one task do not wait for each other (R2)."""
    pod = a_left_pod(try_number=try_number)
    assert earlier_tries.pods_left_over([pod], earlier_tries.EarlierJobs(), a_task(try_number=2)) == []


FIRST, SECOND = REQUEST_DIGEST, "1111111111"
"""Labels of the first and the second launch of one request."""


def a_call(day: int | None = None, token: str = "t1") -> str:
    """The digest of a call whose arguments are a day, with a token in its environment."""
    return f"{day}+{token}"


def a_days_job(day: int | None, request: str, **changes: Any) -> dict[str, Any]:
    """The Job that the first try has launched for a day."""
    return a_left_job(f"day-{day}", request=request, call=a_call(day), **changes)


@pytest.mark.parametrize("request_", [FIRST, SECOND])
def test_equal_requests_are_told_apart_by_their_values(request_: str) -> None:
    """A retry that skips the first day, or whose threads start in another order, finds each day's Job (R1, R2)."""
    lost = a_days_job(2, SECOND)
    assert planned(lost, retry=a_retry(request=request_, call=a_call(2)), alone=False) == ("day-2", [])
    assert planned(lost, retry=a_retry(request=request_, call=a_call(3)), alone=False) == (None, [])
    assert planned(
        a_days_job(1, FIRST), lost, retry=a_retry(request=request_, call=a_call(2)), alone=False
    ) == ("day-2", [])  # fmt: skip


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize(
    ("left", "new"),
    [(a_call(1), a_call(2)), (a_call(1), a_call(1, "t2")), (a_call(None), a_call(None, "t2"))],
    ids=["day", "token", "only-token"],
)
def test_a_job_with_other_values_is_not_taken_over(left: str, new: str, others: int) -> None:
    """Not even the only one, of the same number: that run would be green, and has never run (R1)."""
    jobs = [a_left_job("lost", call=left), *[a_days_job(7, SECOND)] * others]
    assert planned(*jobs, retry=a_retry(call=new), alone=False) == (None, [])


def test_equal_calls_have_a_job_each() -> None:
    """Each of two launches with the same values finds the one of its number, and none that another has (R2)."""
    jobs = [a_left_job(name, request=name, call=a_call(1)) for name in (FIRST, SECOND)]
    assert planned(*jobs, retry=a_retry(request=FIRST, call=a_call(1)), alone=False) == (FIRST, [])
    assert planned(*jobs, retry=a_retry(request=SECOND, call=a_call(1)), alone=False) == (SECOND, [])
    claimed = [f"uid-{SECOND}"]
    assert planned(*jobs, retry=a_retry(request=SECOND, call=a_call(1)), alone=False, claimed=claimed) == (FIRST, [])
    assert planned(jobs[1], retry=a_retry(request=SECOND, call=a_call(1)), alone=False, claimed=claimed) == (None, [])


@pytest.mark.parametrize(("theirs", "ours"), [(None, a_call(1)), ("", a_call(1)), (a_call(1), None)])
def test_without_digests_the_number_decides(theirs: str | None, ours: str | None) -> None:
    """An Airflow without a store has no key, and an earlier version of this package made no digests (R2)."""
    lost = a_left_job(call=theirs)
    if theirs == "":
        lost["metadata"]["annotations"][labels.CALL_ANNOTATION] = ""
    assert planned(lost, retry=a_retry(call=ours), alone=False) == ("left", [])
    assert planned(lost, retry=a_retry(request=SECOND, call=ours), alone=False) == (None, [])


def test_the_same_values_are_surer_than_the_number() -> None:
    """A Job of unknown values may be another run's, so it stays (R1, R2)."""
    unknown, same = a_left_job("unknown"), a_days_job(2, SECOND)
    assert planned(unknown, same, retry=a_retry(call=a_call(2)), alone=False) == ("day-2", [])


@pytest.mark.parametrize(
    ("ours", "is_repeated"), [(a_call(1), True), (a_call(1, "t2"), False), (a_call(2), False), (None, True)]
)
def test_a_run_on_a_node_counts_for_its_own_call(ours: str | None, is_repeated: bool) -> None:
    """A node on which another call succeeded is not left out: the rule is that of the Job of a script (R1)."""
    left, retry = a_left_job(call=a_call(1)), a_retry(call=ours)
    assert earlier_tries.is_repeated_by_launch(left, retry) is is_repeated
    assert (planned(left, retry=retry, alone=False)[0] is not None) is is_repeated


def test_a_run_on_a_node_counts_for_its_own_number() -> None:
    """Two launches with the same values each run on every node (R1)."""
    left = a_left_job(call=a_call(1))
    assert not earlier_tries.is_repeated_by_launch(left, a_retry(request=SECOND, call=a_call(1)))


@pytest.mark.parametrize("text", ["²", "9" * 5000, "-1", "1_0"])
def test_a_try_number_that_somebody_changed_is_none(text: str) -> None:
    """Every account that may patch Jobs can write there; a retry goes on (R2)."""
    job = a_left_job()
    job["metadata"]["annotations"][labels.TRY_NUMBER_ANNOTATION] = text
    assert earlier_tries.try_number(job) == 1
    job["metadata"]["labels"][labels.TRY_NUMBER_LABEL] = text
    assert earlier_tries.try_number(job) is None


def test_outside_a_task_there_are_no_tries() -> None:
    """Nothing is taken over, nothing deleted."""
    assert planned(a_left_job(), retry=LaunchIdentity("ffffffffff")) == (None, [])


def test_a_run_has_lasted_since_its_launch() -> None:
    """Whoever launched it: the result tells the whole time."""
    assert earlier_tries.seconds_since_launch(a_left_job(), NOW) == 600


def test_a_run_lasts_no_longer_than_its_job() -> None:
    """An outcome may have waited long for its reader."""
    assert earlier_tries.seconds_since_launch(a_left_job(ended="2026-01-01T00:00:05Z"), NOW) == 5


@pytest.mark.parametrize(
    ("job", "seconds"),
    [
        (a_left_job(), 600),
        (a_left_job(started="2026-01-01T00:09:00Z"), 60),
        (a_left_job(started="2026-01-01T00:09:00Z", suspended=True), None),
        (a_left_job(created="2026-01-01T00:10:01Z"), 0),
    ],
    ids=["created", "resumed", "suspended", "ahead"],
)
def test_the_jobs_clock_does_not_start_anew(job: dict[str, Any], seconds: float | None) -> None:
    """Startup and deadline are counted from the Job's start; a suspended Job has no clock (R5)."""
    assert earlier_tries.seconds_on_the_clock(job, NOW) == seconds


@pytest.mark.parametrize("ended", [None, "2026-01-01T00:05:00Z"])
@pytest.mark.parametrize("launched_at", [0.0, 5000.0])
def test_a_moment_of_another_clock_is_as_far_as_it_was_from_the_launch(launched_at: float, ended: str | None) -> None:
    """Less what has passed since then by the API server's clock, also of a Job that has ended (R5)."""
    job = pruned_job(a_left_job(ended=ended))
    assert earlier_tries.seconds_until(launched_at + 700, launched_at, job, NOW) == 100


@pytest.mark.parametrize(("ended", "has_ended"), [(None, False), ("2026-01-01T00:05:00Z", True)])
def test_the_end_of_a_job(ended: str | None, has_ended: bool) -> None:
    """A Job with a final condition needs nothing any more."""
    assert earlier_tries.has_ended(a_left_job(ended=ended)) is has_ended


@pytest.mark.parametrize(
    ("state", "leaves_job"),
    [
        ("running", True), (None, True),
        ("up_for_retry", True), ("scheduled", True), ("queued", True), ("deferred", True),
        ("failed", False), ("success", False), ("restarting", False), ("gone", False), (kill.NO_STATE, True),
    ],
)  # fmt: skip
def test_what_a_kill_means(state: str | None, leaves_job: bool) -> None:
    """A user who acts has changed the state; else the worker goes, or Airflow does not hear from it (R2, R3)."""
    assert kill.meaning_of_kill(state).leaves_job is leaves_job


def test_a_deferred_task_without_a_state_was_cleared() -> None:
    """The scheduler resets only tasks of lost executors, and a deferred task has none (R3)."""
    assert not kill.meaning_of_kill(kill.NO_STATE, is_deferred=True).leaves_job


def test_the_state_that_was_seen_is_said() -> None:
    """The log must say why a Job was deleted."""
    assert kill.meaning_of_kill("restarting").reason == "For Airflow the task is restarting"


@pytest.mark.parametrize(
    ("own", "asked", "timeout", "deadline"),
    [
        (600, Deadline(290, "execution_timeout"), 600, Deadline(600)),
        (280, Deadline(290, "execution_timeout"), 600, Deadline(280, "execution_timeout")),
        (None, Deadline(290, "execution_timeout"), None, Deadline(None)),
        (60, Deadline(4500), 600, Deadline(4500)),
        (4500, Deadline(4500), 600, Deadline(4500)),
        (600, Deadline(4500), 600, Deadline(600)),
    ],
    ids=["of timeout", "of the time left then", "none", "of a policy", "of the sum", "of an earlier version"],
)
def test_a_job_keeps_the_deadline_of_its_launch(
    own: int | None, asked: Deadline, timeout: int | None, deadline: Deadline
) -> None:
    """A try that takes a Job over has another rest of ``execution_timeout`` than the one before (R5)."""
    left = a_left_job() | {"spec": {"activeDeadlineSeconds": own} if own else {}}
    assert earlier_tries.deadline_of(left, asked, timeout) == deadline
