"""Which nodes a script runs on: by selector, by name, all of them; and which of those are left out, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider.kube.syntax import check_dns_subdomain, check_flag, check_labels

Node = Mapping[str, Any]

MAX_LABELS = 12
"""Labels that are named where a selector matches nothing."""
MAX_NAMES = 20
"""Nodes that are named in such a message."""

_UNREADY_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_CORDON_TAINT = "node.kubernetes.io/unschedulable"
_TOLERATE_ALL = {"operator": "Exists"}


@dataclass(frozen=True, kw_only=True)
class NodeChoice:
    """What the author says of the nodes; exactly one of the first three."""

    node_selector: str | Mapping[str, str] | None = None
    nodes: Sequence[str] | None = None
    all_nodes: bool = False
    include_unready: bool = False
    include_cordoned: bool = True

    def check_before_rendering(self) -> None:
        """Refuse what is wrong whatever the templates turn out to be."""
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
        """The selector as the API takes it; empty for all nodes and for those that are named."""
        if isinstance(self.node_selector, Mapping):
            return ",".join(f"{key}={value}" for key, value in self.node_selector.items())
        return (self.node_selector or "").strip()


@dataclass(frozen=True)
class Selection:
    """The nodes to run on, in the order of their names, and why others of the chosen ones are left out."""

    names: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


def select(nodes: Iterable[Node], choice: NodeChoice, tolerations: Sequence[Mapping[str, Any]]) -> Selection:
    """Of the nodes that match, those that the script runs on; ``tolerations`` are its pods'."""
    wanted = None if choice.nodes is None else set(choice.nodes)
    reasons = {
        _name(node): why_not(node, choice, tolerations) for node in nodes if wanted is None or _name(node) in wanted
    }
    return Selection(
        tuple(sorted(name for name, reason in reasons.items() if reason is None)),
        {name: reason for name, reason in sorted(reasons.items()) if reason is not None},
    )


def why_not(node: Node, choice: NodeChoice, tolerations: Sequence[Mapping[str, Any]]) -> str | None:
    """Why the script does not run on a node, None if it does."""
    if node["metadata"].get("deletionTimestamp"):
        return "is being deleted"
    if not choice.include_unready and (state := unready(node)):
        return f"{state} (include_unready)"
    if not choice.include_cordoned and node.get("spec", {}).get("unschedulable"):
        return "cordoned (include_cordoned)"
    for taint in node.get("spec", {}).get("taints") or []:
        if taint.get("effect") != "PreferNoSchedule" and not any(_tolerates(t, taint) for t in tolerations):
            value = f"={taint['value']}" if taint.get("value") else ""
            return f"untolerated taint {taint['key']}{value}:{taint['effect']} (tolerations)"
    return None


def unready(node: Node) -> str | None:
    """What is wrong with a node, in a word, None if it is ready: without its kubelet's word it is unreachable."""
    conditions = node.get("status", {}).get("conditions") or []
    ready = next((condition["status"] for condition in conditions if condition["type"] == "Ready"), "Unknown")
    return {"True": None, "False": "not ready"}.get(ready, "unreachable")


def tolerations(
    given: Sequence[Mapping[str, Any]] | None, choice: NodeChoice, startup_timeout: int
) -> list[dict[str, Any]]:
    """The tolerations of the pods, by default of every taint.

    A node that is lost is given up after ``startup_timeout``. These entries come first: of those that tolerate a taint
    Kubernetes takes the first.
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
    """What to say where nothing is chosen; ``nodes`` are all that there are."""
    if choice.nodes is not None:
        return f"no node is called {', '.join(choice.nodes)}. There are: {_named([_name(node) for node in nodes])}."
    if not choice.label_selector:
        return "the cluster has no nodes"
    labels = _labels_there_are(choice, nodes)
    return f"node_selector {choice.label_selector!r} matches none of {nodes_in_words(len(nodes))}. {labels}"


def no_nodes_left(skipped: Mapping[str, str]) -> str:
    """What to say where all that were chosen are left out."""
    reasons = [f"{name}: {reason}" for name, reason in skipped.items()]
    return f"none of the {len(skipped)} chosen nodes can be used: {_named(reasons)}."


def unknown(choice: NodeChoice, nodes: Collection[Node]) -> list[str]:
    """Names in ``nodes`` that no node has."""
    existing = {_name(node) for node in nodes}
    return [name for name in choice.nodes or () if name not in existing]


def _labels_there_are(choice: NodeChoice, nodes: Sequence[Node]) -> str:
    """The values of the selector's own keys, else the keys that there are."""
    labels = Counter(
        f"{key}={value}" for node in nodes for key, value in (node["metadata"].get("labels") or {}).items()
    )
    near = {label: count for label, count in labels.items() if label.partition("=")[0] in choice.label_selector}
    shown = sorted((near or labels).items(), key=lambda item: (item[1] == len(nodes) and not near, item[0]))
    words = [f"{label} ({count})" for label, count in shown]
    return f"They have: {_named(words, MAX_LABELS)}."


def _named(words: Sequence[str], most: int = MAX_NAMES) -> str:
    more = f", … ({len(words)} in all)" if len(words) > most else ""
    return ", ".join(words[:most]) + more or "none"


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """As Kubernetes' ``ToleratesTaint``: an empty key or effect stands for all of them."""
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
