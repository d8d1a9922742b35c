"""What many triggers share: also the failure of one to reach the cluster."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from airflow_script_provider.clusters.access import ClusterAccess
from airflow_script_provider.exceptions import ApiUnreachableError
from airflow_script_provider.triggers.shared_cluster import shared_cluster
from tests.builders import a_kubeconfig


def a_kubeconfig_whose_plugin_fails(folder: Path) -> Path:
    """The plugin writes a line into the file ``asked`` each time."""
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sh",
        "args": ["-c", f"echo asked >> {folder}/asked; exit 1"],
        "interactiveMode": "Never",
    }
    path = folder / "config"
    path.write_text(json.dumps(a_kubeconfig("https://127.0.0.1:1", exec=plugin)))
    return path


async def test_a_plugin_that_fails_is_asked_once_for_all(tmp_path: Path) -> None:
    """Hundreds of triggers that start together don't run it one after the other, each to learn the same (R16)."""
    access = ClusterAccess(config_file=str(a_kubeconfig_whose_plugin_fails(tmp_path)))

    async def words() -> str:
        try:
            async with shared_cluster(access):
                return "opened"
        except ApiUnreachableError as error:
            return str(error)

    said = await asyncio.gather(*(words() for _ in range(50)))
    assert len(set(said)) == 1
    assert "no credentials for a Kubernetes cluster" in said[0]
    assert (tmp_path / "asked").read_text() == "asked\n"
