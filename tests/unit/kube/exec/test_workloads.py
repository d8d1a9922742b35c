"""The choice of a pod and its container."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.exceptions import TargetError
from airflow_script_provider.kube.exec import workloads
from airflow_script_provider.kube.exec.workloads import Candidates, Gone, Workload

API = Workload("deployment", "api", "shop")
DB = Workload("statefulset", "db", "shop")
SELECTED = Workload("label_selector", "app=api", "shop")


def a_deployment(*, revision: str = "2", generation: int = 3, observed: int = 3) -> dict[str, Any]:
    """The Deployment ``api`` after two rollouts."""
    return {
        "metadata": {
            "name": "api", "uid": "uid-api", "generation": generation,
            "annotations": {"deployment.kubernetes.io/revision": revision},
        },
        "spec": {"selector": {"matchLabels": {"app": "api"}}},
        "status": {"observedGeneration": observed},
    }  # fmt: skip


def a_replica_set(revision: str, *, owner: str = "uid-api") -> dict[str, Any]:
    """A ReplicaSet ``api-REVISION``."""
    return {
        "metadata": {
            "name": f"api-{revision}", "uid": f"uid-api-{revision}",
            "annotations": {"deployment.kubernetes.io/revision": revision},
            "ownerReferences": [{"uid": owner, "controller": True}],
        },
    }  # fmt: skip


def a_running_pod(
    name: str = "api-2-x",
    *containers: str,
    owner: str = "uid-api-2",
    ready: bool = True,
    deleted: bool = False,
    waiting: str = "",
    phase: str = "Running",
    labels: dict[str, str] | None = None,
    container_id: str = "containerd://1",
    ended: dict[str, Any] | None = None,
    sidecar: str = "",
) -> dict[str, Any]:
    """A pod of the current ReplicaSet, whose containers run."""
    names = containers or ("api",)
    runs: dict[str, Any] = {"terminated": ended} if ended else {"running": {}}
    runs = {"waiting": {"reason": waiting}} if waiting else runs
    spec: dict[str, Any] = {"containers": [{"name": one, "image": f"{one}:1"} for one in names]}
    if sidecar:
        spec["initContainers"] = [{"name": "setup"}, {"name": sidecar, "restartPolicy": "Always"}]
    statuses = [{"name": one, "state": runs, "containerID": container_id} for one in (*names, sidecar)]
    return {
        "metadata": {
            "name": name, "namespace": "shop", "uid": f"uid-{name}", "labels": labels or {},
            "ownerReferences": [{"uid": owner, "controller": True}],
        } | ({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30} if deleted else {}),
        "spec": spec,
        "status": {
            "phase": phase, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": statuses,
        },
    }  # fmt: skip


def chosen(*pods: dict[str, Any], of: Workload = API) -> str:
    """The name of the chosen pod."""
    return str(workloads.choose_ready_pod(Candidates(of, pods, "ReplicaSet api-2"))["metadata"]["name"])


def test_first_by_name() -> None:
    """The first ready pod by name is chosen."""
    assert chosen(a_running_pod("b"), a_running_pod("a"), a_running_pod("c")) == "a"


def test_neither_unready_nor_deleted() -> None:
    """A pod that is not ready, or is being deleted, is not chosen."""
    assert chosen(a_running_pod("a", ready=False), a_running_pod("b", deleted=True), a_running_pod("c")) == "c"


def test_no_ready_pod_tells_how_many_in_which_state() -> None:
    """The error counts the states and gives a command to look closer."""
    with pytest.raises(TargetError) as raised:
        chosen(
            a_running_pod(ready=False, waiting="CrashLoopBackOff"),
            a_running_pod("b", ready=False),
            a_running_pod("c", deleted=True),
        )
    assert str(raised.value) == (
        "Deployment shop/api has no ready pod (3 pods of ReplicaSet api-2: 1 CrashLoopBackOff, 1 running but not "
        "ready, 1 Terminating). Check: kubectl -n shop rollout status deployment api"
    )


def test_a_selector_without_ready_pods_is_named() -> None:
    """The error contains the selector."""
    with pytest.raises(TargetError) as raised:
        workloads.choose_ready_pod(Candidates(SELECTED, []))
    assert str(raised.value) == (
        "label_selector 'app=api' in namespace shop has no ready pod (no pods). "
        "Check: kubectl -n shop get pods -l app=api"
    )


def test_only_pods_of_the_current_replica_set() -> None:
    """During a rollout the old pods are not chosen, whatever their labels."""
    pods = [a_running_pod("a", owner="uid-api-1"), a_running_pod("b"), a_running_pod("c", owner="uid-other")]
    sets = [a_replica_set("1"), a_replica_set("2"), a_replica_set("2", owner="uid-another-api")]
    found = workloads.pods_of_deployment(API, a_deployment(), sets, pods)
    assert ([pod["metadata"]["name"] for pod in found.pods], found.owner) == (["b"], "ReplicaSet api-2")


def test_a_deployment_whose_replica_set_is_not_there_has_no_pods() -> None:
    """Before the new ReplicaSet exists, no old pod is chosen."""
    found = workloads.pods_of_deployment(API, a_deployment(revision="3"), [a_replica_set("2")], [a_running_pod()])
    with pytest.raises(TargetError, match="no pods of its ReplicaSet, which does not exist yet"):
        workloads.choose_ready_pod(found)


def test_a_change_that_the_controller_has_not_seen() -> None:
    """Until the controller has seen the newest change, the current ReplicaSet is unknown."""
    assert workloads.is_observed(a_deployment())
    assert not workloads.is_observed(a_deployment(generation=4))


ON_DELETE: dict[str, Any] = {"updateStrategy": {"type": "OnDelete"}}
STAGED: dict[str, Any] = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}


def pods_of_db(*revisions: str, first: int = 0, **spec: Any) -> Candidates:
    """The candidates of the StatefulSet ``db``, whose newest revision is ``db-new``."""
    found = {"metadata": {"uid": "uid-db"}, "spec": spec, "status": {"updateRevision": "db-new"}}
    pods = [
        a_running_pod(f"db-{first + index}", owner="uid-db", labels={"controller-revision-hash": f"db-{revision}"})
        for index, revision in enumerate(revisions)
    ]
    return workloads.pods_of_stateful_set(DB, found, pods)


@pytest.mark.parametrize(
    ("revisions", "spec", "names"),
    [
        (["old", "new"], {}, ["db-1"]),
        (["old", "old"], {}, []),
        (["old", "old"], ON_DELETE, ["db-0", "db-1"]),
        (["old", "new"], ON_DELETE, ["db-1"]),
        (["old", "old", "old"], STAGED, ["db-0", "db-1"]),
        (["old", "old", "new"], STAGED, ["db-2"]),
        (["old"] * 12, STAGED, ["db-0", "db-1"]),
    ],
)
def test_pods_of_a_stateful_set(revisions: list[str], spec: dict[str, Any], names: list[str]) -> None:
    """During an update old pods are not chosen, unless the update strategy keeps them and there are no new ones."""
    assert [pod["metadata"]["name"] for pod in pods_of_db(*revisions, **spec).pods] == names


def test_a_partition_counts_from_the_first_ordinal() -> None:
    """A StatefulSet may begin with another number than 0."""
    found = pods_of_db("old", "old", "old", first=5, ordinals={"start": 5}, **STAGED)
    assert [pod["metadata"]["name"] for pod in found.pods] == ["db-5", "db-6"]


def test_a_stateful_set_says_which_revision_its_pods_have() -> None:
    """An author may expect the newest one."""
    assert pods_of_db("old", "new").owner == "revision db-new"
    assert pods_of_db("old", **ON_DELETE).owner == "the revisions before db-new, which its update strategy keeps"


def test_a_stateful_set_without_ready_pods_is_described() -> None:
    """``kubectl rollout status`` refuses a StatefulSet that is updated by hand."""
    with pytest.raises(TargetError, match=r"Check: kubectl -n shop describe statefulset db$"):
        workloads.choose_ready_pod(pods_of_db())


def test_selector_in_the_apis_words() -> None:
    """Labels and expressions become one selector."""
    expressions = [
        {"key": "tier", "operator": "In", "values": ["web", "api"]}, {"key": "x", "operator": "NotIn", "values": ["1"]},
        {"key": "a", "operator": "Exists"}, {"key": "b", "operator": "DoesNotExist"},
    ]  # fmt: skip
    found = {"spec": {"selector": {"matchLabels": {"app": "api"}, "matchExpressions": expressions}}}
    assert workloads.selector_of(found) == "app=api,tier in (web,api),x notin (1),a,!b"


def test_exactly_one_is_named() -> None:
    """No name, several names and an empty name are refused."""
    assert workloads.named("shop", deployment="api", pod=None) == API
    for names in ({}, {"deployment": "api", "pod": "x"}, {"deployment": " "}):
        with pytest.raises(ValueError, match="deployment"):
            workloads.named("shop", **{"deployment": None, **names})


@pytest.mark.parametrize("name", ["api/status", "../secrets/x", "api?x=1", " api"])
def test_a_name_is_no_path(name: str) -> None:
    """A name that a template made cannot lead to another path."""
    with pytest.raises(ValueError, match="is not a legal Kubernetes name"):
        workloads.named("shop", deployment=name)


def test_the_only_container_is_taken() -> None:
    """The only container needs no name; a sidecar does not change that."""
    assert workloads.choose_container(a_running_pod(sidecar="proxy"), None)["name"] == "api"


@pytest.mark.parametrize(
    ("annotated", "named", "chosen"),
    [("web", None, "web"), ("web", "api", "api"), ("api", None, "api"), ("proxy", None, None), ("gone", None, None)],
)
def test_the_default_of_kubectl_is_the_default(annotated: str, named: str | None, chosen: str | None) -> None:
    """The pod's annotation chooses among several containers; a name goes before it (R22)."""
    pod = a_running_pod("api-2-x", "api", "web", sidecar="proxy")
    pod["metadata"]["annotations"] = {"kubectl.kubernetes.io/default-container": annotated}
    if chosen is None:
        with pytest.raises(TargetError, match="has several containers"):
            workloads.choose_container(pod, named)
    else:
        assert workloads.choose_container(pod, named)["name"] == chosen


def test_a_sidecar_may_be_named() -> None:
    """A sidecar that is an init container can be chosen."""
    assert workloads.choose_container(a_running_pod(sidecar="proxy"), "proxy")["name"] == "proxy"


@pytest.mark.parametrize(
    ("container", "said"),
    [
        (None, "pod shop/api-2-x has several containers: api, web. Set container to one of them."),
        ("db", "pod shop/api-2-x has no container 'db'. It has: api, web."),
    ],
)
def test_a_container_must_be_one_of_the_pods(container: str | None, said: str) -> None:
    """The error lists the containers, and is not retryable."""
    with pytest.raises(TargetError) as raised:
        workloads.choose_container(a_running_pod("api-2-x", "api", "web"), container)
    assert (str(raised.value), raised.value.retryable) == (said, False)


def test_a_container_must_run() -> None:
    """A container that waits is refused, even in a named pod."""
    with pytest.raises(TargetError, match="'api' of pod shop/api-2-x is not running: the pod is CrashLoopBackOff"):
        workloads.choose_container(a_running_pod(waiting="CrashLoopBackOff"), None)


def test_a_named_pod_need_not_be_ready() -> None:
    """A named pod is chosen even if it is not ready."""
    pod = a_running_pod(ready=False)
    assert workloads.choose_named_pod(Workload("pod", "api-2-x", "shop"), pod) is pod


@pytest.mark.parametrize(
    ("pod", "said"),
    [(a_running_pod(deleted=True), "Terminating"), (a_running_pod(phase="Pending", ready=False), "Pending")],
)
def test_a_named_pod_must_run(pod: dict[str, Any], said: str) -> None:
    """The error has the pod's state and a command to look closer."""
    with pytest.raises(TargetError, match=f"its state is {said}. Check: kubectl -n shop describe pod api-2-x"):
        workloads.choose_named_pod(Workload("pod", "api-2-x", "shop"), pod)


def test_what_does_not_exist_is_told_with_what_does() -> None:
    """The error lists the names that exist, if they may be read."""
    assert (
        str(workloads.not_found(API, ["web", "db"])) == "Deployment shop/api does not exist. The namespace has: db, web"
    )
    assert "Check namespace" in str(workloads.not_found(API, []))
    assert str(workloads.not_found(API, None)) == "Deployment shop/api does not exist. Check deployment and namespace."


def ended_by_the_cluster(pod: dict[str, Any], reason: str, message: str) -> dict[str, Any]:
    """The pod with the condition that says why the cluster ends it."""
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return pod | {"status": pod["status"] | {"conditions": [*pod["status"]["conditions"], condition]}}


def ended_before(pod: dict[str, Any], container_id: str) -> dict[str, Any]:
    """The pod, of which this container was killed for memory before the one that it has now."""
    end = {"reason": "OOMKilled", "exitCode": 137, "containerID": container_id}
    statuses = [status | {"lastState": {"terminated": end}} for status in pod["status"]["containerStatuses"]]
    return pod | {"status": pod["status"] | {"containerStatuses": statuses}}


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (None, Gone("the pod was deleted or replaced by a rollout while the script ran")),
        (a_running_pod(deleted=True), Gone("the pod is being deleted, perhaps by a rollout", None, False, 30)),
        (
            a_running_pod(deleted=True, ended={"reason": "Error", "exitCode": 143}),
            Gone("the pod is being deleted, perhaps by a rollout", None, True, 30),
        ),
        (
            ended_by_the_cluster(a_running_pod(deleted=True), "EvictionByEvictionAPI", "Eviction API: evicting"),
            Gone(
                "the pod was ended by the cluster (EvictionByEvictionAPI: Eviction API: evicting)",
                "EvictionByEvictionAPI",
                False,
                30,
            ),
        ),
        (
            a_running_pod(phase="Failed")
            | {"status": {"phase": "Failed", "reason": "Evicted", "message": "low on\nmemory."}},
            Gone("the pod was ended by the cluster (Evicted: low on memory.)", "Evicted"),
        ),
        (ended_by_the_cluster(a_running_pod(), "PreemptionByScheduler", "for another"), None),
        (
            a_running_pod(ended={"reason": "OOMKilled", "exitCode": 137}),
            Gone('container "api" ended while the script ran (OOMKilled, exit code 137)', "OOMKilled"),
        ),
        (
            a_running_pod(ended={"reason": "Completed", "exitCode": 0}),
            Gone('container "api" ended while the script ran (Completed, exit code 0)'),
        ),
        (a_running_pod(container_id="containerd://2"), Gone('container "api" ended while the script ran')),
        (
            ended_before(a_running_pod(waiting="CrashLoopBackOff"), "containerd://1"),
            Gone('container "api" ended while the script ran (OOMKilled, exit code 137)', "OOMKilled"),
        ),
        (
            ended_before(a_running_pod(container_id="containerd://2"), "containerd://1"),
            Gone('container "api" ended while the script ran (OOMKilled, exit code 137)', "OOMKilled"),
        ),
        (
            ended_before(a_running_pod(container_id="containerd://3"), "containerd://2"),
            Gone('container "api" ended while the script ran'),
        ),
        (a_running_pod(ready=False), None),
    ],
)
def test_what_became_of_the_pod(now: dict[str, Any] | None, why: Gone | None) -> None:
    """A pod or container that ended has ended the script; a request to end it, or an unready pod, has not (R36)."""
    assert workloads.why_gone(a_running_pod(), now, "api") == why
