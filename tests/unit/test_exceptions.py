"""Everything that this provider raises on purpose."""

from __future__ import annotations

import inspect
import pickle

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.exceptions import (
    ApiForbiddenError,
    JobTimeoutError,
    NodesFailedError,
    ScriptFailedError,
    ScriptProviderError,
    ScriptSourceError,
)
from tests.builders import a_failed_result

ALL = [kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", ALL)
def test_there_is_one_root(kind: type[Exception]) -> None:
    """One ``except`` catches all."""
    assert issubclass(kind, ScriptProviderError)


@pytest.mark.parametrize("kind", ALL)
def test_the_tree_is_drawn(kind: type[Exception]) -> None:
    """The module's docstring shows every class."""
    assert kind.__name__ in str(exceptions.__doc__)


def test_facts_are_attributes() -> None:
    """What is known of an error can be read without parsing its message."""
    error = ApiForbiddenError("no", status=403, retry_after=1.5)
    assert (str(error), error.status, error.retry_after, error.retryable) == ("no", 403, 1.5, True)


def test_an_error_crosses_processes() -> None:
    """Errors are picklable, with their facts."""
    error = pickle.loads(pickle.dumps(ApiForbiddenError("no", status=403, retryable=False)))
    assert (type(error), str(error), error.status, error.retryable) == (ApiForbiddenError, "no", 403, False)


def test_a_failure_crosses_processes_with_its_result() -> None:
    """The result travels with the error."""
    error = pickle.loads(pickle.dumps(JobTimeoutError("late", result=a_failed_result(), retryable=False)))
    assert (type(error), str(error), error.retryable) == (JobTimeoutError, "late", False)
    assert error.result == a_failed_result()


def test_a_failure_tells_reason_and_exit_code() -> None:
    """Both are read from the result."""
    error = ScriptFailedError("no", result=a_failed_result())
    assert (error.reason, error.exit_code) == ("Error", 3)


def test_an_unknown_fact_is_refused() -> None:
    """A fact that is misspelt fails where it is given, not where it is read."""
    with pytest.raises(TypeError, match="retriable"):
        ApiForbiddenError("no", retriable=False)  # type: ignore[call-arg]  # what a checker would refuse


@pytest.mark.parametrize(
    "error",
    [
        ApiForbiddenError("no", status=403, server_message="why", retryable=False),
        ScriptSourceError("no", origin="s3://b/k", retry_after=2.0),
        ScriptFailedError("no", result=a_failed_result(), retryable=False),
        NodesFailedError("no", result={"nodes": {}}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_another_message_keeps_the_facts(error: ScriptProviderError) -> None:
    """``with_message`` changes the message alone, and leaves the original as it was."""
    changed = error.with_message("better")
    assert (type(changed), str(changed), str(error)) == (type(error), "better", "no")
    assert {**vars(changed), "message": "no"} == vars(error)
