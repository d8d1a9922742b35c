"""What a failed run says: object, cause, advice in one line, then warnings and the last lines of output."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowFailException
from tests.cluster.kubectl import PROGRAM, Kubectl
from tests.cluster.tasks import TaskRun, meanwhile, run_task, wait_until_logged
from tests.patience import LONG, wait_for, with_time_to_begin

SLEEP = f"import time\ntime.sleep({LONG})"


def not_started(is_said: Callable[[TaskRun], bool], **arguments: Any) -> tuple[float, TaskRun]:
    """A bound, and the run of a script that cannot start: the first one in which Kubernetes said why."""

    def run(seconds: float) -> TaskRun:
        return run_task(script="print(1)", schedule_timeout=seconds, startup_timeout=seconds, **arguments)

    return with_time_to_begin(run, is_said, 6)


def test_exit_code_is_said_with_the_last_lines(shared: dict[str, Any]) -> None:
    """The first line names Job and exit code in at most 200 characters; the last 20 lines follow (R22)."""
    script = "for i in range(30): print('step', i)\nraise SystemExit(3)"
    run = run_task(script=script, backoff_limit=0, **shared)
    assert isinstance(run.error, exceptions.ScriptFailedError)
    assert (
        run.headline == f"Job {shared['namespace']}/{run.result['job_name']} failed: the script ended with exit code 3."
    )
    assert len(run.headline) <= 200
    assert str(run.error).splitlines()[-20:] == [f"  step {i}" for i in range(10, 30)]
    assert run.result["error"] == "Job failed with 1 failures: the script ended with exit code 3"


def test_out_of_memory_names_the_limit(shared: dict[str, Any]) -> None:
    """A script killed for memory is told with its limit (R22)."""
    run = run_task(
        script="data = bytearray(300_000_000)",
        container_resources={"limits": {"memory": "64Mi"}},
        backoff_limit=0,
        **shared,
    )
    assert "was OOMKilled (limit 64Mi, exit 137)" in run.headline
    assert run.headline.endswith("Raise container_resources limits memory.")
    assert (run.result["category"], run.result["reason"]) == ("OOMKilled", "OOMKilled")


def test_signals_are_named(shared: dict[str, Any]) -> None:
    """An exit code of 128 + n names the signal (R22)."""
    run = run_task(script="import os\nos.kill(os.getpid(), 11)", backoff_limit=0, **shared)
    assert "exit code 139 (SIGSEGV)" in run.headline


def test_missing_interpreter_is_named_with_the_image_and_not_retried(shared: dict[str, Any]) -> None:
    """An interpreter that the image lacks fails at once, whatever backoff_limit says (R22)."""
    run = run_task(script="print 1", interpreter=["ruby"], **shared)
    assert 'image python:3.11-slim has no "ruby"' in run.headline
    assert len(run.result["attempts"]) == 1
    assert run.result["category"] == "ProgramNotFound"


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (
            {"script": "#!/bin/sh\n. ./lib.sh", "files": {"lib.sh": "true"}},
            "lib.sh is beside the script, not in the working directory: write /scripts/lib.sh.",
        ),
        (
            {
                "script": "#!/bin/sh\nmkdir ~/.cache",
                "pod_overrides": {"spec": {"securityContext": {"runAsUser": 1000690000}}},
            },
            "The user's home is /: set run_as_uid instead of runAsUser, or HOME in env.",
        ),
        ({"script": "#!/usr/bin/python9\n"}, "Change image or interpreter, or write #!/usr/bin/env python3."),
    ],
    ids=["file", "home", "shebang"],
)
def test_what_the_script_did_not_find_has_an_advice(shared: dict[str, Any], arguments: Any, advice: str) -> None:
    """The error says what to write instead (R22)."""
    run = run_task(backoff_limit=0, **arguments, **shared)
    assert advice in "\n".join(str(run.error).splitlines()[:2])


def test_wrong_tag_names_image_and_registry_answer(own: dict[str, Any], registry: str) -> None:
    """A tag that the registry doesn't know fails with the registry's words, long before startup_timeout (R15)."""
    run = run_task(script="print(1)", image=f"{registry}/app:nope", startup_timeout=LONG, timeout=LONG, **own)
    assert f"image {registry}/app:nope cannot be pulled" in run.headline
    assert "not found" in run.headline
    assert run.result["category"] == "ImageNotFound"


def test_unschedulable_pod_says_why(own: dict[str, Any]) -> None:
    """A pod that fits on no node is told once, early, with what to change (R15)."""
    asks: dict[str, Any] = {"container_resources": {"requests": {"cpu": "500"}}, **own}
    seconds, run = not_started(lambda run: "Insufficient cpu" in str(run.warnings), **asks)
    told = [line for line in run.warnings if "Insufficient cpu" in line]
    assert len(told) == 1
    assert f"got no node within schedule_timeout of {seconds:g} s: Unschedulable" in run.headline
    # Below the first line where nodes that another test has cordoned make this one long.
    assert "container_resources" in str(run.error)
    assert (run.result["category"], run.result["reason"]) == ("Unschedulable", "Unschedulable")


def test_job_that_gets_no_pod_says_why(own: dict[str, Any]) -> None:
    """Without its service account the Job gets no pod: its own event is told once, and stands in the failure (R11)."""
    _, run = not_started(lambda run: "FailedCreate" in str(run.warnings), service_account_name="nobody", **own)
    told = [line for line in run.warnings if "FailedCreate" in line]
    assert len(told) == 1
    assert 'serviceaccount "nobody" not found' in told[0]
    assert "FailedCreate" in run.headline
    assert (run.result["category"], run.result["reason"]) == ("ServiceAccountNotFound", "FailedCreate")


def test_quota_names_the_missing_argument(own: dict[str, Any], kubectl: Kubectl) -> None:
    """A pod without the limits that a quota counts is refused for good; container_resources sets them (R18)."""
    quota = {"hard": {"limits.cpu": "1", "limits.memory": "256Mi"}}
    kubectl.apply(_object("ResourceQuota", "q", own["namespace"], spec=quota))
    run = run_task(script="print(1)", **own)
    assert "its pod is refused: failed quota: q: must specify limits" in run.headline
    assert "container_resources" in run.headline
    assert run.result["category"] == "ExceededQuota"
    run_task(script="print(1)", container_resources={"limits": {"cpu": "500m", "memory": "64Mi"}}, **own).succeeded()


def test_quota_that_forbids_the_second_attempt_says_so(own: dict[str, Any], kubectl: Kubectl) -> None:
    """A Job whose failed pod cannot be replaced tells why, in the log and in the failure (R11)."""
    quota = _object("ResourceQuota", "q", own["namespace"], spec={"hard": {"count/pods": "1"}})
    kubectl.apply(quota)
    wait_for(lambda: kubectl.items("resourcequotas", own["namespace"])[0].get("status", {}).get("hard"), "the quota")
    fails: dict[str, Any] = {"script": "raise SystemExit(7)", "termination_grace_period": 1, **own}
    _, run = with_time_to_begin(
        lambda seconds: run_task(timeout=seconds, **fails), lambda run: "is waiting for quota" in str(run.warnings), 25
    )
    (waits,) = [line for line in run.warnings if " is waiting for " in line]
    assert "is waiting for quota q: count/pods 1 of 1 used, 1 asked" in waits
    assert "exceeded quota" in str(run.error)


def test_restricted_namespace_needs_run_as_uid_and_nothing_else(kubectl: Kubectl, kubeconfig: str) -> None:
    """The restricted pod security standard is met but for the user, and the refusal names run_as_uid (R18)."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    with kubectl.namespace(f"t-restricted-{uuid.uuid4().hex[:8]}", labels) as namespace:
        access: dict[str, Any] = {"config_file": kubeconfig, "namespace": namespace}
        _, run = not_started(lambda run: bool(run.warnings), **access)
        assert any("Set run_as_uid." in line for line in run.warnings)
        assert run.result["category"] == "PodSecurity"
        script = "import os, tempfile\nprint(os.getuid(), os.environ['HOME'], tempfile.TemporaryFile().write(b'x'))"
        run = run_task(script=script, run_as_uid=1000, **access).succeeded()
        assert run.result["output"] == "1000 /home/script 1\n"


def test_dropped_capability_is_suspected(shared: dict[str, Any]) -> None:
    """A failure that smells of a dropped capability says so (R18)."""
    run = run_task(script="import os\nos.chown('/etc/passwd', 1, 1)", backoff_limit=0, **shared)
    assert run.headline.endswith("The container may lack a capability: add it in pod_overrides.")


def test_sidecar_that_never_ends(own: dict[str, Any], kubectl: Kubectl) -> None:
    """The script's end is the task's end, and the sidecar does not outlive it (R12)."""
    sidecar = {"name": "proxy", "image": "python:3.11-slim", "command": ["sleep", "3600"]}
    overrides = {"spec": {"containers": [sidecar], "terminationGracePeriodSeconds": 1}}
    run_task(script="print('done')", pod_overrides=overrides, **own).succeeded()
    wait_for(lambda: not kubectl.names("pods", own["namespace"]), "the end of the sidecar")


def test_failure_beside_a_sidecar_is_final(own: dict[str, Any], kubectl: Kubectl) -> None:
    """With a sidecar that goes on, the script's exit code is the outcome and nothing starts again (R12)."""
    sidecar = {"name": "proxy", "image": "python:3.11-slim", "command": ["sleep", "3600"]}
    overrides = {"spec": {"containers": [sidecar], "terminationGracePeriodSeconds": 1}}
    run = run_task(script="raise SystemExit(4)", pod_overrides=overrides, **own)
    assert run.result["exit_code"] == 4
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of Job and pods")


def test_sidecar_without_an_image_does_not_end_the_script(own: dict[str, Any]) -> None:
    """A script that runs is left alone, however long a sidecar's image cannot be pulled (R12)."""
    sidecar = {"name": "proxy", "image": "no-such-image-here", "imagePullPolicy": "Never"}
    script = "import time\ntime.sleep(30)\nprint('[1]')"
    run = run_task(script=script, pod_overrides={"spec": {"containers": [sidecar]}}, backoff_limit=0, **own)
    assert run.succeeded().result["value"] == [1]


def test_failing_init_container_is_named(own: dict[str, Any]) -> None:
    """An init container that fails is named with its exit code, not the script (R22)."""
    prep = {"name": "prep", "image": "python:3.11-slim", "command": ["sh", "-c", "exit 3"]}
    run = run_task(script="print(1)", pod_overrides={"spec": {"initContainers": [prep]}}, backoff_limit=0, **own)
    assert "prep" in run.headline
    assert run.result["category"] == "InitContainerFailed"
    assert "exit code 3" in run.headline


def test_pod_deleted_while_followed(own: dict[str, Any], kubectl: Kubectl) -> None:
    """A deleted pod counts as an attempt; its replacement is followed and both are in the result (R7, R10)."""
    script = """
        import os, time
        is_first = not os.path.exists("/shared/second")
        open("/shared/second", "w").close()
        print("in", os.environ["HOSTNAME"])
        time.sleep(3600 if is_first else 0)
    """
    volume = {"name": "shared", "hostPath": {"path": f"/tmp/{own['namespace']}", "type": "DirectoryOrCreate"}}
    helper = meanwhile(lambda: _delete_the_pod_that_prints(kubectl, own["namespace"]))
    run = run_task(
        script="\n".join(line[8:] for line in script.splitlines()),
        volumes=[volume],
        volume_mounts=[{"name": "shared", "mountPath": "/shared"}],
        node_selector={"kubernetes.io/hostname": "node-1"},
        termination_grace_period=1,
        **own,
    ).succeeded()
    helper.join()
    assert len(run.result["attempts"]) == 2
    assert sum(line.startswith("in script-task-") for line in run.lines) == 2
    assert any("Attempt 2" in line for line in run.lines)


def test_job_deleted_under_the_script(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Somebody deletes the Job: the outcome is unknown, said so, never a success (R9)."""
    helper = meanwhile(lambda: _delete_job_of_running_pod(kubectl, own["namespace"]))
    run = run_task(script=SLEEP, termination_grace_period=1, **own)
    helper.join()
    assert isinstance(run.error, exceptions.OutcomeUnknownError)
    assert "outcome unknown: the Job was deleted" in run.headline
    assert (run.error.category, run.error.reason) == ("JobDeleted", None)


def test_job_deleted_without_its_pod(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Its pod goes on: Airflow starts no second one beside it, and the error says what to do (R9, R10)."""
    namespace = own["namespace"]
    helper = meanwhile(lambda: _delete_job_of_running_pod(kubectl, namespace, "--cascade=orphan"))
    run = run_task(script=SLEEP, termination_grace_period=1, **own)
    helper.join()
    assert isinstance(run.error, AirflowFailException)
    (pod,) = kubectl.names("pods", namespace)
    message = str(run.error)
    name = pod.removeprefix("pod/")
    assert f"the Job was deleted; the script may still run in {name}, so it is not retried" in message
    assert f"kubectl -n {namespace} delete pod {name}" in message


def test_deleted_job_takes_secret_and_script_along(own: dict[str, Any], kubectl: Kubectl) -> None:
    """What a Job owned goes with it when somebody deletes it (R6)."""
    helper = meanwhile(lambda: _delete_job_of_running_pod(kubectl, own["namespace"]))
    run = run_task(script=SLEEP, env={"A": "b"}, termination_grace_period=1, **own)
    helper.join()
    assert isinstance(run.error, exceptions.OutcomeUnknownError)
    ours = ("-l", "app.kubernetes.io/managed-by=airflow-script-provider")
    wait_for(lambda: not kubectl.names("secrets,configmaps", own["namespace"], *ours), "the end of what the Job owned")


def test_finished_job_is_gone_at_once(shared: dict[str, Any]) -> None:
    """With a TTL of 0 the outcome is known all the same (R9)."""
    run = run_task(script="print('quick')", ttl_seconds_after_finished=0, **shared).succeeded()
    assert run.result["output"] == "quick\n"
    run = run_task(script="raise SystemExit(5)", ttl_seconds_after_finished=0, backoff_limit=0, **shared)
    assert run.result["exit_code"] == 5


def test_volume_that_cannot_be_mounted_is_told_once(own: dict[str, Any]) -> None:
    """FailedMount of a missing ConfigMap is in the log once (R15)."""
    _, run = not_started(
        lambda run: "not found" in str(run.warnings),
        volumes=[{"name": "v", "configMap": {"name": "missing"}}],
        volume_mounts=[{"name": "v", "mountPath": "/v"}],
        **own,
    )
    assert len([line for line in run.warnings if 'configmap "missing" not found' in line]) == 1
    assert (run.result["category"], run.result["reason"]) == ("FailedMount", "FailedMount")


def test_missing_secret_key_is_told(own: dict[str, Any]) -> None:
    """A container that cannot be configured says which Secret is missing (R15)."""
    lacks: dict[str, Any] = {"env_from": [{"secretRef": {"name": "missing"}}], **own}
    _, run = not_started(lambda run: "not found" in str(run.warnings), **lacks)
    assert len([line for line in run.warnings if 'secret "missing" not found' in line]) == 1
    assert 'secret "missing" not found' in run.headline
    assert (run.result["category"], run.result["reason"]) == (("CreateContainerConfigError",) * 2)


BESIDE: dict[str, Any] = {"name": "beside", "image": "python:3.11-slim"}
INIT_CONTAINERS = {
    "sidecar": BESIDE | {"command": ["sleep", "3600"], "restartPolicy": "Always"},
    "init container": BESIDE | {"command": ["true"]},
}


@pytest.mark.parametrize("container", INIT_CONTAINERS.values(), ids=INIT_CONTAINERS)
def test_a_container_beside_the_script_is_no_start(own: dict[str, Any], container: dict[str, Any]) -> None:
    """``startup_timeout`` says what the script's own container waits for (R5, R15)."""
    overrides: dict[str, Any] = {"pod_overrides": {"spec": {"initContainers": [container]}}}
    lacks: dict[str, Any] = {"env_from": [{"secretRef": {"name": "missing"}}], "timeout": LONG}
    _, run = not_started(lambda run: "not found" in run.headline, **overrides, **lacks, **own)
    assert "did not start within startup_timeout" in run.headline
    assert 'secret "missing" not found' in run.headline


@pytest.fixture
def registry() -> Any:
    """A registry on this machine that knows no tag, as registries say it."""
    from tests.cluster.registry import empty_registry

    with empty_registry() as address:
        yield address


def _object(kind: str, name: str, namespace: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, **fields}


def _delete_the_pod_that_prints(kubectl: Kubectl, namespace: str) -> None:
    wait_until_logged("in script-task-")
    kubectl("delete", "pod", *kubectl.running_pods(namespace), "-n", namespace, "--wait=false")


def _delete_job_of_running_pod(kubectl: Kubectl, namespace: str, *words: str) -> None:
    kubectl.running_pods(namespace)
    kubectl("delete", "jobs", "--all", "-n", namespace, "--wait=false", *words)


def test_kubectl_line_of_the_log_works(shared: dict[str, Any], kubectl: Kubectl) -> None:
    """The line that says how to look at the Job can be pasted."""
    run = run_task(script="print(1)", **shared).succeeded()
    line = next(line for line in run.lines if "Look at it: " in line)
    command = line.partition("Look at it: ")[2].split()
    done = subprocess.run([PROGRAM, "--kubeconfig", kubectl.kubeconfig, *command[1:]], check=True, capture_output=True)
    assert b"Pods Statuses" in done.stdout
