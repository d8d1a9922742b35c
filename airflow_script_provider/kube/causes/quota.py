"""Which quota has no room for a pod, by the event of the Job controller.

The form is that of ``checkRequest`` in Kubernetes 1.31 to 1.37:
https://github.com/kubernetes/apiserver/blob/v0.34.4/pkg/admission/plugin/resourcequota
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_script_provider.kube.causes.patterns import compiled_later
from airflow_script_provider.kube.wording import one_line

_EXCEEDED = compiled_later(
    r"\bexceeded quota: (?P<name>[^\s,]+)"
    r"(?:, requested: (?P<requested>\S+), used: (?P<used>\S+), limited: (?P<limited>\S+))?"
)


@dataclass(frozen=True)
class Shortage:
    """A ResourceQuota without room for a pod, and by how much, in Kubernetes' own figures."""

    quota: str
    text: str = ""


def shortage(event: Mapping[str, Any]) -> Shortage | None:
    """The quota that keeps a Job's pod from being created, None if the event says otherwise."""
    found = _EXCEEDED.search(one_line(event.get("message") or "")) if event.get("reason") == "FailedCreate" else None
    if found is None:
        return None
    used, limited = (_amounts(found[name]) for name in ("used", "limited"))
    amounts = [
        f"{resource} {used.get(resource, '?')} of {limited.get(resource, '?')} used, {asked} asked"
        for resource, asked in _amounts(found["requested"]).items()
    ]
    return Shortage(found["name"], "; ".join(amounts))


def _amounts(text: str | None) -> dict[str, str]:
    """Amounts by resource, from ``cpu=1,memory=2Gi``."""
    pairs = (pair.partition("=") for pair in (text or "").split(",") if pair)
    return {resource: amount for resource, _, amount in pairs}
