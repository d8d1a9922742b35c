"""Choose the pod of a Deployment, StatefulSet or label selector, and the container in it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_script_provider.exceptions import TargetError
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.syntax import check_dns_subdomain
from airflow_script_provider.kube.wording import first_of, one_line

Object = Mapping[str, Any]

KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "pod": "Pod", "label_selector": "selector"}
"""The operator's arguments, and the kinds that they name."""
RESOURCES = {"deployment": "deployments", "statefulset": "statefulsets", "pod": "pods"}

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_REVISION = "deployment.kubernetes.io/revision"
_REVISION_LABEL = "controller-revision-hash"


@dataclass(frozen=True)
class Workload:
    """What the author named: a kind of ``KINDS``, and a name or a label selector."""

    kind: str
    name: str
    namespace: str

    def __str__(self) -> str:
        if self.kind == "label_selector":
            return f"label_selector {self.name!r} in namespace {self.namespace}"
        return f"{KINDS[self.kind]} {self.namespace}/{self.name}"

    @property
    def resource(self) -> str | None:
        """The resource in the API, None for a label selector."""
        return RESOURCES.get(self.kind)

    @property
    def check(self) -> str:
        """The command that shows what is wrong with it."""
        words = {
            "deployment": ["rollout", "status", "deployment", self.name],
            "label_selector": ["get", "pods", "-l", self.name],
        }
        # `rollout status` refuses a StatefulSet whose pods are updated by hand.
        return shlex.join(["kubectl", "-n", self.namespace, *words.get(self.kind, ["describe", self.kind, self.name])])


@dataclass(frozen=True)
class Candidates:
    """The pods of a workload. ``owner`` is the part of it that owns them, such as a ReplicaSet."""

    workload: Workload
    pods: Sequence[Object]
    owner: str = ""


@dataclass(frozen=True)
class Gone:
    """Why a process in a pod can no longer run, or will soon not.

    ``reason`` is Kubernetes' word for the end of pod or container, None without one. Unless
    ``is_over``, the pod is only asked to end within ``grace`` seconds: a node that is cut off does
    not know of that, and the process goes on.
    """

    why: str
    reason: str | None = None
    is_over: bool = True
    grace: int = 0

    def __str__(self) -> str:
        return self.why


def named(namespace: str, **names: str | None) -> Workload:
    """The one workload that is named; ``ValueError`` if none or several are."""
    given = {kind: name for kind, name in names.items() if name is not None}
    if len(given) != 1:
        what = f"{' and '.join(given)} exclude each other" if given else "no pod is chosen"
        raise ValueError(f"{what}: give exactly one of deployment, statefulset, pod and label_selector")
    kind, name = next(iter(given.items()))
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{kind}={name!r} must be a non-empty string")
    if kind in RESOURCES:
        check_dns_subdomain(name, kind)  # it is put into the URL's path
    return Workload(kind, name, namespace)


def selector_of(found: Object) -> str:
    """The selector of a Deployment or StatefulSet, as the text of ``labelSelector``."""
    selector = found["spec"].get("selector") or {}
    equal = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    return ",".join([*equal, *(_expression(term) for term in selector.get("matchExpressions") or ())])


def is_observed(found: Object) -> bool:
    """Whether the controller has seen the newest change.

    Until then, the current ReplicaSet is still the old one.
    """
    return int(found.get("status", {}).get("observedGeneration", 0)) >= int(found["metadata"].get("generation", 0))


def pods_of_deployment(
    workload: Workload, found: Object, replica_sets: Iterable[Object], pods: Iterable[Object]
) -> Candidates:
    """The pods of the Deployment's current ReplicaSet. During a rollout that is the new one."""
    revision = _revision(found)
    owned = [item for item in replica_sets if _owner_uid(item) == found["metadata"]["uid"]]
    current = next((item for item in owned if _revision(item) == revision), None)
    if current is None:
        return Candidates(workload, [], "its ReplicaSet, which does not exist yet")
    ours = [pod for pod in pods if _owner_uid(pod) == current["metadata"]["uid"]]
    return Candidates(workload, ours, f"ReplicaSet {current['metadata']['name']}")


def pods_of_stateful_set(workload: Workload, found: Object, pods: Iterable[Object]) -> Candidates:
    """The pods of the StatefulSet's newest revision.

    If there are none, those of earlier revisions that its update strategy keeps.
    """
    revision = found.get("status", {}).get("updateRevision", "")
    owned = [pod for pod in pods if _owner_uid(pod) == found["metadata"]["uid"]]
    newest = [pod for pod in owned if (pod["metadata"].get("labels") or {}).get(_REVISION_LABEL, revision) == revision]
    kept = [pod for pod in owned if _is_kept(pod, found["spec"])]
    if newest or not kept:
        return Candidates(workload, newest, f"revision {revision}")
    return Candidates(workload, kept, f"the revisions before {revision}, which its update strategy keeps")


def choose_ready_pod(candidates: Candidates) -> Object:
    """The first ready pod by name; ``TargetError`` gives the number of pods and their states."""
    ready = sorted((pod for pod in candidates.pods if is_ready(pod)), key=_name)
    if not ready:
        raise TargetError(_no_ready_pod(candidates))
    return ready[0]


def choose_named_pod(workload: Workload, pod: Object) -> Object:
    """The pod that the author named. It must run, but need not be ready."""
    if pod["metadata"].get("deletionTimestamp") or pod.get("status", {}).get("phase") != "Running":
        raise TargetError(f"{workload} is not running: its state is {state(pod)}. Check: {workload.check}")
    return pod


def choose_container(pod: Object, container: str | None) -> Mapping[str, Any]:
    """The container of this name, or the only one, or the one that kubectl takes by default.

    ``TargetError`` lists the pod's containers.
    """
    main = pod["spec"]["containers"]
    sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    where, names = f"pod {_full_name(pod)}", ", ".join(c["name"] for c in (*main, *sidecars))
    default = (pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER)
    if container is None and any(c["name"] == default for c in main):
        container = default
    if container is None and len(main) > 1:
        raise TargetError(f"{where} has several containers: {names}. Set container to one of them.", retryable=False)
    found = main[0] if container is None else next((c for c in (*main, *sidecars) if c["name"] == container), None)
    if found is None:
        raise TargetError(f"{where} has no container {container!r}. It has: {names}.", retryable=False)
    if not _runs(pod, found["name"]):
        raise TargetError(f"container {found['name']!r} of {where} is not running: the pod is {state(pod)}.")
    result: Mapping[str, Any] = found
    return result


def is_ready(pod: Object) -> bool:
    """Whether the pod is ready and not being deleted."""
    return not pod["metadata"].get("deletionTimestamp") and _condition(pod, "Ready") == "True"


def state(pod: Object) -> str:
    """A pod's state in a few words, as ``kubectl get pods`` shows it."""
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    states = [item.get("state", {}) for item in status.get("containerStatuses") or ()]
    for item in states:
        reason = (item.get("waiting") or item.get("terminated") or {}).get("reason")
        if reason:
            return str(reason)
    is_running = status.get("phase") == "Running"
    return "running but not ready" if is_running and not is_ready(pod) else str(status.get("phase") or "Unknown")


def not_found(workload: Workload, existing: Sequence[str] | None) -> TargetError:
    """The error for a workload that does not exist.

    ``existing`` are the names that exist, None where they may not be listed.
    """
    first = f"{workload} does not exist."
    if existing is None:
        return TargetError(f"{first} Check {workload.kind} and namespace.")
    if not existing:
        return TargetError(f"{first} The namespace has no {KINDS[workload.kind]}. Check namespace.")
    return TargetError(f"{first} The namespace has: {first_of(sorted(existing))}")


def why_gone(chosen: Object, now: Object | None, container: str) -> Gone | None:
    """Why a process in the chosen pod has ended or will end, None if the pod has not changed."""
    if now is None or now["metadata"]["uid"] != chosen["metadata"]["uid"]:
        return Gone("the pod was deleted or replaced by a rollout while the script ran")
    phase, is_deleted = pod_status.phase(now), pod_status.is_being_deleted(now)
    before, after = _container_status(chosen, container), _container_status(now, container)
    has_ended = before.get("containerID") != after.get("containerID") or not _runs(now, container)
    is_over, grace = has_ended or pod_status.is_terminal(now), pod_status.deletion_grace_period(now)
    if (why := pod_status.disruption(now) or pod_status.failure(now)) and (is_deleted or phase == "Failed"):
        cause = f"the pod was ended by the cluster ({one_line(str(why))})"
        return Gone(cause, pod_status.reason(now), is_over, grace)
    if is_deleted:
        return Gone("the pod is being deleted, perhaps by a rollout", None, is_over, grace)
    if has_ended:
        return _container_ended(container, before, after)
    return Gone(f"the pod is in phase {phase}") if is_over else None


def _no_ready_pod(candidates: Candidates) -> str:
    workload, pods = candidates.workload, candidates.pods
    owner = f" of {candidates.owner}" if candidates.owner else ""
    states = [state(pod) for pod in pods]
    counted = ", ".join(f"{states.count(word)} {word}" for word in dict.fromkeys(states))
    seen = f"{len(pods)} pods{owner}: {counted}" if pods else f"no pods{owner}"
    return f"{workload} has no ready pod ({seen}). Check: {workload.check}"


def _is_kept(pod: Object, spec: Mapping[str, Any]) -> bool:
    """Whether a StatefulSet keeps a pod of an earlier revision.

    The author then deletes the pod, or lowers the partition, to update it.
    """
    strategy = spec.get("updateStrategy") or {}
    first, ordinal = int((spec.get("ordinals") or {}).get("start") or 0), _name(pod).rpartition("-")[2]
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    return strategy.get("type") == "OnDelete" or (ordinal.isdigit() and int(ordinal) < first + partition)


def _container_ended(container: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Gone:
    """The end of the container as it was before; after two restarts it is no longer known."""
    id_then = before.get("containerID")
    ends = [(after.get(name) or {}).get("terminated") or {} for name in ("state", "lastState")]
    why = f'container "{container}" ended while the script ran'
    end = next((end for end in ends if end and end.get("containerID", id_then) == id_then), None)
    if end is None:
        return Gone(why)
    word = end.get("reason") or "Error"
    return Gone(f"{why} ({word}, exit code {end.get('exitCode')})", None if word == "Completed" else word)


def _expression(term: Mapping[str, Any]) -> str:
    key, operator, values = term["key"], term["operator"], ",".join(term.get("values") or ())
    forms: dict[str, str] = {
        "In": f"{key} in ({values})",
        "NotIn": f"{key} notin ({values})",
        "Exists": key,
        "DoesNotExist": f"!{key}",
    }
    return str(forms[operator])


def _runs(pod: Object, container: str) -> bool:
    return "running" in (_container_status(pod, container).get("state") or {})


def _container_status(pod: Object, container: str) -> Mapping[str, Any]:
    status = pod.get("status", {})
    every = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return next((item for item in every if item["name"] == container), {})


def _condition(pod: Object, kind: str) -> str | None:
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((str(item["status"]) for item in conditions if item["type"] == kind), None)


def _revision(item: Object) -> str | None:
    revision: str | None = (item["metadata"].get("annotations") or {}).get(_REVISION)
    return revision


def _owner_uid(item: Object) -> str | None:
    owners = item["metadata"].get("ownerReferences") or ()
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])


def _full_name(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{_name(pod)}"
