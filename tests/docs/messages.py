"""The messages of the page on troubleshooting, made by the functions that make them in a run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.clusters.credentials import open_api
from airflow_script_provider.jobs import launching
from airflow_script_provider.kube import refusal
from airflow_script_provider.kube.exec import outcome as exec_outcome
from airflow_script_provider.kube.exec import workloads
from airflow_script_provider.kube.exec.ends import ConnectionBroken, ExecEnd, NotStarted, PodEnded
from airflow_script_provider.kube.exec.outcome import ExecCase, ExecOutput
from airflow_script_provider.kube.job import outcomes, termination
from airflow_script_provider.kube.job.announcements import Announcer, Line
from airflow_script_provider.kube.job.diagnosis import diagnose
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.job.verdict import Cause
from airflow_script_provider.kube.kill import meaning_of_kill
from airflow_script_provider.kube.logs.value import MAX_VALUE
from airflow_script_provider.kube.nodes import result, selection
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.provision import MESSAGE_PREFIX, PACKAGES_VARIABLE, PERMANENT
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.result import Category
from airflow_script_provider.sources.fetching import fetch
from airflow_script_provider.sources.file import FileScript
from tests.builders import (
    a_case,
    a_container,
    a_failed_record,
    a_job,
    a_plan,
    a_pod,
    a_record,
    a_request,
    a_script,
    a_view,
    an_event,
    an_exec_request,
    some_limits,
    some_output,
)
from tests.causes import IMAGE, PLACE, without_waiting_pods

JOB = JobRef("etl", "load", "job-uid")
NO_VICTIM = (
    "no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
)
NO_ROOM = f"0/2 nodes are available: 2 Insufficient memory. {NO_VICTIM}"
NO_LABEL = f"0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. {NO_VICTIM}"
OTHER = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
USER = "system:serviceaccount:airflow:worker"
FORBIDDEN = 'Error creating: pods "load-x1" is forbidden: '
QUOTA = "q, requested: limits.memory=2Gi, used: limits.memory=7Gi, limited: limits.memory=8Gi"


def in_the_log() -> list[str]:
    """Warnings while a pod cannot start."""
    pull = a_pod(waiting="ErrImagePull", message=f"{IMAGE}: not found", image=IMAGE)
    secret = a_pod(waiting="CreateContainerConfigError", message='secret "db" not found')
    quota = f"{FORBIDDEN}exceeded quota: {QUOTA}"
    limits = f"{FORBIDDEN}failed quota: q: must specify limits.memory for: script"
    level = f'{FORBIDDEN}violates PodSecurity "restricted:latest": runAsNonRoot != true'
    unknown = 'error looking up service account etl/loader: serviceaccount "loader" not found'
    account = f'Error creating: pods "load-" is forbidden: {unknown}'
    mount = 'MountVolume.SetUp failed for volume "keys" : secret "keys" not found'
    no_room = a_pod(unschedulable=NO_ROOM)
    no_claim = a_pod(unschedulable='0/2 nodes are available: persistentvolumeclaim "data" not found. not found.')
    lines = [
        *(line for pod in (no_room, no_claim, pull, secret) for line in _of_pod(pod)),
        *Announcer().waits(a_view().with_event(an_event("FailedCreate", quota, kind="Job", name="load"), 0), 0),
        *(line for message in (limits, level, account) for line in _of_job(message)),
        *Announcer().event(an_event("FailedMount", mount), 20),
        *Announcer().job({"metadata": {"name": "load"}, "spec": {"suspend": True}}),
    ]
    return [line.text for line in lines]


def of_jobs() -> list[str]:
    """First lines of failures."""
    late = f"Job load: FailedCreate: {FORBIDDEN}exceeded quota: q"
    not_found = f"{IMAGE}: not found"
    no_host = "dial tcp: lookup registry.example.com: no such host"
    back_off = f'Back-off pulling image "{IMAGE}": ErrImagePull: failed to pull and unpack image "{IMAGE}": {no_host}'
    no_folder = 'runc create failed: chdir to cwd ("/work") set in config.json failed: permission denied: unknown'
    policy = "ValidatingAdmissionPolicy no-env denied its pod: mount secrets as files"
    too_long = "Pod was active on the node longer than the specified deadline"
    late_pod = a_pod(exit_code=143, phase="Failed", pod_reason="DeadlineExceeded", pod_message=too_long)
    traceback = ['  File "a.py", line 1', "ModuleNotFoundError: No module named 'pandas'"]
    not_theirs = ['  File "a.py", line 1', "PermissionError: [Errno 13] Permission denied: '/work/x'"]
    apt = ["E: Could not open lock file /var/lib/apt/lists/lock - open (13: Permission denied)"]
    evicted = "Pod ephemeral local storage usage exceeds the total limit of containers 50Mi."
    no_bash = 'exec: "bash": executable file not found in $PATH'
    no_python = 'exec: "/usr/bin/python3": stat /usr/bin/python3: no such file or directory'
    no_root = "could not install packages: the container does not run as root"
    no_pandaz = 'could not install "pandaz": no matching distribution'
    installer = a_container(name="install", exit_code=PERMANENT, message=no_pandaz)
    resumed = a_job("Suspended")
    late_for_a_node: dict[str, Any] = {
        "cause": Cause.SCHEDULE_TIMEOUT, "limits": some_limits(schedule_timeout=3600)
    }  # fmt: skip
    without_a_follower: dict[str, Any] = {
        "cause": Cause.DEADLINE, "limits": some_limits(schedule_timeout=3600, timeout=600, deadline=4500)
    }  # fmt: skip
    cases = [
        a_case(a_pod(unschedulable=NO_ROOM), **late_for_a_node),
        a_case(a_pod(unschedulable=NO_LABEL), **late_for_a_node),
        a_case(**late_for_a_node),
        a_case(**late_for_a_node, warnings=[late]),
        a_case(a_pod(image=IMAGE), cause=Cause.IMAGE, reason="ErrImagePull", message=not_found),
        a_case(a_pod(waiting="ImagePullBackOff", message=back_off), cause=Cause.STARTUP_TIMEOUT),
        a_case(a_pod(exit_code=128), cause=Cause.NOT_EXECUTABLE, message=no_bash, program="bash"),
        a_case(a_pod(exit_code=128), cause=Cause.NOT_EXECUTABLE, message=no_python, program="/usr/bin/python3"),
        a_case(a_pod(oom_killed=True, memory="512Mi")),
        a_case(a_pod(exit_code=137)),
        a_case(a_pod(running=True, phase="Failed"), cause=Cause.DEADLINE),
        a_case(a_pod(running=True, phase="Failed"), **without_a_follower),
        a_case(a_pod(unschedulable=NO_ROOM), **without_a_follower),
        a_case(a_pod("first", exit_code=1), a_pod(unschedulable=NO_ROOM), **without_a_follower),
        a_case(job=resumed, **without_a_follower),
        a_case(a_pod(exit_code=3)),
        a_case(a_pod("first", exit_code=1), a_pod(exit_code=1), limits=some_limits(backoff_limit=1)),
        a_case(a_pod(exit_code=127)),
        a_case(a_pod(exit_code=139)),
        a_case(a_pod(exit_code=1), last_lines=["chown: Operation not permitted"]),
        a_case(a_pod(exit_code=1), last_lines=traceback, hide=str),
        a_case(a_pod(exit_code=1), last_lines=not_theirs, hide=str),
        a_case(a_pod(exit_code=100), last_lines=apt, hide=str),
        a_case(a_pod(exit_code=1, message="table is locked"), hide=str),
        a_case(a_pod(exit_code=128, reason="StartError", message=no_folder), hide=str),
        a_case(a_pod(exit_code=7, reason="OOMKilled", memory="96Mi")),
        a_case(late_pod),
        a_case(cause=Cause.REFUSED, reason="FailedCreate", message=policy),
        a_case(a_pod(exit_code=0), cause=Cause.STOPPED, reason="Evicted", message=evicted),
        a_case(a_pod(installers=[installer])),
        a_case(an_installing_pod(exit_code=PERMANENT, message=f"{MESSAGE_PREFIX}{no_root}")),
        a_case(
            a_pod(running=True, being_deleted=True, phase="Failed", disrupted="EvictionByEvictionAPI"),
            cause=Cause.JOB_FAILED,
        ),
        a_case(a_pod(running=True, being_deleted=True, phase="Failed"), cause=Cause.JOB_FAILED),
        a_case(a_pod(exit_code=143, being_deleted=True), cause=Cause.JOB_DELETED),
        a_case(a_pod(running=True), cause=Cause.JOB_DELETED),
        a_case(a_pod(exit_code=143, being_deleted=True), cause=Cause.SILENCE),
        a_case(a_pod(running=True, being_deleted=True), cause=Cause.UNREACHABLE, reason="DeletionByTaintManager"),
    ]
    return [termination.diagnosed(without_waiting_pods(case), diagnose(case)).headline for case in cases]


def an_installing_pod(**facts: Any) -> dict[str, Any]:
    """A pod with ``install_packages``."""
    pod = a_pod(**facts)
    pod["spec"]["containers"][0]["env"] = [{"name": PACKAGES_VARIABLE}]
    return pod


def of_access() -> list[str]:
    """Refusals of the API server."""
    denied = f'User "{USER}" cannot create resource "jobs" in API group "batch" in the namespace "etl"'
    return [
        _said(lambda: asyncio.run(_opened(ClusterAccess(config_file="/opt/airflow/kubeconfig")))),
        refusal.message("create", "jobs", "etl", 401, "Unauthorized"),
        refusal.message("create", "jobs", "etl", 403, f"jobs.batch is forbidden: {denied}"),
        refusal.missing_namespace("elt", ["default", "etl"], ""),
    ]


def of_sources() -> list[str]:
    """Scripts that cannot be read, or must not run."""
    missing = _said(lambda: FileScript("scripts/lod.py").fetch(folder="/opt/airflow/dags"))
    return [
        missing.replace(str(Path.cwd()), "/opt/airflow"),
        _said(lambda: fetch(ScriptInputs(script="print(1)", sha256=OTHER), None)),
        _said(lambda: a_request(a_script("#" * (MAX_CONFIG_MAP + 1), origin="file:///opt/airflow/dags/load.py"))),
    ]


def of_results() -> list[str]:
    """Warnings about the value."""
    too_long = some_output("[" + "1," * (MAX_VALUE // 2) + "1]").value()
    return [*too_long.warnings, *some_output('{"mean": NaN}').value().warnings]


def of_lost_runs() -> list[str]:
    """Runs that were ended by another actor, or that are no longer followed."""
    kill = meaning_of_kill("running")
    return [
        f"the run was killed. {launching.fate(JOB, deleted=True)}",
        f"the run was killed. {launching.fate(JOB, deleted=False)}",
        f"the run was killed. {kill.reason}: Job {JOB} is left to the next try, which reattaches to it.",
        termination.not_beside(f"{JOB}-2", a_pod(running=True)),
    ]


def of_execs() -> list[str]:
    """Scripts in running pods."""
    api = workloads.Workload("deployment", "api", "shop")
    two = {
        "metadata": {"namespace": "shop", "name": "api-x1"},
        "spec": {"containers": [{"name": "api"}, {"name": "proxy"}]},
    }
    unready = {"metadata": {"name": "api-x1"}, "status": {"phase": "Running"}}
    candidates = workloads.Candidates(api, [unready], "ReplicaSet api-2")
    return [
        _said(lambda: workloads.choose_ready_pod(candidates)),
        str(workloads.not_found(workloads.Workload("deployment", "apo", "shop"), ["api", "web"])),
        _said(lambda: workloads.choose_container(two, None)),
        _first_of(PodEnded("the pod was deleted or replaced by a rollout while the script ran")),
        "\n".join(_lines_of(NotStarted("connection", "dial tcp 10.0.0.2:10250: connect: connection refused"))[:2]),
        _first_of(ConnectionBroken("no answer", 12.0, is_running=False)),
        "\n".join(_lines_of(ConnectionBroken("no answer", 12.0, is_running=True, process_group=41))[:2]),
    ]


def of_nodes() -> list[str]:
    """Scripts on nodes."""
    plan = a_plan("db-1", "db-7", "db-9")
    records = {
        "db-1": [a_record()],
        "db-7": [a_failed_record(exit_code=None, category=Category.NODE_UNREACHABLE)],
        "db-9": [a_failed_record(exit_code=None, category=Category.UNSCHEDULABLE)],
    }
    there = [{"metadata": {"name": "db-1", "labels": {"role": "db"}}, "spec": {}, "status": {}}]
    return [
        result.headline(plan, records) or "",
        selection.no_match(selection.NodeChoice(node_selector="role=web"), there),
        selection.no_nodes_left({"db-7": "not ready"}),
    ]


async def _opened(access: ClusterAccess) -> None:
    async with open_api(access):
        pass


def _of_pod(pod: Any) -> list[Line]:
    announcer = Announcer()
    return [*announcer.pod(pod), *announcer.waits(a_view(pod), 0)]


def _of_job(message: str) -> list[Line]:
    return Announcer().event(an_event("FailedCreate", message, kind="Job", name="load"), 20)


def _said(fails: Any) -> str:
    with pytest.raises((exceptions.ScriptProviderError, ValueError)) as error:
        fails()
    return str(error.value)


def _lines_of(end: ExecEnd) -> list[str]:
    case = ExecCase(an_exec_request(), "python3", PLACE, end, ExecOutput.of(100), 12.0)
    return str(outcomes.failure(exec_outcome.conclude(case))).splitlines()


def _first_of(end: ExecEnd) -> str:
    return _lines_of(end)[0]


def produced() -> list[str]:
    """All messages."""
    makers = (in_the_log, of_jobs, of_access, of_sources, of_results, of_lost_runs, of_execs, of_nodes)
    return [message for maker in makers for message in maker()]
