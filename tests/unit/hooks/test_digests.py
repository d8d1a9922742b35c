"""The digests that a later try recognises a launch by: every version makes the same ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from kubernetes import client

from airflow_script_provider.hooks.node import node_arguments
from tests.builders import a_task
from tests.task_runs import a_nodes_run, a_script_run, inputs_and_options

GPU = client.V1Toleration(key="gpu", operator="Exists")
LOGIN = "pkg @ https://me:hunter2@pypi.example.com/pkg.whl"

SSD = client.V1NodeSelectorTerm(match_expressions=[client.V1NodeSelectorRequirement(key="ssd", operator="Exists")])
MODELS: dict[str, Any] = {
    "container_resources": client.V1ResourceRequirements(limits={"memory": "2Gi"}),
    "affinity": client.V1Affinity(
        node_affinity=client.V1NodeAffinity(
            required_during_scheduling_ignored_during_execution=client.V1NodeSelector(node_selector_terms=[SSD])
        )
    ),
    "volumes": [client.V1Volume(name="data", empty_dir=client.V1EmptyDirVolumeSource())],
    "volume_mounts": [client.V1VolumeMount(name="data", mount_path="/data")],
    "tolerations": [GPU],
    "image_pull_secrets": [client.V1LocalObjectReference(name="registry")],
    "pod_overrides": client.V1PodTemplateSpec(spec=client.V1PodSpec(containers=[], priority_class_name="high")),
}
DICTS: dict[str, Any] = {
    "container_resources": {"limits": {"memory": "2Gi"}},
    "affinity": {"nodeAffinity": {}},
    "volumes": [{"name": "data", "emptyDir": {}}],
    "volume_mounts": [{"name": "data", "mountPath": "/data"}],
    "tolerations": ({"key": "gpu", "operator": "Exists"},),
    "image_pull_secrets": ["registry"],
    "pod_overrides": {"spec": {"priorityClassName": "high"}},
    "labels": {"team": "sales"},
    "annotations": {"note": "nightly"},
    "node_selector": {"disk": "ssd"},
    "env_from": [{"configMapRef": {"name": "settings"}}],
}
NUMBERS: dict[str, Any] = {
    "timeout": 90.5,
    "startup_timeout": 60,
    "ttl_seconds_after_finished": 0,
    "unread_ttl": 3600.0,
    "termination_grace_period": 5,
}
TIMEDELTAS: dict[str, Any] = {
    "timeout": timedelta(minutes=2),
    "startup_timeout": timedelta(seconds=30),
    "ttl_seconds_after_finished": timedelta(hours=1),
    "unread_ttl": timedelta(days=2),
    "termination_grace_period": timedelta(seconds=5),
}
NONE: dict[str, Any] = {
    "timeout": None,
    "ttl_seconds_after_finished": None,
    "run_as_uid": 1000,
    "interpreter": ["bash", "-eu"],
    "name": "load",
    "service_account_name": "loader",
}
INPUTS: dict[str, Any] = {
    "script": "select 1",
    "image": "postgres:15",
    "env": {"KEY": "v", "A": "b"},
    "args": {"a": 1},
    "files": {"lib/a.sh": "echo"},
    "namespace": "etl",
}


@pytest.mark.parametrize(
    ("name", "arguments", "digests"),
    [
        ("defaults", {}, ("2dbbb731e4", "9c58f9eae9")),
        ("numbers", NUMBERS, ("48fc979a71", "fe80611de2")),
        ("timedelta", TIMEDELTAS, ("d94455f1d2", "e287600c88")),
        ("none", NONE, ("ba8b853a82", "b543c95867")),
        ("models", MODELS, ("35e6207ae0", "9a2decb9ce")),
        ("dicts", DICTS, ("e36c6351f8", "ab963036ba")),
        ("codes", {"skip_on_exit_code": 99, "fail_on_exit_code": range(1, 3)}, ("20037c5d08", "5fa3eaf078")),
        ("codeset", {"skip_on_exit_code": {98, 99}, "fail_on_exit_code": [2, 1]}, ("76d635b99a", "e5fc2062f2")),
        (
            "logins",
            {"install_dependencies": [LOGIN, "six"], "install_packages": ["git"]},
            ("2f29b0e691", "5ee4ede7b8"),
        ),
        ("inputs", INPUTS, ("0de4020a38", "8198a06885")),
    ],
)
def test_a_launch_keeps_its_digests(name: str, arguments: dict[str, Any], digests: tuple[str, str]) -> None:
    """A try after an upgrade of this package still reattaches to the Job of the try before."""
    inputs, options = inputs_and_options(**({"script": "print('hi')\n"} | arguments))
    task = a_task(instance_id=f"recorded-{name}")
    identity = a_script_run().prepare(inputs, options, task=task).identity
    assert (identity.launch_id, identity.request) == digests


@pytest.mark.parametrize(
    ("name", "arguments", "digests"),
    [
        ("defaults", {"all_nodes": True}, ("862f35bbd5", "abbfc2588e")),
        (
            "host",
            {
                "nodes": ["b", "a"],
                "mode": "host",
                "runs": 3,
                "interval": timedelta(seconds=5),
                "startup_timeout": timedelta(minutes=1),
                "timeout": timedelta(minutes=1),
            },
            ("413b812731", "06fb11e416"),
        ),
        (
            "selector",
            {
                "node_selector": {"role": "db"},
                "include_unready": True,
                "tolerations": [GPU],
                "startup_timeout": 30,
                "max_parallel": 2,
            },
            ("343370c567", "f86076a942"),
        ),
        (
            "notol",
            {
                "node_selector": "role=db",
                "tolerations": [],
                "include_cordoned": False,
                "stop_after_failures": 1,
                "timeout": None,
                "install_dependencies": [LOGIN],
            },
            ("8ce2590683", "66985694fa"),
        ),
    ],
)
def test_a_launch_on_nodes_keeps_its_digests(name: str, arguments: dict[str, Any], digests: tuple[str, str]) -> None:
    """Recorded as well, with what is asked of the nodes."""
    call = node_arguments(**({"script": "print('hi')\n"} | arguments))
    task = a_task(instance_id=f"recorded-nodes-{name}")
    identity = a_nodes_run().prepare(call, task=task).request.identity
    assert (identity.launch_id, identity.request) == digests


def test_other_nodes_make_another_call() -> None:
    """The same script with the same values on other nodes is another request, whatever its number (R1)."""
    task = a_task(instance_id="other-nodes", key="k" * 32)
    calls = [node_arguments(script="print('hi')", nodes=[node]) for node in ("node-1", "node-2", "node-1")]
    first, other, again = (a_nodes_run().prepare(call, task=task).request.identity.call for call in calls)
    assert first == again
    assert None not in {first, other}
    assert first != other
