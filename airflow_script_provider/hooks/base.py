"""What every hook has: the arguments of the connection to a cluster."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar

from airflow_script_provider._airflow import BaseHook
from airflow_script_provider.clusters.access import DEFAULT_CONN_ID, ClusterRef
from airflow_script_provider.hooks._task_run import TaskRun, notice_kills

R = TypeVar("R", bound=TaskRun)


class ScriptHook(BaseHook, Generic[R]):
    """
    A hook with the connection arguments of the cncf.kubernetes provider.

    :param kubernetes_conn_id: connection to the cluster, as the cncf.kubernetes provider defines
        it. The default one need not exist: without it the pod's service account or the usual
        kubeconfig is used.
    :param in_cluster: use the pod's service account.
    :param config_file: path of a kubeconfig.
    :param cluster_context: context of the kubeconfig.
    """

    conn_name_attr = "kubernetes_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "kubernetes"

    def __init__(
        self,
        kubernetes_conn_id: str | None = DEFAULT_CONN_ID,
        *,
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
    ) -> None:
        super().__init__(logger_name="script")
        self.kubernetes_conn_id = kubernetes_conn_id
        self.cluster = ClusterRef(kubernetes_conn_id, in_cluster, config_file, cluster_context)
        self._task_run = self._new_task_run()
        notice_kills()

    def kill(self) -> None:
        """End the run that is under way. May be called from a signal handler.

        What the run started is deleted. Where tries are left and only the worker ends, the Job is
        left to the task's next try.
        """
        self._task_run.kill()

    @abstractmethod
    def _new_task_run(self) -> R:
        """What runs for this hook."""
