"""What every hook of ours has: a connection to a cluster, a log, and a run that can be killed."""

from __future__ import annotations

from airflow_script_provider._airflow import BaseHook, output_logger
from airflow_script_provider._interruption import InterruptibleRun
from airflow_script_provider.clusters.access import DEFAULT_CONN_ID, ClusterAccess, ClusterRef
from airflow_script_provider.run_log import OUTPUT_LOGGER, LoggerRunLog


class ConnectedHook(BaseHook):
    """
    A hook with the connection arguments of the cncf.kubernetes provider.

    :param kubernetes_conn_id: connection to the cluster, as the cncf.kubernetes provider defines it; the default one
        need not exist: then the pod's service account or the usual kubeconfig is used.
    :param in_cluster: use the pod's service account.
    :param config_file: path of a kubeconfig.
    :param cluster_context: context of the kubeconfig.
    """

    conn_name_attr = "kubernetes_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "kubernetes"
    _nothing_begun = "No Job was created."

    def __init__(
        self,
        kubernetes_conn_id: str | None = DEFAULT_CONN_ID,
        *,
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
    ) -> None:
        super().__init__(logger_name="script")
        self.cluster = ClusterRef(kubernetes_conn_id, in_cluster, config_file, cluster_context)
        self._run = InterruptibleRun(self._nothing_begun)

    def kill(self) -> None:
        """End the run that is under way and what it has started. May be called from a signal handler."""
        self._run.kill()

    def _access(self) -> ClusterAccess:
        return self.cluster.resolve()

    def _run_log(self, *, get_logs: bool = True) -> LoggerRunLog:
        return LoggerRunLog(self.log, output_logger(OUTPUT_LOGGER) if get_logs else None)
