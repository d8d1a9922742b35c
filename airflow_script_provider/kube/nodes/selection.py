"""The choice of nodes for a script, and the reasons why chosen nodes are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider.kube.syntax import check_dns_subdomain, check_flag, check_labels
from airflow_script_provider.kube.wording import first_of

Node = Mapping[str, Any]

MAX_LABELS = 12
"""Labels that a message names if a selector matches no node."""

UNREACHABLE, NOT_READY, GONE = "unreachable", "not ready", "gone"
"""States of a node that failed. No kubelet reports from an unreachable one."""
READY = "ready"
_UNREADY_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_CORDON_TAINT = "node.kubernetes.io/unschedulable"
_TOLERATE_ALL = {"operator": "Exists"}


@dataclass(frozen=True, kw_only=True)
class NodeChoice:
    """The author's choice of nodes. Exactly one of the first three fields is set."""

    node_selector: str | Mapping[str, str] | None = None
    nodes: Sequence[str] | None = None
    all_nodes: bool = False
    include_unready: bool = False
    include_cordoned: bool = True

    def check_before_rendering(self) -> None:
        """Refuse values that no rendering can make valid."""
        for name in ("all_nodes", "include_unready", "include_cordoned"):
            check_flag(getattr(self, name), name)
        given = {"node_selector": self.node_selector is not None, "nodes": self.nodes is not None}
        chosen = [name for name, is_given in (given | {"all_nodes": self.all_nodes}).items() if is_given]
        if len(chosen) != 1:
            found = " and ".join(chosen) or "none of them"
            raise ValueError(f"give exactly one of node_selector, nodes and all_nodes=True, not {found}")
        if isinstance(self.node_selector, str | Mapping) and not self.node_selector:
            raise ValueError("node_selector is empty; all_nodes=True selects every node")
        if isinstance(self.nodes, Sequence) and not self.nodes:
            raise ValueError("nodes is empty; name at least one node")

    def check(self) -> None:
        """Refuse selectors and names that Kubernetes would not take. After rendering only."""
        self.check_before_rendering()
        if isinstance(self.node_selector, Mapping):
            check_labels(self.node_selector, "node_selector")
        elif self.node_selector is not None and not isinstance(self.node_selector, str):
            raise ValueError(f"node_selector must be a string or a mapping, not {type(self.node_selector).__name__}")
        if self.node_selector is not None and not self.label_selector:
            raise ValueError("node_selector is empty; all_nodes=True selects every node")
        if self.nodes is not None:
            self._check_names(self.nodes)

    @staticmethod
    def _check_names(nodes: Any) -> None:
        if isinstance(nodes, str) or not isinstance(nodes, Sequence):
            raise ValueError(f"nodes must be a list of names, not {type(nodes).__name__}")
        for name in nodes:
            check_dns_subdomain(name, "nodes")

    @property
    def label_selector(self) -> str:
        """The selector as the API takes it; empty for all nodes and for named nodes."""
        if isinstance(self.node_selector, Mapping):
            return ",".join(f"{key}={value}" for key, value in self.node_selector.items())
        return (self.node_selector or "").strip()


@dataclass(frozen=True)
class Selection:
    """The nodes to run on, sorted by name, and why other chosen nodes are left out.

    Unless ``is_checked``, their state is unknown, because nodes may not be listed.
    """

    names: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    is_checked: bool = True


def select(nodes: Iterable[Node], choice: NodeChoice, tolerations: Sequence[Mapping[str, Any]]) -> Selection:
    """Select the nodes that the script runs on. ``tolerations`` are those of its pods."""
    wanted = None if choice.nodes is None else set(choice.nodes)
    reasons = {
        _name(node): why_not(node, choice, tolerations) for node in nodes if wanted is None or _name(node) in wanted
    }
    return Selection(
        tuple(sorted(name for name, reason in reasons.items() if reason is None)),
        {name: reason for name, reason in sorted(reasons.items()) if reason is not None},
    )


def why_not(node: Node, choice: NodeChoice, tolerations: Sequence[Mapping[str, Any]]) -> str | None:
    """Why the script cannot run on a node, None if it can."""
    if node["metadata"].get("deletionTimestamp"):
        return "is being deleted"
    if not choice.include_unready and (state := state_if_not_ready(node)):
        return f"{state} (include_unready)"
    if not choice.include_cordoned and node.get("spec", {}).get("unschedulable"):
        return "cordoned (include_cordoned)"
    for taint in node.get("spec", {}).get("taints") or []:
        if taint.get("effect") != "PreferNoSchedule" and not any(_tolerates(t, taint) for t in tolerations):
            value = f"={taint['value']}" if taint.get("value") else ""
            return f"untolerated taint {taint['key']}{value}:{taint['effect']} (tolerations)"
    return None


def state_if_not_ready(node: Node) -> str | None:
    """The state of a node that is not ready, None if the node is ready.

    A node whose kubelet does not report is ``unreachable``.
    """
    conditions = node.get("status", {}).get("conditions") or []
    ready = next((condition["status"] for condition in conditions if condition["type"] == "Ready"), "Unknown")
    return {"True": None, "False": NOT_READY}.get(ready, UNREACHABLE)


def tolerations(
    given: Sequence[Mapping[str, Any]] | None, choice: NodeChoice, startup_timeout: int
) -> list[dict[str, Any]]:
    """The tolerations of the pods, by default of every taint.

    Pods leave a lost node after ``startup_timeout``. The entries for that come first, because
    Kubernetes takes the first entry that tolerates a taint.
    """
    lost = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": startup_timeout}
    ours: list[dict[str, Any]] = [{"key": key} | lost for key in _UNREADY_TAINTS]
    if given is None:
        return [*ours, dict(_TOLERATE_ALL)]
    if choice.include_unready:
        ours += [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in _UNREADY_TAINTS]
    if choice.include_cordoned:
        ours.append({"key": _CORDON_TAINT, "operator": "Exists", "effect": "NoSchedule"})
    return [*ours, *(dict(toleration) for toleration in given)]


def no_match(choice: NodeChoice, nodes: Sequence[Node]) -> str:
    """The message if no node is chosen. ``nodes`` are all nodes of the cluster."""
    if choice.nodes is not None:
        existing = first_of([_name(node) for node in nodes]) or "none"
        return f"nodes not found: {', '.join(choice.nodes)}. Existing nodes: {existing}."
    if not choice.label_selector:
        return "the cluster has no nodes"
    number, labels = nodes_in_words(len(nodes)), _existing_labels(choice, nodes)
    return f"node_selector {choice.label_selector!r} matches none of {number}. Labels of the nodes: {labels}."


def no_nodes_left(skipped: Mapping[str, str]) -> str:
    """The message if all chosen nodes are left out."""
    reasons = [f"{name}: {reason}" for name, reason in skipped.items()]
    return f"none of the {len(skipped)} chosen nodes can be used: {first_of(reasons)}."


def unknown(choice: NodeChoice, nodes: Collection[Node]) -> list[str]:
    """The names of the author's choice that no node has."""
    existing = {_name(node) for node in nodes}
    return [name for name in choice.nodes or () if name not in existing]


def _existing_labels(choice: NodeChoice, nodes: Sequence[Node]) -> str:
    """The existing values of the selector's keys, or all existing labels if there are none."""
    labels = Counter(
        f"{key}={value}" for node in nodes for key, value in (node["metadata"].get("labels") or {}).items()
    )
    near = {label: count for label, count in labels.items() if label.partition("=")[0] in choice.label_selector}
    shown = sorted((near or labels).items(), key=lambda item: (item[1] == len(nodes) and not near, item[0]))
    return first_of([f"{label} ({count})" for label, count in shown], MAX_LABELS) or "none"


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether a toleration tolerates a taint, as Kubernetes' ``ToleratesTaint`` decides it.

    An empty key or effect matches all.
    """
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", "")


def _name(node: Node) -> str:
    return str(node["metadata"]["name"])


def nodes_in_words(number: int) -> str:
    """``1 node``, ``2 nodes``."""
    return f"{number} node{'' if number == 1 else 's'}"
