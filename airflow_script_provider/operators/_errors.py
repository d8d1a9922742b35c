"""Errors of this provider as exceptions that Airflow understands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowFailException, AirflowSkipException
from airflow_script_provider.kube.wording import MAX_HEADLINE, shortened

if TYPE_CHECKING:
    from airflow_script_provider.kube.job.outcomes import Outcome

_SKIPPED = " Skipped, as skip_on_exit_code says."


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Raise this provider's errors of the block as Airflow's.

    Another try follows where it can help.
    """
    try:
        yield
    except exceptions.ScriptProviderError as error:
        raise_error(error)


def result_or_raise(outcome: Outcome) -> dict[str, Any]:
    """The result of a success; raises what Airflow understands of any other outcome."""
    from airflow_script_provider.kube.job import outcomes

    error = outcomes.failure(outcome)
    if error is None:
        return outcome.result.to_dict()
    if outcome.skipped:
        headline = shortened(error.message.splitlines()[0], MAX_HEADLINE - len(_SKIPPED))
        raise AirflowSkipException(headline + _SKIPPED)
    return raise_error(error)


def raise_error(error: exceptions.ScriptProviderError) -> NoReturn:
    """Raise the error, or Airflow's exception that ends the tries if another cannot help."""
    if error.retryable:
        raise error from None
    # Airflow would show a cause below the exception, with the same message.
    raise AirflowFailException(error.message) from None
