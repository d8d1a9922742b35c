"""The parts that all sources share."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.sources import base


class Flaky:
    """A read that fails some times before it succeeds."""

    def __init__(self, failures: int, **facts: Any) -> None:
        self.failures = failures
        self.facts = facts
        self.calls = 0

    def __call__(self) -> str:
        """Return the script, or raise the error."""
        self.calls += 1
        if self.calls <= self.failures:
            raise ScriptSourceError("busy", **self.facts)
        return "script"


def test_what_may_pass_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """A retryable error is repeated, with a line in the log for each attempt."""
    with caplog.at_level(logging.WARNING):
        assert base.with_retries(Flaky(2)) == "script"
    assert [record.message for record in caplog.records] == ["busy; trying again in 0.01 s"] * 2


def test_tries_have_an_end() -> None:
    """After the last attempt its error is raised."""
    read = Flaky(9)
    with pytest.raises(ScriptSourceError, match="busy"):
        base.with_retries(read)
    assert read.calls == len(base.RETRY_DELAYS) + 1


def test_what_does_not_pass_is_not_tried_again() -> None:
    """A permanent error is not repeated."""
    read = Flaky(1, retryable=False)
    with pytest.raises(ScriptSourceError):
        base.with_retries(read)
    assert read.calls == 1


def test_the_server_says_when(caplog: pytest.LogCaptureFixture) -> None:
    """The server's ``Retry-After`` replaces our delay."""
    with caplog.at_level(logging.WARNING):
        base.with_retries(Flaky(1, retry_after=0.02))
    assert caplog.records[0].message.endswith("trying again in 0.02 s")


def test_too_much_is_not_kept() -> None:
    """Reading ends with the chunk that exceeds the limit (R25)."""
    chunks = iter([b"#" * MAX_CONFIG_MAP, b"#", b"never read"])
    with pytest.raises(ScriptSourceError, match="is larger"):
        base.collect(chunks, origin="x", until=time.monotonic() + 60)
    assert next(chunks) == b"never read"
