"""Scripts on nodes while the API server changes no Jobs: nothing runs twice, or beside itself."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from airflow_script_provider.api import client
from airflow_script_provider.jobs.nodes import ending, records
from tests.cluster.kubectl import Kubectl
from tests.cluster.node_tasks import FAILS_ON_NODE_2, run_nodes
from tests.cluster.tasks import FakeTaskInstance
from tests.faulty_api import Fault, FaultyApi

AWAY = Fault(status=503, reason="ServiceUnavailable")
OF_NODE_1 = r"/apis/batch/v1/namespaces/\S+/jobs/\S+-node-1-"
OF_OWNERS = r"/apis/batch/v1/namespaces/\S+/jobs/script-task-[0-9a-f]{10}\b"
NO_PODS = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}


def pods_by_node(kubectl: Kubectl, namespace: str) -> dict[str, int]:
    """How many pods there were on each node."""
    return Counter(pod["spec"]["nodeName"] for pod in kubectl.items("pods", namespace))


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_success_that_could_not_be_written_is_not_run_again(
    deferrable: bool,
    kubectl: Kubectl,
    api: FaultyApi,
    flaky: dict[str, Any],
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next try reads it from the Job of its run; the one after it runs only where the script failed (R1, R2)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 1.0)
    monkeypatch.setattr(records, "WRITING_AGAIN", 5.0)
    given = {"script": FAILS_ON_NODE_2, "deferrable": deferrable} | flaky
    api.on(f"PATCH {OF_NODE_1}", AWAY)
    api.on(f"PATCH {OF_OWNERS}", AWAY)
    first = run_nodes(ti=FakeTaskInstance(max_tries=2), **given)
    api.calm()
    second, third = (run_nodes(ti=FakeTaskInstance(try_number=number, max_tries=2), **given) for number in (2, 3))
    assert "The success on node-1 could not be written." in "\n".join(first.lines)
    assert "could not mark it as read" in "\n".join(second.lines)
    assert "1 node succeeded in an earlier try, left alone in this one" in third.lines
    assert pods_by_node(kubectl, namespace) == {"node-1": 1, "node-2": 2}


@pytest.mark.parametrize("methods", ["PATCH", "(PATCH|DELETE)"])
def test_a_run_that_did_not_start_does_not_begin_beside_a_retry(
    methods: str,
    kubectl: Kubectl,
    api: FaultyApi,
    flaky: dict[str, Any],
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its Job is deleted at once, or before the retry begins: the quota is free again by then (R1, R10)."""
    monkeypatch.setattr(client, "CALL_PATIENCE", 1.0)
    monkeypatch.setattr(ending, "END_PATIENCE", 5.0)
    given = {"script": "print('begun')", "nodes": ["node-1"], "schedule_timeout": 5} | flaky
    kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(NO_PODS))
    api.on(f"{methods} {OF_NODE_1}", AWAY)
    first = run_nodes(ti=FakeTaskInstance(max_tries=1), **given)
    left = kubectl.items("jobs", namespace, "-l", "airflow-script-provider/run")
    api.calm()
    kubectl("-n", namespace, "delete", "resourcequota", "none")
    second = run_nodes(ti=FakeTaskInstance(try_number=2, max_tries=1), **given)
    is_left = "DELETE" in methods
    assert len(left) == is_left
    assert ("NoAnswer" in str(first.error)) == is_left
    assert second.error is None
    assert ("has not ended, and no try needs its outcome. It is deleted." in "\n".join(second.lines)) == is_left
    assert pods_by_node(kubectl, namespace) == {"node-1": 1}
