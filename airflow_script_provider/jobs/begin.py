"""Beginning a run: launch its Job, or reattach to one that an earlier try of the task left."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.jobs import launching, reattach
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.guard import JobGuard, MeaningOfKill
from airflow_script_provider.jobs.reattach import ReattachedJob
from airflow_script_provider.kube.hiding import Hide, hider, name_of_error, values_in
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.run_log import RunLog

OnLaunch = Callable[[JobRef], None]
OnBegun = Callable[[JobContext, FollowState | JobEnd], None]


async def begin(
    api: KubernetesApi,
    request: JobRequest,
    log: RunLog,
    *,
    mask: Hide = str,
    alone: bool = False,
    recovers: bool = False,
    on_begun: OnBegun = lambda *_: None,
    on_launch: OnLaunch | None = None,
    meaning_of_kill: MeaningOfKill | None = None,
) -> tuple[JobContext, FollowState | JobEnd]:
    """The Job to follow, of an earlier try or new; and what is known of it, or its script's end.

    ``mask`` hides the secrets that it knows in a line; the values of the request are hidden beside
    them. A Job of an earlier try may have other values: of its error only the name is shown.
    ``alone`` means that the task runs nothing else: then Jobs of earlier tries that are not
    followed are deleted. ``recovers`` means that this try follows the Job that it launched before.
    ``on_begun`` gets what is returned as soon as there is a Job; ``on_launch`` may take its time.
    Raises as ``find``, ``of_this_try`` and ``launch``; an error of ``on_launch`` interrupts.

    No ``await`` may stand between the launch and the guard, nor between this and ``conclude``: a
    kill there would leave the Job behind.
    """
    finding = reattach.of_this_try(api, request) if recovers else reattach.find(api, request, log, alone=alone)
    earlier, created = await finding, None
    if earlier is None:
        job = LaunchedJob.before_launch(request, time.time())
        created = await launching.launch(api, request, log)
        job = replace(job, ref=JobRef.of(created))
    else:
        job = LaunchedJob.of(earlier.request, earlier.ref, earlier.launched_at)
    context, start = JobContext(api, job, log, _hide(request, mask, earlier), created=created), _start(earlier)
    on_begun(context, start)
    async with JobGuard(context, meaning_of_kill).protecting():
        await _complete(context, request, earlier, recovers=recovers)
        if on_launch is not None:
            on_launch(context.job.ref)
    return context, start


def _start(earlier: ReattachedJob | None) -> FollowState | JobEnd:
    """How far the Job was followed before, or the end that was saved of it."""
    if earlier is None:
        return FollowState()
    return earlier.end.for_other_log() if earlier.end else FollowState(clock=earlier.clock, has_begun=None)


async def _complete(context: JobContext, request: JobRequest, earlier: ReattachedJob | None, *, recovers: bool) -> None:
    """Complete a Job that was launched before, and say which Job is followed."""
    if earlier is None:
        _note_launched(context, request)
    else:
        await reattach.complete(context.api, earlier, context.log)
        _note_reattached(earlier, context.log, recovers=recovers)


def _hide(request: JobRequest, mask: Hide, earlier: ReattachedJob | None) -> Hide:
    values = request.payload.variables
    return name_of_error if earlier and values else hider(values_in(values), mask)


def _note_reattached(earlier: ReattachedJob, log: RunLog, *, recovers: bool) -> None:
    if earlier.end is not None:
        whose = f"try {earlier.try_number}, whose worker was lost," if not recovers else "this try"
        log.note(f"The script of Job {earlier.ref} of {whose} has ended: its outcome counts. It does not run again")
        return
    if recovers:
        log.note(f"Job {earlier.ref} of this try is followed again. Its log is repeated from the start")
        return
    log.note(
        f"Reattached to Job {earlier.ref} of try {earlier.try_number}, whose worker was lost. Its log is repeated from "
        f"the start. Look at it: {_kubectl('describe', earlier.ref)}"
    )


def _note_launched(context: JobContext, request: JobRequest) -> None:
    ref, log, interpreter = context.job.ref, context.log, request.interpreter
    log.note(f"Job {ref} created. Look at it: {_kubectl('describe', ref)}")
    how = f"{' '.join(interpreter.argv)} (by {interpreter.chosen_by})"
    log.note(f"Interpreter: {how}, image {request.options.image}")
    if request.provision.packages:
        log.note(
            "install_packages needs root and keeps the runtime's default capabilities; "
            "an image that has the packages needs neither",
            logging.WARNING,
        )


def _kubectl(verb: str, ref: JobRef) -> str:
    return f"kubectl -n {ref.namespace} {verb} job {ref.name}"
