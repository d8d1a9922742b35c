"""What many triggers share: also the failure of one to reach the cluster."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.exceptions import ApiUnreachableError
from airflow_script_provider.triggers import shared_cluster as shared
from airflow_script_provider.triggers.shared_cluster import shared_cluster
from tests.builders import a_kubeconfig
from tests.patience import PATIENCE


def a_kubeconfig_whose_plugin_fails(folder: Path, *, succeeds_then: bool = False) -> Path:
    """The plugin writes a line into the file ``asked`` each time."""
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}
    then = f"test $(wc -l < {folder}/asked) -gt 1 && echo '{json.dumps(answer)}' && exit" if succeeds_then else "true"
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sh",
        "args": ["-c", f"echo asked >> {folder}/asked; {then}; exit 1"],
        "interactiveMode": "Never",
    }
    path = folder / "config"
    path.write_text(json.dumps(a_kubeconfig("https://127.0.0.1:1", exec=plugin)))
    return path


async def opened_by_many(config_file: Path) -> set[str]:
    """What comes of fifty triggers that start together."""
    access = ClusterAccess(config_file=str(config_file))

    async def words() -> str:
        try:
            async with shared_cluster(access):
                return "opened"
        except ApiUnreachableError as error:
            return str(error)

    return set(await asyncio.gather(*(words() for _ in range(50))))


async def test_a_plugin_that_fails_is_asked_once_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of triggers that start together don't run it one after the other, each to learn the same (R16)."""
    monkeypatch.setattr(shared, "LOAD_PATIENCE", 0.0)
    (said,) = await opened_by_many(a_kubeconfig_whose_plugin_fails(tmp_path))
    assert "no credentials for a Kubernetes cluster" in said
    assert (tmp_path / "asked").read_text() == "asked\n"


async def test_a_plugin_that_fails_once_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No trigger goes back to a worker, which would ask again as well (R16, R30)."""
    monkeypatch.setattr(shared, "LOAD_PATIENCE", PATIENCE)
    assert await opened_by_many(a_kubeconfig_whose_plugin_fails(tmp_path, succeeds_then=True)) == {"opened"}
    assert (tmp_path / "asked").read_text() == "asked\nasked\n"
