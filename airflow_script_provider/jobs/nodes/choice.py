"""Asking the cluster for its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.jobs.answers.doubt import doubting
from airflow_script_provider.kube import wording
from airflow_script_provider.kube.listing import items_of
from airflow_script_provider.kube.nodes import selection as nodes
from airflow_script_provider.kube.nodes.selection import Node, NodeChoice, Selection

NODES_PAGE = 250
"""Nodes of one answer: each has some ten KiB."""

NAMED_PATIENCE = 5.0
"""Seconds for which a refusal is doubted where nodes are named: most accounts lack that right."""


async def choose(api: KubernetesApi, choice: NodeChoice, tolerations: Sequence[Mapping[str, Any]]) -> Selection:
    """The nodes to run on.

    Raises ``LaunchError`` where none is left, ``ApiForbiddenError`` where nodes may not be listed.
    Those that are named need no such right: without it they are taken as they are, unchecked.
    """
    patience = None if choice.nodes is None else NAMED_PATIENCE
    try:
        found = await doubting(lambda: _nodes(api, choice.label_selector), patience)
        if not found and choice.label_selector:
            raise exceptions.LaunchError(nodes.no_match(choice, await _nodes(api, "")), retryable=False)
    except exceptions.ApiForbiddenError as error:
        if choice.nodes is None:
            raise _explained(error) from None
        return Selection(tuple(sorted(set(choice.nodes))), is_checked=False)
    except exceptions.KubernetesApiError as error:
        if error.status == 400 and choice.label_selector:
            raise ValueError(
                f"node_selector {choice.label_selector!r} is not a valid label selector: {error.server_message}"
            ) from None
        raise
    return _checked(choice, found, nodes.select(found, choice, tolerations))


def _checked(choice: NodeChoice, found: Sequence[Node], selection: Selection) -> Selection:
    if missing := nodes.unknown(choice, found):
        what = nodes.no_match(NodeChoice(nodes=missing), found)
        raise exceptions.LaunchError(what, retryable=False)
    if not selection.names:
        text = nodes.no_nodes_left(selection.skipped) if selection.skipped else nodes.no_match(choice, found)
        raise exceptions.LaunchError(text)
    return selection


async def _nodes(api: KubernetesApi, selector: str) -> list[Node]:
    """Those that match, with what decides."""
    query = {"labelSelector": selector} if selector else {}
    return [_kept(item) async for text in api.pages("nodes", None, NODES_PAGE, **query) for item in items_of(text)]


def _kept(node: Node) -> dict[str, Any]:
    metadata = {
        key: node["metadata"][key] for key in ("name", "labels", "deletionTimestamp") if key in node["metadata"]
    }
    conditions = [one for one in node.get("status", {}).get("conditions") or [] if one["type"] == "Ready"]
    spec = {key: node["spec"][key] for key in ("unschedulable", "taints") if key in node.get("spec", {})}
    return {"metadata": metadata, "spec": spec, "status": {"conditions": conditions}}


def _explained(error: exceptions.ApiForbiddenError) -> exceptions.ApiForbiddenError:
    advice = 'Nodes may only be listed with a ClusterRole; nodes=["a", "b"] needs none.'
    return error.with_message(wording.with_advice(error.message, advice))
