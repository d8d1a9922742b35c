"""Where a follower hears of changes: watches of its own, or one that many followers share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from airflow_script_provider.jobs.api import KubernetesApi
from airflow_script_provider.jobs.watch import Change, Watch
from airflow_script_provider.kube.launched import JobRef


class Changes(Protocol):
    """Changes of one Job, of its pods, and Warning events, each for as long as they are asked for.

    Each iterator raises ``KubernetesApiError`` when it cannot go on. A Job that is gone is told as deleted.
    """

    def of_job(self, ref: JobRef) -> AsyncIterator[Change]:
        """The Job as it is, then as it changes."""

    def of_pods(self, ref: JobRef) -> AsyncIterator[Change]:
        """Its pods as they are, then as they change."""

    def of_events(self, ref: JobRef, uid: str) -> AsyncIterator[Change]:
        """Warning events of the object with this uid."""


@dataclass(frozen=True)
class OwnChanges:
    """Three watches for one Job."""

    api: KubernetesApi

    async def of_job(self, ref: JobRef) -> AsyncIterator[Change]:
        """The Job by its name."""
        watch = Watch(self.api, "jobs", ref.namespace, {"fieldSelector": f"metadata.name={ref.name}"})
        watch.expect({"metadata": {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid}})
        async for change in watch.changes():
            yield change

    def of_pods(self, ref: JobRef) -> AsyncIterator[Change]:
        """Its pods by the label that the Job's controller gives them."""
        return self._watch("pods", ref, {"labelSelector": pod_selector(ref)})

    def of_events(self, ref: JobRef, uid: str) -> AsyncIterator[Change]:
        """Events by the object that they are about."""
        return self._watch("events", ref, {"fieldSelector": f"involvedObject.uid={uid},type!=Normal"})

    def _watch(self, resource: str, ref: JobRef, selector: dict[str, str]) -> AsyncIterator[Change]:
        return Watch(self.api, resource, ref.namespace, selector).changes()


def pod_selector(ref: JobRef) -> str:
    """Selects the pods of a Job."""
    return f"batch.kubernetes.io/controller-uid={ref.uid}"
