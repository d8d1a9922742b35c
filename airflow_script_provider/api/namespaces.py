"""Namespaces that exist."""

from __future__ import annotations

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.kube import refusal


async def missing_namespace(api: KubernetesApi, namespace: str, said: str = "") -> str | None:
    """What to say if a namespace does not exist, with those that do; None if it exists.

    Where namespaces may not be listed, nobody knows: with what the server ``said`` of it, it counts as missing.
    """
    try:
        names = [item["metadata"]["name"] for item in (await api.list("namespaces", None))["items"]]
    except exceptions.KubernetesApiError:
        return refusal.missing_namespace(namespace, None, said) if said else None
    return None if namespace in names else refusal.missing_namespace(namespace, names, said)
