"""What earlier followers of a deferred task have saved on its Job, for the next one."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi, patiently
from airflow_script_provider.api.watch import WATCH_PATIENCE
from airflow_script_provider.jobs.answers.doubt import doubting
from airflow_script_provider.kube.job import earlier_tries
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd, saved_end, saved_state
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.logs.groups import AFTER_A_LOSS
from airflow_script_provider.run_log import RunLog

_REPEATED = "The triggerer that followed this script is gone; what it logged last is repeated below."
_HAS_ENDED = "An earlier triggerer saw the script of Job {} end: that outcome counts, and the Job is not followed again"


async def last_known(
    api: KubernetesApi, ref: JobRef, given: FollowState, log: RunLog, *, holds_lines: bool
) -> FollowState | JobEnd:
    """The end that a follower saved on the Job, otherwise how far the last one came.

    ``given`` is what a triggerer handed back; if that is not final, the triggerer itself had not
    looked at the Job. An answer is waited for as long as one to a watch. Raises
    ``KubernetesApiError`` without an answer.
    """
    try:
        found = await patiently(lambda: doubting(lambda: api.get("jobs", ref.namespace, ref.name)), WATCH_PATIENCE)
    except exceptions.ApiNotFoundError:
        return given
    if found["metadata"].get("uid") != ref.uid:
        return given
    if (end := saved_end(found)) is not None:
        log.note(_HAS_ENDED.format(ref))
        return end
    return given if given.is_final else resumed(found, given, log, api.now(), holds_lines=holds_lines)


async def end_on(api: KubernetesApi, ref: JobRef) -> JobEnd | None:
    """The end that a follower saved on the Job; None without one, and without an answer."""
    try:
        found = await api.get("jobs", ref.namespace, ref.name)
    except exceptions.KubernetesApiError:
        return None
    return saved_end(found) if found["metadata"].get("uid") == ref.uid else None


def resumed(
    job: Mapping[str, Any], given: FollowState, log: RunLog, now: datetime, *, holds_lines: bool
) -> FollowState:
    """Where the last triggerer stopped, by what it saved on the Job, otherwise ``given``.

    ``now`` is the API server's time. The Job itself tells what is on its clock: it may have been
    suspended meanwhile. The log says if lines are repeated below; ``holds_lines`` means that no
    triggerer has shown any.
    """
    saved = saved_state(job, given.deferral)
    start = given if saved is None else saved
    if (on_the_clock := earlier_tries.seconds_on_the_clock(job, now)) is not None:
        start = replace(start, clock=time.time() - on_the_clock)
    if saved is not None and not saved.is_final and saved.logs and not holds_lines:
        log.output(AFTER_A_LOSS)
        log.note(_REPEATED, logging.WARNING)
    return start
