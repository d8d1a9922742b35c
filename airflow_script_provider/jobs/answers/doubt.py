"""How long a decision waits for the API server's answer, where a look has failed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import is_transient, patiently
from airflow_script_provider.api.watch import REFUSAL_PATIENCE
from airflow_script_provider.kube import refusal

T = TypeVar("T")

NEWS_PATIENCE = 5.0
"""Seconds in which a watch has brought the pod of a Job that is over."""


IsDoubted = Callable[[exceptions.KubernetesApiError], bool]


def is_forbidden(error: exceptions.KubernetesApiError) -> bool:
    """Whether a call was refused (403)."""
    return isinstance(error, exceptions.ApiForbiddenError)


async def doubting(
    call: Callable[[], Awaitable[T]], patience: float | None = None, is_doubted: IsDoubted = is_forbidden
) -> T:
    """The answer of a call whose right is needed.

    A refusal (403) is doubted: a server that restarts may refuse what it grants later. By default
    it is doubted for ``REFUSAL_PATIENCE``.
    """
    return await patiently(call, REFUSAL_PATIENCE if patience is None else patience, is_doubted)


@dataclass
class Doubt:
    """The looks of a run that have failed, one after the other."""

    _since: float | None = None
    _last: float = 0.0

    def waits_after(
        self, error: exceptions.KubernetesApiError, *, must_be_confirmed: bool, is_unseen_success: bool
    ) -> bool:
        """Whether a decision waits for another answer after a look has failed.

        One that ``must_be_confirmed`` waits for as long as the server is away. A refusal is
        doubted only for a while, as that of a watch. A success whose pod was not seen to end
        (``is_unseen_success``) waits as long; if a right is missing, it waits only for what the
        watch may still bring.
        """
        if must_be_confirmed and is_transient(error):
            self.end()
            return True
        if not (must_be_confirmed or is_unseen_success):
            return False
        # The server may have answered since: a decision that was wrong is not looked at again.
        if time.monotonic() > self._last + REFUSAL_PATIENCE:
            self.end()
        return self._lasts(is_missing_right=not must_be_confirmed and is_forbidden(error))

    def waits_for_end(self, error: exceptions.KubernetesApiError) -> bool:
        """Whether a decision waits for the end of its Job, which could not be deleted.

        A server that answers each look but no delete does not keep a run for ever, however long
        each answer takes.
        """
        return not is_forbidden(error) and self._lasts(is_missing_right=False)

    def _lasts(self, *, is_missing_right: bool) -> bool:
        """Whether the failures in a row are not too many yet, with this one."""
        self._last = now = time.monotonic()
        self._since = now if self._since is None else self._since
        return now < self._since + (NEWS_PATIENCE if is_missing_right else REFUSAL_PATIENCE)

    def doubts_right(self, error: exceptions.KubernetesApiError) -> bool:
        """Whether a refusal for a missing right is doubted, for many calls of the same kind.

        They share the time for that: hundreds of refusals must not be waited for one by one.
        """
        is_right = refusal.is_of_missing_right(error.status, error.server_message)
        return is_right and self.waits_after(error, must_be_confirmed=True, is_unseen_success=False)

    def end(self) -> None:
        """Note that the API server has answered, or is away."""
        self._since = None
