"""What the log says while a run waits for a node, whether a worker waits or the triggerer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import TaskRun, meanwhile, run_task, wait_until_logged

LIMITS: dict[str, Any] = {"container_resources": {"limits": {"memory": "64Mi"}}}
GATE = "example.com/checked"


def announced(run: TaskRun) -> list[str]:
    """The lines about a wait with its cause."""
    return [line for line in run.succeeded().lines if " is waiting for " in line and not line.endswith("a node")]


def test_a_wait_for_a_quota(own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any]) -> None:
    """The line has the quota's figures; with room the script runs, in either way of waiting (R11, R18)."""
    namespace = own["namespace"]
    kubectl("create", "quota", "compute", "--hard=limits.memory=100Mi", "-n", namespace)
    other = {"name": "other", "image": "python:3.11-slim", "command": ["sleep", "600"]}
    other |= {"resources": LIMITS["container_resources"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other", "namespace": namespace}}
    kubectl.apply(pod | {"spec": {"containers": [other], "terminationGracePeriodSeconds": 0}})

    def make_room() -> None:
        wait_until_logged("is waiting for quota")
        kubectl("delete", "pod", "other", "-n", namespace)

    helper = meanwhile(make_room)
    run = run_task(script="print(1)", schedule_timeout=60, **LIMITS, **own, **waiting)
    helper.join()
    (line,) = announced(run)
    assert "is waiting for quota compute: limits.memory 64Mi of 100Mi used, 64Mi asked. Ask for less" in line


def test_a_wait_for_a_node(own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any]) -> None:
    """The scheduler's reason is announced once, and the script runs when a node fits (R15)."""
    label = own["namespace"]

    def give_a_node() -> None:
        wait_until_logged("is waiting for a node: Unschedulable: ")
        kubectl("label", "node", "node-1", f"{label}=yes")

    helper = meanwhile(give_a_node)
    run = run_task(script="print(1)", schedule_timeout=60, node_selector={label: "yes"}, **own, **waiting)
    helper.join()
    kubectl("label", "node", "node-1", f"{label}-")
    (line,) = announced(run)
    assert "nodes are available: " in line
    assert line.endswith("Check node_selector and affinity.")


@pytest.mark.parametrize("gates", [[GATE], [GATE, "example.com/paid"]], ids=["one gate", "two gates"])
def test_a_wait_for_scheduling_gates(
    own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any], gates: list[str]
) -> None:
    """Gates are announced by their names, until another controller takes them away."""

    def open_the_gates() -> None:
        wait_until_logged("is waiting for scheduling gates: ")
        (pod,) = kubectl.names("pods", own["namespace"])
        kubectl("patch", "pod", pod, "-n", own["namespace"], "-p", '{"spec": {"schedulingGates": null}}')

    helper = meanwhile(open_the_gates)
    overrides = {"spec": {"schedulingGates": [{"name": gate} for gate in gates]}}
    run = run_task(script="print(1)", schedule_timeout=60, pod_overrides=overrides, **own, **waiting)
    helper.join()
    (line,) = announced(run)
    assert line.endswith(f"is waiting for scheduling gates: {', '.join(gates)}")
