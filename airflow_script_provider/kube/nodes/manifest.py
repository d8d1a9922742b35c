"""The Jobs of a script on nodes: an owner that runs nothing, and one Job for each node and run.

The owner holds the pods' template, so a run starts without reading the script or its environment.
Both are in the owner's ConfigMap and Secret, which all runs share.
"""

from __future__ import annotations

import copy
import math
import re
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_script_provider.kube.durations import MAX_SECONDS
from airflow_script_provider.kube.job import manifest as job_manifest
from airflow_script_provider.kube.labels import (
    CONTROLLER_LABELS,
    ENDED_ANNOTATION_PREFIX,
    HOST_VOLUME,
    INSTALL_CONTAINER,
    INVALID_TEXT,
    LAUNCH_LABEL,
    NODE_ANNOTATION,
    NODE_LABEL,
    NODES_LABEL,
    PLAN_ANNOTATION,
    RUN_LABEL,
    SCRIPT_CONTAINER,
)
from airflow_script_provider.kube.names import dns_slug, label_value, short_digest
from airflow_script_provider.kube.nodes.plan import Mode, NodePlan, OnNodes, Start
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.kube.syntax import MAX_LABEL

NODE_VARIABLE = "NODE_NAME"
RUN_VARIABLE = "RUN_INDEX"
HOST_FOLDER = "/host"

_NOT_COPIED = ("batch.kubernetes.io/job-tracking", PLAN_ANNOTATION, ENDED_ANNOTATION_PREFIX)
"""The starts of names of the owner's annotations that are its own."""
_RESTRICTIONS = ("allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem")
"""The fields of a script's security context that a privileged container does not have."""

OWNER = {"completionMode": "Indexed", "parallelism": 0, "completions": 1}
"""The spec of an owner: it makes no pods, and ``COMPLETE`` completes it."""
COMPLETE = {"parallelism": 0, "completions": 0}
"""The change of an owner's spec that completes it. Only an indexed Job allows it."""
STOPPED = {"activeDeadlineSeconds": 1, "parallelism": 0}
"""The change of a run's spec that ends it. Unlike a deletion it keeps the Job and its outcome.
The deadline of a suspended Job counts from its resumption on, so it must not start a pod then."""


def owner_request(request: JobRequest, on_nodes: OnNodes) -> JobRequest:
    """The request of the Job that owns the runs."""
    installs = bool(request.provision.requirements)
    return replace(request, job_patch=owner_patch(on_nodes, installs=installs))


def owner_patch(on_nodes: OnNodes, *, installs: bool = False) -> dict[str, Any]:
    """The patch that makes a Job the owner of runs: of the Job and of its pods' template.

    ``installs`` says that the pods have an init container. It gets the same patch as the
    script's container.
    """
    pod: dict[str, Any] = {"containers": [_container_patch(on_nodes.mode, SCRIPT_CONTAINER)]}
    if installs:
        pod["initContainers"] = [_container_patch(on_nodes.mode, INSTALL_CONTAINER)]
    if on_nodes.mode is Mode.HOST:
        # Kubernetes refuses both together. Among the node's processes the script is not PID 1.
        pod |= {"hostPID": True, "shareProcessNamespace": False}
        pod["volumes"] = [{"name": HOST_VOLUME, "hostPath": {"path": "/", "type": "Directory"}}]
    return {
        "metadata": {"annotations": {PLAN_ANNOTATION: on_nodes.plan.to_text()}},
        "spec": {**OWNER, "template": {"spec": pod}},
    }


def _container_patch(mode: Mode, name: str) -> dict[str, Any]:
    """The patch of a container: node and run as variables, and what the mode grants."""
    node_name = {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}
    patch: dict[str, Any] = {
        "name": name,
        "env": [{"name": NODE_VARIABLE, "valueFrom": node_name}, {"name": RUN_VARIABLE, "value": "0"}],
    }
    if mode is not Mode.NORMAL:
        patch["securityContext"] = {"privileged": True} | dict.fromkeys(_RESTRICTIONS)
    if mode is Mode.HOST:
        # The script also sees what the node mounts later.
        mount = {"name": HOST_VOLUME, "mountPath": HOST_FOLDER, "mountPropagation": "HostToContainer"}
        patch["volumeMounts"] = [mount]
    return patch


def replanned(plan: NodePlan, grace_period: float, clock: float | None) -> dict[str, Any]:
    """The change of an owner that gets another plan, and the time that it takes from now on.

    ``clock`` is when the owner's deadline began to count, as a time of day. It is None while the
    owner is suspended.
    """
    now = time.time()
    left = plan.owner_deadline(math.ceil(grace_period), now)
    passed = 0 if clock is None else math.ceil(now - clock)
    seconds = None if left is None else min(left + passed, MAX_SECONDS)
    return {
        "metadata": {"annotations": {PLAN_ANNOTATION: plan.to_text()}},
        "spec": {"activeDeadlineSeconds": seconds},
    }


def with_plan(owner: Mapping[str, Any], plan: NodePlan) -> dict[str, Any]:
    """The owner with another plan, for a follower; in the cluster it keeps its own."""
    annotations = owner["metadata"]["annotations"] | {PLAN_ANNOTATION: plan.to_text()}
    return {**owner, "metadata": owner["metadata"] | {"annotations": annotations}}


def shown(request: JobRequest) -> list[dict[str, Any]]:
    """The objects of an owner as ``kubectl apply`` takes them, then the Job of its first run.

    Values are hidden.
    """
    return [*job_manifest.shown(request), first_run(job_manifest.job(request))]


def check_variables(names: Sequence[str]) -> None:
    """Refuse the author's variables that would replace ours."""
    for name in names:
        if name in (NODE_VARIABLE, RUN_VARIABLE):
            raise ValueError(
                f"env has a reserved name {name!r}: this provider sets it to the node or run; choose another name"
            )


def plan_of(owner: Mapping[str, Any]) -> NodePlan:
    """The plan in the owner's annotation. ``ValueError`` if there is no plan."""
    try:
        return NodePlan.from_text(owner["metadata"]["annotations"][PLAN_ANNOTATION])
    except (*INVALID_TEXT, zlib.error) as error:
        raise ValueError(
            f"Job {owner['metadata']['name']} has no valid annotation {PLAN_ANNOTATION}: {error!r}"
        ) from None


def obsolete_index(owner: Mapping[str, Any], index: int) -> int | None:
    """The run of a node that is no longer history after run ``index``, None if all are."""
    if PLAN_ANNOTATION not in (owner["metadata"].get("annotations") or {}):
        return None
    old = index - plan_of(owner).history_limit
    return old if old >= 0 else None


def run_name(owner: Mapping[str, Any], start: Start) -> str:
    """The name of a run's Job. It is always the same, so a repeated create finds the Job."""
    digest = launch_id(owner, start)
    room = MAX_LABEL - len(digest) - 1
    stem = f"{dns_slug(start.node)[: room // 2]}-{start.index}"
    prefix = owner["metadata"]["name"].rpartition("-")[0][: room - len(stem) - 1].rstrip("-")
    return f"{prefix}-{stem}-{digest}"


def launch_id(owner: Mapping[str, Any], start: Start) -> str:
    """The launch id of a run's Job."""
    return short_digest(owner["metadata"]["labels"][LAUNCH_LABEL], start.node, start.index)


def run_job(owner: Mapping[str, Any], start: Start, deadline: int | None) -> dict[str, Any]:
    """The Job of one run on one node, from the owner as the API server has it."""
    metadata, spec = owner["metadata"], owner["spec"]
    labels = metadata["labels"] | {
        LAUNCH_LABEL: launch_id(owner, start),
        NODE_LABEL: label_value(start.node),
        RUN_LABEL: str(start.index),
    }
    annotations = {k: text for k, text in metadata.get("annotations", {}).items() if not k.startswith(_NOT_COPIED)}
    # Admission may have raised the owner's limit, but a run has one attempt.
    one_attempt = {"backoffLimit": 0}
    kept = {"podFailurePolicy": spec["podFailurePolicy"]} if "podFailurePolicy" in spec else {}
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
        "spec": one_attempt | kept | {"template": _template(spec["template"], start, labels)},
    }
    if deadline is not None:
        body["spec"]["activeDeadlineSeconds"] = deadline
    return body


def first_run(owner: Mapping[str, Any]) -> dict[str, Any]:
    """The Job of the first run, for a dry run: the owner was not created yet."""
    plan = plan_of(owner)
    created = {**owner, "metadata": owner["metadata"] | {"uid": "…"}}
    return run_job(created, Start(plan.nodes[0], 0), plan.longest_run)


def owner_reference(owner: Mapping[str, Any]) -> dict[str, Any]:
    """The reference by which the garbage collector removes a run with its owner."""
    return {"apiVersion": "batch/v1", "kind": "Job"} | {key: owner["metadata"][key] for key in ("name", "uid")}


def node_of(thing: Mapping[str, Any]) -> str | None:
    """The node of a run's Job or pod; None for the owner, and for a pod that has no node yet.

    A webhook may replace annotations. The template of the Job also names the node, and the
    scheduler does it for the pod.
    """
    named = (text for of in _metadata_of(thing) if (text := (of.get("annotations") or {}).get(NODE_ANNOTATION)))
    node: str | None = next(named, None) or thing.get("spec", {}).get("nodeName")
    return node


def is_complete(owner: Mapping[str, Any]) -> bool:
    """Whether the owner was completed, which means that all its runs are over."""
    return bool(owner.get("spec", {}).get("completions") == COMPLETE["completions"])


def index_of(thing: Mapping[str, Any]) -> int | None:
    """The number of a run on its node, from 0, by its Job or pod; None for all others."""
    texts = [(of.get("labels") or {}).get(RUN_LABEL, "") for of in _metadata_of(thing)]
    return next((int(text) for text in texts if re.fullmatch("[0-9]{1,9}", text)), None)


def owner_id(name: str) -> str:
    """The launch id of an owner, by its name."""
    return name.rpartition("-")[2]


def runs_selector(owner_id: str) -> dict[str, str]:
    """Selects the owner, its runs, and their pods."""
    return {"labelSelector": f"{NODES_LABEL}={owner_id}"}


def on_node(affinity: Mapping[str, Any] | None, node: str) -> dict[str, Any]:
    """The author's affinity, restricted to one node.

    Its terms are alternatives, so each of them gets the node's name. Unlike ``nodeName``, an
    affinity lets the scheduler check whether the node has room.
    """
    by_name = {"key": "metadata.name", "operator": "In", "values": [node]}
    merged: dict[str, Any] = copy.deepcopy(dict(affinity or {}))
    required = merged.setdefault("nodeAffinity", {}).setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [
        term | {"matchFields": [*(term.get("matchFields") or []), by_name]} for term in terms
    ]
    return merged


def _metadata_of(thing: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The metadata of a Job and of its pods' template, or of a pod."""
    return [thing["metadata"], thing.get("spec", {}).get("template", {}).get("metadata", {})]


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
