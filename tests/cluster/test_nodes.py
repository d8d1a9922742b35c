"""Scripts on the nodes of the cluster."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.hooks.node import KubernetesNodeScriptHook
from tests.cluster.kubectl import Kubectl
from tests.cluster.node_tasks import FAILS_ON_NODE_2, SAYS_WHERE, SLEEPS, an_operator, group_of, owners, run_nodes
from tests.cluster.tasks import FakeTaskInstance, TaskRun, meanwhile, run_and_kill, wait_until_logged
from tests.cluster.told_to_end import STEPS, tell_all
from tests.patience import LONG, wait_for, with_time_to_begin


@pytest.fixture(params=["in_a_worker", "deferred"])
def waiting(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Both ways of waiting: the same must come out of them (R29)."""
    return {"deferrable": request.param == "deferred"}


def test_every_node_runs_it(shared: dict[str, Any], waiting: dict[str, Any]) -> None:
    """Each node has its result, each run its lines in a group of their own; the XCom value is by node."""
    run = run_nodes(script=SAYS_WHERE, **shared, **waiting).succeeded()
    assert run.xcoms["value"] == {name: {"node": name, "run": 0} for name in ("node-1", "node-2")}
    assert {name: node["status"] for name, node in run.result["nodes"].items()} == {
        "node-1": "completed", "node-2": "completed"
    }  # fmt: skip
    assert (run.result["succeeded"], run.result["failed"], run.result["skipped"]) == (2, 0, 0)
    for name in ("node-1", "node-2"):
        assert group_of(run, f"Node {name}: completed") == [f"on {name}", json.dumps({"node": name, "run": 0})]


def test_a_long_task_id_is_no_obstacle(shared: dict[str, Any]) -> None:
    """The name of an indexed Job has to leave room for an index (R28)."""
    task_id = "maintenance_of_databases.vacuum_and_reindex_all_tables"
    run = run_nodes(task_id=task_id, script=SAYS_WHERE, **shared).succeeded()
    assert len(run.result["job_name"]) == 61
    assert run.result["succeeded"] == 2


def test_runs_follow_each_other(shared: dict[str, Any], waiting: dict[str, Any]) -> None:
    """Three runs on each node, of which the result keeps two; the Jobs of older ones are gone."""
    run = run_nodes(script=SAYS_WHERE, runs=3, interval=0.5, history_limit=2, **shared, **waiting).succeeded()
    for node in run.result["nodes"].values():
        assert [one["value"]["run"] for one in node["runs"]] == [1, 2]
    assert len([line for line in run.lines if line.startswith("::group::Node node-1, run ")]) == 3


def test_one_failing_node_does_not_stop_the_others(shared: dict[str, Any], waiting: dict[str, Any]) -> None:
    """The task fails with the node's name and exit code in its first line; the result is there."""
    run = run_nodes(script=FAILS_ON_NODE_2, **shared, **waiting)
    assert isinstance(run.error, exceptions.NodesFailedError)
    assert run.headline == "1 of 2 nodes failed: node-2 (exit 3)"
    assert run.result["nodes"]["node-1"]["status"] == "completed"
    assert run.result["nodes"]["node-2"]["runs"][0]["exit_code"] == 3
    assert run.result["nodes"]["node-2"]["runs"][0]["output"] == "tried\n"


def test_an_error_that_all_nodes_share_is_in_the_headline(shared: dict[str, Any], waiting: dict[str, Any]) -> None:
    """The script's own last line, without values of ``env``, and with advice (R22, R26, R29, R37)."""
    run = run_nodes(script="import pandas_of_none", **shared, **waiting)
    error = "exit code 1: ModuleNotFoundError: No module named 'pandas_of_none'. Add it to install_dependencies."
    assert run.headline == f"2 of 2 nodes failed: {error} Failed: node-1, node-2"
    assert run.result["nodes"]["node-1"]["runs"][0]["error"] == error
    run = run_nodes(
        script="import os\nraise KeyError(os.environ['TOKEN'])", env={"TOKEN": "s3cr3t"}, **shared, **waiting
    )
    assert run.headline == "2 of 2 nodes failed: exit code 1: KeyError: '***'. Failed: node-1, node-2"
    assert run.result["nodes"]["node-2"]["runs"][0]["error"] == "exit code 1: KeyError: '***'."


def test_rolling_work_stops_at_a_failure(shared: dict[str, Any], kubectl: Kubectl, namespace: str) -> None:
    """With one node at a time the second is not touched when the first has failed; lines are live."""
    where = shared | {"namespace": namespace}
    script = "print('tried', flush=True)\nraise SystemExit(1)"
    run = run_nodes(script=script, max_parallel=1, stop_after_failures=1, **where)
    assert run.headline == "1 of 2 nodes failed: node-1 (exit 1); 1 not started (stop_after_failures=1)"
    assert run.result["nodes"]["node-2"]["status"] == "skipped"
    assert len(kubectl.names("jobs", namespace)) == 2, "the owner's and one run's"


def test_lines_of_a_single_node_are_live(own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any]) -> None:
    """They come while the script waits to go on, each once, in one group with what is said of the pod."""

    def read_along() -> None:
        for number in range(6):
            wait_until_logged(f"n {number}")
            tell_all(kubectl, own["namespace"], step=number)

    reader = meanwhile(read_along)
    script = f"{STEPS}for i in range(6):\n    print('n', i, flush=True)\n    wait(i)"
    run = run_nodes(script=script, nodes=["node-1"], **own, **waiting).succeeded()
    reader.join()
    assert [line for line in run.lines if line.startswith("n ")] == [f"n {i}" for i in range(6)]
    assert set(group_of(run, "Node node-1")) > {f"n {i}" for i in range(6)}


@contextmanager
def changed(kubectl: Kubectl, *words: str, back: tuple[str, ...]) -> Iterator[None]:
    """node-2, changed by kubectl while the block lasts."""
    kubectl(*words)
    try:
        yield
    finally:
        kubectl(*back)


def test_cordoned_and_tainted_nodes_run_it_too(shared: dict[str, Any], kubectl: Kubectl) -> None:
    """As a DaemonSet would; ``include_cordoned=False`` leaves a cordoned one out, and says so."""
    cordon = changed(kubectl, "cordon", "node-2", back=("uncordon", "node-2"))
    taint = changed(
        kubectl, "taint", "node", "node-2", "test=yes:NoSchedule", back=("taint", "node", "node-2", "test-")
    )
    with cordon, taint:
        everywhere = run_nodes(script=SAYS_WHERE, **shared).succeeded()
        without = run_nodes(script=SAYS_WHERE, include_cordoned=False, **shared).succeeded()
        untolerated = run_nodes(script=SAYS_WHERE, tolerations=[], **shared).succeeded()
    assert everywhere.result["succeeded"] == 2
    left_out = without.result["nodes"]["node-2"]
    assert (left_out["status"], left_out["message"], left_out["runs"]) == ("skipped", "cordoned (include_cordoned)", [])
    assert untolerated.result["nodes"]["node-2"]["message"] == "untolerated taint test=yes:NoSchedule (tolerations)"


def test_a_selector_without_a_match(shared: dict[str, Any], kubectl: Kubectl, namespace: str) -> None:
    """The error says which labels there are; nothing is created, and no other try would help."""
    run = run_nodes(script="true", node_selector="kubernetes.io/hostname=node-9", **shared | {"namespace": namespace})
    assert "matches none of " in run.headline
    assert "kubernetes.io/hostname=node-1 (1)" in run.headline
    assert kubectl.names("jobs", namespace) == []


def test_a_selector_that_is_none(shared: dict[str, Any]) -> None:
    """The API server's words, and the argument."""
    run = run_nodes(script="true", node_selector="a in b", **shared)
    assert run.headline.startswith("node_selector 'a in b' is not a valid label selector: ")


def test_a_label_selects(shared: dict[str, Any]) -> None:
    """As text with sets, as kubectl takes it."""
    run = run_nodes(script=SAYS_WHERE, node_selector="kubernetes.io/hostname in (node-1, node-2)", **shared)
    assert run.succeeded().result["succeeded"] == 2


def test_the_hook_does_the_same(shared: dict[str, Any]) -> None:
    """From any Python code: the result, or an error that has it."""
    hook = KubernetesNodeScriptHook(None, config_file=shared["config_file"])
    where = {"nodes": ["node-2"], "namespace": shared["namespace"]}
    assert hook.run(SAYS_WHERE, **where).values["node-2"]["node"] == "node-2"
    with pytest.raises(exceptions.NodesFailedError, match=r"1 of 1 node failed: node-2 \(exit 3\)") as caught:
        hook.run(FAILS_ON_NODE_2, **where)
    assert caught.value.result["failed"] == 1


def test_requirements_are_installed_on_each_node(shared: dict[str, Any]) -> None:
    """By an init container, whose lines are the run's, too."""
    run = run_nodes(script="import six\nprint(six.__name__)", install_dependencies=["six"], **shared).succeeded()
    lines = group_of(run, "Node node-2")
    assert lines[-1] == "six"
    assert any("six" in line for line in lines[:-1])


def test_nothing_is_left_of_the_secret(own: dict[str, Any], kubectl: Kubectl) -> None:
    """One Secret serves all runs, and is gone when they have ended; the Jobs go with their owner (R6)."""
    run_nodes(script="import os\nprint(len(os.environ['KEY']))", env={"KEY": "value"}, **own).succeeded()
    assert kubectl.names("secrets", own["namespace"]) == []
    (owner,) = owners(kubectl, own["namespace"])
    assert owner["spec"]["ttlSecondsAfterFinished"] == 300
    kubectl("delete", "job", owner["metadata"]["name"], "-n", own["namespace"])
    wait_for(lambda: not kubectl.names("jobs,configmaps", own["namespace"], "-l", "airflow-script-provider/nodes"), "")


def test_a_run_that_takes_too_long(shared: dict[str, Any], waiting: dict[str, Any]) -> None:
    """``timeout`` is each run's; what it printed is there (R5)."""
    arguments = {**SLEEPS, **shared, **waiting}

    def both_begun(run: TaskRun) -> bool:
        return all(node["runs"] and node["runs"][0]["output"] for node in run.result["nodes"].values())

    _, run = with_time_to_begin(lambda seconds: run_nodes(timeout=seconds, **arguments), both_begun, 15)
    assert run.headline == "2 of 2 nodes failed: node-1 (DeadlineExceeded), node-2 (DeadlineExceeded)"
    (last,) = run.result["nodes"]["node-1"]["runs"]
    assert (last["status"], last["output"]) == ("timeout", "begun\n")


ENDS_SLOWLY = """
import signal, sys, time
def end(*_):
    time.sleep(8)
    print("end", time.time(), flush=True)
    sys.exit(1)
signal.signal(signal.SIGTERM, end)
print("begin", time.time(), flush=True)
time.sleep(3600)
"""


def test_the_next_run_waits_for_the_end_of_the_script(shared: dict[str, Any], waiting: dict[str, Any]) -> None:
    """A script that its ``timeout`` ends has its grace period before the next run begins on its node (R5)."""

    def run(seconds: float) -> TaskRun:
        return run_nodes(script=ENDS_SLOWLY, nodes=["node-1"], runs=2, timeout=seconds, **shared, **waiting)

    def both_begun(done: TaskRun) -> bool:
        return all(one["output"] for one in done.result["nodes"]["node-1"]["runs"])

    _, done = with_time_to_begin(run, both_begun, 15)
    first, second = (one["output"].split() for one in done.result["nodes"]["node-1"]["runs"])
    assert (first[0], first[2], second[0]) == ("begin", "end", "begin")
    assert float(second[1]) > float(first[3])


def test_a_node_without_room(shared: dict[str, Any], waiting: dict[str, Any]) -> None:
    """The scheduler still checks resources; its words are in the result, and the pod does not stay (R15)."""
    arguments = {"container_resources": {"requests": {"cpu": "900"}}, "runs": 3, **shared, **waiting}
    _, run = with_time_to_begin(
        lambda seconds: run_nodes(script="true", schedule_timeout=seconds, **arguments),
        lambda run: "ScheduleTimeout" not in run.headline,
    )
    assert run.headline == "2 of 2 nodes failed: node-1 (Unschedulable), node-2 (Unschedulable)"
    (last,) = run.result["nodes"]["node-1"]["runs"]
    assert "Insufficient cpu" in last["error"]


@pytest.mark.usefixtures("unhurried")
def test_a_kill_removes_every_job(own: dict[str, Any], kubectl: Kubectl) -> None:
    """One delete removes the runs on all nodes, with their pods, script and environment (R3)."""

    def two_pods_run() -> bool:
        pods = kubectl.items("pods", own["namespace"])
        return len([pod for pod in pods if pod["status"]["phase"] == "Running"]) == 2

    operator = an_operator(**SLEEPS, env={"KEY": "value"}, **own)
    run = run_and_kill(operator, lambda: wait_for(two_pods_run, "two running pods"))
    assert isinstance(run.error, exceptions.RunKilledError)
    assert "is deleted" in str(run.error)
    kinds = "jobs,pods,secrets"
    wait_for(lambda: not kubectl.names(kinds, own["namespace"]), "the end of everything")


class TestRetries:
    """What a retry runs again."""

    def test_only_what_has_not_succeeded(self, own: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any]) -> None:
        """The node that succeeded is left alone; its result is that of the earlier try (R8)."""
        first = FakeTaskInstance(max_tries=1)
        assert run_nodes(ti=first, script=FAILS_ON_NODE_2, **own, **waiting).error is not None
        second = FakeTaskInstance(max_tries=1, try_number=2)
        run = run_nodes(ti=second, script=FAILS_ON_NODE_2, **own, **waiting)
        assert run.headline == "1 of 2 nodes failed: node-2 (exit 3)"
        assert "1 node succeeded in an earlier try, left alone in this one" in run.lines
        assert run.result["nodes"]["node-1"]["runs"][0]["output"] == "tried\n"
        on_node_1 = kubectl.names("jobs", own["namespace"], "-l", "airflow-script-provider/node=node-1")
        assert len(on_node_1) == 1
        assert {owner["spec"]["ttlSecondsAfterFinished"] for owner in owners(kubectl, own["namespace"])} == {300}

    def test_everything_on_request(self, shared: dict[str, Any]) -> None:
        """``retry_failed_only=False``."""
        ti = FakeTaskInstance(task_id="all", max_tries=1)
        arguments = {"script": FAILS_ON_NODE_2, "task_id": "all", "retry_failed_only": False} | shared
        run_nodes(ti=ti, **arguments)
        run = run_nodes(ti=replace(ti, id="other", try_number=2, xcoms={}), **arguments)
        assert len([line for line in run.lines if line.startswith("::group::Node node-1")]) == 1

    def test_a_cleared_task_runs_everywhere(self, shared: dict[str, Any]) -> None:
        """A clear raises ``max_tries``: nothing of before counts (R8)."""
        ti = FakeTaskInstance(task_id="cleared", max_tries=1)
        arguments = {"script": FAILS_ON_NODE_2, "task_id": "cleared"} | shared
        run_nodes(ti=ti, **arguments)
        run = run_nodes(ti=replace(ti, id="other", try_number=2, max_tries=2, xcoms={}), **arguments)
        assert len([line for line in run.lines if line.startswith("::group::Node node-1")]) == 1
        assert "Nothing is left of an earlier try that was the same: the script runs on every node" in run.lines

    def test_a_retry_after_a_clear_shows_what_came_after_it(self, own: dict[str, Any]) -> None:
        """Not what the same node had said before the clear, though its Jobs are still there (R8)."""
        arguments = {"script": f"import time\nprint(time.time())\n{FAILS_ON_NODE_2}"} | own
        results = [
            run_nodes(ti=FakeTaskInstance(try_number=number, max_tries=tries), **arguments).result
            for number, tries in ((1, 0), (2, 2), (3, 2))
        ]
        before, cleared, retried = (result["nodes"]["node-1"]["runs"] for result in results)
        assert before != cleared
        assert retried == cleared


@pytest.fixture(scope="module")
def planted() -> Iterator[Path]:
    """A file on the nodes, which share the machine's disk."""
    path = Path("/var/tmp") / f"planted-{os.getpid()}"
    path.write_text("found it\n")
    yield path
    path.unlink()


CAPABILITIES = "print([line for line in open('/proc/self/status') if line.startswith('CapEff')][0].split()[1])"


class TestModes:
    """What the script may do."""

    def test_normal(self, shared: dict[str, Any]) -> None:
        """No capability, no file of the node, and no word about privileges."""
        script = f"import os\n{CAPABILITIES}\nprint(os.path.exists('/host'))"
        run = run_nodes(script=script, nodes=["node-1"], **shared).succeeded()
        assert run.result["nodes"]["node-1"]["runs"][0]["output"] == "0000000000000000\nFalse\n"
        assert run.warnings == []

    def test_privileged(self, shared: dict[str, Any]) -> None:
        """All capabilities, but neither files nor processes of the node; one warning says what is granted."""
        script = f"import os\n{CAPABILITIES}\nprint(os.path.exists('/host'))"
        run = run_nodes(script=script, nodes=["node-1"], mode="privileged", **shared).succeeded()
        capabilities, has_host = run.result["nodes"]["node-1"]["runs"][0]["output"].split()
        assert int(capabilities, 16).bit_count() > 30
        assert has_host == "False"
        assert run.warnings == ["mode='privileged' grants the script all capabilities and all devices of its node"]

    def test_host(self, shared: dict[str, Any], planted: Path) -> None:
        """The node's files are at /host, its processes are seen, and chroot makes the node's programs run."""
        script = f"cat /host{planted}; chroot /host cat {planted}; cat /proc/[0-9]*/comm | sort -u"
        run = run_nodes(script=script, interpreter=["bash"], nodes=["node-1"], mode="host", **shared).succeeded()
        first, second, *processes = run.result["nodes"]["node-1"]["runs"][0]["output"].splitlines()
        assert first == second == "found it"
        assert "containerd" in processes
        assert run.warnings[0].startswith("mode='host' grants the script all capabilities, all devices, all processes")

    def test_a_namespace_that_forbids_it(self, kubectl: Kubectl, kubeconfig: str, waiting: dict[str, Any]) -> None:
        """Why there is no pod is said at once, long before schedule_timeout (R11, R18)."""
        labels = {"pod-security.kubernetes.io/enforce": "baseline"}
        with kubectl.namespace(f"t-{uuid.uuid4().hex[:8]}", labels) as namespace:
            where: dict[str, Any] = {"config_file": kubeconfig, "namespace": namespace}
            limits: dict[str, Any] = {"schedule_timeout": LONG, "timeout": LONG}
            run = run_nodes(script="true", mode="privileged", **limits, **waiting, **where)
        assert run.headline == "2 of 2 nodes failed: node-1 (PodSecurity), node-2 (PodSecurity)"
        assert "its pod is refused: violates PodSecurity" in run.result["nodes"]["node-1"]["runs"][0]["error"]
        assert any("violates PodSecurity" in line for line in run.warnings)
