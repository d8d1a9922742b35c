"""From an Airflow connection to how a cluster is reached."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_script_provider import exceptions
from airflow_script_provider.hooks.kubernetes import ClusterAccess, open_api

CONFIG = {"current-context": "a", "clusters": []}


def a_connection(monkeypatch: pytest.MonkeyPatch, name: str = "kubernetes_default", **extra: Any) -> None:
    """Define a Kubernetes connection with these extra fields."""
    definition = json.dumps({"conn_type": "kubernetes", "extra": extra})
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", definition)


@pytest.mark.parametrize(
    ("extra", "access"),
    [
        ({}, ClusterAccess()),
        ({"in_cluster": True}, ClusterAccess(in_cluster=True)),
        ({"in_cluster": "true"}, ClusterAccess(in_cluster=True)),
        ({"in_cluster": "False"}, ClusterAccess()),
        ({"kube_config_path": "/k"}, ClusterAccess(config_file="/k")),
        ({"kube_config": json.dumps(CONFIG)}, ClusterAccess(config=CONFIG)),
        ({"kube_config": CONFIG}, ClusterAccess(config=CONFIG)),
        ({"namespace": "etl", "cluster_context": "b"}, ClusterAccess(namespace="etl", cluster_context="b")),
        ({"disable_verify_ssl": True}, ClusterAccess(verify_ssl=False)),
        ({"extra__kubernetes__kube_config_path": "/k"}, ClusterAccess(config_file="/k")),
        ({"in_cluster": False, "kube_config": "", "kube_config_path": ""}, ClusterAccess()),
    ],
)
def test_every_form_of_the_connection(extra: dict[str, Any], access: ClusterAccess) -> None:
    """The fields that the cncf.kubernetes provider defines, in their old and new spelling (R16)."""
    assert ClusterAccess.from_extra(extra) == access


def test_arguments_win_over_the_connection() -> None:
    """What the operator says is above what the connection says."""
    access = ClusterAccess.from_extra({"in_cluster": True, "cluster_context": "b"}, in_cluster=False, config_file="/k")
    assert access == ClusterAccess(config_file="/k", cluster_context="b")


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (
            {"in_cluster": True, "kube_config_path": "/k"},
            "in_cluster and kube_config_path exclude each other; keep one",
        ),
        ({"kube_config": CONFIG, "kube_config_path": "/k"}, "kube_config_path and kube_config exclude each other"),
        ({"kube_config": "{"}, "kube_config is no JSON"),
        ({"kube_config": "[1]"}, "kube_config is no mapping"),
    ],
)
def test_contradictions_name_the_connection(extra: dict[str, Any], words: str) -> None:
    """A connection that says two things is refused by its name."""
    with pytest.raises(ValueError, match=f"connection 'mine': {words}"):
        ClusterAccess.from_extra(extra, "mine")


def test_the_connection_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that Airflow knows is used."""
    a_connection(monkeypatch, "mine", namespace="etl")
    assert ClusterAccess.resolve("mine") == ClusterAccess(namespace="etl")


def test_the_default_connection_need_not_exist() -> None:
    """Without any connection the usual places are used (R32)."""
    assert ClusterAccess.resolve() == ClusterAccess()


def test_another_connection_must_exist() -> None:
    """A connection that somebody names and nobody defined is an error."""
    with pytest.raises(AirflowNotFoundException, match="nowhere"):
        ClusterAccess.resolve("nowhere")


def test_no_connection_at_all() -> None:
    """``kubernetes_conn_id=None`` asks for none."""
    assert ClusterAccess.resolve(None, in_cluster=True) == ClusterAccess(in_cluster=True)


@pytest.mark.parametrize(
    ("argument", "connection", "namespace"),
    [("a", "b", "a"), (None, "b", "b"), ("", "b", "b"), (None, None, "default")],
)
def test_one_rule_for_the_namespace(argument: str | None, connection: str | None, namespace: str) -> None:
    """The argument's, else the connection's, else ``default``."""
    assert ClusterAccess(config_file="/k", namespace=connection).namespace_for(argument) == namespace


async def test_without_credentials_the_error_says_where_to_put_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing kubeconfig is named, with the ways to give one (R16)."""
    words = f"no credentials.*: {tmp_path}/none does not exist. .*config_file or KUBECONFIG"
    with caplog.at_level(logging.WARNING), pytest.raises(exceptions.ApiUnreachableError, match=words):
        async with open_api(ClusterAccess(config_file=str(tmp_path / "none"))):
            pass
    assert caplog.records == []


def test_in_cluster_is_true_or_false() -> None:
    """A text that reads like no would be true."""
    with pytest.raises(ValueError, match="in_cluster='no' must be True or False or None"):
        ClusterAccess.from_extra({}, in_cluster="no")  # type: ignore[arg-type]  # the mistake
