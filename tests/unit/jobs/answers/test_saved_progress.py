"""Going on from what earlier followers have saved on a Job."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api import client as calls
from airflow_script_provider.jobs.answers import saved_progress
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.labels import FOLLOW_STATE_ANNOTATION
from airflow_script_provider.kube.logs.pod_lines import LogPosition
from tests.kept_log import KeptLog
from tests.servers import Answer
from tests.stand_in_api import CONFLICT, a_refusal, an_object, api_of, stand_in

REF = JobRef("etl", "load", "job-uid")
JOB = "/apis/batch/v1/namespaces/etl/jobs/load"
REPEATED = "what it logged last is repeated below"


def at(second: int, **changes: Any) -> FollowState:
    """The state of a follower that came to this second of the log, in the deferral ``a1``."""
    position = LogPosition(f"2026-01-01T00:00:{second:02}.000000000Z")
    values: dict[str, Any] = {"logs": {("uid-load-x1", "script"): position}, "deferral": "a1", "has_begun": None}
    return FollowState(**values | changes)


def a_job(saved: FollowState | None = None, uid: str = REF.uid) -> Answer:
    """The Job, on which this state was saved."""
    texts = {} if saved is None else {FOLLOW_STATE_ANNOTATION: json.dumps(saved.to_dict())}
    return an_object(name="load", uid=uid, creationTimestamp="2026-01-01T00:00:00Z", annotations=texts)


async def known(given: FollowState, *answers: Answer, log: KeptLog, holds_lines: bool = False) -> FollowState | JobEnd:
    """What is known of the Job after these answers."""
    with stand_in() as server:
        server.answers(JOB, *answers)
        async with api_of(server) as api:
            return await saved_progress.last_known(api, REF, given, log, holds_lines=holds_lines)


NOT_LOOKED_AT = at(2, is_final=False)


@pytest.mark.parametrize(
    ("given", "job", "second", "is_said"),
    [
        (NOT_LOOKED_AT, a_job(at(7)), 7, False),
        (NOT_LOOKED_AT, a_job(at(7, is_final=False)), 7, True),
        (NOT_LOOKED_AT, a_job(at(7, deferral="b2")), 2, False),
        (NOT_LOOKED_AT, a_job(at(7), uid="another"), 2, False),
        (NOT_LOOKED_AT, a_job(), 2, False),
        (NOT_LOOKED_AT, a_refusal(404, "NotFound"), 2, False),
        (at(9), a_job(at(7, is_final=False)), 9, False),
    ],
    ids=["saved", "saved on the way", "of another deferral", "of another Job", "nothing saved", "gone", "followed"],
)
async def test_a_worker_goes_on_where_the_last_triggerer_stopped(
    given: FollowState, job: Answer, second: int, is_said: bool
) -> None:
    """The triggerer that hands back may not have reached the Job: no line is shown twice unsaid (R4, R19)."""
    log = KeptLog()
    state = await known(given, job, log=log)
    assert isinstance(state, FollowState)
    assert state.logs == at(second).logs
    assert (REPEATED in "".join(log.notes)) is is_said


async def test_what_an_earlier_triggerer_saw_is_kept() -> None:
    """A drained pod, a wait for a pod and a script that has begun decide what comes next (R4, R10)."""
    saved = at(7, disruptions={"uid-load-x1": "the node was drained"}, waited=40.0, has_begun=True)
    state = await known(NOT_LOOKED_AT, a_job(saved), log=KeptLog())
    assert isinstance(state, FollowState)
    assert (state.disruptions, state.waited, state.has_begun) == (saved.disruptions, 40.0, True)
    assert state.clock is not None


async def test_lines_that_triggerers_hold_are_not_said_to_be_repeated() -> None:
    """No triggerer has shown any (R19)."""
    log = KeptLog()
    await known(NOT_LOOKED_AT, a_job(at(7, is_final=False)), log=log, holds_lines=True)
    assert log.lines == []


@pytest.mark.parametrize("away", [Answer(reset=True), a_refusal(403, "Forbidden")], ids=["no answer", "403"])
async def test_a_server_that_is_away_for_longer_than_a_call_waits_is_waited_for(
    away: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a watch waits for it: nothing was decided meanwhile (R4, R14)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    state = await known(NOT_LOOKED_AT, away, away, away, a_job(at(7)), log=KeptLog())
    assert isinstance(state, FollowState)
    assert state.logs == at(7).logs


async def test_a_server_that_refuses_for_good_is_an_error() -> None:
    """The Job could not be followed either (R16)."""
    with pytest.raises(exceptions.KubernetesApiError):
        await known(NOT_LOOKED_AT, a_refusal(422, *CONFLICT), log=KeptLog())
