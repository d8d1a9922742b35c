"""Creating the Jobs of runs, also where the answer to a create is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider import exceptions
from airflow_script_provider.api.client import KubernetesApi, is_transient
from airflow_script_provider.jobs import launching
from airflow_script_provider.jobs.answers.doubt import Doubt, doubting
from airflow_script_provider.kube.nodes import manifest
from airflow_script_provider.kube.nodes.board import NodeRun

CREATE_ATTEMPTS = 10
"""How often a create is tried that the API server does not answer, with its own patience each
time."""


@dataclass(frozen=True)
class JobCreator:
    """Creates the Jobs of the runs of one owner, which is as the API server has it."""

    api: KubernetesApi
    owner: Mapping[str, Any]
    _doubt: Doubt = field(default_factory=Doubt, init=False, repr=False)

    @property
    def namespace(self) -> str:
        """The namespace of the owner and of its runs."""
        namespace: str = self.owner["metadata"]["namespace"]
        return namespace

    async def create(self, run: NodeRun, deadline: int | None) -> None:
        """Create the Job of a run; one that is there already is the same.

        A missing right is doubted, because the owner was created with it. Raises
        ``KubernetesApiError``.
        """
        body, may_have_acted = manifest.run_job(self.owner, run.start, deadline), False
        for attempt in range(CREATE_ATTEMPTS):
            try:
                await doubting(
                    lambda: self.api.create("jobs", self.namespace, body), is_doubted=self._doubt.doubts_right
                )
            except exceptions.KubernetesApiError as error:
                error.may_have_acted = may_have_acted = may_have_acted or error.may_have_acted
                if not is_transient(error) or attempt == CREATE_ATTEMPTS - 1:
                    raise
            else:
                self._doubt.end()
                return

    async def may_exist(self, run: NodeRun, error: exceptions.KubernetesApiError) -> bool:
        """Whether the run's Job may exist although its create was refused."""
        if not isinstance(error, exceptions.ApiAlreadyExistsError) and not error.may_have_acted:
            return False
        try:
            return await self.find(run) is not None
        except exceptions.KubernetesApiError:
            return True

    async def find(self, run: NodeRun) -> Mapping[str, Any] | None:
        """The run's Job, None if there is none. Raises ``KubernetesApiError``."""
        launch_id = manifest.launch_id(self.owner, run.start)
        return await launching.find_created(self.api, self.namespace, run.name, launch_id)
