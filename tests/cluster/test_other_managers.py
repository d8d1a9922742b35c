"""A Job that another controller manages, as Kueue's MultiKueue does; the test is that controller."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.kube.job import manifest
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import TaskRun, meanwhile, run_task
from tests.patience import wait_for

MANAGER = "tests.example/other-cluster"
NODE_TIMEOUT = 5


@pytest.fixture
def sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Job is created as by a webhook that sends it to another cluster: the field cannot be set later."""
    ours = manifest.job

    def job(request: Any) -> dict[str, Any]:
        body = ours(request)
        return body | {"spec": body["spec"] | {"managedBy": MANAGER}}

    monkeypatch.setattr(manifest, "job", job)


def now() -> str:
    """The time of day, as the API has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def report(kubectl: Kubectl, namespace: str, *conditions: str, reason: str = "", **status: Any) -> None:
    """Copy a status to the Job, as the controller does."""

    def found() -> str | None:
        return next(iter(kubectl.names("jobs", namespace)), None)

    at = now()
    told = [{"type": kind, "status": "True", "reason": reason, "lastTransitionTime": at} for kind in conditions]
    body = {"status": {**status, "conditions": told}} if told else {"status": status}
    name = wait_for(found, "the Job")
    kubectl("patch", "job", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", json.dumps(body))


def run_there(own: dict[str, Any], *acts: Callable[[], object], **arguments: Any) -> TaskRun:
    """Run a script whose start, and then the given end, the other cluster reports."""

    def play() -> None:
        for act in acts:
            act()

    player = meanwhile(play)
    try:
        return run_task(script="print('hi')", schedule_timeout=NODE_TIMEOUT, **arguments, **own)
    finally:
        player.join()


def test_a_success_in_another_cluster(
    own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any], sent_away: None
) -> None:
    """It is not ended at ``schedule_timeout``, and the log says what its result lacks (R1, R5, R11)."""
    namespace, began = own["namespace"], now()

    def begin() -> None:
        report(kubectl, namespace, startTime=began, active=1, ready=1)
        time.sleep(2 * NODE_TIMEOUT)

    def end() -> None:
        counts: dict[str, Any] = {"startTime": began, "active": 0, "ready": 0, "succeeded": 1}
        report(kubectl, namespace, "SuccessCriteriaMet", **counts)
        report(kubectl, namespace, "SuccessCriteriaMet", "Complete", completionTime=now(), **counts)

    run = run_there(own, begin, end, **waiting).succeeded()
    assert (run.result["status"], run.result["exit_code"], run.result["output"]) == ("completed", None, "")
    assert sum(f"is managed by {MANAGER}" in line for line in run.warnings) == 1
    assert sum("has no exit code, no output and no value" in line for line in run.warnings) == 1
    assert kubectl.names("pods", namespace) == []


def test_a_failure_in_another_cluster(
    own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any], sent_away: None
) -> None:
    """Its first line says where the reason is to be found (R11, R22)."""
    namespace, began = own["namespace"], now()

    def end() -> None:
        counts: dict[str, Any] = {"startTime": began, "active": 0, "failed": 1}
        report(kubectl, namespace, "FailureTarget", reason="BackoffLimitExceeded", terminating=1, **counts)
        time.sleep(2)
        both = ("FailureTarget", "Failed")
        report(kubectl, namespace, *both, reason="BackoffLimitExceeded", terminating=0, **counts)

    run = run_there(own, lambda: report(kubectl, namespace, startTime=began, active=1), end, **waiting)
    assert isinstance(run.error, exceptions.ScriptFailedError)
    assert f"BackoffLimitExceeded; {MANAGER} ran it in another cluster, where its pods and logs are" in run.headline
