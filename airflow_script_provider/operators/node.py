"""``KubernetesNodeScriptOperator``: run a script on every node that a label selects."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow_script_provider._airflow import dag_folder, default_deferrable, depend_on_xcoms_in, task_identity
from airflow_script_provider.kube.durations import Duration
from airflow_script_provider.kube.nodes import manifest
from airflow_script_provider.kube.nodes.call import NodeCall
from airflow_script_provider.kube.nodes.plan import NodeSettings
from airflow_script_provider.kube.nodes.record import DEFAULT_MAX_RUN_OUTPUT
from airflow_script_provider.kube.nodes.result import NodesOutcome, values
from airflow_script_provider.kube.nodes.selection import NodeChoice
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.options import DEFAULT_IMAGE, JobOptions
from airflow_script_provider.kube.syntax import check_flag
from airflow_script_provider.operators import _arguments, _fields
from airflow_script_provider.operators._base import ScriptTask, job_links
from airflow_script_provider.operators._errors import airflow_errors

if TYPE_CHECKING:
    from airflow.sdk import Context
    from kubernetes.client import V1Affinity, V1PodTemplateSpec, V1ResourceRequirements

    from airflow_script_provider.hooks.node import KubernetesNodeScriptHook, NodesDeferral
    from airflow_script_provider.types import ContainerResources


class KubernetesNodeScriptOperator(ScriptTask):
    """
    Run a script on nodes of the cluster, as a Kubernetes Job on each, and return what it came to on all of them.

    The result dict is the XCom ``return_value``, also when the task fails; the XCom ``value`` has the JSON that the
    script printed last on each node, by node. The script finds its node in ``NODE_NAME``, its run in ``RUN_INDEX``.

    :param script: text, a one-line URI (``file``, ``http(s)``, ``s3``, ``gs``) or a source such as ``S3Script(…)``.
        (templated)
    :param node_selector: label selector of the nodes, as text (``role=db,zone in (a,b)``) or mapping. (templated)
    :param nodes: names of nodes, in the place of ``node_selector``; needs no right to list nodes. (templated)
    :param all_nodes: every node, in the place of the two.
    :param mode: ``normal``; ``privileged``: a privileged container; ``host``: that, with the node's processes and, at
        ``/host``, its file system.
    :param runs: how often the script runs on each node, one run after the other.
    :param interval: seconds between the end of a run and the next one.
    :param history_limit: how many runs of a node the result keeps, newest last.
    :param max_parallel: nodes at a time, default all.
    :param stop_after_failures: failed nodes after which no other run is started.
    :param include_unready: also nodes that are not ready.
    :param include_cordoned: also nodes that are cordoned.
    :param retry_failed_only: a retry leaves nodes alone that have succeeded.
    :param script_conn_id: connection that a script's URI is read with. (templated)
    :param sha256: expected digest of the script; another one fails before anything is created. (templated)
    :param template_script: render Jinja inside the script's text. By default its bytes arrive unchanged.
    :param files: more files, by relative path, mounted beside the script. (templated)
    :param args: mapping or list that the script gets as one JSON string in ``argv[1]``. (templated)
    :param arguments: strings appended to argv as they are; excludes ``args``. (templated)
    :param env: environment, kept in a Secret that is gone when all runs have ended. (templated)
    :param env_from: more environment, from Secrets and ConfigMaps that exist (``V1EnvFromSource``).
    :param image: image of the container. (templated)
    :param interpreter: argv before the script's path. Default by shebang, extension, image, else ``python3 -u``.
    :param run_as_uid: run as this user with a read-only root, in mode ``normal``.
    :param container_resources: requests and limits of the container. (templated)
    :param volumes: volumes of the pods.
    :param volume_mounts: mounts of the container.
    :param affinity: affinity of the pods, beside their node.
    :param tolerations: tolerations of the pods, default of every taint. Nodes with others are skipped.
    :param labels: labels of Jobs and pods. (templated)
    :param annotations: annotations of Jobs and pods. (templated)
    :param image_pull_secrets: Secrets for the registry, by name or as ``V1LocalObjectReference``.
    :param image_pull_policy: ``IfNotPresent``, ``Always`` or ``Never``.
    :param service_account_name: account of the pods, whose token is mounted; without it none is.
    :param pod_overrides: partial pod template, merged last; containers: ``script``, ``install``. (templated)
    :param name: what the Jobs' names start with, default ``script-<task>``. (templated)
    :param namespace: default the connection's, else the worker pod's own, else ``default``. (templated)
    :param timeout: seconds until a run is ended, pull and queueing included; None for no end.
    :param startup_timeout: seconds until a run's container must run, and for which a lost node is waited for.
    :param ttl_seconds_after_finished: seconds that the Jobs are kept when all have ended; None for ever.
    :param unread_ttl: seconds that they are kept at least while a retry may ask for them.
    :param termination_grace_period: seconds between SIGTERM and SIGKILL.
    :param get_logs: show the output in the task's log, a group for each run.
    :param max_output_bytes: how much of the end of each run's output, and at most how long a value, the result keeps.
    :param install_dependencies: pip requirements, installed by an init container of the same image. (templated)
    :param install_packages: system packages (apt, apk, dnf), installed before the script; needs root. (templated)
    :param deferrable: wait in the triggerer instead of in a worker, default ``operators.default_deferrable``.
    :param kubernetes_conn_id: connection to the cluster; the default one need not exist.
    :param in_cluster: use the worker pod's service account.
    :param config_file: path of a kubeconfig.
    :param cluster_context: context of the kubeconfig.
    """

    template_fields: Collection[str] = (
        "script", "node_selector", "nodes", "script_conn_id", "sha256", "files", "args", "arguments", "env", "image",
        "container_resources", "labels", "annotations", "pod_overrides", "name", "namespace", "install_dependencies",
        "install_packages",
    )  # fmt: skip
    template_ext: Sequence[str] = ()
    template_fields_renderers: ClassVar[dict[str, str]] = {"container_resources": "json", "pod_overrides": "json"}
    operator_extra_links = job_links()
    wrapped_fields: ClassVar[tuple[str, ...]] = (*ScriptTask.wrapped_fields, "install_dependencies")
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        script: _fields.ScriptLike | None = None,
        node_selector: str | Mapping[str, str] | None = None,
        nodes: Sequence[str] | None = None,
        all_nodes: bool = False,
        mode: str = "normal",
        runs: int = 1,
        interval: Duration = 0,
        history_limit: int = 10,
        max_parallel: int | None = None,
        stop_after_failures: int | None = None,
        include_unready: bool = False,
        include_cordoned: bool = True,
        retry_failed_only: bool = True,
        script_conn_id: str | None = None,
        sha256: str | None = None,
        template_script: bool = False,
        files: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | Sequence[Any] | None = None,
        arguments: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        env_from: Sequence[Any] | None = None,
        image: str = DEFAULT_IMAGE,
        interpreter: Sequence[str] | None = None,
        run_as_uid: int | None = None,
        container_resources: ContainerResources | V1ResourceRequirements | str | None = None,
        volumes: Sequence[Any] | None = None,
        volume_mounts: Sequence[Any] | None = None,
        affinity: Mapping[str, Any] | V1Affinity | None = None,
        tolerations: Sequence[Any] | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        image_pull_secrets: Sequence[Any] | None = None,
        image_pull_policy: str = "IfNotPresent",
        service_account_name: str | None = None,
        pod_overrides: Mapping[str, Any] | V1PodTemplateSpec | str | None = None,
        name: str | None = None,
        namespace: str | None = None,
        timeout: Duration | None = 600,
        startup_timeout: Duration = 300,
        ttl_seconds_after_finished: Duration | None = 300,
        unread_ttl: Duration = 24 * 60 * 60,
        termination_grace_period: Duration = 30,
        get_logs: bool = True,
        max_output_bytes: int = DEFAULT_MAX_RUN_OUTPUT,
        install_dependencies: Sequence[str] | None = None,
        install_packages: Sequence[str] | None = None,
        kubernetes_conn_id: str | None = "kubernetes_default",
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
        deferrable: bool = default_deferrable(),
        **kwargs: Any,
    ) -> None:
        _arguments.refuse_unknown(kwargs, _OUR_ARGUMENTS)
        super().__init__(**kwargs)
        check_flag(template_script, "template_script")
        check_flag(in_cluster, "in_cluster", none_allowed=True)
        check_flag(deferrable, "deferrable")
        if script is None:
            raise ValueError("script is missing: text, a URI or a source such as FileScript(…)")
        self.script = _fields.source_or_later(script, template=template_script, conn_id=script_conn_id)
        self.node_selector = node_selector
        self.nodes = nodes
        self.all_nodes = all_nodes
        self.mode = mode
        self.runs = runs
        self.interval = interval
        self.history_limit = history_limit
        self.max_parallel = max_parallel
        self.stop_after_failures = stop_after_failures
        self.include_unready = include_unready
        self.include_cordoned = include_cordoned
        self.retry_failed_only = retry_failed_only
        self.script_conn_id = script_conn_id
        self.sha256 = sha256
        self.template_script = template_script
        self.files = _fields.sources_or_later(files, template=template_script)
        self.args = _fields.hide(args)
        self.arguments = _fields.hide(arguments)
        self.env = _fields.hide(env)
        self.env_from = env_from
        self.image = image
        self.interpreter = interpreter
        self.run_as_uid = run_as_uid
        self.container_resources = container_resources
        self.volumes = volumes
        self.volume_mounts = volume_mounts
        self.affinity = affinity
        self.tolerations = tolerations
        self.labels = labels
        self.annotations = annotations
        self.image_pull_secrets = image_pull_secrets
        self.image_pull_policy = image_pull_policy
        self.service_account_name = service_account_name
        self.pod_overrides = pod_overrides
        self.name = name
        self.namespace = namespace
        self.timeout = timeout
        self.startup_timeout = startup_timeout
        self.ttl_seconds_after_finished = ttl_seconds_after_finished
        self.unread_ttl = unread_ttl
        self.termination_grace_period = termination_grace_period
        self.get_logs = get_logs
        self.max_output_bytes = max_output_bytes
        self.install_dependencies = _fields.hide(install_dependencies, _fields.Requirements)
        self.install_packages = install_packages
        self.kubernetes_conn_id = kubernetes_conn_id
        self.in_cluster = in_cluster
        self.config_file = config_file
        self.cluster_context = cluster_context
        self.deferrable = deferrable
        self.node_call().check_before_rendering()
        inputs = _fields.inputs_of_sources(self.script, self.files)
        depend_on_xcoms_in(self, args, arguments, env, install_dependencies, *inputs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the script; returns the result dict where it ended well on every node."""
        from airflow_script_provider.hooks.node import NodesDeferral

        hook, left = self._started(self._new_hook()), self.seconds_left
        hook.on_launch = partial(self.announce_job, context)
        run = hook.launch_on_nodes if self.deferrable else hook.nodes_to_outcome
        expires_at = None if left is None else time.time() + left
        with airflow_errors():
            outcome = run(
                self.node_call(),
                folder=dag_folder(context),
                task=task_identity(context),
                seconds_left=left,
                on_outcome=partial(self._hand_over, context),
            )
        if isinstance(outcome, NodesDeferral):
            self._defer(outcome, expires_at)
        return self._result_or_raise(outcome)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Take the outcome that the trigger has left in the cluster, or go on where it has stopped."""
        self._resumed(event)
        task, on_outcome = task_identity(context), partial(self._hand_over, context)
        with airflow_errors():
            outcome = self._started(self._new_hook()).resume_on_nodes(event, task=task, on_outcome=on_outcome)
        return self._result_or_raise(outcome)

    def dry_run(self) -> None:
        """Print what would be created as YAML, with the Job of one run; asks nothing of the cluster."""
        hook = self._new_hook()
        request = hook.prepare_on_nodes(self.node_call(), folder=self.dag_folder)
        print(manifest.as_yaml(request), end="")  # noqa: T201  # what a dry run is for

    def _defer(self, deferral: NodesDeferral, expires_at: float | None) -> NoReturn:
        from airflow_script_provider.triggers.node import NodeScriptTrigger

        if self._killed:
            raise self._new_hook().killed(deferral.job.ref)
        trigger = NodeScriptTrigger(
            job=deferral.job.to_dict(),
            server=deferral.server,
            expires_at=expires_at,
            **self.trigger_arguments,
        )
        self.log.info("The triggerer sees to the runs of Job %s", deferral.job.ref)
        self.defer(trigger=trigger, method_name="execute_complete")

    def _hand_over(self, context: Context, outcome: NodesOutcome) -> None:
        self.push_result(context, values(outcome.result), outcome.result)

    @staticmethod
    def _result_or_raise(outcome: NodesOutcome) -> dict[str, Any]:
        from airflow_script_provider.hooks.node import successful

        with airflow_errors():
            return successful(outcome)

    def _new_hook(self) -> KubernetesNodeScriptHook:
        from airflow_script_provider.hooks.node import KubernetesNodeScriptHook

        return KubernetesNodeScriptHook(**self.connection)

    def node_call(self) -> NodeCall:
        """Script, Jobs and nodes, as the arguments say; ``node_selector`` is the nodes', not the pods'."""
        return NodeCall(
            self.arguments_as(ScriptInputs, script_conn_id=self.conn_id_of_text),
            self.arguments_as(JobOptions, node_selector=None),
            self.arguments_as(NodeChoice),
            self.arguments_as(NodeSettings),
        )


_OUR_ARGUMENTS = _arguments.arguments_of(KubernetesNodeScriptOperator)
