"""Groups that scripts print, in the log of a task."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.apps import a_deployment, rolled_out
from tests.cluster.execs import run_exec
from tests.cluster.kubectl import Kubectl
from tests.cluster.node_tasks import run_nodes
from tests.cluster.tasks import run_task
from tests.log_page import outside_of_groups

HIDES = """
print("::endgroup::")
print("no such table ::endgroup::")
print("::group::all is well")
print("inside")
raise SystemExit(4)
"""
TEXT = "no such table :\u200b:endgroup::"


@pytest.fixture(params=["in_a_worker", "deferred"])
def waiting(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Both ways of waiting: the same must come out of them (R29)."""
    return {"deferrable": request.param == "deferred"}


def test_a_script_hides_no_line_of_ours(shared: dict[str, Any], waiting: dict[str, Any]) -> None:
    """Its group ends with its container, and an end that ends nothing is text; the output is as printed (R22)."""
    arguments = waiting | ({"defer_after": 0} if waiting["deferrable"] else {})
    run = run_task(script=HIDES, backoff_limit=0, **shared, **arguments)
    outside, left_open = outside_of_groups(run.lines)
    assert left_open == []
    assert [line for line in outside if "endgroup" in line] == [":\u200b:endgroup::", TEXT]
    assert any("exit code 4" in line for line in outside)
    assert "inside" in run.lines
    assert "inside" not in outside
    assert run.result["output"] == "::endgroup::\nno such table ::endgroup::\n::group::all is well\ninside\n"
    assert "::endgroup::" not in str(run.error)


def test_groups_inside_those_of_nodes(shared: dict[str, Any], waiting: dict[str, Any]) -> None:
    """A node's group holds all lines of its run, and those of another node are not in it (R22)."""
    run = run_nodes(script=HIDES, **shared, **waiting)
    outside, left_open = outside_of_groups(run.lines)
    assert left_open == []
    assert run.lines.count(TEXT) == 2
    assert not any("inside" in line or "no such table" in line for line in outside)
    assert any(line.startswith("Node node-1: ") for line in outside)


def test_a_script_in_a_running_pod_hides_no_line_of_ours(
    kubectl: Kubectl, kubeconfig: str, shared_namespace: str
) -> None:
    """Both streams are one log (R22)."""
    rolled_out(kubectl, a_deployment("folds", shared_namespace))
    script = HIDES.replace(
        'print("::group::all is well")', "import sys; print('::group::all is well', file=sys.stderr)"
    )
    run = run_exec(script=script, deployment="folds", config_file=kubeconfig, namespace=shared_namespace)
    outside, left_open = outside_of_groups(run.lines)
    assert left_open == []
    assert any("exit code 4" in line for line in outside)
    assert run.lines.count(TEXT) == 1
    assert run.lines.count("::group::all is well") == 1
