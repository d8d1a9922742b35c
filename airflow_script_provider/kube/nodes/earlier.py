"""What earlier tries of a task came to on each node, by the Jobs that they have left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from airflow_script_provider.kube.nodes import manifest, record


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


def _planned(owner: Mapping[str, Any]) -> Set[str]:
    """Where an owner was to run the script; nothing if another program has changed its plan."""
    try:
        plan = manifest.plan_of(owner)
    except ValueError:
        return frozenset()
    return {*plan.nodes, *plan.owed}
