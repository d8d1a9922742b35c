"""The end of scripts whose Jobs are not followed, which another try waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from airflow_script_provider.jobs.answers.doubt import doubting
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.pods import pod_stages, pod_status
from airflow_script_provider.kube.pods.pod_status import Pod

LIST_INTERVAL = 2.0
"""Seconds between two lists of the pods."""


def _ignored(_: Sequence[Pod]) -> None:
    """Say nothing of the pods that are waited for."""


async def scripts_left(
    list_pods: Callable[[], Awaitable[Iterable[Pod]]],
    grace_period: float,
    on_wait: Callable[[Sequence[Pod]], None] = _ignored,
) -> list[Pod]:
    """Wait for the end of the scripts in the listed pods; the pods in which one may run on.

    A pod that is asked to end meanwhile has its grace period from then on. ``on_wait`` is called
    once, with the pods, if there is something to wait for. Raises ``KubernetesApiError``.
    """
    since, leaving, is_first = time.monotonic(), dict[str, float](), True
    while True:
        left = [pod for pod in await doubting(list_pods) if pod_stages.may_run(pod)]
        now = time.monotonic()
        leaving = {pod_status.uid(pod): now for pod in left if pod_stages.is_leaving(pod)} | leaving
        last = max((leaving.get(pod_status.uid(pod), since) for pod in left), default=since)
        if not left or now >= last + grace_period + termination.MARGIN:
            return left
        if is_first:
            on_wait(left)
        is_first = False
        await asyncio.sleep(LIST_INTERVAL)
