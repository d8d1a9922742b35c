"""What the tests are about, in one word each: ``a_pod(oom_killed=True)``. Everything not named is ordinary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.exec.request import ExecOptions, ExecRequest
from airflow_script_provider.kube.exec.workloads import Workload
from airflow_script_provider.kube.job.diagnosis import Case, Diagnosis
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.job.verdict import Cause, Limits, Verdict
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.logs.value import Value
from airflow_script_provider.kube.names import LaunchIdentity, TaskIdentity
from airflow_script_provider.kube.nodes.manifest import owner_request
from airflow_script_provider.kube.nodes.plan import NodePlan, OnNodes
from airflow_script_provider.kube.nodes.record import RunRecord
from airflow_script_provider.kube.pods.pod_status import ContainerEnd
from airflow_script_provider.kube.request import interpreters
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.options import JobOptions
from airflow_script_provider.kube.request.payload import Payload
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.result import Attempt, Category, ScriptResult, Status
from airflow_script_provider.script import Script

LAUNCH_ID = "0123456789"
REQUEST_DIGEST = "abcdef0123"
IMAGE = "python:3.11-slim"
PodObject = dict[str, Any]


def a_script(text: str = "print('hi')\n", *, name: str = "script", origin: str = "inline") -> Script:
    """A script in Python."""
    return Script(text, origin=origin, name=name)


def a_task(**changes: Any) -> TaskIdentity:
    """The first try of the task ``load`` of the DAG ``etl``, which has two retries."""
    values: dict[str, Any] = {"dag_id": "etl", "task_id": "load", "run_id": "r1", "instance_id": "instance-1"}
    return TaskIdentity(**(values | {"max_tries": 2} | changes))


def a_kubeconfig(server: str = "https://a:6443", *, namespace: str | None = None, **user: Any) -> dict[str, Any]:
    """A kubeconfig of one server and one user."""
    context = {"cluster": "a", "user": "a"} | ({} if namespace is None else {"namespace": namespace})
    return {
        "clusters": [{"name": "a", "cluster": {"server": server}}],
        "users": [{"name": "a", "user": user}],
        "contexts": [{"name": "a", "context": context}],
        "current-context": "a",
    }


def a_request(
    script: Script | str = "print('hi')\n",
    *,
    task: TaskIdentity | None = None,
    args: Mapping[str, Any] | Sequence[Any] | None = None,
    arguments: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    files: Mapping[str, Script] | None = None,
    deadline: int | None = None,
    namespace: str = "etl",
    on_nodes: OnNodes | None = None,
    **options: Any,
) -> JobRequest:
    """A request whose options are checked; ``options`` are those of ``JobOptions``."""
    checked = JobOptions(**options).checked()
    text = a_script(script) if isinstance(script, str) else script
    request = JobRequest(
        script=text,
        options=checked,
        namespace=namespace,
        interpreter=interpreters.choose(text, checked.image, checked.interpreter),
        identity=LaunchIdentity(LAUNCH_ID, "script-load", task, REQUEST_DIGEST if task else "", on_nodes is not None),
        payload=Payload.of(args, arguments, env),
        files=files or {},
        deadline=Deadline(deadline),
    )
    return request if on_nodes is None else owner_request(request, on_nodes)


def an_exec_request(script: Script | str | None = "print('hi')\n", **arguments: Any) -> ExecRequest:
    """A request to run in the Deployment ``shop/api``; arguments are those of ``ScriptInputs`` and ``ExecOptions``."""
    for_call = {name for name in ScriptInputs.__dataclass_fields__ if name != "files"} & set(arguments)
    call = ScriptInputs(script=script, **{name: arguments.pop(name) for name in for_call})
    files = arguments.pop("files", {})
    options = ExecOptions(deployment="api", **arguments)
    text = a_script(script) if isinstance(script, str) else script
    return ExecRequest(Workload("deployment", "api", "shop"), options, call, text, files, Deadline.within(600, None))


def a_container(
    *,
    name: str = "script",
    running: bool = False,
    exit_code: int | None = None,
    reason: str = "",
    message: str = "",
    waiting: str = "",
) -> dict[str, Any]:
    """A container's status: waiting, running or ended with an exit code."""
    if exit_code is not None:
        ended = {"exitCode": exit_code, "reason": reason or ("Error" if exit_code else "Completed"), "message": message}
        times = {"startedAt": "2026-01-01T00:00:01Z", "finishedAt": "2026-01-01T00:00:05Z"}
        return {"name": name, "state": {"terminated": ended | times}}
    if running:
        return {"name": name, "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}}
    return {"name": name, "state": {"waiting": {"reason": waiting or "ContainerCreating", "message": message}}}


def a_pod(
    name: str = "load-x1",
    *,
    running: bool = False,
    exit_code: int | None = None,
    oom_killed: bool = False,
    waiting: str = "",
    reason: str = "",
    message: str = "",
    memory: str | None = None,
    image: str = IMAGE,
    node: str | None = "node-1",
    phase: str | None = None,
    pod_reason: str | None = None,
    pod_message: str | None = None,
    unschedulable: str | None = None,
    scheduled: str | None = None,
    disrupted: str | None = None,
    being_deleted: bool | str = False,
    grace_period: int | None = None,
    created: str | None = None,
    others: Sequence[Mapping[str, Any]] = (),
    installers: Sequence[Mapping[str, Any]] = (),
    sidecars: Sequence[Mapping[str, Any]] = (),
) -> PodObject:
    """A pod of the Job as the API tells of it; its uid is ``uid-NAME``, its container's image is being pulled.

    ``being_deleted`` may be the moment at which its grace period ends.
    """
    if oom_killed:
        exit_code, reason = 137, "OOMKilled"
    script = a_container(running=running, exit_code=exit_code, reason=reason, message=message, waiting=waiting)
    resources = {"resources": {"limits": {"memory": memory}}} if memory else {}
    deleted_by = being_deleted if isinstance(being_deleted, str) else "2026-01-01T00:00:09Z"
    conditions = []
    if scheduled:
        conditions.append(_condition("PodScheduled", "True", "", "") | {"lastTransitionTime": scheduled})
    if unschedulable:
        conditions.append(_condition("PodScheduled", "False", "Unschedulable", unschedulable))
    if disrupted:
        conditions.append(_condition("DisruptionTarget", "True", disrupted, "the node is drained"))
    statuses: dict[str, Any] = {} if unschedulable else {"containerStatuses": [script, *others]}
    if installers or sidecars:
        statuses["initContainerStatuses"] = [*installers, *sidecars]
    if phase:
        statuses["phase"] = phase
    if pod_reason:
        statuses["reason"] = pod_reason
    if pod_message:
        statuses["message"] = pod_message
    return {
        "metadata": {"name": name, "uid": f"uid-{name}"}
        | ({"creationTimestamp": created} if created else {})
        | ({"deletionTimestamp": deleted_by} if being_deleted else {})
        | ({"deletionGracePeriodSeconds": grace_period} if grace_period is not None else {}),
        "spec": {"containers": [{"name": "script", "image": image} | resources]}
        | (
            {"initContainers": [{"name": one["name"], "restartPolicy": "Always"} for one in sidecars]}
            if sidecars
            else {}
        )
        | ({"nodeName": node} if node and not unschedulable else {}),
        "status": {"conditions": conditions} | statuses,
    }


def a_job(
    condition: str | None = None,
    *,
    reason: str = "",
    message: str = "",
    failed: int = 0,
    suspended: bool = False,
    started: str | None = None,
    deadline: int | None = 600,
    backoff_limit: int | None = None,
) -> dict[str, Any]:
    """The Job ``load``, perhaps with a condition that is true; without ``backoff_limit`` it is the one asked for."""
    limits = {"activeDeadlineSeconds": deadline, "backoffLimit": backoff_limit}
    times = {"startTime": started} if started else {}
    conditions = [_condition(condition, "True", reason, message)] if condition else []
    return {
        "metadata": {"name": "load", "uid": "uid-load"},
        "spec": {"suspend": suspended} | {name: limit for name, limit in limits.items() if limit is not None},
        "status": {"failed": failed, "conditions": conditions} | times,
    }


def a_view(*pods: PodObject, job: Mapping[str, Any] | None = None, now: float = 0.0, job_deleted: bool = False) -> View:
    """Everything seen at ``now``; pods in the order they appeared."""
    view = View().with_job(job or a_job(), now, deleted=job_deleted)
    for pod in pods:
        view = view.with_pod(pod, now)
    return view


def a_launched_job(**changes: Any) -> LaunchedJob:
    """The Job ``etl/load``, launched at the start of 2026."""
    values: dict[str, Any] = {
        "ref": JobRef("etl", "load", "job-uid"),
        "launched_at": 1_767_225_600.0,
        "limits": some_limits(),
        "script": a_script().facts,
    }
    return LaunchedJob(**(values | changes))


def some_limits(**changes: Any) -> Limits:
    """A quarter of an hour to get a node, five minutes to start there, ten to run; one attempt."""
    values: dict[str, Any] = {"schedule_timeout": 900, "startup_timeout": 300}
    values |= {"deadline": 600, "grace_period": 30, "backoff_limit": 0}
    return Limits(**(values | changes))


def a_case(
    *pods: PodObject,
    cause: Cause = Cause.SCRIPT_FAILED,
    reason: str | None = None,
    message: str = "",
    job: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    job_name: str = "etl/load",
    **facts: Any,
) -> Case:
    """A run that is over, decided by the last of the pods."""
    uid = pods[-1]["metadata"]["uid"] if pods else None
    verdict = Verdict(cause, uid, reason, message)
    values: dict[str, Any] = {"image": IMAGE, "program": "python3"}
    return Case(job_name, verdict, a_view(*pods, job=job), limits or some_limits(), **(values | facts))


def an_end(exit_code: int = 1, reason: str = "Error", message: str = "") -> ContainerEnd:
    """The end of a container."""
    return ContainerEnd(exit_code, reason, message)


def an_event(
    reason: str, message: str, *, kind: str = "Pod", name: str = "load-x1", last: str | None = None
) -> dict[str, Any]:
    """A Warning event, which was repeated last at a time."""
    times = {"lastTimestamp": last} if last else {}
    thing = {"kind": kind, "name": name}
    return {"type": "Warning", "reason": reason, "message": message, "involvedObject": thing} | times


def some_output(*lines: str, **settings: Any) -> Output:
    """Output of these lines."""
    output = Output(**settings)
    output.add([f"{line}\n".encode() for line in lines])
    return output


def a_result(**changes: Any) -> ScriptResult:
    """The result of a run that ended well."""
    values: dict[str, Any] = {
        "status": Status.COMPLETED, "job_name": "load", "namespace": "etl", "pod_name": "load-x1",
        "execution_time": 1.5, "output": "hi\n", "succeeded": 1, "failed": 0, "exit_code": 0,
    }  # fmt: skip
    return ScriptResult(**(values | changes))


def a_failed_result(**changes: Any) -> ScriptResult:
    """The result of a run whose script ended with 3."""
    values: dict[str, Any] = {
        "status": Status.FAILED, "succeeded": 0, "failed": 1, "exit_code": 3, "reason": "Error",
        "category": Category.ERROR,
        "error": "Job failed with 1 failures: the script ended with exit code 3",
        "attempts": (Attempt("load-x1", "node-1", 3, "Error"),),
    }  # fmt: skip
    return a_result(**(values | changes))


def a_failed_outcome(**changes: Any) -> Outcome:
    """The outcome of a run whose script ended with 3."""
    headline = "Job etl/load failed: the script ended with exit code 3."
    diagnosed = Diagnosis("the script ended with exit code 3", headline, Category.ERROR, "Error")
    values: dict[str, Any] = {"result": a_failed_result(), "diagnosis": diagnosed, "value": Value()}
    return Outcome(**(values | changes))


def _condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def a_node(
    name: str = "node-1",
    *,
    ready: str = "True",
    cordoned: bool = False,
    being_deleted: bool = False,
    taints: Sequence[Mapping[str, str]] = (),
    **labels: str,
) -> dict[str, Any]:
    """A node; one that is cordoned has the taint that says so."""
    cordon = [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}] if cordoned else []
    deleted = {"deletionTimestamp": "2026-01-01T00:00:09Z"} if being_deleted else {}
    return {
        "metadata": {"name": name, "labels": dict(labels)} | deleted,
        "spec": {"unschedulable": cordoned, "taints": [*taints, *cordon]},
        "status": {"conditions": [_condition("Ready", ready, "", "")]},
    }


def a_plan(*nodes: str, **settings: Any) -> NodePlan:
    """A plan for these nodes."""
    return NodePlan(nodes=nodes, **settings)


def a_record(index: int = 0, **changes: Any) -> RunRecord:
    """A run on a node that ended well."""
    values: dict[str, Any] = {
        "status": Status.COMPLETED, "job_name": "load-a-0", "pod_name": "load-a-0-x1", "exit_code": 0, "output": "hi\n",
        "execution_time": 1.5,
    }  # fmt: skip
    return RunRecord(index, **(values | changes))


def a_failed_record(index: int = 0, **changes: Any) -> RunRecord:
    """A run on a node whose script ended with 3."""
    values = {"status": Status.FAILED, "exit_code": 3, "category": Category.ERROR, "reason": "Error", "failures": 1}
    return a_record(index, **(values | changes))
