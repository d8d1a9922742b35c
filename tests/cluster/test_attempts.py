"""Attempts are Kubernetes': retried by backoff, replaced after an eviction, ended by exit codes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from airflow_script_provider._airflow import AirflowFailException, AirflowSkipException
from airflow_script_provider.kube.job import progress
from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import FakeTaskInstance, meanwhile, run_operator, run_task, wait_until_logged
from tests.patience import LONG, PATIENCE, wait_for

FAILS_ONCE = """
import os, sys
mark = "/shared/mark"
print("attempt in", os.environ["HOSTNAME"])
if not os.path.exists(mark):
    open(f"/shared/first-{os.environ['HOSTNAME']}", "w").close()
    open(mark, "w").close()
    sys.exit(1)
print("well done")
"""
STAYS_IN_THE_SECOND_POD = "until [ -e /shared/mark ]; do sleep 0.1; done; [ -e /shared/first-$HOSTNAME ] || sleep 600"
FAILS_AFTER_A_SUSPENSION = """
import os, sys, time
number = len(os.listdir("/shared"))
open(f"/shared/{number}", "w").close()
print("run", number)
time.sleep(3600 if number == 0 else 0)
sys.exit(1 if number == 1 else 0)
"""


def _shared_folder(namespace: str) -> dict[str, Any]:
    """A folder that the pods of a Job share, on one node."""
    source = {"path": f"/tmp/{namespace}", "type": "DirectoryOrCreate"}
    return {
        "volumes": [{"name": "shared", "hostPath": source}],
        "volume_mounts": [{"name": "shared", "mountPath": "/shared"}],
        "node_selector": {"kubernetes.io/hostname": "node-1"},
    }


def test_second_attempt_succeeds(own: dict[str, Any]) -> None:
    """Fails once, succeeds on attempt 2: success, both logs, both attempts in the result (R7)."""
    run = run_task(script=FAILS_ONCE, **_shared_folder(own["namespace"]), **own).succeeded()
    assert [attempt["exit_code"] for attempt in run.result["attempts"]] == [1, 0]
    assert (run.result["succeeded"], run.result["failed"]) == (1, 1)
    assert sum(line.startswith("attempt in script-task-") for line in run.lines) == 2
    assert any(line.startswith("Attempt 2: Pod ") for line in run.lines)
    assert "well done" in run.result["output"]


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_success_beside_a_helper_after_a_failure(own: dict[str, Any], kubectl: Kubectl, deferrable: bool) -> None:
    """The limit that lets no attempt follow does not end the pod whose log is still to be read (R7, R12, R21)."""
    folder = _shared_folder(own["namespace"])
    helper = {"name": "helper", "image": "python:3.11-slim", "command": ["sh", "-c", STAYS_IN_THE_SECOND_POD]}
    overrides = {"spec": {"containers": [helper | {"volumeMounts": folder["volume_mounts"]}]}}
    settings: dict[str, Any] = {"pod_overrides": overrides, "deferrable": deferrable}
    run = run_task(script=FAILS_ONCE + "print('[1]')", **settings, **folder, **own).succeeded()
    assert (run.result["value"], [one["exit_code"] for one in run.result["attempts"]]) == ([1], [1, 0])
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of the Job and of its helper")


def test_no_attempt_beyond_the_limit(own: dict[str, Any], kubectl: Kubectl) -> None:
    """backoff_limit=1 makes two attempts, and the failure counts them (R7)."""
    run = run_task(script="raise SystemExit(9)", backoff_limit=1, **own)
    assert [attempt["exit_code"] for attempt in run.result["attempts"]] == [9, 9]
    assert "(2 attempts)" in run.headline
    assert len(kubectl.names("pods", own["namespace"])) == 2


def test_evicted_pod_is_no_attempt(own: dict[str, Any], kubectl: Kubectl) -> None:
    """An eviction is not counted: with backoff_limit=0 the replacement runs to the end (R7)."""
    script = FAILS_ONCE.replace("sys.exit(1)", "print('marked'); import time; time.sleep(3600)")
    helper = meanwhile(lambda: _evict_running_pod(kubectl, own["namespace"]))
    run = run_task(
        script=script, backoff_limit=0, termination_grace_period=1, **_shared_folder(own["namespace"]), **own
    )
    helper.join()
    assert run.succeeded().result["attempts"][-1]["exit_code"] == 0
    assert run.result["failed"] == 0
    (disruption,) = run.result["disruptions"]
    assert " on node-1: EvictionByEvictionAPI: " in disruption
    assert [line for line in run.warnings if "EvictionByEvictionAPI" in line] == [
        f"Pod {disruption.replace(' on ', ' is being deleted on ')}"
    ]


def test_evictions_have_an_end(
    own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that ends every pod does not start the script for ever; the Job is deleted (R7, R10)."""
    monkeypatch.setattr(progress, "MAX_DISRUPTIONS", 1)
    script = f"import time\nprint('marked')\ntime.sleep({LONG})"

    def evict_twice() -> None:
        (first,) = _evict_running_pod(kubectl, own["namespace"])
        wait_for(lambda: first not in kubectl.names("pods", own["namespace"]), "the end of the first pod")
        _evict_running_pod(kubectl, own["namespace"])

    helper = meanwhile(evict_twice)
    run = run_task(script=script, backoff_limit=0, termination_grace_period=1, timeout=LONG, **waiting, **own)
    helper.join()
    assert "failed: the cluster ended 2 of its pods, at last " in run.headline
    assert (run.result["category"], run.result["reason"]) == (("EvictionByEvictionAPI",) * 2)
    assert len(run.result["disruptions"]) == 2
    assert run.result["disruptions"][-1] in str(run.error)
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of Job and pods")


def test_suspension_is_no_attempt(own: dict[str, Any], kubectl: Kubectl) -> None:
    """A suspended Job's pod is not counted: after it backoff_limit=1 allows a failure and a success (R7)."""
    helper = meanwhile(lambda: _suspend_for_a_while(kubectl, own["namespace"]))
    folder = _shared_folder(own["namespace"])
    run = run_task(script=FAILS_AFTER_A_SUSPENSION, backoff_limit=1, termination_grace_period=1, **folder, **own)
    helper.join()
    run.succeeded()
    assert [line for line in run.lines if line.startswith("run ")] == ["run 0", "run 1", "run 2"]
    assert run.result["attempts"][-1]["exit_code"] == 0


def test_fail_on_exit_code_ends_it(own: dict[str, Any], kubectl: Kubectl) -> None:
    """fail_on_exit_code leaves neither Kubernetes nor Airflow another try (R7)."""
    run = run_task(script="raise SystemExit(42)", fail_on_exit_code=[42], **own)
    assert isinstance(run.error, AirflowFailException)
    assert len(run.result["attempts"]) == 1
    wait_for(lambda: _condition(kubectl, own["namespace"]) == "PodFailurePolicy", "the Job's own verdict")


def test_skip_on_exit_code_skips_and_pushes(shared: dict[str, Any]) -> None:
    """skip_on_exit_code skips the task at once, with its result in XCom."""
    run = run_task(script="print('[1]')\nraise SystemExit(99)", skip_on_exit_code=99, **shared)
    assert isinstance(run.error, AirflowSkipException)
    assert run.result["exit_code"] == 99
    assert run.xcoms["value"] == [1]


def test_launching_twice_in_one_try_makes_two_jobs(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Two runs of one task instance and try are two launches; a new try is another one (R2)."""
    ti = FakeTaskInstance()
    for _ in range(2):
        run_task(script="print(1)", ti=ti, **own).succeeded()
    run_task(script="print(1)", ti=FakeTaskInstance(try_number=2), **own).succeeded()
    jobs = kubectl.items("jobs", own["namespace"])
    assert len({job["metadata"]["name"] for job in jobs}) == 3
    assert len({job["metadata"]["labels"]["airflow-script-provider/task-instance"] for job in jobs}) == 1


def test_names_of_long_ids(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Ids of 250 characters with dots, capitals and unicode give legal, findable names (R28)."""
    ti = FakeTaskInstance(dag_id="Dağ." + "d" * 246, task_id="Group.Täsk_" + "t" * 239, map_index=1000)
    run_task(script="print(1)", ti=ti, task_id="task", **own).succeeded()
    job = kubectl.items("jobs", own["namespace"])[0]["metadata"]
    assert len(job["name"]) <= 63
    assert job["annotations"]["airflow-script-provider/dag-id"] == ti.dag_id
    assert job["annotations"]["airflow-script-provider/map-index"] == "1000"
    selector = f"airflow-script-provider/task-instance={job['labels']['airflow-script-provider/task-instance']}"
    assert kubectl.names("jobs", own["namespace"], "-l", selector) == [job["name"]]


def _evict_running_pod(kubectl: Kubectl, namespace: str) -> list[str]:
    wait_until_logged("marked")
    (pod,) = pods = kubectl.running_pods(namespace)
    kubectl.evict(pod, namespace)
    return list(pods)


def _suspend_for_a_while(kubectl: Kubectl, namespace: str) -> None:
    wait_until_logged("run 0")
    job = kubectl.names("jobs", namespace)[0]
    kubectl("patch", "job", job, "-n", namespace, "-p", '{"spec": {"suspend": true}}')
    wait_for(lambda: not kubectl.names("pods", namespace), "the suspension")
    wait_until_logged("is suspended")
    kubectl("patch", "job", job, "-n", namespace, "-p", '{"spec": {"suspend": false}}')


def _condition(kubectl: Kubectl, namespace: str) -> str:
    conditions = kubectl.items("jobs", namespace)[0].get("status", {}).get("conditions") or [{}]
    return str(conditions[-1].get("reason"))


_REPLACED_AFTER = 15.0
"""Seconds in which Kubernetes replaces a pod that was disrupted: it takes ten."""
STOPS_SLOWLY = "trap 'sleep 20; exit 0' TERM; while true; do sleep 0.1; done"


def test_the_pod_of_a_success_stays(own: dict[str, Any], kubectl: Kubectl) -> None:
    """kubectl shows it and its log until the Job's TTL, although the task ends before Kubernetes counts it (R9)."""
    run_task(script="print('loaded')", **own).succeeded()
    (job,) = kubectl.names("jobs", own["namespace"])
    kubectl("wait", f"job/{job}", "-n", own["namespace"], "--for=condition=complete", f"--timeout={PATIENCE:g}s")
    (pod,) = kubectl.items("pods", own["namespace"])
    assert "deletionTimestamp" not in pod["metadata"]
    assert kubectl("logs", pod["metadata"]["name"], "-n", own["namespace"]) == "loaded\n"


def test_a_success_is_not_repeated_while_a_sidecar_is_stopped(own: dict[str, Any], kubectl: Kubectl) -> None:
    """If the node dies meanwhile, Kubernetes does not replace the pod of a task that is over (R2, R7).

    The pod's status is what the pod garbage collector writes after a node was lost.
    """
    sidecar = {"name": "beside", "image": "python:3.11-slim", "command": ["sh", "-c", STOPS_SLOWLY]}
    overrides = {"spec": {"initContainers": [sidecar | {"restartPolicy": "Always"}]}}
    run_task(script="print('loaded')", pod_overrides=overrides, **own).succeeded()
    (pod,) = kubectl.names("pods", own["namespace"])
    lost = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}
    status = json.dumps({"status": {"phase": "Failed", "conditions": [lost]}})
    kubectl("patch", "pod", pod, "-n", own["namespace"], "--subresource=status", "-p", status)
    kubectl("delete", "pod", pod, "-n", own["namespace"], "--wait=false")

    def is_settled() -> bool:
        (job,) = kubectl.items("jobs", own["namespace"])
        counts = job["status"]
        return not (counts.get("active") or counts.get("terminating") or kubectl.names("pods", own["namespace"]))

    wait_for(is_settled, "the end of all pods")
    time.sleep(_REPLACED_AFTER)
    starts = ("--field-selector", "reason=SuccessfulCreate,involvedObject.kind=Job")
    assert len(kubectl.names("events", own["namespace"], *starts)) == 1


class ResumedInVain(KubernetesScriptOperator):
    """An operator whose worker is lost as soon as it resumes the task."""

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Nothing is done."""
        raise MemoryError("the worker is lost")


@pytest.mark.parametrize("exit_code", [0, 4])
def test_an_end_beside_a_sidecar_outlives_its_pod_and_its_worker(
    exit_code: int, own: dict[str, Any], kubectl: Kubectl
) -> None:
    """The trigger has seen it: the next try takes value or code from the Job, and no other pod starts (R1, R2, R7)."""
    sidecar = {"name": "proxy", "image": "python:3.11-slim", "command": ["sleep", "3600"]}
    script = f"import time\ntime.sleep(4)\nprint(list(range(20_000)))\nraise SystemExit({exit_code})"
    arguments: dict[str, Any] = {
        "script": script,
        "pod_overrides": {"spec": {"containers": [sidecar]}},
        "fail_on_exit_code": 4,
    }
    arguments |= {"deferrable": True, "defer_after": 0, "termination_grace_period": 1, "max_output_bytes": 10} | own
    lost = run_operator(ResumedInVain(task_id="task", **arguments), ti=FakeTaskInstance(max_tries=2))
    assert isinstance(lost.error, MemoryError)
    wait_for(lambda: not kubectl.names("pods", own["namespace"]), "the end of the pod")
    time.sleep(_REPLACED_AFTER)
    run = run_task(ti=FakeTaskInstance(try_number=2, max_tries=2), **arguments)
    if exit_code:
        assert "exit code 4" in run.headline
    else:
        assert run.succeeded().xcoms["value"] == [*range(20_000)]
    starts = ("--field-selector", "reason=SuccessfulCreate,involvedObject.kind=Job")
    assert len(kubectl.names("events", own["namespace"], *starts)) == 1
    wait_for(lambda: not kubectl.names("jobs", own["namespace"]), "the end of the Job")
