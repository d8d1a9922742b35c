"""A node whose kubelet stops: for good, and for a while. Alone on the cluster, because pods of others are there too."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider.kube.job import progress
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import ROTATES_LOGS, meanwhile, run_task, wait_until_logged
from tests.patience import wait_for

pytestmark = [pytest.mark.nightly, pytest.mark.alone]

NODE = ROTATES_LOGS["kubernetes.io/hostname"]
SAYS_IT_RUNS = "import time\nprint('it runs', flush=True)\n"


class Kubelet:
    """The kubelet of a node: a process of this machine."""

    def __init__(self, kubeconfig: str, kubectl: Kubectl) -> None:
        self._pid = int((Path(kubeconfig).parent / "pids" / f"kubelet-{NODE}.pid").read_text().split()[0])
        self._kubectl = kubectl

    def stop(self) -> None:
        """Stop it, as if the node were dead."""
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Go on where it was stopped."""
        os.kill(self._pid, signal.SIGCONT)

    def wait_until_alive(self) -> None:
        """Wait until the node takes pods."""
        wait_for(lambda: not self._taints(), f"{NODE} without a taint")

    def wait_until_dead(self) -> None:
        """Wait until Kubernetes counts the node as dead."""
        wait_for(lambda: "NoExecute" in self._taints(), f"a taint of {NODE}")

    def _taints(self) -> str:
        return self._kubectl("get", "node", NODE, "-o", "jsonpath={.spec.taints[*].effect}")


@pytest.fixture
def kubelet(kubeconfig: str, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubelet]:
    """The kubelet of the node that the scripts run on; minutes of patience would only make the test longer."""
    monkeypatch.setattr(progress, "NODE_PATIENCE", 15.0)
    found = Kubelet(kubeconfig, kubectl)
    try:
        yield found
    finally:
        found.go_on()
        found.wait_until_alive()


def test_a_node_that_dies(own: dict[str, Any], waiting: dict[str, Any], kubelet: Kubelet) -> None:
    """The run ends, its outcome is unknown, no other attempt starts beside it (R6, R15)."""

    def die() -> None:
        wait_until_logged("it runs")
        kubelet.stop()

    helper = meanwhile(die)
    run = run_task(
        script=f"{SAYS_IT_RUNS}time.sleep(600)",
        node_selector=ROTATES_LOGS,
        termination_grace_period=5,
        **own,
        **waiting,
    )
    helper.join()
    assert run.error is not None
    assert f"outcome unknown: node {NODE} does not report the end of its pod (DeletionByTaintManager)" in run.headline
    assert run.result["category"] == "NodeUnreachable"
    assert run.result["reason"] == "DeletionByTaintManager"
    assert len(run.result["attempts"]) == 1
    assert run.lines.count("it runs") == 1


def test_a_node_that_comes_back(own: dict[str, Any], kubelet: Kubelet) -> None:
    """Nothing is lost of a run whose node counted as dead for a moment (R6, R10)."""

    def die_for_a_moment() -> None:
        wait_until_logged("it runs")
        kubelet.stop()
        kubelet.wait_until_dead()
        kubelet.go_on()

    helper = meanwhile(die_for_a_moment)
    script = f"{SAYS_IT_RUNS}for i in range(45):\n    time.sleep(1)\n    print('n', i)\nprint('[7]')"
    run = run_task(script=script, node_selector=ROTATES_LOGS, **own).succeeded()
    helper.join()
    assert run.result["value"] == [7]
    assert [line for line in run.lines if line.startswith("n ")] == [f"n {i}" for i in range(45)]
