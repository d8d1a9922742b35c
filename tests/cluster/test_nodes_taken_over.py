"""Scripts on nodes whose worker or triggerer is lost, that a user ends, or whose node is lost: nothing twice."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_script_provider import exceptions
from airflow_script_provider.clusters.access import ClusterRef
from airflow_script_provider.hooks.node import NodesDeferral
from airflow_script_provider.result import NodesResult
from airflow_script_provider.triggers import _base as trigger_base
from airflow_script_provider.triggers.node import NodeScriptTrigger
from tests.cluster import accounts
from tests.cluster.dying import run_doomed_task
from tests.cluster.kubectl import Kubectl
from tests.cluster.node_tasks import BOTH, SAYS_WHERE, SLEEPS, an_operator, owners, run_nodes
from tests.cluster.tasks import FakeTaskInstance, TaskRun, meanwhile
from tests.cluster.test_trigger import Log, event_of, lines, logged
from tests.patience import LONG, PATIENCE, wait_for, with_time_to_begin
from tests.state_store import StateStore
from tests.task_runs import a_nodes_run

CLUSTER_ROLE = Path(__file__).parents[2] / "docs" / "reference" / "rbac" / "nodes.yaml"
COUNTS = "import time\nfor i in range(12):\n    print('n', i, flush=True)\n    time.sleep(0.25)\n"


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """The HTTP client, whose import takes seconds that would count as the first task's."""
    importlib.import_module("aiohttp")


async def deferred(where: dict[str, Any], seconds_left: float | None = None, **arguments: Any) -> NodeScriptTrigger:
    """The trigger of an operator that has deferred, as it comes out of the database."""
    run = a_nodes_run(where["config_file"])
    call = an_operator(**arguments, **where).node_arguments()
    launched = await asyncio.to_thread(run.outcome_or_deferral, call, seconds_left=seconds_left)
    assert isinstance(launched, NodesDeferral)
    given = {"job": launched.job.to_dict(), "server": launched.server, "config_file": where["config_file"]}
    return again(NodeScriptTrigger(**given, kubernetes_conn_id=None))


def again(trigger: NodeScriptTrigger) -> NodeScriptTrigger:
    """The same trigger in another triggerer."""
    path, arguments = trigger.serialize()
    assert path == "airflow_script_provider.triggers.node.NodeScriptTrigger"
    return NodeScriptTrigger(**json.loads(json.dumps(arguments)))


async def outcome_of(event: dict[str, Any], where: dict[str, Any]) -> NodesResult:
    """What the worker makes of a trigger's event."""
    return await asyncio.to_thread(a_nodes_run(where["config_file"]).resume, event)


@asynccontextmanager
async def running(trigger: NodeScriptTrigger, *, ends: bool = True) -> AsyncIterator[None]:
    """The trigger at work, until the block cancels it: as a triggerer's end does, else as a kill."""
    task = asyncio.create_task(event_of(trigger))
    try:
        yield
    finally:
        task.cancel(*(() if ends else ("a user acted",)))
        await asyncio.wait({task})


async def test_the_row_is_small(shared: dict[str, Any], nothing_blocks: None) -> None:
    """Its arguments are names and bounds: no script, no value, no list of nodes (R16, R26)."""
    trigger = await deferred(shared, script="print('secret script')", env={"KEY": "hunter2"})
    row = json.dumps(trigger.serialize())
    assert "node-1" not in row
    assert "hunter2" not in row
    assert "secret script" not in row
    assert len(row) < 1500
    assert (await outcome_of(await event_of(trigger), shared)).is_success


async def test_a_triggerer_ends_and_the_next_goes_on(own: dict[str, Any], kubectl: Kubectl, log: Log) -> None:
    """Runs that went on meanwhile are followed, those to come are started, none is started twice (R4)."""
    script = f"{SAYS_WHERE}\nimport time\ntime.sleep(2)"
    first = await deferred(own, script=script, runs=2, max_parallel=1, history_limit=2)
    async with running(first):
        await logged(log, "on node-1", 2)
    outcome = await outcome_of(await event_of(again(first)), own)
    assert outcome.is_success
    assert [len(node["runs"]) for node in outcome.nodes.values()] == [2, 2]
    pods = await asyncio.to_thread(kubectl.names, "pods", own["namespace"])
    assert len(pods) == 4


async def test_live_lines_go_on_where_they_stopped(shared: dict[str, Any], log: Log) -> None:
    """The position is saved with the run's Job, so each line is there once (R19)."""
    first = await deferred(shared, script=COUNTS, nodes=["node-1"])
    async with running(first):
        await logged(log, "n ", 4)
    outcome = await outcome_of(await event_of(again(first)), shared)
    assert lines(log, "n ") == [f"n {i}" for i in range(12)]
    assert outcome.nodes["node-1"]["runs"][0]["output"] == "".join(f"n {i}\n" for i in range(12))


async def test_the_worker_goes_on_where_no_triggerer_can(shared: dict[str, Any]) -> None:
    """A triggerer without the kubeconfig gives everything back (R16)."""
    trigger = await deferred(shared, script=SAYS_WHERE)
    trigger.cluster = ClusterRef(None, config_file="/nowhere/kubeconfig")
    event = await event_of(again(trigger))
    assert "/nowhere/kubeconfig does not exist" in event["reason"]
    assert (await outcome_of(event, shared)).succeeded == 2


async def test_an_owner_that_was_deleted(shared: dict[str, Any], kubectl: Kubectl) -> None:
    """What became of the runs is unknown, and nothing is started again (R9)."""
    trigger = await deferred(shared, **SLEEPS)
    async with running(trigger, ends=False):
        pass
    name = trigger.job["ref"]["name"]
    await asyncio.to_thread(kubectl, "delete", "job", name, "-n", shared["namespace"])
    event = await event_of(again(trigger))
    with pytest.raises(exceptions.NodesFailedError, match="was deleted: their outcome is unknown"):
        await outcome_of(event, shared)


@pytest.mark.parametrize(("state", "stays"), [("failed", False), ("deferred", True)])
async def test_a_user_acts_or_does_not(
    own: dict[str, Any], kubectl: Kubectl, log: Log, monkeypatch: pytest.MonkeyPatch, state: str, stays: bool
) -> None:
    """A kill while deferred removes every node's Job; another triggerer's taking over does not (R3)."""

    async def answer(trigger: NodeScriptTrigger) -> str:
        return state

    monkeypatch.setattr(trigger_base.JobTrigger, "_state_of_task", answer)
    trigger = await deferred(own, **SLEEPS, max_parallel=1)
    async with running(trigger, ends=False):
        await logged(log, "begun", 1)
    await trigger.on_kill()
    await trigger.cleanup()

    def is_as_expected() -> bool:
        return bool(kubectl.names("jobs,pods", own["namespace"])) == stays

    await asyncio.to_thread(wait_for, is_as_expected, "the right end")


async def when_its_time_ends(
    where: dict[str, Any], has_begun: Callable[[NodesResult], bool], seconds: float, **arguments: Any
) -> NodesResult:
    """The outcome at the end of the task's own time: the first one, of ever longer ones, that left time to begin."""
    while seconds < PATIENCE:
        outcome = await outcome_of(await event_of(await deferred(where, seconds, **arguments)), where)
        if has_begun(outcome):
            return outcome
        seconds *= 3
    raise AssertionError(f"nothing has begun in time: {outcome}")


async def test_the_tasks_time_bounds_all_runs(own: dict[str, Any], kubectl: Kubectl) -> None:
    """``execution_timeout`` while deferred: runs end by themselves, no other is started, nothing is left (R5)."""

    def both_were_started(outcome: NodesResult) -> bool:
        return "not started" not in str(outcome.error)

    outcome = await when_its_time_ends(own, both_were_started, 12, **SLEEPS, runs=3)
    assert outcome.error == "2 of 2 nodes failed: node-1 (DeadlineExceeded), node-2 (DeadlineExceeded)"
    await asyncio.to_thread(wait_for, lambda: not kubectl.names("jobs,pods", own["namespace"]), "the end of all")


async def test_the_tasks_time_ends_between_two_runs(own: dict[str, Any]) -> None:
    """It is no success that only the first run went well, and no pause is waited for any more (R1, R5)."""

    def both_have_run(outcome: NodesResult) -> bool:
        return all(node["runs"] and node["runs"][0]["status"] == "completed" for node in outcome.nodes.values())

    outcome = await when_its_time_ends(own, both_have_run, 20, script=SAYS_WHERE, runs=2, interval=LONG)
    why = "1 of 2 runs, the others not started (execution_timeout)"
    assert outcome.error == f"2 of 2 nodes failed: node-1 ({why}), node-2 ({why})"
    assert outcome.nodes["node-1"]["runs"][0]["status"] == "completed"


async def test_a_job_that_is_deleted_before_its_outcome_is_read(own: dict[str, Any], kubectl: Kubectl) -> None:
    """By a cleaner of finished Jobs, before a worker resumes: the run is not repeated, its outcome is unknown (R9)."""
    event = await event_of(await deferred(own, script=SAYS_WHERE))
    selector = "airflow-script-provider/node=node-1"
    await asyncio.to_thread(kubectl, "delete", "job", "-n", own["namespace"], "-l", selector)
    outcome = await outcome_of(event, own)
    assert outcome.error == "0 of 2 nodes failed; 1 of unknown outcome (their Jobs were deleted)"
    assert await asyncio.to_thread(kubectl.names, "jobs", own["namespace"], "-l", selector) == []


@pytest.mark.parametrize("last_call", ["create jobs", "create configmaps", "patch jobs"])
def test_a_retry_takes_over_what_a_lost_worker_began(own: dict[str, Any], kubectl: Kubectl, last_call: str) -> None:
    """Lost after the owner's creation, before the first run, after the first outcome: two pods in all (R2, R6)."""
    arguments = {"script": SAYS_WHERE, "max_parallel": 1} | own
    run_doomed_task(last_call, {"max_tries": 1}, run=run_nodes, **arguments)
    run = run_nodes(ti=FakeTaskInstance(max_tries=1, try_number=2), **arguments).succeeded()
    assert run.xcoms["value"] == {name: {"node": name, "run": 0} for name in BOTH["nodes"]}
    assert [line for line in run.lines if "whose worker was lost" in line]
    assert len(kubectl.names("pods", own["namespace"])) == 2
    assert len(owners(kubectl, own["namespace"])) == 1


def test_nothing_of_another_task_instance_of_the_same_ids_counts(own: dict[str, Any], kubectl: Kubectl) -> None:
    """What another deployment's run did is not done for ours, and its owner stays as it is (R33)."""
    arguments = {"script": SAYS_WHERE, "max_parallel": 1} | own
    theirs = {"id": "theirs", "store": StateStore(), "max_tries": 1}
    run_doomed_task("patch jobs", theirs, run=run_nodes, **arguments)
    before = owners(kubectl, own["namespace"])[0]
    ours = FakeTaskInstance(max_tries=1, try_number=2, store=StateStore("ours"))
    run = run_nodes(ti=ours, **arguments).succeeded()
    assert run.xcoms["value"] == {name: {"node": name, "run": 0} for name in BOTH["nodes"]}
    assert len(kubectl.names("pods", own["namespace"])) == 3
    after = {owner["metadata"]["uid"]: owner for owner in owners(kubectl, own["namespace"])}
    assert len(after) == 2
    left = after[before["metadata"]["uid"]]
    assert (left["metadata"]["annotations"], left["spec"]) == (before["metadata"]["annotations"], before["spec"])


class TestRights:
    """What an account may do."""

    def test_the_role_and_named_nodes(self, own: dict[str, Any], kubectl: Kubectl, tmp_path: Path) -> None:
        """Without a cluster-wide right: by name it works, by label the error says so and offers that (R17)."""
        config = accounts.author(kubectl, own["namespace"], own["config_file"])
        where = own | {"config_file": accounts.written(config, tmp_path)}
        run_nodes(script=SAYS_WHERE, **where).succeeded()
        run = run_nodes(script=SAYS_WHERE, node_selector="kubernetes.io/os=linux", **where)
        assert isinstance(run.error, exceptions.ApiForbiddenError)
        assert 'nodes=["a", "b"] needs none' in str(run.error)

    def test_the_cluster_role(self, own: dict[str, Any], kubectl: Kubectl, tmp_path: Path) -> None:
        """The documented ClusterRole and Role, and nothing else: a label selects (R17)."""
        role = yaml.safe_load(CLUSTER_ROLE.read_text())
        role["metadata"]["name"] = binding = f"nodes-{own['namespace']}"
        kubectl.apply(role)
        config = accounts.author(kubectl, own["namespace"], own["config_file"])
        account = f"--serviceaccount={own['namespace']}:author"
        kubectl("create", "clusterrolebinding", binding, f"--clusterrole={binding}", account)
        where = own | {"config_file": accounts.written(config, tmp_path)}
        try:
            run = run_nodes(script=SAYS_WHERE, node_selector="kubernetes.io/hostname=node-1", **where)
        finally:
            kubectl("delete", "clusterrolebinding,clusterrole", binding)
        assert run.succeeded().result["succeeded"] == 1

    def test_without_the_right_to_patch(self, own: dict[str, Any], kubectl: Kubectl, tmp_path: Path) -> None:
        """Outcomes cannot be written: a worker waits, and the Jobs go at the end (R17)."""
        config = accounts.author(kubectl, own["namespace"], own["config_file"], drop_verb=("jobs", "patch"))
        where = own | {"config_file": accounts.written(config, tmp_path)}
        run = run_nodes(script=SAYS_WHERE, deferrable=True, **where).succeeded()
        assert run.result["succeeded"] == 2
        assert any("cannot be deferred; a worker waits" in line for line in run.warnings)
        wait_for(lambda: not kubectl.names("jobs", own["namespace"]), "the end of the Jobs")


@contextmanager
def a_node_of_paper(kubectl: Kubectl, name: str) -> Iterator[None]:
    """A node that is ready until its lease gets old: nobody sees to its pods but the test."""
    taint = {"key": "test", "value": "paper", "effect": "NoSchedule"}
    kubectl.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"taints": [taint]}})
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    room = {"cpu": "8", "memory": "8Gi", "pods": "10"}
    conditions = [{"type": "Ready", "status": "True", "reason": "Paper", "message": ""} | times]
    patch(kubectl, "node", name, {"conditions": conditions, "allocatable": room, "capacity": room})
    try:
        yield
    finally:
        kubectl("delete", "node", name, "--ignore-not-found", "--wait=false")


def patch(kubectl: Kubectl, kind: str, name: str, status: dict[str, Any], *where: str) -> None:
    """Say something of an object's status, as a kubelet does."""
    body = json.dumps({"status": status})
    kubectl("patch", kind, name, *where, "--subresource=status", "--type=strategic", "-p", body)


def play_the_start(kubectl: Kubectl, namespace: str, node: str) -> None:
    """Say that the container of the pod on a node runs."""

    def pod() -> str | None:
        found = [p for p in kubectl.items("pods", namespace) if p["spec"].get("nodeName") == node]
        return str(found[0]["metadata"]["name"]) if found else None

    state = {"running": {"startedAt": (datetime.now(UTC) - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")}}
    running = {"name": "script", "ready": True, "restartCount": 0, "image": "i", "imageID": "i", "state": state}
    status = {"phase": "Running", "containerStatuses": [running]}
    patch(kubectl, "pod", wait_for(pod, f"a pod on {node}"), status, "-n", namespace)


class TestLostNodes:
    """A node that goes away in the middle."""

    def test_one_that_does_not_answer(self, own: dict[str, Any], kubectl: Kubectl) -> None:
        """Given up after ``startup_timeout``; its pod cannot be confirmed dead, which is said, and it is not forced."""

        def on_paper(seconds: float) -> tuple[str, TaskRun, list[str]]:
            """The node's name, the run, and the pods that are left on the node."""
            name = f"paper-{seconds:g}-{own['namespace']}"
            arguments: dict[str, Any] = {
                "nodes": ["node-1", name],
                "startup_timeout": seconds,
                "termination_grace_period": 1,
            }
            with a_node_of_paper(kubectl, name):
                player = meanwhile(lambda: play_the_start(kubectl, own["namespace"], name))
                run = run_nodes(script="print('hi')", runs=2, **arguments, **own)
                player.join()
                return name, run, kubectl.names("pods", own["namespace"], f"--field-selector=spec.nodeName={name}")

        _, (name, run, left) = with_time_to_begin(on_paper, lambda done: "StartupTimeout" not in done[1].headline, 10)
        assert run.headline == f"1 of 2 nodes failed: {name} (NodeUnreachable)"
        (last,) = run.result["nodes"][name]["runs"]
        assert "cannot be confirmed dead and may still run" in last["error"]
        assert len(run.result["nodes"]["node-1"]["runs"]) == 2
        assert left

    def test_one_that_disappears(self, own: dict[str, Any], kubectl: Kubectl) -> None:
        """Its pod is removed with it: dead for sure."""
        name = f"gone-{own['namespace']}"

        def play() -> None:
            play_the_start(kubectl, own["namespace"], name)
            kubectl("delete", "node", name)

        with a_node_of_paper(kubectl, name):
            player = meanwhile(play)
            run = run_nodes(script="print('hi')", nodes=[name], termination_grace_period=1, **own)
            player.join()
        assert run.headline == f"1 of 1 node failed: {name} (NodeGone)"
        assert "may still run" not in run.result["nodes"][name]["runs"][0]["error"]

    def test_one_that_is_not_ready(self, shared: dict[str, Any], kubectl: Kubectl) -> None:
        """It is left out, and said to be; alone it is an error."""
        name = f"unready-{shared['namespace']}"
        kubectl.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        try:
            run = run_nodes(script=SAYS_WHERE, nodes=["node-1", name], **shared).succeeded()
            alone = run_nodes(script=SAYS_WHERE, nodes=[name], **shared)
        finally:
            kubectl("delete", "node", name)
        assert run.result["nodes"][name]["message"] == "unreachable (include_unready)"
        assert alone.headline.startswith("none of the 1 chosen nodes can be used: ")
