"""Kueue admits, suspends, preempts and never admits the Jobs of scripts: the controller itself, not a stand-in."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.result import ScriptResult
from tests.cluster.kubectl import Kubectl
from tests.cluster.queues import ONE_CPU, Queues, is_on_this_machine, kueue_running, queues_of_a_test
from tests.cluster.tasks import TaskRun, meanwhile, run_and_kill, run_task, wait_until_logged
from tests.cluster.test_trigger import Log, a_trigger, event_of, launched, lines
from tests.patience import LONG, wait_for, wait_for_none
from tests.task_runs import a_script_run

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

IN_QUEUE = {"kueue.x-k8s.io/queue-name": "team-a"}
QUEUED: dict[str, Any] = {"labels": IN_QUEUE, "termination_grace_period": 1, **ONE_CPU}
ENDS_WELL = """
import signal, sys, time
def bye(number, frame):
    for i in range(200):
        print("bye", i)
    sys.exit(0)
signal.signal(signal.SIGTERM, bye)
print("working", flush=True)
time.sleep(10)
print("[1]")
"""
PRIORITY = "kueue.x-k8s.io/priority-class"
TIMEOUT = 25
"""Seconds of work: more than a script of twelve seconds needs in two attempts on a busy machine."""


@pytest.fixture(scope="module", autouse=True)
def kueue(kubeconfig: str) -> Iterator[None]:
    """Kueue's controller."""
    if not is_on_this_machine(kubeconfig):
        pytest.skip("Kueue's controller runs on this machine, and this cluster does not")
    with kueue_running(kubeconfig):
        yield


@pytest.fixture
def queues(kubectl: Kubectl) -> Iterator[Queues]:
    """A namespace with a LocalQueue ``team-a`` that has room for one script."""
    with queues_of_a_test(kubectl) as found:
        found.create(preemption={"withinClusterQueue": "LowerPriority"})
        yield found


@pytest.fixture
def namespace(queues: Queues) -> str:
    """The namespace of the queue, in place of one without Kueue."""
    return queues.namespace


def a_job(kubectl: Kubectl, queues: Queues, **labels: str) -> str:
    """A Job of another program that fills the queue; its name, once its pod runs."""
    container: dict[str, Any] = {"name": "main", "image": "python:3.11-slim", "command": ["sleep", str(LONG)]}
    container |= {"resources": {"requests": {"cpu": "1"}}}
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]}
    metadata = {"name": "other", "namespace": queues.namespace, "labels": IN_QUEUE | labels}
    spec = {"template": {"spec": pod}}
    kubectl.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})
    wait_for(lambda: kubectl.items("pods", queues.namespace, "-l", "job-name=other"), "the pod of the other Job")
    return "other"


def run_preempted(kubectl: Kubectl, queues: Queues, seconds: float, **arguments: Any) -> TaskRun:
    """Run a script; once it is working, a Job of a higher priority has its place for so many seconds."""
    low, high = queues.create_priority("low", 1), queues.create_priority("high", 100)

    def take_its_place() -> None:
        wait_until_logged("working")
        other = a_job(kubectl, queues, **{PRIORITY: high})
        time.sleep(seconds)
        kubectl("delete", "job", other, "-n", queues.namespace)

    helper = meanwhile(take_its_place)
    run = run_task(**QUEUED | {"labels": IN_QUEUE | {PRIORITY: low}} | arguments)
    helper.join()
    return run


def test_a_script_is_admitted_and_the_next_one_waits(
    own: dict[str, Any], kubectl: Kubectl, queues: Queues, waiting: dict[str, Any]
) -> None:
    """One cpu is one script's: the second one runs after the first, and says what it waits for (R5, R11)."""
    blocker = a_job(kubectl, queues)

    def look_and_go_on() -> None:
        (why,) = queues.wait_until_waiting()
        seen.append(why)
        wait_until_logged("is waiting in queue")
        kubectl("delete", "job", blocker, "-n", queues.namespace)

    seen: list[str] = []
    helper = meanwhile(look_and_go_on)
    run = run_task(script="print('[1]')", **QUEUED, **own, **waiting)
    helper.join()
    assert run.succeeded().result["value"] == [1]
    assert "insufficient unused quota for cpu" in seen[0]
    (waits,) = [line for line in run.warnings if " is waiting in queue " in line]
    assert "is waiting in queue team-a: 1 cpu short in flavor " in waits
    assert len(run.result["attempts"]) == 1
    assert run.result["disruptions"] == []


async def test_deferred_scripts_take_turns_in_a_queue_of_one_slot(
    own: dict[str, Any], queues: Queues, log: Log, nothing_blocks: None
) -> None:
    """Five wait in one triggerer: each has its result, and no two run at the same time (R5, R11, R21)."""
    script = "import time\ntime.sleep(1)\nprint('{\"n\": %d}')"

    async def result_of(number: int) -> ScriptResult:
        job = await launched(own, script % number, **QUEUED)
        event = await event_of(a_trigger(job, own))
        return (await asyncio.to_thread(a_script_run(own["config_file"]).resume, event)).result

    results = await asyncio.gather(*(result_of(number) for number in range(5)))
    assert [result.value for result in results] == [{"n": number} for number in range(5)]
    assert Counter(lines(log, '{"n"')) == {f'{{"n": {number}}}': 1 for number in range(5)}
    runs = sorted(
        (attempt.started_at or "", attempt.finished_at or "") for result in results for attempt in result.attempts
    )
    assert len(runs) == 5
    assert all(ended <= began for (_, ended), (began, _) in pairwise(runs))


def test_preemption_in_the_middle_of_a_run(
    own: dict[str, Any], kubectl: Kubectl, queues: Queues, waiting: dict[str, Any]
) -> None:
    """A Job of higher priority takes the place for longer than ``timeout``; then the script runs anew (R5, R6, R11)."""
    script = "import time\nprint('working', flush=True)\ntime.sleep(12)\nprint('[1]')"
    run = run_preempted(kubectl, queues, TIMEOUT + 5, script=script, timeout=TIMEOUT, **own, **waiting).succeeded()
    assert run.result["value"] == [1]
    assert run.lines.count("working") == 2
    assert run.result["output"] == "working\n[1]\n"
    assert run.result["execution_time"] > TIMEOUT + 5
    assert (len(run.result["attempts"]), run.result["failed"]) == (2, 0)


def test_a_preempted_script_is_heard_to_its_end(
    own: dict[str, Any], kubectl: Kubectl, queues: Queues, waiting: dict[str, Any]
) -> None:
    """What its handler of SIGTERM prints is logged, and that it ends well then is no success (R20, R27)."""
    arguments = {"script": ENDS_WELL, **own, **waiting} | {"termination_grace_period": 20}
    run = run_preempted(kubectl, queues, 0, **arguments).succeeded()
    assert [line for line in run.lines if line.startswith("bye ")] == [f"bye {i}" for i in range(200)]
    assert run.result["value"] == [1]
    assert run.lines.count("working") == 2


@pytest.mark.xfail(strict=True, reason="a pod that a suspension ends is no disruption yet")
def test_a_preemption_is_a_disruption(own: dict[str, Any], kubectl: Kubectl, queues: Queues) -> None:
    """The result says which pod the queue has ended, and why (R6)."""
    script = "import time\nprint('working', flush=True)\ntime.sleep(6)"
    run = run_preempted(kubectl, queues, 0, script=script, **own).succeeded()
    (disruption,) = run.result["disruptions"]
    assert "Preempted" in disruption


def test_an_admission_is_reported_before_the_script_runs(own: dict[str, Any], queues: Queues) -> None:
    """A Job that is suspended when it is created and admitted at once is not taken for suspended (R11, R29)."""
    run = run_task(script="import time\nprint('working', flush=True)\ntime.sleep(8)", **QUEUED, **own).succeeded()
    (resumed,) = [index for index, line in enumerate(run.lines) if line.endswith(" is resumed")]
    assert resumed < run.lines.index("working")


def test_a_script_that_is_never_admitted(
    own: dict[str, Any], kubectl: Kubectl, queues: Queues, waiting: dict[str, Any]
) -> None:
    """The task fails after ``schedule_timeout`` and leaves nothing in the queue (R3, R5)."""
    queues.stop("Hold")
    run = run_task(script="print(1)", schedule_timeout=8, **QUEUED, **own, **waiting)
    why = "Inadmissible: ClusterQueue"
    assert f"got no node within schedule_timeout of 8 s: the Job is suspended: {why}" in run.headline
    assert any("is waiting in queue team-a: ClusterQueue " in line for line in run.warnings)
    assert run.result["category"] == "ScheduleTimeout"
    wait_for_none(queues.workloads, "the end of the Workload")
    assert kubectl.names("jobs", queues.namespace) == []


def test_a_kill_while_queued_leaves_nothing(own: dict[str, Any], kubectl: Kubectl, queues: Queues) -> None:
    """Job and Workload are gone, and the next script has the queue for itself (R1, R3)."""
    blocker = a_job(kubectl, queues)
    operator = KubernetesScriptOperator(task_id="task", script="print(1)", **QUEUED, **own)
    run = run_and_kill(operator, queues.wait_until_waiting)
    assert isinstance(run.error, exceptions.RunKilledError)
    wait_for(lambda: kubectl.names("jobs", queues.namespace) == [blocker], "the end of the Job")
    wait_for(lambda: len(queues.workloads()) == 1, "the end of its Workload")
