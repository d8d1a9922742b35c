"""What travels from one follower to the next arrives as it was, as JSON."""

from __future__ import annotations

import base64
import json
import random
import zlib
from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.kube.job.announcements import Announced, Announcer
from airflow_script_provider.kube.job.follow_state import (
    MAX_PODS,
    MAX_SAVED_END,
    FollowState,
    JobEnd,
    Kept,
    from_event,
    saved_end,
    saved_state,
    to_event,
)
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.job.observed.pruning import pruned_pod
from airflow_script_provider.kube.job.observed.work import Work
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.labels import END_ANNOTATION, FOLLOW_STATE_ANNOTATION, TIMEOUT_ANNOTATION
from airflow_script_provider.kube.logs.pod_lines import LogPosition
from tests.builders import a_job, a_launched_job, a_pod, a_view, some_limits


def travelled(given: dict[str, Any]) -> Any:
    """What arrives of JSON."""
    return json.loads(json.dumps(given))


def a_state() -> FollowState:
    """One with everything in it."""
    position = LogPosition("2026-01-01T00:00:00.000000005Z", (0, 3), ("2026-01-01T00:00:00.000000009Z", 7))
    announced = Announced({"uid-1": "running"}, {"Pod x: FailedMount": "Pod x: FailedMount"}, suspended=True)
    return FollowState(
        {("uid-1", "script"): position, ("uid-1", "install"): LogPosition(complete=True)},
        announced,
        12.5,
        False,
        "d1",
        has_begun=True,
        waited=7.5,
        ran_elsewhere=True,
        worked=3.5,
        works_since=14.5,
    )


def test_a_follow_state_arrives() -> None:
    """Positions of every log, what was announced, the clock (R4)."""
    assert FollowState.from_dict(travelled(a_state().to_dict())) == a_state()


def test_a_state_of_an_earlier_version_knows_no_work() -> None:
    """The pods say when it began (R4)."""
    given = {name: value for name, value in a_state().to_dict().items() if name not in ("worked", "works_since")}
    state = FollowState.from_dict(given)
    assert (state.worked, state.works_since, state.work(0.0)) == (None, None, Work())


def test_that_the_work_was_over_travels() -> None:
    """With the end, whose message names the timeout (R5, R22)."""
    job = a_job("Failed", reason="DeadlineExceeded")
    job["metadata"]["annotations"] = {TIMEOUT_ANNOTATION: "600", "other": "x"}
    end = JobEnd(Verdict(Cause.DEADLINE, None, "DeadlineExceeded"), a_view(job=job), 5.0)
    arrived = JobEnd.from_dict(travelled(end.to_dict()))
    assert arrived.view.timed_out_after == "600"
    assert "other" not in str(end.to_dict())


def test_an_empty_follow_state_is_one() -> None:
    """A follower without a word of its predecessor starts at the beginning, of a script that may have begun."""
    assert FollowState.from_dict({}) == FollowState(has_begun=None)
    assert FollowState().position("uid", "script") == LogPosition()


@pytest.mark.parametrize(
    ("has_begun", "expected"), [(False, None), (None, None), (True, True), ("no", None), ([], None)]
)
def test_only_a_beginning_holds_for_the_next_follower(has_begun: Any, expected: bool | None) -> None:
    """A script may begin after its follower's last save, and lose follower and pod at once (R4, R5)."""
    given = FollowState().to_dict() | {"has_begun": has_begun}
    assert FollowState.from_dict(travelled(given)).has_begun is expected


def test_what_was_saved_with_the_job_is_found() -> None:
    """Of the same deferral only: another try of the task wants the log from its start (R4)."""
    text = json.dumps(a_state().to_dict())
    job = {"metadata": {"annotations": {FOLLOW_STATE_ANNOTATION: text}}}
    assert saved_state(job, "d1") == a_state()
    assert saved_state(job, "d2") is None
    assert saved_state({"metadata": {}}, "") is None


@pytest.mark.parametrize(
    "text",
    [
        "", "no json", "[]", "7", "[" * 100_000, '{"logs": 1}', '{"logs": {"a": 1}}', '{"clock": "noon"}',
        '{"disruptions": 1}', '{"said": {"states": 1}}',
        '{"waited": "long"}', '{"waited": 1e400}', '{"clock": 1e400}', '{"clock": NaN}', '{"disruptions": {"u": 5}}',
        '{"said": {"states": {"u": 5}}}', '{"said": {"warnings": {"u": 5}}}',
    ],
)  # fmt: skip
def test_what_somebody_else_wrote_there_is_nothing(text: str) -> None:
    """Every account that may patch Jobs can write annotations: of a single Job, and of a run on a node (R4)."""
    assert saved_state({"metadata": {"annotations": {FOLLOW_STATE_ANNOTATION: text}}}, "") is None
    assert FollowState.from_text(text) is None


@pytest.mark.parametrize(
    "position",
    [
        '{"cut": ["a"]}', '{"cut": "a"}', '{"cut": ["a", 1e400]}', '{"cut": [5, 5]}', '{"cut": ["\\ud800", 5]}',
        '{"newest": "noon"}', '{"newest": 5}', '{"newest": "2026-13-01T00:00:00.000000000Z"}',
        '{"newest": "0001-01-01T00:00:00.000000000+23:00"}',
        '{"newest": "2026-01-01T00:00:00.000000005Z", "offsets": ["a"]}',
        '{"unstamped": 1e400}', '{"unstamped": "5"}', '{"groups": 1e400}', '{"groups": -1}',
    ],
)  # fmt: skip
def test_a_position_that_no_log_has_is_nothing(position: str) -> None:
    """The log is then read from its start, and the follower does not fail (R4)."""
    assert FollowState.from_text(f'{{"logs": {{"u/c": {position}}}}}') is None


def test_an_ended_job_arrives() -> None:
    """Verdict, Job and pods of an end, with the position of the one who saw it."""
    pod = a_pod(exit_code=3)
    view = a_view(pod, job=a_job("Failed")).with_stopped("uid-load-x1", "Killing", "Stopping container script")
    ended = JobEnd(Verdict(Cause.SCRIPT_FAILED, "uid-1", "Error", delete_job=True), view, 4.5, a_state())
    arrived = JobEnd.from_dict(travelled(ended.to_dict()))
    assert (arrived.verdict, arrived.seconds, arrived.state) == (ended.verdict, 4.5, a_state())
    assert list(arrived.view.pods.values()) == [pruned_pod(pod)]
    assert arrived.view.failures == view.failures
    assert arrived.view.job["spec"] == {"activeDeadlineSeconds": 600}
    assert (arrived.view.own_ends, arrived.view.stopped) == (frozenset({"uid-load-x1"}), view.stopped)


@pytest.mark.parametrize(("deleted", "own_ends"), [(False, {"uid-load-x1"}), (True, set())])
def test_an_end_of_an_earlier_version_arrives(deleted: bool, own_ends: set[str]) -> None:
    """It says less, and its pods say whether something ended them (R4)."""
    view = a_view(a_pod(exit_code=99, being_deleted=deleted))
    end = JobEnd(Verdict(Cause.SCRIPT_FAILED, "uid-load-x1"), view, 1.0).to_dict()
    given = {key: value for key, value in end.items() if key not in ("own_ends", "stopped")}
    assert set(JobEnd.from_dict(travelled(given)).view.own_ends) == own_ends


def test_of_many_attempts_the_last_ones_travel() -> None:
    """An event stays small, however often a script was tried."""
    pods = [a_pod(f"load-x{number}", exit_code=1) for number in range(40)]
    for pod in pods:
        pod["metadata"]["uid"] = pod["metadata"]["name"]
    ended = JobEnd(Verdict(Cause.JOB_FAILED, "load-x39"), a_view(*pods), 1.0)
    kept = [pod["metadata"]["name"] for pod in ended.to_dict()["pods"]]
    assert kept == [f"load-x{number}" for number in range(40 - MAX_PODS, 40)]


def an_end(kept: str = "") -> JobEnd:
    """That of a script that has succeeded."""
    return JobEnd(
        Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1"), a_view(a_pod(exit_code=0)), 1.0, kept=Kept(kept, 10**7)
    )


def with_end(text: str) -> dict[str, Any]:
    """A Job with this annotation."""
    return {"metadata": {"annotations": {END_ANNOTATION: text}}}


def test_an_end_that_was_saved_on_the_job_is_found() -> None:
    """A next try takes the outcome from it, also the value that the script printed (R1, R2, R21)."""
    found = saved_end(with_end(an_end('{"a": 1}\n').to_text()))
    assert found is not None
    assert (found.verdict, found.kept) == (an_end().verdict, Kept('{"a": 1}\n', 10**7))


def test_an_end_on_the_job_has_as_much_output_as_fits() -> None:
    """All annotations of an object have 256 KiB; the last lines matter most (R21)."""
    lines = [f"{random.Random(number).random()}\n" for number in range(50_000)]
    text = an_end("".join(lines)).to_text()
    found = saved_end(with_end(text))
    assert len(text) <= MAX_SAVED_END
    assert found is not None
    assert "".join(lines).endswith(f"\n{found.kept.text}")
    assert (found.kept.lacks_start, found.kept.is_torn) == (True, False)


def test_an_end_on_the_job_leaves_no_room() -> None:
    """A value that nearly fits is kept, and of a longer line the last part, which is marked (R21)."""
    line = base64.b64encode(random.Random(1).randbytes(MAX_SAVED_END)).decode()
    text = an_end(line).to_text()
    found = saved_end(with_end(text))
    assert MAX_SAVED_END * 0.9 < len(text) <= MAX_SAVED_END
    assert found is not None
    assert line.endswith(found.kept.text)
    assert (found.kept.lacks_start, found.kept.is_torn) == (True, True)


@pytest.mark.parametrize(("shown", "left"), [(0, 0), (4, 0), (15, 2), (19, 6)])
def test_a_shortened_output_has_its_last_lines(shown: int, left: int) -> None:
    """What the log has of it, and that it is no longer whole, is known (R19, R21)."""
    kept = Kept("one\nfour\n[1, 2, 3]\n", 19, is_whole=True, shown=shown)
    assert kept.shortened(6) == Kept("2, 3]\n", 19, lacks_start=True, is_torn=True, shown=left)


def test_another_try_shows_all_lines() -> None:
    """Those that are in the log of the try before are not in its own (R19, R20)."""
    end = replace(an_end("[1]\n"), state=FollowState({("uid", "script"): LogPosition(complete=True)}))
    found = replace(end, kept=replace(end.kept, shown=4)).for_other_log()
    assert (found.state.logs, found.kept, found.is_of_other_log) == ({}, end.kept, True)


@pytest.mark.parametrize("text", ["", "no base64 é", "bm8gemxpYg==", base64.b64encode(zlib.compress(b"[]")).decode()])
def test_an_end_that_somebody_else_wrote_is_nothing(text: str) -> None:
    """The Job is then followed as any other (R4)."""
    assert saved_end(with_end(text)) is None
    assert saved_end({"metadata": {}}) is None


def test_a_launched_job_arrives() -> None:
    """Bounds, digests and names of a launched Job."""
    job = a_launched_job(
        limits=some_limits(final_codes=frozenset({3, 99})), skip_codes=frozenset({99}), files={"a": {}}
    )
    assert LaunchedJob.from_dict(travelled(job.to_dict())) == job


def test_what_a_newer_version_adds_is_left_out() -> None:
    """Workers and triggerers are not upgraded at the same moment."""
    given = travelled(a_launched_job().to_dict())
    given["new"], given["limits"]["new"] = 1, 2
    assert LaunchedJob.from_dict(given) == a_launched_job()


@pytest.mark.parametrize(
    ("part", "key", "value", "is_known"),
    [
        ("verdict", "of_tomorrow", True, True),
        ("kept", "of_tomorrow", True, True),
        ("verdict", "cause", "of tomorrow", False),
        ("handover", "logs", 5, False),
    ],
)
def test_the_event_of_another_version_arrives(part: str, key: str, value: Any, is_known: bool) -> None:
    """An end that is not understood hands the Job back to the worker, which then follows it (R4)."""
    job, end = a_launched_job(), JobEnd(Verdict(Cause.SCRIPT_SUCCEEDED, "uid-load-x1"), a_view(a_pod(exit_code=0)), 1.0)
    event = to_event(job.to_dict(), end)
    event["ended"][part][key] = value
    arrived, start = from_event(event)
    again = FollowState(clock=job.launched_at, has_begun=None)
    assert (arrived, getattr(start, "verdict", start)) == (job, end.verdict if is_known else again)


def test_what_was_announced_is_not_announced_again() -> None:
    """An announcer that goes on where another stopped is silent about what is as it was (R4)."""
    pod = a_pod(running=True)
    first = Announcer()
    assert first.pod(pod)
    assert Announcer(Announced.from_dict(travelled(first.announced.to_dict()))).pod(pod) == []
