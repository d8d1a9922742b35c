"""The Job that owns the runs, and the Job of a run."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.kube.job import manifest
from airflow_script_provider.kube.labels import NODE_ANNOTATION, PLAN_ANNOTATION
from airflow_script_provider.kube.nodes import manifest as node_manifest
from airflow_script_provider.kube.nodes.plan import Mode, OnNodes, Start
from tests.builders import LAUNCH_ID, a_plan, a_request, a_task

FIRST = Start("node-1", 0)


def an_owner(mode: Mode = Mode.NORMAL, **arguments: Any) -> dict[str, Any]:
    """The Job that owns the runs, as the API server has it."""
    request = a_request(on_nodes=OnNodes(mode, a_plan("node-1", "node-2")), task=a_task(), **arguments)
    owner = manifest.job(request)
    owner["metadata"]["uid"] = "owner-uid"
    owner["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] = "owner-uid"
    return owner


def a_run(start: Start = FIRST, deadline: int | None = 60, **arguments: Any) -> dict[str, Any]:
    """The Job of a run."""
    return node_manifest.run_job(an_owner(**arguments), start, deadline)


def a_container(job: dict[str, Any]) -> dict[str, Any]:
    """The container of the script."""
    found: dict[str, Any] = job["spec"]["template"]["spec"]["containers"][0]
    return found


def test_the_owner_makes_no_pods() -> None:
    """It is there for its deadline and TTL, for the template, and to be deleted with all that it owns."""
    spec = an_owner(deadline=900)["spec"]
    assert (spec["parallelism"], spec["completions"], spec["completionMode"]) == (0, 1, "Indexed")
    assert spec["activeDeadlineSeconds"] == 900


def from_secret(variable: str) -> dict[str, Any]:
    """A variable of the container that Kubernetes reads from the launch's Secret."""
    reference = {"name": "script-load-0123456789-env", "key": variable}
    return {"name": variable, "valueFrom": {"secretKeyRef": reference}}


IN_HOST_MODE: dict[str, Any] = {
    "image": "python:3.11-slim",
    "imagePullPolicy": "IfNotPresent",
    "volumeMounts": [
        {"name": "airflow-script", "mountPath": "/scripts", "subPath": "..data", "readOnly": True},
        {"name": "airflow-packages", "mountPath": "/airflow-packages"},
        {"name": "airflow-host", "mountPath": "/host", "mountPropagation": "HostToContainer"},
        {"name": "data", "mountPath": "/data"},
    ],
    "securityContext": {"privileged": True},
}
"""What both containers of a script in mode ``host`` have."""
WHERE: list[dict[str, Any]] = [
    {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
    {"name": "RUN_INDEX", "value": "0"},
]
HOST_POD: dict[str, Any] = {
    "restartPolicy": "Never",
    "shareProcessNamespace": False,
    "enableServiceLinks": False,
    "automountServiceAccountToken": False,
    "terminationGracePeriodSeconds": 30,
    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "script",
            "command": ["sh", "/scripts/.airflow/prelude.sh", "python3", "-u"],
            "args": ["/scripts/script.py"],
            "env": [*WHERE, from_secret("KEY"), {"name": "AIRFLOW_SCRIPT_TARGET", "value": "/airflow-packages"}],
            **IN_HOST_MODE,
        }
    ],
    "volumes": [
        {
            "name": "airflow-script",
            "configMap": {
                "name": "script-load-0123456789-script",
                "defaultMode": 0o555,
                "items": [
                    {"key": "script", "path": "script.py"},
                    {"key": "tool-0", "path": ".airflow/prelude.sh"},
                    {"key": "tool-1", "path": ".airflow/install.py"},
                ],
            },
        },
        {"name": "airflow-packages", "emptyDir": {}},
        {"name": "airflow-host", "hostPath": {"path": "/", "type": "Directory"}},
        {"name": "data", "emptyDir": {}},
    ],
    "initContainers": [
        {
            "name": "install",
            "command": ["python3", "-u", "/scripts/.airflow/install.py"],
            "env": [
                *WHERE,
                from_secret("KEY"),
                from_secret("AIRFLOW_SCRIPT_REQUIREMENTS"),
                {"name": "AIRFLOW_SCRIPT_TARGET", "value": "/airflow-packages"},
            ],
            **IN_HOST_MODE,
        }
    ],
    "hostPID": True,
    "priorityClassName": "high",
}


def test_the_whole_pod_in_mode_host() -> None:
    """The node's files come between our volumes and the author's, node and run before all variables."""
    owner = an_owner(
        Mode.HOST,
        env={"KEY": "value"},
        install_dependencies=["six"],
        volumes=[{"name": "data", "emptyDir": {}}],
        volume_mounts=[{"name": "data", "mountPath": "/data"}],
        pod_overrides={"spec": {"priorityClassName": "high"}},
    )
    assert owner["spec"]["template"]["spec"] == HOST_POD


def test_the_patch_of_an_owner() -> None:
    """All that nodes need is one patch of the Job."""
    host_path = {"name": "airflow-host", "hostPath": {"path": "/", "type": "Directory"}}
    restrictions = {"allowPrivilegeEscalation": None, "capabilities": None, "readOnlyRootFilesystem": None}
    container = {
        "env": WHERE,
        "securityContext": {"privileged": True, **restrictions},
        "volumeMounts": [{"name": "airflow-host", "mountPath": "/host", "mountPropagation": "HostToContainer"}],
    }
    pod = {
        "containers": [{"name": "script", **container}],
        "initContainers": [{"name": "install", **container}],
        "hostPID": True,
        "shareProcessNamespace": False,
        "volumes": [host_path],
    }
    assert node_manifest.owner_patch(OnNodes(Mode.HOST, a_plan("node-1")), installs=True) == {
        "metadata": {"annotations": {"airflow-script-provider/plan": a_plan("node-1").to_text()}},
        "spec": {"completionMode": "Indexed", "parallelism": 0, "completions": 1, "template": {"spec": pod}},
    }


def test_the_patch_adds_no_container() -> None:
    """Without requirements there is no init container to patch, and mode ``normal`` grants nothing."""
    patch = node_manifest.owner_patch(OnNodes(Mode.NORMAL, a_plan("node-1")))
    assert patch["spec"]["template"]["spec"] == {"containers": [{"name": "script", "env": WHERE}]}


def test_a_dry_run_shows_the_first_run() -> None:
    """After the owner, its ConfigMap and its Secret."""
    request = a_request(on_nodes=OnNodes(Mode.NORMAL, a_plan("node-1", timeout=60)), env={"KEY": "hunter2"})
    shown = node_manifest.shown(request)
    assert [thing["kind"] for thing in shown] == ["Job", "ConfigMap", "Secret", "Job"]
    assert shown[0] == manifest.job(request)
    assert shown[3] == node_manifest.first_run(manifest.job(request))


@pytest.mark.parametrize("mode", Mode)
def test_the_owner_is_the_same_job_but_for_what_nodes_need(mode: Mode) -> None:
    """Its metadata and the rest of its spec are those of a script that runs anywhere."""
    owner, job = an_owner(mode, deadline=900), manifest.job(a_request(task=a_task(), deadline=900))
    nodes, plan = "airflow-script-provider/nodes", "airflow-script-provider/plan"
    assert owner["metadata"]["annotations"].pop(plan) == a_plan("node-1", "node-2").to_text()
    assert owner["metadata"]["labels"].pop(nodes) == LAUNCH_ID
    del owner["metadata"]["uid"], owner["spec"]["template"], job["spec"]["template"]
    expected = job["spec"] | {"completionMode": "Indexed", "parallelism": 0, "completions": 1}
    assert owner == job | {"spec": expected}


@pytest.mark.parametrize("mode", [Mode.PRIVILEGED, Mode.HOST])
def test_the_authors_overrides_come_last(mode: Mode) -> None:
    """Also over what nodes need: a container may have a narrower security context."""
    context = {"privileged": None, "capabilities": {"add": ["NET_ADMIN"]}}
    overrides = {"spec": {"containers": [{"name": "script", "securityContext": context}]}}
    assert a_container(an_owner(mode, pod_overrides=overrides))["securityContext"] == {
        "capabilities": {"add": ["NET_ADMIN"]}
    }


def test_the_owner_holds_the_plan() -> None:
    """The process that continues with it finds there what is to be done."""
    assert node_manifest.plan_of(an_owner()) == a_plan("node-1", "node-2")


def test_a_job_without_a_plan_is_none_of_ours() -> None:
    """The error names it."""
    with pytest.raises(ValueError, match="Job load has no valid annotation airflow-script-provider/"):
        node_manifest.plan_of({"metadata": {"name": "load"}})


@pytest.mark.parametrize(
    "text", ["", "%%", "bm90IHBhY2tlZA==", "eJyrrgUAAXUA+Q=="], ids=["empty", "no base64", "not packed", "no plan"]
)
def test_a_plan_that_was_changed_is_refused(text: str) -> None:
    """Whatever was written into the annotation, the error names the Job."""
    owner = {"metadata": {"name": "load", "annotations": {PLAN_ANNOTATION: text}}}
    with pytest.raises(ValueError, match="Job load has no valid annotation"):
        node_manifest.plan_of(owner)


def test_a_run_belongs_to_its_owner() -> None:
    """It is removed with the owner, is found by labels, and its labels tell node and run."""
    metadata = a_run()["metadata"]
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "script-load-0123456789", "uid": "owner-uid"}
    assert metadata["ownerReferences"] == [reference]
    assert metadata["namespace"] == "etl"
    assert metadata["annotations"][NODE_ANNOTATION] == "node-1"
    labels = {name.partition("/")[2]: value for name, value in metadata["labels"].items()}
    assert (labels["nodes"], labels["node"], labels["run"]) == (LAUNCH_ID, "node-1", "0")
    assert labels["task-id"] == "load"


def test_a_run_is_told_by_its_annotations() -> None:
    """The owner is none."""
    job = a_run(Start("node-1", 3))
    assert (node_manifest.node_of(job), node_manifest.index_of(job)) == ("node-1", 3)
    assert node_manifest.node_of(an_owner()) is None


def test_pods_have_the_labels_of_their_job() -> None:
    """One watch finds them; what Kubernetes has given to the owner's template is not theirs."""
    job = a_run()
    assert job["spec"]["template"]["metadata"]["labels"] == job["metadata"]["labels"]


def test_a_run_has_a_deadline_and_no_ttl() -> None:
    """It lives as long as its owner."""
    assert a_run()["spec"].keys() == {"template", "backoffLimit", "podFailurePolicy", "activeDeadlineSeconds"}
    assert "activeDeadlineSeconds" not in a_run(deadline=None)["spec"]


@pytest.mark.parametrize("limit", [0, 6])
def test_a_run_has_one_attempt(limit: int) -> None:
    """Admission may have raised the limit of the owner (R2)."""
    owner = an_owner()
    owner["spec"]["backoffLimit"] = limit
    assert node_manifest.run_job(owner, FIRST, 60)["spec"]["backoffLimit"] == 0


def test_names_are_legal_and_their_own() -> None:
    """At most 63 characters, another one for each node and run, the same each time (R28)."""
    owner = an_owner()
    starts = [Start(f"{'very-long-name-of-a-node.' * 8}{number}", run) for number in range(3) for run in range(3)]
    names = [node_manifest.run_name(owner, start) for start in starts]
    assert len(set(names)) == len(starts)
    assert max(map(len, names)) <= 63
    assert names == [node_manifest.run_name(owner, start) for start in starts]


def test_names_can_be_read() -> None:
    """The operator's stem, node and run."""
    assert node_manifest.run_name(an_owner(), Start("db-7", 2)).startswith("script-load-db-7-2-")


def test_the_node_is_chosen_by_affinity() -> None:
    """The scheduler still checks whether the node has room."""
    assert a_run()["spec"]["template"]["spec"]["affinity"] == node_manifest.on_node(None, "node-1")
    (term,) = node_manifest.on_node(None, "n")["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}


def test_the_authors_affinity_stays() -> None:
    """Its terms are alternatives, so each of them gets the node."""
    ssd = {"matchExpressions": [{"key": "ssd", "operator": "Exists"}]}
    terms = [ssd, {"matchExpressions": [{"key": "nvme", "operator": "Exists"}]}]
    given = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    merged = node_manifest.on_node(given | {"podAffinity": {}}, "n")
    found = merged["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
    assert found == [term | by_name for term in terms]
    assert merged["podAffinity"] == {}
    assert "matchFields" not in ssd


def test_the_script_knows_its_node_and_run() -> None:
    """Also what installs its requirements does."""
    job = a_run(Start("node-1", 7), install_dependencies=["six"])
    spec = job["spec"]["template"]["spec"]
    for container in (*spec["initContainers"], *spec["containers"]):
        variables = {variable["name"]: variable for variable in container["env"]}
        assert variables["NODE_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"
        assert variables["RUN_INDEX"]["value"] == "7"


@pytest.mark.parametrize("name", ["NODE_NAME", "RUN_INDEX"])
def test_what_tells_it_cannot_be_set(name: str) -> None:
    """A variable of the author's would hide it."""
    with pytest.raises(ValueError, match=f"reserved name '{name}'"):
        node_manifest.check_variables([name])


def test_script_and_environment_are_shared() -> None:
    """All runs use the owner's ConfigMap and Secret."""
    job = a_run(Start("node-2", 1), env={"KEY": "value"})
    volumes = job["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["configMap"]["name"] == "script-load-0123456789-script"
    keys = [variable for variable in a_container(job)["env"] if variable["name"] == "KEY"]
    assert keys[0]["valueFrom"]["secretKeyRef"]["name"] == "script-load-0123456789-env"


def test_mode_normal_has_no_privilege() -> None:
    """The same pod as that of a script which runs anywhere."""
    job = a_run()
    assert a_container(job)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "hostPID" not in job["spec"]["template"]["spec"]


def test_mode_privileged() -> None:
    """The container has all capabilities and devices, but neither files nor processes of the node."""
    job = a_run(mode=Mode.PRIVILEGED)
    assert a_container(job)["securityContext"] == {"privileged": True}
    assert [mount["mountPath"] for mount in a_container(job)["volumeMounts"]] == ["/scripts"]
    assert job["spec"]["template"]["spec"]["shareProcessNamespace"] is True


def test_mode_host() -> None:
    """Also the node's files at /host and its processes, which exclude a PID namespace of the pod's own."""
    job = a_run(mode=Mode.HOST)
    spec = job["spec"]["template"]["spec"]
    assert (spec["hostPID"], spec["shareProcessNamespace"]) == (True, False)
    assert {"name": "airflow-host", "hostPath": {"path": "/", "type": "Directory"}} in spec["volumes"]
    assert "/host" in [mount["mountPath"] for mount in a_container(job)["volumeMounts"]]
    assert a_container(job)["securityContext"] == {"privileged": True}


def test_a_run_does_not_get_the_records_of_others() -> None:
    """They are the owner's; with hundreds of them Kubernetes would refuse the run's Job (R25)."""
    owner = an_owner()
    owner["metadata"]["annotations"]["airflow-script-provider/ended-0123456789"] = "{}"
    assert not [name for name in node_manifest.run_job(owner, FIRST, 60)["metadata"]["annotations"] if "ended" in name]


@pytest.mark.parametrize(("index", "obsolete"), [(0, None), (9, None), (10, 0), (25, 15)])
def test_which_run_is_no_longer_history(index: int, obsolete: int | None) -> None:
    """The result keeps ten runs of each node, if not said otherwise."""
    assert node_manifest.obsolete_index(an_owner(), index) == obsolete


def test_an_owner_that_was_not_seen_has_no_history() -> None:
    """Its plan is unknown."""
    assert node_manifest.obsolete_index({"metadata": {}}, 25) is None
