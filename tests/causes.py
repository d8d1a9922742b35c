"""Causes of failures, each with its category and Kubernetes' own word: what is recorded of them, in one table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from airflow_script_provider.kube.exec import outcome as exec_outcome
from airflow_script_provider.kube.exec.ends import (
    ConnectionBroken,
    ExecEnd,
    Exited,
    NotStarted,
    PodEnded,
    ShellKilled,
    TimedOut,
)
from airflow_script_provider.kube.exec.outcome import ExecCase, ExecOutput, PodLocation
from airflow_script_provider.kube.job import termination
from airflow_script_provider.kube.job.diagnosis import Case, Diagnosis, diagnose
from airflow_script_provider.kube.job.verdict import Cause
from airflow_script_provider.kube.nodes import record
from airflow_script_provider.kube.nodes.progress import Lost
from airflow_script_provider.kube.nodes.record import RunRecord
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.request.provision import PERMANENT
from airflow_script_provider.result import Category
from tests.builders import a_case, a_container, a_job, a_pod, an_exec_request, some_limits, some_output

IMAGE = "registry.example.com/etl:9"
PLACE = PodLocation("shop", "api-x1", "api", "registry.example.com/api:4")
Known = tuple[Category, str | None]
"""Category and Kubernetes' own word."""


@dataclass(frozen=True)
class Example:
    """What is known of a run that failed, and what is to be made of it."""

    category: Category
    reason: str | None
    seen: Case | ExecEnd | RunRecord

    def found(self) -> Known:
        """Category and reason as the package finds them."""
        if isinstance(self.seen, RunRecord):
            return self.seen.category or Category.UNKNOWN, self.seen.reason
        found = self.diagnosis()
        return found.category, found.reason

    def diagnosis(self) -> Diagnosis:
        """The diagnosis of a Job, or of a script in a running pod."""
        if isinstance(self.seen, Case):
            return termination.diagnosed(without_waiting_pods(self.seen), diagnose(self.seen))
        assert not isinstance(self.seen, RunRecord)
        case = ExecCase(
            an_exec_request(working_dir="/app"), "python3", PLACE, self.seen, ExecOutput.of(100), 12.0, hide=str
        )
        diagnosed = exec_outcome.conclude(case).diagnosis
        assert diagnosed is not None
        return diagnosed

    def message(self) -> str:
        """The first line of the failure; of a run on a node its error."""
        return str(self.seen.error) if isinstance(self.seen, RunRecord) else self.diagnosis().headline


def without_waiting_pods(case: Case) -> Case:
    """The case once Kubernetes has deleted the pods of its Job that have not begun."""
    pods = case.view.pods.items()
    gone = {uid for uid, pod in pods if not pod_status.script_has_started(pod)}
    return replace(case, view=replace(case.view, gone=case.view.gone | gone))


def _printed(*lines: str, code: int = 1, **facts: Any) -> Case:
    return a_case(a_pod(exit_code=code), last_lines=lines, hide=str, **facts)


def _raised(error: str, code: int = 1) -> Case:
    return _printed("Traceback (most recent call last):", '  File "/scripts/script.py", line 1', error, code=code)


def _no_pod(message: str) -> Case:
    warning = f"Job load: FailedCreate: Error creating: {message}"
    return _without_a_node(warnings=[warning])


def _without_a_node(*pods: Any, **facts: Any) -> Case:
    return a_case(*pods, cause=Cause.SCHEDULE_TIMEOUT, limits=some_limits(schedule_timeout=3600), **facts)


def _refused(message: str) -> Case:
    return a_case(cause=Cause.REFUSED, reason="FailedCreate", message=message)


def _waiting(reason: str, message: str = "", *, warnings: tuple[str, ...] = ()) -> Case:
    return a_case(a_pod(waiting=reason, message=message), cause=Cause.STARTUP_TIMEOUT, warnings=warnings)


def _gated() -> Case:
    pod = a_pod(unschedulable="Scheduling is blocked due to non-empty scheduling gates")
    pod["status"]["conditions"][0]["reason"] = "SchedulingGated"
    return _without_a_node(pod)


def _image(reason: str, message: str) -> Case:
    return a_case(a_pod(image=IMAGE, waiting=reason), cause=Cause.IMAGE, reason=reason, message=message)


def _not_executable(message: str) -> Case:
    return a_case(a_pod(exit_code=128), cause=Cause.NOT_EXECUTABLE, reason="StartError", message=message, hide=str)


def _not_created(message: str) -> Case:
    word = "CreateContainerError"
    return a_case(a_pod(waiting=word, message=message), cause=Cause.NOT_CREATED, reason=word, message=message, hide=str)


def _ended(reason: str, message: str, code: int = 137) -> Case:
    return a_case(a_pod(exit_code=code, phase="Failed", pod_reason=reason, pod_message=message))


def _disrupted(reason: str) -> Case:
    return a_case(
        a_pod(running=True, being_deleted=True, phase="Failed", disrupted=reason),
        cause=Cause.JOB_FAILED,
        reason="BackoffLimitExceeded",
    )


def _stopped(message: str) -> Case:
    case = a_case(a_pod(exit_code=143))
    return replace(case, view=case.view.with_stopped("uid-load-x1", "Killing", message))


def _disrupted_too_often() -> Case:
    ended: dict[str, Any] = {
        "running": True,
        "being_deleted": True,
        "phase": "Failed",
        "disrupted": "PreemptionByScheduler",
    }
    pods = [a_pod(f"load-x{number}", **ended) for number in range(11)]
    return a_case(*pods, cause=Cause.DISRUPTED, message="load-x10 on node-1: PreemptionByScheduler: preempting")


def _install(message: str, code: int = PERMANENT, reason: str = "") -> Case:
    installer = a_container(name="install", exit_code=code, message=message, reason=reason)
    return a_case(a_pod(installers=[installer]), hide=str)


def _init(code: int, reason: str = "Error") -> Case:
    pod = a_pod(installers=[a_container(name="prepare", exit_code=code, reason=reason)], phase="Failed")
    return a_case(pod, cause=Cause.JOB_FAILED, reason="BackoffLimitExceeded")


def _job(reason: str, message: str) -> Case:
    return a_case(cause=Cause.JOB_FAILED, reason=reason, message=message)


def _lost(state: str, reason: str) -> RunRecord:
    lost = Lost(state, reason, "load-x1", f"{reason}: the node is away", is_confirmed=False)
    return record.of_lost(lost, some_output(), index=0)


def _not_ready() -> RunRecord:
    late = record.of_case(_without_a_node(), some_output(), index=0)
    return record.with_state_of_node(late, "not ready")


C = Category
EXAMPLES = (
    # The bounds of the run.
    Example(C.DEADLINE_EXCEEDED, "DeadlineExceeded",
            a_case(a_pod(running=True, phase="Failed"), cause=Cause.DEADLINE, reason="DeadlineExceeded")),
    Example(C.DEADLINE_EXCEEDED, "DeadlineExceeded",
            _ended("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")),
    Example(C.DEADLINE_EXCEEDED, None, TimedOut("it was ended")),
    Example(C.SCHEDULE_TIMEOUT, None, _without_a_node()),
    Example(C.SCHEDULE_TIMEOUT, None, _without_a_node(job=a_job("Suspended", suspended=True))),
    Example(C.STARTUP_TIMEOUT, None, a_case(a_pod(), cause=Cause.STARTUP_TIMEOUT)),
    # No pod is created, or no node takes it.
    Example(C.FAILED_CREATE, "FailedCreate", _no_pod("Internal error occurred: the webhook timed out")),
    Example(C.EXCEEDED_QUOTA, "FailedCreate",
            _no_pod('pods "load-x1" is forbidden: exceeded quota: q, requested: pods=1, used: pods=9')),
    Example(C.EXCEEDED_QUOTA, "FailedCreate",
            _refused("its pod is refused: failed quota: q: must specify limits.memory for: script")),
    Example(C.POD_SECURITY, "FailedCreate",
            _refused('its pod is refused: violates PodSecurity "restricted:latest": runAsNonRoot != true')),
    Example(C.LIMIT_RANGE, "FailedCreate",
            _refused("its pod is refused: maximum memory usage per Container is 1Gi, but limit is 2Gi")),
    Example(C.ADMISSION_DENIED, "FailedCreate",
            _refused("ValidatingAdmissionPolicy no-env denied its pod: mount secrets as files")),
    Example(C.ADMISSION_DENIED, "FailedCreate",
            _refused("admission webhook policy.example.com denied its pod: images need a digest")),
    Example(C.SERVICE_ACCOUNT_NOT_FOUND, "FailedCreate",
            _no_pod('pods "load-" is forbidden: error looking up service account etl/loader: '
                    'serviceaccount "loader" not found')),
    Example(C.UNSCHEDULABLE, "Unschedulable",
            _without_a_node(a_pod(unschedulable="0/2 nodes are available: 2 Insufficient memory."))),
    Example(C.SCHEDULING_GATED, "SchedulingGated", _gated()),
    Example(C.REJECTED_BY_NODE, "OutOfcpu",
            a_case(a_pod(phase="Failed", pod_reason="OutOfcpu",
                         pod_message="Pod was rejected: Node didn't have enough resource: cpu"))),
    Example(C.REJECTED_BY_NODE, "UnexpectedAdmissionError",
            a_case(a_pod(phase="Failed", pod_reason="UnexpectedAdmissionError",
                         pod_message="Pod was rejected: Allocate failed due to device plugin, which is unexpected"))),
    # A container cannot start.
    Example(C.IMAGE_NOT_FOUND, "ErrImagePull", _image("ErrImagePull", f"{IMAGE}: not found")),
    Example(C.IMAGE_UNAUTHORIZED, "ImagePullBackOff",
            _image("ImagePullBackOff", f'failed to pull and unpack image "{IMAGE}": failed to authorize: '
                                       "failed to fetch anonymous token: 401 Unauthorized")),
    Example(C.INVALID_IMAGE_NAME, "InvalidImageName",
            _image("InvalidImageName", 'Failed to apply default image tag "App:1": couldn\'t parse image name "App:1": '
                                       "invalid reference format")),
    Example(C.ERR_IMAGE_NEVER_PULL, "ErrImageNeverPull",
            _image("ErrImageNeverPull", 'Container image is not present with pull policy of Never')),
    Example(C.SIGNATURE_VALIDATION_FAILED, "SignatureValidationFailed",
            _waiting("SignatureValidationFailed", "A signature was required, but no signature exists")),
    Example(C.ERR_IMAGE_PULL, "ImagePullBackOff",
            _waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: failed to pull and unpack '
                                         f'image "{IMAGE}": dial tcp: lookup registry.example.com: no such host')),
    Example(C.FAILED_MOUNT, "FailedMount",
            _waiting("", warnings=("Pod load-x1: FailedMount: MountVolume.SetUp failed for volume \"keys\" : "
                                   'secret "keys" not found',))),
    Example(C.FAILED_ATTACH_VOLUME, "FailedAttachVolume",
            _waiting("", warnings=("Pod load-x1: FailedAttachVolume: Multi-Attach error for volume \"pvc-1\" Volume is "
                                   "already used by pod(s) load-x0",))),
    Example(C.FAILED_CREATE_POD_SANDBOX, "FailedCreatePodSandBox",
            _waiting("", warnings=("Pod load-x1: FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: "
                                   "code = Unknown desc = failed to setup network for sandbox",))),
    Example(C.CREATE_CONTAINER_CONFIG_ERROR, "CreateContainerConfigError",
            _waiting("CreateContainerConfigError", 'secret "db" not found')),
    Example(C.CREATE_CONTAINER_ERROR, "CreateContainerError",
            _waiting("CreateContainerError", "failed to reserve container name")),
    Example(C.START_ERROR, "StartError",
            a_case(a_pod(exit_code=128, reason="StartError",
                         message='runc create failed: chdir to cwd ("/work") set in config.json failed: '
                                 "permission denied: unknown"), hide=str)),
    Example(C.START_ERROR, "RunContainerError", _waiting("RunContainerError", "failed to mount /work")),
    Example(C.START_ERROR, None, NotStarted("code", "exit code 2")),
    Example(C.START_ERROR, None,
            NotStarted("refused", 'unable to upgrade connection: container not found ("api")')),
    Example(C.START_ERROR, None, NotStarted("container", "cannot exec in a stopped container")),
    Example(C.PROGRAM_NOT_FOUND, "StartError", _not_executable('exec: "ruby": executable file not found in $PATH')),
    Example(C.PROGRAM_NOT_FOUND, "CreateContainerError",
            _not_created("container create failed: executable file `ruby` not found in $PATH: No such file")),
    Example(C.PROGRAM_NOT_FOUND, None, NotStarted("program", '"ruby": executable file not found in the image')),
    Example(C.POST_START_HOOK_ERROR, "PostStartHookError", _waiting("PostStartHookError", "exit code 1")),
    Example(C.INIT_CONTAINER_FAILED, "Error", _init(3)),
    Example(C.OOM_KILLED, "OOMKilled", _init(137, "OOMKilled")),
    Example(C.INSTALL_FAILED, "Error", _install('could not install "pandaz": no matching distribution')),
    Example(C.OOM_KILLED, "OOMKilled", _install("could not install: exit code 137", 137, "OOMKilled")),
    Example(C.PACKAGE_INDEX_UNREACHABLE, "Error",
            _install('could not install "pandas": no matching distribution', 98)),
    Example(C.PACKAGE_INDEX_UNREACHABLE, "Error",
            _install("could not install: error: Request failed after 3 retries", 98)),
    # The cluster, or one of its users, ended the run.
    Example(C.EVICTED, "Evicted", _ended("Evicted", "The node was low on resource: memory.")),
    Example(C.STORAGE_LIMIT_EXCEEDED, "Evicted",
            _ended("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 50Mi.")),
    Example(C.STORAGE_LIMIT_EXCEEDED, "Evicted",
            a_case(a_pod(exit_code=0), cause=Cause.STOPPED, reason="Evicted",
                   message='Usage of EmptyDir volume "work" exceeds the limit "1Mi".')),
    Example(C.PREEMPTED, "PreemptionByScheduler", _disrupted("PreemptionByScheduler")),
    Example(C.PREEMPTED, "PreemptionByScheduler", _disrupted_too_often()),
    Example(C.EVICTION_BY_API, "EvictionByEvictionAPI", _disrupted("EvictionByEvictionAPI")),
    Example(C.NODE_SHUTDOWN, "Terminated",
            _ended("Terminated", "Pod was terminated in response to imminent node shutdown.")),
    Example(C.NODE_SHUTDOWN, "NodeShutdown",
            a_case(a_pod(exit_code=0), cause=Cause.STOPPED, reason="NodeShutdown", message="Shutdown manager")),
    Example(C.NODE_UNREACHABLE, "DeletionByTaintManager", _disrupted("DeletionByTaintManager")),
    Example(C.NODE_UNREACHABLE, "DeletionByTaintManager",
            a_case(a_pod(running=True, being_deleted=True), cause=Cause.UNREACHABLE, reason="DeletionByTaintManager")),
    Example(C.NODE_UNREACHABLE, "DeletionByTaintManager", _lost("unreachable", "DeletionByTaintManager")),
    Example(C.NODE_UNREACHABLE, None,
            NotStarted("connection", "dial tcp 10.0.0.2:10250: connect: connection refused")),
    Example(C.NODE_NOT_READY, None, _not_ready()),
    Example(C.NODE_GONE, "DeletionByPodGC", _disrupted("DeletionByPodGC")),
    Example(C.POD_DELETED, None, a_case(a_pod(being_deleted=True, phase="Failed"), cause=Cause.JOB_FAILED)),
    Example(C.POD_DELETED, None, a_case(a_pod(exit_code=143, being_deleted=True), cause=Cause.JOB_FAILED)),
    Example(C.POD_DELETED, None,
            a_case(a_pod(exit_code=0, being_deleted=True), cause=Cause.STOPPED, reason="",
                   message="pod load-x1 was deleted")),
    Example(C.JOB_DELETED, None, a_case(a_pod(exit_code=143, being_deleted=True), cause=Cause.JOB_DELETED)),
    Example(C.JOB_DELETED, None, a_case(a_pod(running=True), cause=Cause.JOB_DELETED)),
    Example(C.STOPPED, "Killing",
            a_case(a_pod(exit_code=0), cause=Cause.STOPPED, reason="Killing",
                   message="Stopping container script: Liveness probe failed")),
    Example(C.STOPPED, "Killing", _stopped("Container script failed liveness probe")),
    Example(C.CONTAINER_STATUS_UNKNOWN, "ContainerStatusUnknown",
            a_case(a_pod(exit_code=137, reason="ContainerStatusUnknown",
                         message="The container could not be located when the pod was terminated"))),
    Example(C.CONTAINER_STATUS_UNKNOWN, "Unknown", a_case(a_pod(exit_code=255, reason="Unknown"))),
    Example(C.EVICTED, "Evicted",
            a_case(a_pod(exit_code=137, phase="Failed", pod_reason="Evicted", disrupted="TerminationByKubelet"))),
    Example(C.BACKOFF_LIMIT_EXCEEDED, "BackoffLimitExceeded",
            _job("BackoffLimitExceeded", "Job has reached the specified backoff limit")),
    Example(C.POD_FAILURE_POLICY, "PodFailurePolicy",
            _job("PodFailurePolicy", "Container script failed with exit code 4 matching FailJob rule at index 0")),
    # The script ended, and the node says how.
    Example(C.OOM_KILLED, "OOMKilled", a_case(a_pod(oom_killed=True, memory="512Mi"))),
    Example(C.CHILD_OOM_KILLED, "OOMKilled", a_case(a_pod(exit_code=7, reason="OOMKilled", memory="96Mi"))),
    Example(C.KILLED, "Error", a_case(a_pod(exit_code=137))),
    Example(C.SIGNALED, "Error", a_case(a_pod(exit_code=139))),
    Example(C.COMMAND_NOT_FOUND, "Error", _printed("/scripts/script.sh: line 3: foo: command not found", code=127)),
    Example(C.NOT_EXECUTABLE, "Error", _printed("/scripts/script.sh: line 3: ./etl: Permission denied", code=126)),
    Example(C.NOT_EXECUTABLE, "StartError", _not_executable('exec: "./etl": exec format error')),
    Example(C.NOT_EXECUTABLE, None, NotStarted("permission", 'exec: "/app/migrate": permission denied')),
    Example(C.NOT_EXECUTABLE, "Error", _raised("OSError: [Errno 8] Exec format error: './etl'")),
    Example(C.ERROR, "Error", a_case(a_pod(exit_code=3))),
    Example(C.ERROR, "Error", _raised("TypeError: float() argument must be a string")),
    Example(C.ERROR, "Error",
            _printed("panic: runtime error: index out of range [5] with length 3", "goroutine 1 [running]:", code=2)),
    Example(C.ERROR, "Error",
            _printed("thread 'main' panicked at src/main.rs:5:20:", "no orders", "note: run with `RUST_BACKTRACE=1`",
                     code=101)),
    Example(C.ERROR, None, Exited(3)),
    # The script ended, and its output says why.
    Example(C.MODULE_NOT_FOUND, "Error", _raised("ModuleNotFoundError: No module named 'pandas'")),
    Example(C.MODULE_NOT_FOUND, "Error", _printed("Error: Cannot find module 'left-pad'", "    at load (x:1:2)")),
    Example(C.MODULE_NOT_FOUND, "Error",
            _printed("script.rb:1:in 'Kernel#require': cannot load such file -- pg (LoadError)",
                     "\tfrom script.rb:1:in '<main>'")),
    Example(C.MODULE_NOT_FOUND, "Error",
            _printed("Error in library(dplyr) : there is no package called 'dplyr'", "Execution halted")),
    Example(C.SYNTAX_ERROR, "Error", _raised("SyntaxError: invalid syntax")),
    Example(C.SYNTAX_ERROR, "Error",
            _printed("/scripts/script.sh: line 2: syntax error near unexpected token `fi'",
                     "/scripts/script.sh: line 2: `fi'", code=2)),
    Example(C.MEMORY_ERROR, "Error", _raised("MemoryError")),
    Example(C.MEMORY_ERROR, "Error",
            _printed("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", code=134)),
    Example(C.MEMORY_ERROR, "Error",
            _raised("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 745. GiB for an array")),
    Example(C.FILE_NOT_FOUND, "Error",
            _raised("FileNotFoundError: [Errno 2] No such file or directory: '/data/orders.csv'")),
    Example(C.PERMISSION_DENIED, "Error", _raised("PermissionError: [Errno 13] Permission denied: '/work/x'")),
    Example(C.PERMISSION_DENIED, "Error",
            _printed("E: Could not open lock file /var/lib/apt/lists/lock - open (13: Permission denied)", code=100)),
    Example(C.MISSING_CAPABILITY, "Error",
            _printed("chown: changing ownership of '/work': Operation not permitted")),
    Example(C.READ_ONLY_FILE_SYSTEM, "Error", _raised("OSError: [Errno 30] Read-only file system: '/etc/x'")),
    Example(C.NO_SPACE_LEFT, "Error", _raised("OSError: [Errno 28] No space left on device")),
    Example(C.NO_SPACE_LEFT, None, NotStarted("write")),
    Example(C.NAME_NOT_RESOLVED, "Error", _raised("socket.gaierror: [Errno -3] Temporary failure in name resolution")),
    Example(C.NAME_NOT_RESOLVED, "Error", _printed("curl: (6) Could not resolve host: db", code=6)),
    Example(C.CONNECTION_REFUSED, "Error",
            _printed('psql: error: connection to server at "db", port 5432 failed: Connection refused',
                     "\tIs the server running on that host and accepting TCP/IP connections?", code=2)),
    Example(C.CONNECTION_REFUSED, "Error", _raised("ConnectionRefusedError: [Errno 111] Connection refused")),
    Example(C.HOST_UNREACHABLE, "Error", _raised("TimeoutError: [Errno 110] Connection timed out")),
    Example(C.HOST_UNREACHABLE, "Error", _raised("TimeoutError: timed out")),
    Example(C.HOST_UNREACHABLE, "Error", _raised("OSError: [Errno 113] No route to host")),
    Example(C.AUTHENTICATION_FAILED, "Error",
            _printed('psql: error: FATAL:  password authentication failed for user "etl"', code=2)),
    Example(C.CERTIFICATE_INVALID, "Error",
            _raised("ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
                    "self-signed certificate")),
    Example(C.CERTIFICATE_INVALID, "Error",
            _printed("curl: (60) SSL certificate problem: self-signed certificate",
                     "More details here: https://curl.se/docs/sslcerts.html",
                     "curl failed to verify the legitimacy of the server and therefore could not",
                     "establish a secure connection to it. To learn more about this situation and",
                     "how to fix it, please visit the web page mentioned above.", code=60)),
    # A script in a running pod.
    Example(C.NO_SHELL, None, NotStarted("sh")),
    Example(C.NO_WORKING_DIRECTORY, None, NotStarted("working_dir")),
    Example(C.NO_WRITABLE_FOLDER, None, NotStarted("folder")),
    Example(C.POD_ENDED, None, PodEnded("the pod was deleted or replaced by a rollout while the script ran")),
    Example(C.OOM_KILLED, "OOMKilled",
            PodEnded('container "api" ended while the script ran (OOMKilled, exit code 137)', 137, "OOMKilled")),
    Example(C.CONNECTION_BROKEN, None, ConnectionBroken("no answer", 12.0, is_running=False)),
    Example(C.SHELL_KILLED, None, ShellKilled(137, is_running=False)),
    Example(C.SHELL_KILLED, None, NotStarted("killed", "exit code 137, SIGKILL")),
    # Nothing says why.
    Example(C.NO_ANSWER, None, a_case(a_pod(exit_code=143, being_deleted=True), cause=Cause.SILENCE)),
    Example(C.NO_ANSWER, None, a_case(a_pod(running=True), cause=Cause.SILENCE)),
    Example(C.UNKNOWN, None, a_case(a_pod(phase="Failed"), cause=Cause.JOB_FAILED)),
)  # fmt: skip
