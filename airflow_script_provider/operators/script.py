"""``KubernetesScriptOperator``: run a script as a Kubernetes Job."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, cast

from airflow_script_provider._airflow import dag_folder, default_deferrable, depend_on_xcoms_in, task_instance
from airflow_script_provider._task_identity import task_identity
from airflow_script_provider.kube.durations import Duration, positive_seconds
from airflow_script_provider.kube.logs.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.options import DEFAULT_IMAGE, ExitCodes, JobOptions
from airflow_script_provider.kube.syntax import check_flag
from airflow_script_provider.operators import _arguments, _fields
from airflow_script_provider.operators._base import ScriptTask, hook_log, job_links
from airflow_script_provider.operators._errors import airflow_errors, result_or_raise
from airflow_script_provider.spec.job import NUMBERS, TEMPLATES_OF_A_SPEC
from airflow_script_provider.spec.settings import as_number, has_template

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context
    from kubernetes.client import V1Affinity, V1PodTemplateSpec, V1ResourceRequirements

    from airflow_script_provider.hooks.script import ScriptTaskRun
    from airflow_script_provider.jobs.conclude import Deferral
    from airflow_script_provider.kube.job.outcomes import Outcome
    from airflow_script_provider.types import ContainerResources


class KubernetesScriptOperator(ScriptTask):
    """
    Run a script as a Kubernetes Job, stream its log, return its result.

    The result dict is the XCom ``return_value``, also when the task fails. The JSON that the
    script printed is the XCom ``value``: ``task.output["value"]`` reads it.

    Each argument is listed as ``TYPE: meaning``. Objects of Kubernetes are dicts in the API's
    spelling (``mountPath``) or models of ``kubernetes.client``.

    :param script: str, source or dict: the script's text, a one-line URI (``file://``,
        ``http(s)://``, ``s3://``, ``gs://``), a source such as ``S3Script(…)``, or the Script
        tool's mapping of ``type``, ``uri`` and ``source``. (templated)
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
    :param env: dict of str: environment variables. A Secret holds the values until the Job has
        ended. None sets no variable. (templated)
    :param env_from: list of dict or ``V1EnvFromSource``: more environment variables, from existing
        Secrets and ConfigMaps; ``env`` takes precedence. None adds no variable.
    :param image: str: image of the script's container, and of the one that installs dependencies.
        (templated)
    :param interpreter: list of str: the command in front of the script's path. None chooses it by
        the script's ``#!`` line, its file extension or the image, otherwise ``python3 -u``.
    :param run_as_uid: int: user id of at least 1 that the script runs as. The root file system is
        then read-only, and the Pod Security level ``restricted`` admits the pod. None runs as the
        image's user.
    :param container_resources: dict or ``V1ResourceRequirements``: ``requests`` and ``limits`` of
        the container. None sets neither. (templated)
    :param volumes: list of dict or ``V1Volume``: more volumes of the pod. None adds no volume.
    :param volume_mounts: list of dict or ``V1VolumeMount``: paths at which the container mounts
        the ``volumes``; ``/scripts`` is taken. None adds no mount.
    :param affinity: dict or ``V1Affinity``: which nodes the pod requires or prefers, by the node's
        labels or by its other pods. None has no rule.
    :param tolerations: list of dict or ``V1Toleration``: taints of nodes that the pod tolerates.
        None tolerates no taint.
    :param node_selector: dict of str: labels that the node must have. None allows every node.
        (templated)
    :param labels: dict of str: more labels of the Job, its pod, ConfigMap and Secret. None adds no
        label. (templated)
    :param annotations: dict of str: more annotations of the Job and its pod. None adds no
        annotation. (templated)
    :param image_pull_secrets: list of str, dict or ``V1LocalObjectReference``: Secrets in the
        namespace, by name, that hold a login of the registry. None adds no Secret.
    :param image_pull_policy: str: ``IfNotPresent``, ``Always`` or ``Never``.
    :param service_account_name: str: service account of the pod, whose token is then mounted. None
        means the namespace's default account, without a token.
    :param pod_overrides: dict or ``V1PodTemplateSpec``: a partial pod template, merged last. The
        containers are called ``script`` and ``install``. None changes nothing. (templated)
    :param name: str: start of the Job's name, which an id completes. None means ``script-<task>``.
        (templated)
    :param namespace: str: namespace of the Job. None means the connection's, otherwise the worker
        pod's own, otherwise ``default``. (templated)
    :param timeout: seconds or ``timedelta``: time that the script may work, from its first start
        on: all attempts and the pauses between them, but no wait for a node. None sets no limit.
    :param schedule_timeout: seconds or ``timedelta``: time that the script may wait for a node:
        for the admission of its Job, for quota, and for room.
    :param startup_timeout: seconds or ``timedelta``: time within which the script's container must
        run once its pod has a node, image pull and installation included.
    :param backoff_limit: int: number of attempts after the first one, each in a new pod.
    :param ttl_seconds_after_finished: seconds or ``timedelta``: time that the finished Job is
        kept. None keeps it for ever.
    :param keep_failed: seconds or ``timedelta``: the same after a run that failed. None means
        ``ttl_seconds_after_finished``.
    :param unread_ttl: seconds or ``timedelta``: least time that the finished Job is kept while
        Airflow has not read its outcome: a retry after a lost worker reads it.
    :param termination_grace_period: seconds or ``timedelta``: time between SIGTERM and SIGKILL. 0
        counts as 1, because Kubernetes does not wait for the end of a pod without a grace period.
    :param skip_on_exit_code: int or list of int: exit codes from 1 to 255 that skip the task. None
        skips it at no exit code.
    :param fail_on_exit_code: int or list of int: exit codes from 1 to 255 after which neither
        Kubernetes nor Airflow tries again. None means that every failure may be tried again.
    :param get_logs: bool: show the script's output in the task's log.
    :param max_output_bytes: int, in bytes: how much of the end of the output the result keeps.
    :param install_dependencies: list of str: lines of a pip requirements file. An init container
        of the same image installs them. None installs nothing. (templated)
    :param install_packages: list of str: names of system packages, which apt, apk, dnf or microdnf
        installs before the script starts; needs root. None installs nothing. (templated)
    :param deferrable: bool: wait in the triggerer and not in a worker. The default is Airflow's
        setting ``[operators] default_deferrable``.
    :param defer_after: seconds or ``timedelta``: time after the launch that a worker waits before
        it defers. A Job that ends earlier is finished in the worker.
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
        "script", "script_conn_id", "sha256", "files", "args", "arguments", "env", "image", "container_resources",
        "node_selector", "labels", "annotations", "pod_overrides", "name", "namespace",
        "install_dependencies", "install_packages",
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
        node_selector: Mapping[str, str] | None = None,
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
        backoff_limit: int = 3,
        ttl_seconds_after_finished: Duration | None = 300,
        keep_failed: Duration | None = None,
        unread_ttl: Duration = 24 * 60 * 60,
        termination_grace_period: Duration = 30,
        skip_on_exit_code: ExitCodes = None,
        fail_on_exit_code: ExitCodes = None,
        get_logs: bool = True,
        max_output_bytes: int = DEFAULT_MAX_OUTPUT,
        install_dependencies: Sequence[str] | None = None,
        install_packages: Sequence[str] | None = None,
        kubernetes_conn_id: str | None = "kubernetes_default",
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
        deferrable: bool = default_deferrable(),
        defer_after: Duration = 3,
        **kwargs: Any,
    ) -> None:
        _arguments.refuse_unknown(kwargs, self.own_arguments)
        super().__init__(**kwargs)
        check_flag(template_script, "template_script")
        check_flag(in_cluster, "in_cluster", none_allowed=True)
        if script is None:
            raise ValueError("script is missing: text, a URI or a source such as FileScript(…)")
        self.script = _fields.source_or_later(script, template=template_script, conn_id=script_conn_id)
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
        self.node_selector = node_selector
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
        self.backoff_limit = backoff_limit
        self.ttl_seconds_after_finished = ttl_seconds_after_finished
        self.keep_failed = keep_failed
        self.unread_ttl = unread_ttl
        self.termination_grace_period = termination_grace_period
        self.skip_on_exit_code = skip_on_exit_code
        self.fail_on_exit_code = fail_on_exit_code
        self.get_logs = get_logs
        self.max_output_bytes = max_output_bytes
        self.install_dependencies = _fields.hide(install_dependencies, _fields.Requirements)
        self.install_packages = install_packages
        self.kubernetes_conn_id = kubernetes_conn_id
        self.in_cluster = in_cluster
        self.config_file = config_file
        self.cluster_context = cluster_context
        check_flag(deferrable, "deferrable")
        self.deferrable = deferrable
        positive_seconds(defer_after, "defer_after", zero_allowed=True)
        self.defer_after = defer_after
        self._names = _fields.names_of_the_tool(script)
        self._expires_at: float | None = None
        self.job_options().check_before_rendering()
        self.inputs().check_before_rendering()
        depend_on_xcoms_in(
            self, args, arguments, env, install_dependencies, *_fields.inputs_of_sources(self.script, self.files)
        )

    @classmethod
    def from_spec(
        cls,
        *,
        spec: Mapping[str, Any] | Sequence[Any] | str,
        task_id: str | None = None,
        step: str | None = None,
        variables: Mapping[str, Any] | None = None,
        style: str = "noetl",
        **overrides: Any,
    ) -> Self:
        """Make an operator from a step in the format of NoETL's Script tool, unchanged.

        :param spec: dict, list or str: the tool, a step, a list of steps or a whole playbook.
            A str is YAML.
        :param task_id: str: id of the task. None means the name of the step.
        :param step: str: name of the step. None means the only one.
        :param variables: dict of str: scripts by name, for ``type: local``. None has no script.
        :param style: str: ``noetl`` uses the namespace, the names and the label of that tool;
            ``airflow`` uses this operator's own.
        :param overrides: arguments of this operator, which take precedence over the spec.
        """
        from airflow_script_provider.sources.parse import source_of
        from airflow_script_provider.spec.arguments import operator_settings
        from airflow_script_provider.spec.source import SourceSettings

        given = overrides | ({} if task_id is None else {"task_id": task_id})
        settings = operator_settings(spec, step=step, variables=variables, style=style, overrides=given)
        arguments = dict(settings.arguments)
        if "task_id" not in arguments:
            raise ValueError("task_id is missing: the spec names no step, so give task_id=…")
        if isinstance(arguments["script"], SourceSettings):
            arguments["script"] = source_of(arguments["script"], template=arguments.get("template_script", False))
        templates = {name: arguments.pop(name) for name in TEMPLATES_OF_A_SPEC if has_template(arguments.get(name))}
        operator = cls(**arguments)
        operator._names = settings.names
        operator.template_fields = (*cls.template_fields, *templates)
        for name, template in templates.items():
            setattr(operator, name, template)
        return operator

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the script. Returns the result dict if it succeeds."""
        from airflow_script_provider.kube.job.outcomes import Outcome

        with airflow_errors():
            followed = self._run(context)
        if isinstance(followed, Outcome):
            return self.as_pushed(result_or_raise(followed))
        return self._defer(followed, context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Continue in a worker where the trigger has stopped."""
        self._resumed(event)
        task, on_outcome = task_instance(context["ti"]), partial(self._push_outcome, context)
        with airflow_errors():
            task_run = self._started(self._new_run())
            inputs = self.inputs() if self._has_values() else None
            outcome = task_run.resume(event, inputs, task=task, on_outcome=on_outcome)
        return self.as_pushed(result_or_raise(outcome))

    def _run(self, context: Context) -> Outcome | Deferral:
        task_run = self._started(self._new_run())
        task_run.on_launch = partial(self.announce_job, context)
        inputs, options = self.inputs(), self.job_options()
        left, on_outcome = self.execution_seconds, partial(self._push_outcome, context)
        folder, task = dag_folder(context), task_identity(context)
        if not self.deferrable:
            return task_run.outcome(
                inputs, options, folder=folder, task=task, seconds_left=left, on_outcome=on_outcome, alone=True
            )
        self._expires_at = None if left is None else time.time() + left
        after = positive_seconds(self.defer_after, "defer_after", zero_allowed=True) or 0
        return task_run.outcome_or_deferral(
            inputs, options, after, folder=folder, task=task, seconds_left=left, on_outcome=on_outcome
        )

    def _defer(self, deferral: Deferral, context: Context) -> NoReturn:
        from airflow_script_provider.triggers.script import ScriptTrigger

        handover = replace(deferral.state, deferral=uuid.uuid4().hex[:8])
        trigger = ScriptTrigger(
            job=deferral.job.to_dict(),
            handover=handover.to_dict(),
            server=deferral.server,
            expires_at=self._expires_at,
            **self.trigger_arguments,
        )
        self.end_before_deferral(self._started(self._new_run()), deferral.job.ref, context)
        self.log.info("Job %s is still running; the triggerer follows it", deferral.job.ref)
        self.defer(trigger=trigger, method_name="execute_complete")

    def dry_run(self) -> None:
        """Print Job, ConfigMap and Secret as YAML; the Secret's values are hidden.

        Reads the script, but sends no request to the cluster.
        """
        from airflow_script_provider.kube.job import manifest
        from airflow_script_provider.spec.text import write_yaml

        request = self._new_run().prepare(self.inputs(), self.job_options(), folder=self.dag_folder)
        print(write_yaml(*manifest.shown(request)), end="")  # noqa: T201  # what a dry run is for

    def render_template_fields(self, context: Context, jinja_env: jinja2.Environment | None = None) -> None:
        """Render the template fields, then read numbers that a spec gave as templates."""
        super().render_template_fields(context, jinja_env)
        for field in NUMBERS:
            setattr(self, field, as_number(getattr(self, field)))

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Context, *others: Any, **named: Any
    ) -> None:
        """Render, in the Script tool's format with ``workload``, ``keychain`` and ``secret``.

        Airflow also calls this for mapped tasks, for which it skips ``render_template_fields``.
        """
        if parent is self and self._names is not None:
            from airflow_script_provider.operators._keychain import template_names

            context = cast("Context", template_names(context, self._names))
        super()._do_render_template_fields(parent, template_fields, context, *others, **named)

    def _new_run(self) -> ScriptTaskRun:
        from airflow_script_provider.hooks.script import ScriptTaskRun

        return ScriptTaskRun(self.cluster, hook_log())

    def inputs(self) -> ScriptInputs:
        """The arguments for the script: its source, input and environment."""
        return self.arguments_as(ScriptInputs, script_conn_id=self.conn_id_of_text)

    def job_options(self) -> JobOptions:
        """The arguments for the Job."""
        return self.arguments_as(JobOptions)


KubernetesScriptOperator.own_arguments = _arguments.arguments_of(KubernetesScriptOperator)
