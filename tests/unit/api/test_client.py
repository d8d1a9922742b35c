"""Calls that are repeated while the API server cannot answer."""

from __future__ import annotations

import asyncio

import pytest

from airflow_script_provider.api.client import patiently
from airflow_script_provider.exceptions import ApiForbiddenError, ApiUnreachableError, KubernetesApiError

UNREACHABLE = ApiUnreachableError("no answer")
REFUSED = ApiForbiddenError("no right", status=403)


class Answers:
    """A call that raises these errors, one after the other, and then answers."""

    def __init__(self, *errors: KubernetesApiError) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        """The next answer."""
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are made, which take no time."""
    made: list[float] = []

    async def pause(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", pause)
    return made


async def test_a_call_is_repeated(pauses: list[float]) -> None:
    """A server that restarts has its answer a little later (R14)."""
    call = Answers(UNREACHABLE, KubernetesApiError("overloaded", status=503))
    assert await patiently(call, 30) == "answer"
    assert (call.calls, len(pauses)) == (3, 2)


async def test_pauses_get_longer(pauses: list[float]) -> None:
    """Up to five seconds, so that a server in trouble is left alone (R14)."""
    await patiently(Answers(*[UNREACHABLE] * 8), 3600)
    assert pauses[0] < pauses[2] < pauses[4] <= 5.0
    assert max(pauses) <= 5.0


async def test_a_refusal_is_final(pauses: list[float]) -> None:
    """The same call would be refused again (R17)."""
    with pytest.raises(ApiForbiddenError):
        await patiently(Answers(REFUSED), 30)
    assert pauses == []


async def test_the_server_says_when_to_ask_again(pauses: list[float]) -> None:
    """Its pause is made in the place of ours (R14)."""
    assert await patiently(Answers(KubernetesApiError("overloaded", status=429, retry_after=7.0)), 30) == "answer"
    assert pauses == [7.0]


async def test_patience_ends(pauses: list[float]) -> None:
    """The error is raised where the next pause would be too long (R14)."""
    with pytest.raises(KubernetesApiError):
        await patiently(Answers(KubernetesApiError("overloaded", status=429, retry_after=31.0)), 30)
    assert pauses == []
