"""The Jobs of a script that runs on nodes: one that owns all of it and runs nothing, and one for each node and run.

The owner holds the pod's template, so whoever starts a run needs neither script nor environment: both are in ConfigMap
and Secret, which all runs share.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_script_provider.kube.labels import (
    CONTROLLER_LABELS,
    HOST_VOLUME,
    LAUNCH_LABEL,
    NODE_ANNOTATION,
    NODE_LABEL,
    NODES_LABEL,
    PLAN_ANNOTATION,
    RUN_LABEL,
)
from airflow_script_provider.kube.names import dns_slug, label_value, short_digest
from airflow_script_provider.kube.nodes.plan import Mode, NodePlan, OnNodes, Start
from airflow_script_provider.kube.syntax import MAX_LABEL

NODE_VARIABLE = "NODE_NAME"
RUN_VARIABLE = "RUN_INDEX"
HOST_FOLDER = "/host"

_NOT_COPIED = ("batch.kubernetes.io/job-tracking", PLAN_ANNOTATION)


OWNER = {"completionMode": "Indexed", "parallelism": 0, "completions": 1}
"""What makes a Job the owner of others: it makes no pods, and it is complete when somebody says so."""
COMPLETE = {"parallelism": 0, "completions": 0}
"""The change of its spec that completes it: of an indexed Job both may be changed together."""
STOPPED = {"activeDeadlineSeconds": 1}
"""The change of a run's spec that ends it: unlike one that is deleted, the Job stays, with its outcome."""


def environment(on_nodes: OnNodes) -> list[dict[str, Any]]:
    """The variables that tell the script its node and run."""
    node_name = {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}
    return [{"name": NODE_VARIABLE, "valueFrom": node_name}, {"name": RUN_VARIABLE, "value": "0"}]


def security(on_nodes: OnNodes) -> dict[str, Any] | None:
    """The security context of a container that is privileged; None in mode ``normal``."""
    return None if on_nodes.mode is Mode.NORMAL else {"privileged": True}


def host_volumes(on_nodes: OnNodes) -> list[dict[str, Any]]:
    """The node's file system in mode ``host``."""
    root = {"name": HOST_VOLUME, "hostPath": {"path": "/", "type": "Directory"}}
    return [root] if on_nodes.mode is Mode.HOST else []


def host_mounts(on_nodes: OnNodes) -> list[dict[str, Any]]:
    """Its mount; what the node mounts later is seen, too."""
    mount = {"name": HOST_VOLUME, "mountPath": HOST_FOLDER, "mountPropagation": "HostToContainer"}
    return [mount] if on_nodes.mode is Mode.HOST else []


def check_variables(names: Sequence[str]) -> None:
    """Refuse variables of the author's that would hide ours."""
    for name in names:
        if name in (NODE_VARIABLE, RUN_VARIABLE):
            raise ValueError(f"env has a reserved name {name!r}: it tells the script its node or run")


def plan_of(owner: Mapping[str, Any]) -> NodePlan:
    """What the owner's annotation says is to be done; ``ValueError`` where it does not."""
    try:
        return NodePlan.from_text(owner["metadata"]["annotations"][PLAN_ANNOTATION])
    except (KeyError, TypeError, OSError) as error:
        raise ValueError(f"Job {owner['metadata']['name']} has no plan for nodes: {error!r}") from None


def run_name(owner: Mapping[str, Any], start: Start) -> str:
    """The name of a run's Job: always the same, so that a create that is repeated finds it."""
    digest = launch_id(owner, start)
    room = MAX_LABEL - len(digest) - 1
    stem = f"{dns_slug(start.node)[: room // 2]}-{start.index}"
    prefix = owner["metadata"]["name"].rpartition("-")[0][: room - len(stem) - 1].rstrip("-")
    return f"{prefix}-{stem}-{digest}"


def launch_id(owner: Mapping[str, Any], start: Start) -> str:
    """The launch id of a run."""
    return short_digest(owner["metadata"]["labels"][LAUNCH_LABEL], start.node, start.index)


def run_job(owner: Mapping[str, Any], start: Start, deadline: int | None) -> dict[str, Any]:
    """The Job of one run on one node, from the owner as the API server has it."""
    metadata, spec = owner["metadata"], owner["spec"]
    labels = metadata["labels"] | {
        LAUNCH_LABEL: launch_id(owner, start),
        NODE_LABEL: label_value(start.node),
        RUN_LABEL: str(start.index),
    }
    annotations = {key: value for key, value in metadata.get("annotations", {}).items() if key not in _NOT_COPIED}
    kept = {key: spec[key] for key in ("backoffLimit", "podFailurePolicy") if key in spec}
    body: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": run_name(owner, start),
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": annotations | {NODE_ANNOTATION: start.node},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": kept | {"template": _template(spec["template"], start, labels)},
    }
    if deadline is not None:
        body["spec"]["activeDeadlineSeconds"] = deadline
    return body


def first_run(owner: Mapping[str, Any]) -> dict[str, Any]:
    """The Job of the first run of an owner that was not created yet, to be shown."""
    plan = plan_of(owner)
    created = {**owner, "metadata": owner["metadata"] | {"uid": "…"}}
    return run_job(created, Start(plan.nodes[0], 0), plan.timeout)


def owner_reference(owner: Mapping[str, Any]) -> dict[str, Any]:
    """The reference by which the garbage collector removes a run with its owner."""
    return {"apiVersion": "batch/v1", "kind": "Job"} | {key: owner["metadata"][key] for key in ("name", "uid")}


def node_of(job: Mapping[str, Any]) -> str | None:
    """The node of a run's Job; None for its owner."""
    node: str | None = (job["metadata"].get("annotations") or {}).get(NODE_ANNOTATION)
    return node


def is_complete(owner: Mapping[str, Any]) -> bool:
    """Whether somebody has said that all its runs are over."""
    return bool(owner.get("spec", {}).get("completions") == COMPLETE["completions"])


def index_of(job: Mapping[str, Any]) -> int:
    """Which run on its node it is."""
    return int(job["metadata"]["labels"][RUN_LABEL])


def runs_selector(owner_id: str) -> dict[str, str]:
    """Selects the owner, its runs, and their pods."""
    return {"labelSelector": f"{NODES_LABEL}={owner_id}"}


def on_node(affinity: Mapping[str, Any] | None, node: str) -> dict[str, Any]:
    """The affinity, and the node by its name: every one of the author's terms, which are alternatives, gets it.

    Unlike ``nodeName`` it leaves the scheduler to see whether the node has room.
    """
    by_name = {"key": "metadata.name", "operator": "In", "values": [node]}
    merged: dict[str, Any] = copy.deepcopy(dict(affinity or {}))
    required = merged.setdefault("nodeAffinity", {}).setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [
        term | {"matchFields": [*(term.get("matchFields") or []), by_name]} for term in terms
    ]
    return merged


def _template(template: Mapping[str, Any], start: Start, labels: Mapping[str, str]) -> dict[str, Any]:
    given = copy.deepcopy(dict(template))
    own = {key: value for key, value in given["metadata"]["labels"].items() if key not in CONTROLLER_LABELS}
    annotations = (given["metadata"].get("annotations") or {}) | {NODE_ANNOTATION: start.node}
    spec = given["spec"]
    spec["affinity"] = on_node(spec.get("affinity"), start.node)
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        for variable in container.get("env", ()):
            if variable["name"] == RUN_VARIABLE:
                variable["value"] = str(start.index)
    return {"metadata": {"labels": own | dict(labels), "annotations": annotations}, "spec": spec}
