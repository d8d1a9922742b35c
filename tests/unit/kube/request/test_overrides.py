"""``pod_overrides``: merged by Kubernetes' keys, refused where the provider relies on its own."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.kube.request.overrides import check_overrides, merge

OURS = {"app.kubernetes.io/managed-by": "airflow-script-provider"}


def container(**fields: Any) -> dict[str, Any]:
    """Overrides of the script's container."""
    return {"spec": {"containers": [{"name": "script", **fields}]}}


def test_mappings_merge_by_key() -> None:
    """The patch wins, the rest stays."""
    assert merge({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 4}}) == {"a": {"x": 1, "y": 4}, "b": 3}


def test_none_removes() -> None:
    """As kubectl does, a None takes the key away."""
    assert merge({"a": 1, "b": 2}, {"a": None}) == {"b": 2}


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("containers", "name"),
        ("env", "name"),
        ("volumeMounts", "mountPath"),
        ("hostAliases", "ip"),
        ("volumes", "name"),
    ],
)
def test_lists_merge_by_kubernetes_keys(field: str, key: str) -> None:
    """An entry with a known key is merged into its namesake, a new one is appended."""
    base = {field: [{key: "a", "x": 1}, {key: "b", "x": 1}]}
    patch = {field: [{key: "b", "x": 2}, {key: "c", "x": 3}]}
    assert merge(base, patch)[field] == [{key: "a", "x": 1}, {key: "b", "x": 2}, {key: "c", "x": 3}]


def test_new_entries_may_come_first() -> None:
    """Where the caller asks for it, at any depth: an old entry keeps its place, other lists their order."""
    base = {"containers": [{"name": "a", "env": [{"name": "X"}, {"name": "Y"}], "ports": [{"containerPort": 1}]}]}
    env = [{"name": "Y", "value": "y"}, {"name": "N"}, {"name": "M"}]
    patch = {"containers": [{"name": "a", "env": env, "ports": [{"containerPort": 2}]}, {"name": "b"}]}
    first, second = merge(base, patch, new_first=("env",))["containers"]
    assert first["env"] == [{"name": "N"}, {"name": "M"}, {"name": "X"}, {"name": "Y", "value": "y"}]
    assert (first["ports"], second) == ([{"containerPort": 1}, {"containerPort": 2}], {"name": "b"})


def test_other_lists_are_replaced() -> None:
    """Tolerations have no merge key in Kubernetes either."""
    assert merge({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}) == {"tolerations": [{"key": "b"}]}


def test_a_list_that_is_new_is_taken_whole() -> None:
    """Without a base there is nothing to merge with."""
    assert merge({}, {"initContainers": [{"name": "a"}]}) == {"initContainers": [{"name": "a"}]}


def test_the_base_stays_as_it_was() -> None:
    """A merge makes a new object."""
    base = {"containers": [{"name": "script"}]}
    merge(base, {"containers": [{"name": "script", "image": "x"}]})
    assert base == {"containers": [{"name": "script"}]}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (container(command=["sh"]), "may not set spec.containers[script].command: use interpreter, args or arguments"),
        (container(args=["x"]), "may not set spec.containers[script].args"),
        (
            container(volumeMounts=[{"name": "x", "mountPath": "/scripts/"}]),
            "may not set spec.containers[script].volumeMounts[/scripts]",
        ),
        (
            {"spec": {"restartPolicy": "OnFailure"}},
            "may not set spec.restartPolicy: the Job starts each attempt as a new pod",
        ),
        ({"spec": {"volumes": [{"name": "airflow-script"}]}}, "may not set spec.volumes[airflow-script]"),
        (
            {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}},
            "may not set metadata.labels[app.kubernetes.io/managed-by]: this provider finds the Job by it",
        ),
        ({"metadata": {"labels": None}}, "may not set metadata.labels to None"),
        ({"spec": {"containers": None}}, "may not set spec.containers to None"),
        ({"spec": {"volumes": None}}, "may not set spec.volumes to None"),
        (container(volumeMounts=None), "may not set spec.containers[script].volumeMounts to None"),
        (container(env=None), "may not set spec.containers[script].env to None"),
        (
            container(restartPolicy="Always"),
            "may not set spec.containers[script].restartPolicy: each attempt is a new pod; set backoff_limit",
        ),
        (
            container(restartPolicyRules=[{"action": "Restart", "exitCodes": {"operator": "In", "values": [7]}}]),
            "may not set spec.containers[script].restartPolicyRules: each attempt is a new pod",
        ),
        (container(restartPolicy=None), "may not set spec.containers[script].restartPolicy"),
        (
            {"spec": {"initContainers": [{"name": "install", "restartPolicy": "Always"}]}},
            "may not set spec.initContainers[install].restartPolicy",
        ),
        (
            {"spec": {"containers": [{"name": "proxy", "restartPolicyRules": [{"action": "RestartAllContainers"}]}]}},
            "may not set spec.containers[proxy].restartPolicyRules to RestartAllContainers: it starts the script again",
        ),
        ({"spec": {"containers": "script"}}, "containers must be a list of mappings"),
        ({"spec": ["containers"]}, "spec must be a mapping, not list"),
        ({"metadata": "labels"}, "metadata must be a mapping, not str"),
        ({"container": {}}, "has an unknown key 'container'"),
    ],
)
def test_what_the_provider_relies_on_is_not_overridden(overrides: dict[str, Any], words: str) -> None:
    """Command, restart policy, labels and mounts of ours are refused, naming the key."""
    with pytest.raises(ValueError, match=r"^pod_overrides") as refusal:
        check_overrides(overrides, OURS)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": None, "spec": None},
        container(securityContext={"capabilities": {"add": ["NET_RAW"]}}, volumeMounts=[{"mountPath": "/data"}]),
        {"spec": {"containers": [{"name": "proxy", "command": ["envoy"], "env": None}], "nodeSelector": None}},
        {"metadata": {"labels": {"team": "sales"}}},
        {"spec": {"initContainers": [{"name": "proxy", "restartPolicy": "Always"}]}},
        {"spec": {"containers": [{"name": "proxy", "restartPolicyRules": [{"action": "Restart"}]}]}},
    ],
)
def test_all_else_may_be_overridden(overrides: dict[str, Any]) -> None:
    """What the provider doesn't rely on is the author's."""
    check_overrides(overrides, OURS)
