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

    Each iterator raises ``KubernetesApiError`` when it cannot go on. A Job that is gone is told as deleted. ``LISTED``
    among the changes says that everything which exists has been told.
    """

    def of_job(self, ref: JobRef) -> AsyncIterator[Change]:
        """The Job as it is, then as it changes."""

    def of_pods(self, ref: JobRef) -> AsyncIterator[Change]:
        """Its pods as they are, then as they change."""

    def of_events(self, ref: JobRef, uid: str) -> AsyncIterator[Change]:
        """Warning events of the object with this uid."""


@dataclass(frozen=True)
class OwnChanges:
    """Three watches for one Job. ``lists_pods`` tells when all pods are known that the Job has had so far."""

    api: KubernetesApi
    lists_pods: bool = False

    async def of_job(self, ref: JobRef) -> AsyncIterator[Change]:
        """The Job by its name."""
        watch = Watch(self.api, "jobs", ref.namespace, {"fieldSelector": f"metadata.name={ref.name}"})
        watch.expect({"metadata": {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid}})
        async for change in watch.changes():
            yield change

    def of_pods(self, ref: JobRef) -> AsyncIterator[Change]:
        """Its pods by the label that the Job's controller gives them."""
        selector = {"labelSelector": pod_selector(ref)}
        return Watch(self.api, "pods", ref.namespace, selector, lists_first=self.lists_pods).changes()

    def of_events(self, ref: JobRef, uid: str) -> AsyncIterator[Change]:
        """Events by the object that they are about."""
        selector = {"fieldSelector": f"involvedObject.uid={uid},type!=Normal"}
        return Watch(self.api, "events", ref.namespace, selector).changes()


def pod_selector(ref: JobRef) -> str:
    """Selects the pods of a Job."""
    return f"batch.kubernetes.io/controller-uid={ref.uid}"
