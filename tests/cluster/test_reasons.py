"""Why a run failed, where only the pod's status, an event or the script's own output tells it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api.watch import LISTED, Watch
from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.clusters.credentials import open_api
from tests.cluster.accounts import author, written
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import meanwhile, run_task, wait_until_logged
from tests.patience import LONG, wait_for

PYTHON = "python:3.11-slim"
ENDED = "until [ -e /shared/ended ]; do sleep 0.1; done"
SHARED = {"name": "shared", "mountPath": "/shared"}
HANDLES_TERM = f"""#!/bin/bash
echo $$ > /tmp/pid
trap 'exit 0' TERM
echo half
sleep {LONG} & wait
"""


def beside(command: str) -> dict[str, Any]:
    """Arguments for a pod with a helper container, and a folder that both share."""
    helper = {"name": "helper", "image": PYTHON, "command": ["sh", "-c", command], "volumeMounts": [SHARED]}
    return {
        "volumes": [{"name": "shared", "emptyDir": {}}],
        "volume_mounts": [SHARED],
        "pod_overrides": {"spec": {"containers": [helper]}},
    }


@pytest.mark.parametrize("pause", [0, 1], ids=["at_once", "a_second_later"])
def test_a_helper_that_fails_after_the_script_changes_nothing(
    own: dict[str, Any], kubectl: Kubectl, pause: int
) -> None:
    """The script's exit code 0 is the verdict, and it does not run again (R1, R12)."""
    helper = beside(f"{ENDED}; sleep {pause}; exit 143")
    run = run_task(script="open('/shared/ended', 'w')\nprint('[1]')", backoff_limit=3, **helper, **own).succeeded()
    assert run.result["value"] == [1]
    assert [attempt["exit_code"] for attempt in run.result["attempts"]] == [0]
    wait_for(lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of the Job, which would go on")


def test_a_script_that_the_kubelet_stops_is_not_green(own: dict[str, Any], kubectl: Kubectl, waiting: Any) -> None:
    """An eviction for a limit of its own shows in an event alone, where the script ends with 0 on SIGTERM (R1, R36)."""
    helper = meanwhile(lambda: _evict_the_running_pod(kubectl, own["namespace"]))
    run = run_task(script=HANDLES_TERM, **waiting, **own)
    helper.join()
    assert isinstance(run.error, exceptions.OutcomeUnknownError)
    assert "outcome unknown: Evicted: Pod ephemeral local storage usage exceeds" in run.headline
    assert (run.result["exit_code"], run.error.category, run.error.reason) == (0, "StorageLimitExceeded", "Evicted")


@pytest.mark.parametrize("dropped", ["", "events"], ids=["events", "no events"])
def test_a_script_that_ends_with_its_pod_is_not_green(
    own: dict[str, Any], kubectl: Kubectl, kubeconfig: str, tmp_path: Path, dropped: str
) -> None:
    """The Job is Complete, and without the right to list events only the pod's deletion tells (R1, R17)."""

    def delete() -> None:
        wait_until_logged("half")
        (pod,) = kubectl.running_pods(own["namespace"])
        kubectl("delete", "pod", pod, "-n", own["namespace"], "--wait=false")

    config = author(kubectl, own["namespace"], kubeconfig, drop=dropped)
    helper = meanwhile(delete)
    run = run_task(script=HANDLES_TERM, **own | {"config_file": written(config, tmp_path)})
    helper.join()
    assert isinstance(run.error, exceptions.OutcomeUnknownError)
    assert run.headline.startswith(f"Job {own['namespace']}/")
    assert (run.result["exit_code"], run.error.retryable) == (0, True)
    assert run.error.category == "PodDeleted"
    assert f"pod {run.result['pod_name']} was deleted" in run.headline


@pytest.mark.parametrize("handler", ["", "trap '' TERM\n"], ids=["ends", "ignores"])
def test_the_pods_own_deadline_is_the_reason(own: dict[str, Any], handler: str) -> None:
    """Not the signal that ended the script, and no advice about memory (R22)."""
    script = f"#!/bin/bash\n{handler}for i in $(seq {LONG}); do sleep 1; done"
    limits = {"spec": {"activeDeadlineSeconds": 5}}
    run = run_task(script=script, pod_overrides=limits, termination_grace_period=3, backoff_limit=0, **own)
    assert "failed: DeadlineExceeded: Pod was active on the node longer than the specified" in run.headline
    assert "memory" not in run.headline
    assert "Raise activeDeadlineSeconds in pod_overrides." in str(run.error)
    assert (run.result["category"], run.result["reason"]) == (("DeadlineExceeded",) * 2)


def test_a_missing_module_is_in_the_first_line(shared: dict[str, Any], waiting: Any) -> None:
    """The last line of the traceback, and what adds the module; no value of env is in it (R26, R37)."""
    run = run_task(script="import pandas", env={"A": "hunter2"}, backoff_limit=0, **waiting, **shared)
    assert run.headline.endswith(
        "failed: exit code 1: ModuleNotFoundError: No module named 'pandas'. Add it to install_dependencies."
    )
    script = "import os\n__import__(os.environ['A'] + os.environ['A'])"
    run = run_task(script=script, env={"A": "hunter2"}, backoff_limit=0, **waiting, **shared)
    assert "exit code 1: ModuleNotFoundError: No module named '******'." in run.headline
    assert "ModuleNotFoundError" in run.result["error"]


def test_what_the_script_writes_as_its_message_is_in_the_failure(shared: dict[str, Any]) -> None:
    """``/dev/termination-log`` is the author's; nothing was installed, so no installation failed (R37)."""
    script = "#!/bin/sh\necho 'table is locked' > /dev/termination-log; exit 1"
    run = run_task(script=script, backoff_limit=0, **shared)
    assert run.headline.endswith("failed: exit code 1: table is locked.")
    script = "#!/bin/sh\nprintf 'airflow-script: could not install packages: curl' > /dev/termination-log; exit 97"
    run = run_task(script=script, backoff_limit=0, **shared)
    assert "exit code 97: airflow-script: could not install packages: curl" in run.headline
    assert run.result["reason"] == "Error"


def test_a_start_that_fails_for_another_reason_has_its_attempts(own: dict[str, Any]) -> None:
    """A working directory that cannot be entered is not a missing interpreter (R7, R22)."""
    container = {"name": "script", "workingDir": "/etc/passwd"}
    overrides = {"spec": {"containers": [container]}}
    run = run_task(script="print(1)", pod_overrides=overrides, backoff_limit=1, **own)
    assert 'container "script" could not start' in run.headline
    assert run.result["category"] == "StartError"
    assert "/etc/passwd" in run.headline
    assert len(run.result["attempts"]) == 2


def test_a_registry_without_a_name_is_told_in_the_first_line(own: dict[str, Any]) -> None:
    """The pause between two pulls has the reason of the pull before (R15)."""
    run = run_task(script="print(1)", image="no-such-registry.invalid/app:1", startup_timeout=40, **own)
    assert "did not start within startup_timeout of 40 s: " in run.headline
    assert "lookup no-such-registry.invalid" in run.headline


def test_a_killed_child_is_not_the_script(shared: dict[str, Any]) -> None:
    """The script ends as it likes; with cgroup v1 its container is called OOMKilled (R22)."""
    child = "python3 -c 'bytearray(300_000_000)'"
    arguments: dict[str, Any] = {"container_resources": {"limits": {"memory": "64Mi"}}, "backoff_limit": 0, **shared}
    run = run_task(script=f"#!/bin/sh\n{child}\nexit 7", **arguments)
    assert run.result["exit_code"] == 7
    assert "exit code 7" in run.headline
    assert "was OOMKilled" not in run.headline
    assert run.result["category"] in ("ChildOOMKilled", "Error")  # cgroup v2 tells only the kernel
    run = run_task(script=f"#!/bin/sh\n{child}\nexit 0", **arguments).succeeded()
    assert [attempt["reason"] for attempt in run.result["attempts"]] == ["Completed"]


@pytest.fixture
def policy(kubectl: Kubectl, namespace: str) -> Iterator[str]:
    """A policy that denies pods whose variables come from a Secret; its name."""
    no_secrets = "object.spec.containers.all(c, !has(c.env) || c.env.all(e, !has(e.valueFrom)))"
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    rule = {"matchConstraints": {"resourceRules": [pods]}, "failurePolicy": "Fail"}
    denial = {"validations": [{"expression": no_secrets, "message": "mount secrets as files"}]}
    binding = {"policyName": namespace, "validationActions": ["Deny"], "matchResources": here}
    kinds = {"ValidatingAdmissionPolicy": rule | denial, "ValidatingAdmissionPolicyBinding": binding}
    of = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": namespace}}
    kubectl.apply(*({**of, "kind": kind, "spec": spec} for kind, spec in kinds.items()))
    try:
        yield namespace
    finally:
        for kind in kinds:
            kubectl("delete", kind, namespace, "--wait=false", check=False)


def test_a_policy_that_denies_the_pod_is_told_at_once(own: dict[str, Any], policy: str, kubectl: Kubectl) -> None:
    """Its words are in the first line, without advice about time, long before schedule_timeout (R11, R18)."""
    wait_for(lambda: not kubectl("create", "-f", "-", "--dry-run=server", stdin=_a_pod_in(policy), check=False), "it")
    run = run_task(script="print(1)", args={"a": 1}, schedule_timeout=LONG, timeout=LONG, **own)
    assert f"ValidatingAdmissionPolicy {policy} denied its pod: mount secrets as files" in run.headline
    assert "_timeout" not in run.headline
    assert (run.result["category"], run.result["reason"]) == ("AdmissionDenied", "FailedCreate")
    wait_for(lambda: not kubectl.names("jobs", policy), "the end of the Job")


def test_a_folder_of_another_user_has_a_hint(shared: dict[str, Any]) -> None:
    """Root without DAC_OVERRIDE may not write everywhere (R18)."""
    prepare = {
        "name": "prepare",
        "image": PYTHON,
        "command": ["sh", "-c", "mkdir -m 0700 /shared/theirs"],
        "securityContext": {"runAsUser": 1000},
        "volumeMounts": [SHARED],
    }
    run = run_task(
        script="open('/shared/theirs/x', 'w')",
        volumes=[{"name": "shared", "emptyDir": {}}],
        volume_mounts=[SHARED],
        pod_overrides={"spec": {"initContainers": [prepare]}},
        backoff_limit=0,
        **shared,
    )
    assert "PermissionError: [Errno 13] Permission denied" in run.headline
    assert "set run_as_uid, or add the capability DAC_OVERRIDE" in str(run.error)


async def test_a_list_brings_the_oldest_first(kubectl: Kubectl, kubeconfig: str, namespace: str) -> None:
    """The API server lists by name, and a Job's attempts have random ones (R7)."""
    for name in ("zz", "aa"):
        kubectl("create", "configmap", name, "-n", namespace)
        time.sleep(1.1)  # a time of creation has whole seconds
    found = []
    async with open_api(ClusterAccess(config_file=kubeconfig)) as api:
        async for change in Watch(api, "configmaps", namespace, {}, lists_first=True).changes():
            if change is LISTED:
                break
            found.append(change.object["metadata"]["name"])
    assert [name for name in found if name in ("zz", "aa")] == ["zz", "aa"]


def _evict_the_running_pod(kubectl: Kubectl, namespace: str) -> None:
    """Do as a kubelet does that finds too much on a pod's disk: the embedded one evicts no pods itself."""
    (pod,) = kubectl.running_pods(namespace)
    wait_for(lambda: "half" in kubectl("logs", pod, "-n", namespace, "-c", "script", check=False), "the handler")
    time.sleep(2)  # shorter scripts are not looked at
    uid = kubectl.items("pods", namespace)[0]["metadata"]["uid"]
    message = "Pod ephemeral local storage usage exceeds the total limit of containers 50Mi."
    concerned = {"kind": "Pod", "name": pod, "namespace": namespace, "uid": uid}
    facts = {"involvedObject": concerned, "reason": "Evicted", "message": message, "type": "Warning"}
    kubectl.apply({"apiVersion": "v1", "kind": "Event", "metadata": {"name": pod, "namespace": namespace}} | facts)
    kubectl("exec", pod, "-n", namespace, "-c", "script", "--", "sh", "-c", "kill $(cat /tmp/pid)")


def _a_pod_in(namespace: str) -> str:
    """A pod with a variable from a Secret."""
    variable = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    container = {"name": "probe", "image": PYTHON, "env": [variable]}
    metadata = {"name": "probe", "namespace": namespace}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}})
