"""Pods that a watch reports as deleted.

A watch by labels also says so of what has lost its label.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from airflow_script_provider import exceptions
from airflow_script_provider.api.watch import Change
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.pods.pod_status import Pod


class Deletions:
    """Deletions of pods whose script has not ended, until the API server confirms them."""

    def __init__(self) -> None:
        self._held: dict[str, Pod] = {}
        self._unwatched: set[str] = set()

    def hold(self, change: Change, view: View) -> bool:
        """Whether this is such a deletion, which is then held back until a look."""
        pod, uid = change.object, pod_status.uid(change.object)
        last_seen = (pod, view.pods.get(uid, {}))
        if not change.deleted or any(pod_status.script_end(one) or pod_status.is_terminal(one) for one in last_seen):
            return False
        self._held[uid] = pod
        return True

    async def look(self, look: Callable[[], Awaitable[None]], view: Callable[[], View]) -> list[Pod]:
        """Look once for all that was held back; the pods of it that count as deleted.

        Without an answer, the watch is believed.
        """
        held, self._held = self._held, {}
        if not held:
            return []
        try:
            await look()
        except exceptions.KubernetesApiError:
            return list(held.values())
        seen = view()
        self._unwatched |= {uid for uid in held if uid in seen.pods and uid not in seen.gone}
        return [pod for uid, pod in held.items() if uid not in seen.pods]

    def has_unwatched(self, view: View) -> bool:
        """Whether a script may run in a pod that is still there, but whose watch has lost it."""
        return not self._unwatched.isdisjoint(view.unended_pods)
