"""Which nodes a script runs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from airflow_script_provider.kube.nodes import selection
from airflow_script_provider.kube.nodes.selection import NodeChoice, Selection
from tests.builders import a_node

EVERY_TAINT = [{"operator": "Exists"}]
ALL = NodeChoice(all_nodes=True)


@pytest.mark.parametrize(
    "choice",
    [{}, {"nodes": ["a"], "all_nodes": True}, {"node_selector": "a=b", "nodes": ["a"]}],
    ids=["none", "two", "selector and names"],
)
def test_exactly_one_way_of_choosing(choice: dict[str, Any]) -> None:
    """None of them would be a surprise, two would contradict each other."""
    with pytest.raises(ValueError, match="exactly one of node_selector, nodes and all_nodes"):
        NodeChoice(**choice).check_before_rendering()


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"node_selector": ""}, "node_selector is empty; all_nodes=True"),
        ({"node_selector": {}}, "node_selector is empty"),
        ({"node_selector": {"role": "two words"}}, "not a legal label value"),
        ({"node_selector": 3}, "must be a string or a mapping"),
        ({"nodes": []}, "nodes is empty"),
        ({"nodes": "node-1"}, "must be a list of names"),
        ({"nodes": ["Node 1"]}, "not a legal Kubernetes name"),
        ({"all_nodes": "yes"}, "all_nodes='yes' must be True or False"),
    ],
)
def test_what_chooses_nothing_is_refused(choice: dict[str, Any], words: str) -> None:
    """A selector that would select every node is no selector."""
    with pytest.raises(ValueError, match=words):
        NodeChoice(**choice).check()


@pytest.mark.parametrize("choice", [{"node_selector": ""}, {"node_selector": {}}, {"nodes": []}])
def test_what_is_empty_is_refused_at_parse(choice: dict[str, Any]) -> None:
    """No template makes something of nothing (R29)."""
    with pytest.raises(ValueError, match="is empty"):
        NodeChoice(**choice).check_before_rendering()


def test_a_mapping_is_a_selector() -> None:
    """Labels as a mapping are the same as their text."""
    assert NodeChoice(node_selector={"role": "db", "zone": "a"}).label_selector == "role=db,zone=a"
    assert NodeChoice(node_selector=" role=db,zone in (a,b) ").label_selector == "role=db,zone in (a,b)"


def test_nodes_come_in_the_order_of_their_names() -> None:
    """Rolling work goes through them in an order that can be told beforehand."""
    found = selection.select([a_node("b"), a_node("a")], ALL, EVERY_TAINT)
    assert found == Selection(("a", "b"), {})


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ({"ready": "False"}, "not ready (include_unready)"),
        ({"ready": "Unknown"}, "unreachable (include_unready)"),
        ({"being_deleted": True}, "is being deleted"),
    ],
)
def test_a_node_that_cannot_run_anything_is_left_out(node: dict[str, Any], reason: str) -> None:
    """The result says why, and which argument would have it."""
    assert selection.select([a_node("a", **node)], ALL, EVERY_TAINT) == Selection((), {"a": reason})


def test_unready_nodes_on_request() -> None:
    """``include_unready`` has them."""
    choice = NodeChoice(all_nodes=True, include_unready=True)
    assert selection.select([a_node("a", ready="Unknown")], choice, EVERY_TAINT).names == ("a",)


@pytest.mark.parametrize(("is_included", "names"), [(True, ("a",)), (False, ())])
def test_cordoned_nodes(is_included: bool, names: tuple[str, ...]) -> None:
    """A cordoned node is one like any other, as for a DaemonSet, unless the author wants none."""
    choice = NodeChoice(all_nodes=True, include_cordoned=is_included)
    tolerations = selection.tolerations(None, choice, 300)
    assert selection.select([a_node("a", cordoned=True)], choice, tolerations).names == names


def test_a_cordoned_node_is_tolerated_by_the_authors_tolerations_too() -> None:
    """``tolerations`` are about taints of the author's, ``include_cordoned`` about cordons."""
    tolerations = selection.tolerations([], ALL, 300)
    assert selection.select([a_node("a", cordoned=True)], ALL, tolerations).names == ("a",)


@pytest.mark.parametrize(
    ("toleration", "is_tolerated"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "value": "no"}, False),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_taints_that_are_not_tolerated_leave_a_node_out(toleration: Mapping[str, str], is_tolerated: bool) -> None:
    """As a DaemonSet would: its pods are not even made there."""
    node = a_node("a", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
    found = selection.select([node], ALL, [toleration])
    assert found == (Selection(("a",)) if is_tolerated else Selection((), {"a": SKIPPED_BY_TAINT}))


SKIPPED_BY_TAINT = "untolerated taint gpu=yes:NoSchedule (tolerations)"


def test_a_wish_is_no_taint_to_tolerate() -> None:
    """``PreferNoSchedule`` keeps nobody away."""
    node = a_node("a", taints=[{"key": "old", "effect": "PreferNoSchedule"}])
    assert selection.select([node], ALL, []).names == ("a",)


def test_lost_nodes_are_tolerated_for_a_while_only() -> None:
    """The bounded entries come first: of those that tolerate a taint Kubernetes takes the first."""
    first, second, rest = selection.tolerations(None, ALL, 120)
    bound = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 120}
    assert first == {"key": "node.kubernetes.io/not-ready"} | bound
    assert second == {"key": "node.kubernetes.io/unreachable"} | bound
    assert rest == {"operator": "Exists"}


def test_a_selector_without_a_match_shows_the_values_of_its_keys() -> None:
    """Most likely it is a value that was misspelled."""
    there = [a_node("a", role="web"), a_node("b", role="web"), a_node("c", role="cache")]
    said = selection.no_match(NodeChoice(node_selector="role=db"), there)
    assert said == "node_selector 'role=db' matches none of 3 nodes. Labels of the nodes: role=cache (1), role=web (2)."


def test_a_selector_with_an_unknown_key_shows_the_labels_there_are() -> None:
    """Those that tell nodes apart come first."""
    there = [a_node("a", role="web", os="linux"), a_node("b", os="linux")]
    said = selection.no_match(NodeChoice(node_selector="rolle=web"), there)
    assert said.endswith("Labels of the nodes: role=web (1), os=linux (2).")


def test_long_lists_are_cut() -> None:
    """A cluster of thousands has thousands of labels."""
    there = [a_node(f"n{number}", host=f"h{number:03}") for number in range(100)]
    said = selection.no_match(NodeChoice(node_selector="host=x"), there)
    assert said.endswith("h011 (1), … (100 in all).")


def test_names_that_no_node_has() -> None:
    """They are told from those that exist."""
    choice = NodeChoice(nodes=["a", "x"])
    assert selection.unknown(choice, [a_node("a"), a_node("b")]) == ["x"]
    assert selection.select([a_node("a"), a_node("b")], choice, EVERY_TAINT).names == ("a",)


def test_chosen_nodes_that_are_all_left_out_say_why() -> None:
    """Otherwise nothing would run, and all would look well (R1)."""
    said = selection.no_nodes_left({"a": "unreachable (include_unready)"})
    assert said == "none of the 1 chosen nodes can be used: a: unreachable (include_unready)."
