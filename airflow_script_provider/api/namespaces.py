"""Whether a namespace exists."""

from __future__ import annotations

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.kube import refusal


async def missing_namespace(api: KubernetesApi, namespace: str, refusal_of_it: str = "") -> str | None:
    """The message that a namespace does not exist, with those that do; None if it exists.

    Where namespaces may not be listed, it counts as missing if the server has refused a call
    because of it: ``refusal_of_it`` is that message.
    """
    try:
        names = [item["metadata"]["name"] for item in (await api.list("namespaces", None))["items"]]
    except exceptions.KubernetesApiError:
        return refusal.missing_namespace(namespace, None, refusal_of_it) if refusal_of_it else None
    return None if namespace in names else refusal.missing_namespace(namespace, names, refusal_of_it)
