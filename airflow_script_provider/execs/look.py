"""Look at pod and process where the end of a script is not reported."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.execs.choose import ChosenPod, why_gone
from airflow_script_provider.kube.exec.workloads import Gone

DELETION_MARGIN = 10.0
"""Seconds beyond its grace period for a pod that is being deleted to end."""
CHECKS, CHECK_PAUSE = 3, 1.0
UNREAD = Gone("the pod cannot be read, so it may have ended as well")
"""The end of a pod that may have stopped a script, and cannot be read."""


class Look(NamedTuple):
    """Why the pod ends, and whether the process still runs; None where that is unknown."""

    why: Gone | None
    is_running: bool | None

    @property
    def pod_end(self) -> Gone | None:
        """The end of the pod, if it has ended the process. A request to delete it ends nothing."""
        return self.why if self.why and (self.why.is_over or self.is_running is False) else None


async def look(api: KubernetesApi, chosen: ChosenPod, is_running: Callable[[], Awaitable[bool | None]]) -> Look:
    """Look until pod or process says what became of the script, or until that cannot be expected.

    A process that is seen to run refutes the end of the pod.
    Kubelet reports a container's end a moment later. A pod that is being deleted has its grace
    period to end; a node that is cut off reports no end at all.
    """
    why, until = None, 0.0
    for checks in itertools.count(1):
        seen = await why_gone(api, chosen)
        if seen and why is None:
            why, until = seen, time.monotonic() + seen.grace + DELETION_MARGIN
        elif seen and why:  # a pod that has vanished no longer says why
            why = replace(why, is_over=seen.is_over)
        is_seen = await is_running()
        if is_seen and why and why.is_over:  # the exec was started in another container than was chosen
            why = None
        found = Look(why, is_seen)
        if found.pod_end or found.is_running is not None or (checks >= CHECKS and time.monotonic() >= until):
            break
        await asyncio.sleep(CHECK_PAUSE)
    return found
