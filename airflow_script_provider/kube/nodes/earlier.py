"""What earlier tries of a task came to on each node, by the Jobs that they have left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from airflow_script_provider.kube.nodes import manifest, record
from airflow_script_provider.kube.nodes.plan import NodePlan
from airflow_script_provider.kube.nodes.selection import Selection

MISSING = "gone or no longer selected"
"""Why a node is left out that an earlier try had chosen, and that the cluster no longer lists."""


@dataclass(frozen=True)
class EarlierNodes:
    """Nodes on which all runs of an earlier try went well, and ``others`` that one had chosen."""

    succeeded: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()


def nodes_of(jobs: Iterable[Mapping[str, Any]], runs: int) -> EarlierNodes:
    """The nodes of these Jobs, owners and runs alike; ``runs`` are those of each node."""
    succeeded: set[str] = set()
    others: set[str] = set()
    for job in jobs:
        node, outcome = manifest.node_of(job), record.of_job(job)
        if node is None:
            others |= _planned(job)
        elif outcome is not None and outcome.index == runs - 1 and not outcome.failures:
            succeeded.add(node)
        else:
            others.add(node)
    return EarlierNodes(frozenset(succeeded), frozenset(others - succeeded))


def plan_of_try(plan: NodePlan, selection: Selection, earlier: EarlierNodes) -> NodePlan:
    """The plan of a try for the selected nodes, after what earlier tries came to.

    A node that an earlier try has not succeeded on is owed a success, also where it is gone.
    """
    owed = earlier.others - set(selection.names)
    return replace(
        plan,
        nodes=tuple(name for name in selection.names if name not in earlier.succeeded),
        earlier=tuple(name for name in selection.names if name in earlier.succeeded),
        skipped=dict(sorted((dict.fromkeys(owed, MISSING) | dict(selection.skipped)).items())),
        owed=tuple(sorted(owed)),
    )


def _planned(owner: Mapping[str, Any]) -> Set[str]:
    """Where an owner was to run the script; nothing if another program has changed its plan."""
    try:
        plan = manifest.plan_of(owner)
    except ValueError:
        return frozenset()
    return {*plan.nodes, *plan.owed}
