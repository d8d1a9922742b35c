"""How long a decision waits for an answer."""

from __future__ import annotations

import time

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.jobs.answers import doubt
from airflow_script_provider.jobs.answers.doubt import Doubt

AWAY = exceptions.ApiUnreachableError("no answer", status=0)
FORBIDDEN = exceptions.ApiForbiddenError("forbidden", status=403)


@pytest.mark.parametrize(
    ("error", "must_be_confirmed", "is_unseen_success", "at_first", "later"),
    [
        (AWAY, True, False, True, True),
        (FORBIDDEN, True, False, True, False),
        (AWAY, False, True, True, False),
        (FORBIDDEN, False, True, True, False),
        (AWAY, False, False, False, False),
    ],
)
def test_what_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    error: exceptions.KubernetesApiError,
    must_be_confirmed: bool,
    is_unseen_success: bool,
    at_first: bool,
    later: bool,
) -> None:
    """A new API server refuses what it grants a little later; a right may be missing for good (R10, R15)."""
    looks = Doubt()
    facts = {"must_be_confirmed": must_be_confirmed, "is_unseen_success": is_unseen_success}
    assert looks.waits_after(error, **facts) is at_first
    monkeypatch.setattr(doubt, "REFUSAL_PATIENCE", 0.0)
    monkeypatch.setattr(doubt, "NEWS_PATIENCE", 0.0)
    assert looks.waits_after(error, **facts) is later


@pytest.mark.parametrize("is_away", [True, False])
def test_a_refusal_is_doubted_from_the_first_one_on(monkeypatch: pytest.MonkeyPatch, is_away: bool) -> None:
    """What was refused before an answer, or before the server was away, does not count (R15)."""
    looks = Doubt(_since=0.0, _last=99.0)
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    assert not looks.waits_after(FORBIDDEN, must_be_confirmed=True, is_unseen_success=False)
    if is_away:
        looks.waits_after(AWAY, must_be_confirmed=True, is_unseen_success=False)
    else:
        looks.end()
    assert looks.waits_after(FORBIDDEN, must_be_confirmed=True, is_unseen_success=False)


def test_a_refusal_long_ago_is_not_the_same_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision of then was given up, and the server has restarted again (R15)."""
    looks, now = Doubt(), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for now[0] in (0.0, 3600.0):
        assert looks.waits_after(FORBIDDEN, must_be_confirmed=True, is_unseen_success=False)
    now[0] += 59
    assert looks.waits_after(FORBIDDEN, must_be_confirmed=True, is_unseen_success=False)
    now[0] += 2
    assert not looks.waits_after(FORBIDDEN, must_be_confirmed=True, is_unseen_success=False)


def test_slow_answers_do_not_keep_a_run_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look and delete takes longer than the whole patience (R10, R17)."""
    deletes, now = Doubt(), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert deletes.waits_for_end(AWAY)
    now[0] += 61
    assert not deletes.waits_for_end(AWAY)


def test_many_calls_share_one_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of Jobs are refused in a minute if a right is missing for good; a quota counts at once (R15, R16)."""
    shared, now = Doubt(), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    words = 'jobs.batch is forbidden: User "x" cannot create resource "jobs"'
    no_right = exceptions.ApiForbiddenError("forbidden", status=403, server_message=words)
    quota = exceptions.ApiForbiddenError("f", status=403, server_message='jobs.batch "x" is forbidden: exceeded quota')
    assert not shared.doubts_right(quota)
    for now[0], is_doubted in ((0.0, True), (59.0, True), (61.0, False), (62.0, False)):
        assert shared.doubts_right(no_right) is is_doubted
