"""``KubernetesNodeScriptOperator``: run a script on nodes of the cluster."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow_script_provider._airflow import dag_folder, default_deferrable, depend_on_xcoms_in, task_instance
from airflow_script_provider._task_identity import task_identity
from airflow_script_provider.kube.durations import Duration
from airflow_script_provider.kube.nodes.plan import DEFAULT_MAX_RUN_OUTPUT, NodeSettings
from airflow_script_provider.kube.nodes.selection import NodeChoice
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.options import DEFAULT_IMAGE, JobOptions
from airflow_script_provider.kube.syntax import check_flag
from airflow_script_provider.operators import _arguments, _fields
from airflow_script_provider.operators._base import ScriptTask, hook_log, job_links
from airflow_script_provider.operators._errors import airflow_errors

if TYPE_CHECKING:
    from airflow.sdk import Context
    from kubernetes.client import V1Affinity, V1PodTemplateSpec, V1ResourceRequirements

    from airflow_script_provider.hooks.node import NodesDeferral, NodesTaskRun
    from airflow_script_provider.kube.nodes.request import NodeArguments
    from airflow_script_provider.result import NodesResult
    from airflow_script_provider.types import ContainerResources


class KubernetesNodeScriptOperator(ScriptTask):
    """
    Run a script on nodes of the cluster, as a Kubernetes Job on each, and return one result.

    The result dict is the XCom ``return_value``, also when the task fails. The XCom ``value`` has,
    by node, the JSON that the script printed last. The script finds the name of its node in
    ``NODE_NAME``, and the number of its run in ``RUN_INDEX``.

    Each argument is listed as ``TYPE: meaning``. Objects of Kubernetes are dicts in the API's
    spelling (``mountPath``) or models of ``kubernetes.client``. Exactly one of ``node_selector``,
    ``nodes`` and ``all_nodes`` is given.

    :param script: str, source or dict: the script's text, a one-line URI (``file://``,
        ``http(s)://``, ``s3://``, ``gs://``), a source such as ``S3Script(…)``, or the Script
        tool's mapping of ``type``, ``uri`` and ``source``. (templated)
    :param node_selector: str or dict of str: label selector of the nodes. (templated)
    :param nodes: list of str: names of the nodes; needs no right to list nodes. (templated)
    :param all_nodes: bool: run on every node.
    :param mode: str: ``normal`` gives no access to the node. ``privileged`` makes the container
        privileged. ``host`` adds the node's processes and, at ``/host``, its file system.
    :param runs: int: how often the script runs on each node, one run after the other.
    :param interval: seconds or ``timedelta``: time between the end of a run and the next one.
    :param history_limit: int: how many runs of each node the result keeps, the newest last.
    :param max_parallel: int: how many nodes run the script at a time. None means all of them.
    :param stop_after_failures: int: number of failed nodes after which no other run starts. None
        means that no failure stops the others.
    :param include_unready: bool: also use nodes that are not ready.
    :param include_cordoned: bool: also use nodes that are cordoned.
    :param retry_failed_only: bool: a retry of the task skips nodes on which the script succeeded.
    :param script_conn_id: str: Airflow connection that the script's URI is read with. None means
        ``aws_default`` for ``s3://``, ``google_cloud_default`` for ``gs://``, and no connection
        for ``http(s)://``. (templated)
    :param sha256: str: hexadecimal digest that the script must have. If it has another one, the
        task fails before anything is created. None checks nothing. (templated)
    :param template_script: bool: render Jinja inside the texts of the script and of ``files``.
        False passes them on unchanged.
    :param files: dict of str, source or dict: more files, mounted beside the script in
        ``/scripts``. A key is a relative path, a value is the file's text, a one-line URI or a
        source. None mounts no more files. (templated)
    :param args: dict or list: JSON values, which the script gets as one JSON string in
        ``argv[1]``. psql gets a dict as its variables. None passes no argument. (templated)
    :param arguments: list of str: words that are appended to argv unchanged; excludes ``args``.
        None appends no word. (templated)
    :param env: dict of str: environment variables. A Secret holds the values until all runs have
        ended. None sets no variable. (templated)
    :param env_from: list of dict or ``V1EnvFromSource``: more environment variables, from existing
        Secrets and ConfigMaps; ``env`` takes precedence. None adds no variable.
    :param image: str: image of the script's container, and of the one that installs dependencies.
        (templated)
    :param interpreter: list of str: the command in front of the script's path. None chooses it by
        the script's ``#!`` line, its file extension or the image, otherwise ``python3 -u``.
    :param run_as_uid: int: user id of at least 1 that the script runs as, only in mode ``normal``.
        The root file system is then read-only, and the Pod Security level ``restricted`` admits
        the pod. None runs as the image's user.
    :param container_resources: dict or ``V1ResourceRequirements``: ``requests`` and ``limits`` of
        the container. None sets neither. (templated)
    :param volumes: list of dict or ``V1Volume``: more volumes of the pod. None adds no volume.
    :param volume_mounts: list of dict or ``V1VolumeMount``: paths at which the container mounts
        the ``volumes``; ``/scripts`` is taken. None adds no mount.
    :param affinity: dict or ``V1Affinity``: more rules for the pods; each is bound to its node in
        any case. None has no other rule.
    :param tolerations: list of dict or ``V1Toleration``: taints that the pods tolerate. Nodes with
        other taints are skipped. None tolerates every taint.
    :param labels: dict of str: more labels of the Jobs, their pods, ConfigMap and Secret. None
        adds no label. (templated)
    :param annotations: dict of str: more annotations of the Jobs and their pods. None adds no
        annotation. (templated)
    :param image_pull_secrets: list of str, dict or ``V1LocalObjectReference``: Secrets in the
        namespace, by name, that hold a login of the registry. None adds no Secret.
    :param image_pull_policy: str: ``IfNotPresent``, ``Always`` or ``Never``.
    :param service_account_name: str: service account of the pod, whose token is then mounted. None
        means the namespace's default account, without a token.
    :param pod_overrides: dict or ``V1PodTemplateSpec``: a partial pod template, merged last. The
        containers are called ``script`` and ``install``. None changes nothing. (templated)
    :param name: str: start of the Jobs' names, which ids complete. None means ``script-<task>``.
        (templated)
    :param namespace: str: namespace of the Jobs. None means the connection's, otherwise the worker
        pod's own, otherwise ``default``. (templated)
    :param timeout: seconds or ``timedelta``: time that the script of a run may work, without the
        wait for room and the start. None sets no limit.
    :param schedule_timeout: seconds or ``timedelta``: time that a run may wait for room on its
        node, for quota or for the admission of its Job.
    :param startup_timeout: seconds or ``timedelta``: time within which a run's container must run
        once its pod has room on the node, image pull and installation included.
    :param ttl_seconds_after_finished: seconds or ``timedelta``: time that the Jobs are kept after
        all have ended. None keeps them for ever.
    :param keep_failed: seconds or ``timedelta``: the same after a run that failed. None means
        ``ttl_seconds_after_finished``.
    :param unread_ttl: seconds or ``timedelta``: least time that the Jobs are kept while a retry
        may need their outcomes.
    :param termination_grace_period: seconds or ``timedelta``: time between SIGTERM and SIGKILL. 0
        counts as 1, because Kubernetes does not wait for the end of a pod without a grace period.
    :param get_logs: bool: show the script's output in the task's log, a group for each run.
    :param max_output_bytes: int, in bytes: how much of the end of a run's output the result keeps,
        and how large a value may be; at most 16 KiB.
    :param install_dependencies: list of str: lines of a pip requirements file. An init container
        of the same image installs them. None installs nothing. (templated)
    :param install_packages: list of str: names of system packages, which apt, apk, dnf or microdnf
        installs before the script starts; needs root. None installs nothing. (templated)
    :param deferrable: bool: wait in the triggerer and not in a worker. The default is Airflow's
        setting ``[operators] default_deferrable``.
    :param kubernetes_conn_id: str: Airflow connection to the cluster. The default one need not
        exist. None reads no connection.
    :param in_cluster: bool: use the service account of the worker's own pod. None means what the
        connection says.
    :param config_file: str: path of a kubeconfig, on the worker and, for deferred tasks, on the
        triggerer. None means what the connection says.
    :param cluster_context: str: context of the kubeconfig. None means the connection's, otherwise
        the current one.
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
        schedule_timeout: Duration = 3600,
        startup_timeout: Duration = 300,
        ttl_seconds_after_finished: Duration | None = 300,
        keep_failed: Duration | None = None,
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
        _arguments.refuse_unknown(kwargs, self.own_arguments)
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
        self.schedule_timeout = schedule_timeout
        self.startup_timeout = startup_timeout
        self.ttl_seconds_after_finished = ttl_seconds_after_finished
        self.keep_failed = keep_failed
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
        self.node_arguments().check_before_rendering()
        inputs = _fields.inputs_of_sources(self.script, self.files)
        depend_on_xcoms_in(self, args, arguments, env, install_dependencies, *inputs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the script. Returns the result dict if it succeeds on every node."""
        from airflow_script_provider.hooks.node import NodesDeferral

        task_run, left = self._started(self._new_run()), self.execution_seconds
        task_run.on_launch = partial(self.announce_job, context)
        run = task_run.outcome_or_deferral if self.deferrable else partial(task_run.outcome, alone=True)
        expires_at = None if left is None else time.time() + left
        with airflow_errors():
            outcome = run(
                self.node_arguments(),
                folder=dag_folder(context),
                task=task_identity(context),
                seconds_left=left,
                on_outcome=partial(self._hand_over, context),
            )
        if isinstance(outcome, NodesDeferral):
            self._defer(outcome, expires_at, context)
        return self.as_pushed(self._result_or_raise(outcome))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Read the outcome that the trigger left in the cluster, or continue where it stopped."""
        self._resumed(event)
        task, on_outcome = task_instance(context["ti"]), partial(self._hand_over, context)
        with airflow_errors():
            task_run = self._started(self._new_run())
            inputs = self.node_arguments().inputs if self._has_values() else None
            outcome = task_run.resume(event, inputs, task=task, on_outcome=on_outcome)
        return self.as_pushed(self._result_or_raise(outcome))

    def dry_run(self) -> None:
        """Print the objects and the Job of one run as YAML; the Secret's values are hidden.

        Reads the script, but sends no request to the cluster.
        """
        from airflow_script_provider.kube.nodes import manifest
        from airflow_script_provider.spec.text import write_yaml

        request = self._new_run().prepare(self.node_arguments(), folder=self.dag_folder)
        print(write_yaml(*manifest.shown(request.owner())), end="")  # noqa: T201  # what a dry run is for

    def _defer(self, deferral: NodesDeferral, expires_at: float | None, context: Context) -> NoReturn:
        from airflow_script_provider.triggers.node import NodeScriptTrigger

        self.end_before_deferral(self._started(self._new_run()), deferral.job.ref, context)
        trigger = NodeScriptTrigger(
            job=deferral.job.to_dict(),
            server=deferral.server,
            expires_at=expires_at,
            **self.trigger_arguments,
        )
        self.log.info("The triggerer starts and follows the runs of Job %s", deferral.job.ref)
        self.defer(trigger=trigger, method_name="execute_complete")

    def _hand_over(self, context: Context, outcome: NodesResult) -> None:
        self.push_result(context, outcome.values, outcome.to_dict())

    @staticmethod
    def _result_or_raise(outcome: NodesResult) -> dict[str, Any]:
        from airflow_script_provider.kube.nodes import result as nodes_result

        with airflow_errors():
            return nodes_result.successful(outcome).to_dict()

    def _new_run(self) -> NodesTaskRun:
        from airflow_script_provider.hooks.node import NodesTaskRun

        return NodesTaskRun(self.cluster, hook_log())

    def node_arguments(self) -> NodeArguments:
        """The arguments for script, Jobs and nodes. The pods have no ``node_selector``."""
        from airflow_script_provider.kube.nodes.request import NodeArguments

        return NodeArguments(
            self.arguments_as(ScriptInputs, script_conn_id=self.conn_id_of_text),
            self.arguments_as(JobOptions, node_selector=None),
            self.arguments_as(NodeChoice),
            self.arguments_as(NodeSettings),
        )


KubernetesNodeScriptOperator.own_arguments = _arguments.arguments_of(KubernetesNodeScriptOperator)
