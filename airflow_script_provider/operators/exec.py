"""``KubernetesExecScriptOperator``: run a script or a command in a running pod."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_script_provider._airflow import dag_folder, depend_on_xcoms_in
from airflow_script_provider.kube.durations import Duration
from airflow_script_provider.kube.exec.request import ExecOptions, described
from airflow_script_provider.kube.logs.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.options import ExitCodes
from airflow_script_provider.kube.syntax import check_flag
from airflow_script_provider.operators import _arguments, _fields
from airflow_script_provider.operators._base import ScriptTask, hook_log
from airflow_script_provider.operators._errors import airflow_errors, result_or_raise

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_script_provider.hooks.exec import ExecTaskRun


class KubernetesExecScriptOperator(ScriptTask):
    """
    Run a script, or a command, in a running pod: with its code, its network and its secrets.

    Script, arguments and environment travel through stdin, and nothing is left in the pod. The
    result dict is the XCom ``return_value``, also when the task fails. The JSON that was printed
    to stdout is the XCom ``value``. Each retry of the task chooses a pod again. An exec lives as
    long as its connection, so it cannot be deferred.

    Each argument is listed as ``TYPE: meaning``. Exactly one of the first four is given, and
    exactly one of ``script`` and ``command``.

    :param deployment: str: name of a Deployment. The script runs in the first ready pod, by name,
        of its current ReplicaSet. (templated)
    :param statefulset: str: name of a StatefulSet. The script runs in the first ready pod, by
        name, of its newest revision. If no pod has that revision yet, because the update strategy
        is ``OnDelete`` or has a ``partition``, an older pod is taken. (templated)
    :param pod: str: name of a running pod, which need not be ready. (templated)
    :param label_selector: str: label selector of pods. The script runs in the first ready one, by
        name. (templated)
    :param container: str: name of the container. None means the pod's only one. (templated)
    :param script: str, source or dict: the script's text, a one-line URI (``file://``,
        ``http(s)://``, ``s3://``, ``gs://``), a source such as ``S3Script(…)``, or the Script
        tool's mapping of ``type``, ``uri`` and ``source``. (templated)
    :param command: list of str: program and arguments in the place of a script. (templated)
    :param script_conn_id: str: Airflow connection that the script's URI is read with. None means
        ``aws_default`` for ``s3://``, ``google_cloud_default`` for ``gs://``, and no connection
        for ``http(s)://``. (templated)
    :param sha256: str: hexadecimal digest that the script must have. If it has another one, the
        task fails before anything is started. None checks nothing. (templated)
    :param template_script: bool: render Jinja inside the texts of the script and of ``files``.
        False passes them on unchanged.
    :param files: dict of str, source or dict: more files, in a private folder with the script,
        which is removed at the end. ``AIRFLOW_SCRIPT_FILES`` is its path. A key is a relative
        path, a value is the file's text, a one-line URI or a source. None adds no file.
        (templated)
    :param args: dict or list: JSON values, which the script gets as one JSON string in
        ``argv[1]``. psql gets a dict as its variables. None passes no argument. (templated)
    :param arguments: list of str: words that are appended to argv unchanged; excludes ``args``.
        None appends no word. (templated)
    :param env: dict of str: environment variables, which take precedence over the container's own.
        None sets no variable. (templated)
    :param working_dir: str: path in the container of the directory to start in. None means the
        container's own. (templated)
    :param interpreter: list of str: the command in front of the script's path. None chooses it by
        the script's ``#!`` line, its file extension or the container's image, otherwise
        ``python3 -u``.
    :param namespace: str: namespace of the pod. None means the connection's, otherwise the worker
        pod's own, otherwise ``default``. (templated)
    :param timeout: seconds or ``timedelta``: time after which the process and its session are
        ended. None sets no limit.
    :param termination_grace_period: seconds or ``timedelta``: time between SIGTERM and SIGKILL.
    :param skip_on_exit_code: int or list of int: exit codes from 1 to 255 that skip the task. None
        skips it at no exit code.
    :param get_logs: bool: show the output in the task's log, stdout as INFO and stderr as WARNING.
    :param max_output_bytes: int, in bytes: how much of the end of each output (stdout, stderr,
        both together) the result keeps.
    :param kubernetes_conn_id: str: Airflow connection to the cluster. The default one need not
        exist. None reads no connection.
    :param in_cluster: bool: use the service account of the worker's own pod. None means what the
        connection says.
    :param config_file: str: path of a kubeconfig, on the worker. None means what the connection
        says.
    :param cluster_context: str: context of the kubeconfig. None means the connection's, otherwise
        the current one.
    """

    template_fields: Collection[str] = (
        "deployment", "statefulset", "pod", "label_selector", "container", "script", "command", "script_conn_id",
        "sha256", "files", "args", "arguments", "env", "working_dir", "namespace",
    )  # fmt: skip
    template_ext: Sequence[str] = ()
    ui_color = "#e8f7ee"

    def __init__(
        self,
        *,
        deployment: str | None = None,
        statefulset: str | None = None,
        pod: str | None = None,
        label_selector: str | None = None,
        container: str | None = None,
        script: _fields.ScriptLike | None = None,
        command: Sequence[str] | None = None,
        script_conn_id: str | None = None,
        sha256: str | None = None,
        template_script: bool = False,
        files: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | Sequence[Any] | None = None,
        arguments: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        working_dir: str | None = None,
        interpreter: Sequence[str] | None = None,
        namespace: str | None = None,
        timeout: Duration | None = 600,
        termination_grace_period: Duration = 30,
        skip_on_exit_code: ExitCodes = None,
        get_logs: bool = True,
        max_output_bytes: int = DEFAULT_MAX_OUTPUT,
        kubernetes_conn_id: str | None = "kubernetes_default",
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
        **kwargs: Any,
    ) -> None:
        _arguments.refuse_unknown(kwargs, self.own_arguments)
        super().__init__(**kwargs)
        check_flag(template_script, "template_script")
        check_flag(in_cluster, "in_cluster", none_allowed=True)
        self.deployment = deployment
        self.statefulset = statefulset
        self.pod = pod
        self.label_selector = label_selector
        self.container = container
        self.script = script
        if script is not None:
            self.script = _fields.source_or_later(script, template=template_script, conn_id=script_conn_id)
        self.command = command
        self.script_conn_id = script_conn_id
        self.sha256 = sha256
        self.template_script = template_script
        self.files = _fields.sources_or_later(files, template=template_script)
        self.args = _fields.hide(args)
        self.arguments = _fields.hide(arguments)
        self.env = _fields.hide(env)
        self.working_dir = working_dir
        self.interpreter = interpreter
        self.namespace = namespace
        self.timeout = timeout
        self.termination_grace_period = termination_grace_period
        self.skip_on_exit_code = skip_on_exit_code
        self.get_logs = get_logs
        self.max_output_bytes = max_output_bytes
        self.kubernetes_conn_id = kubernetes_conn_id
        self.in_cluster = in_cluster
        self.config_file = config_file
        self.cluster_context = cluster_context
        inputs = self.inputs()
        inputs.check_before_rendering()
        self.options().check_before_rendering(inputs)
        depend_on_xcoms_in(self, args, arguments, env, *_fields.inputs_of_sources(self.script, self.files))

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the script or command. Returns the result dict if it succeeds."""
        left, on_outcome = self.execution_seconds, partial(self._push_outcome, context)
        folder, task_run = dag_folder(context), self._started(self._new_run())
        with airflow_errors():
            outcome = task_run.outcome(
                self.inputs(), self.options(), folder=folder, seconds_left=left, on_outcome=on_outcome
            )
        return self.as_pushed(result_or_raise(outcome))

    def dry_run(self) -> None:
        """Print as YAML what would run, and in which pod; values are hidden.

        Reads the script, but sends no request to the cluster.
        """
        from airflow_script_provider.spec.text import write_yaml

        request = self._new_run().prepare(self.inputs(), self.options(), folder=self.dag_folder)
        print(write_yaml(described(request)), end="")  # noqa: T201  # what a dry run is for

    def _new_run(self) -> ExecTaskRun:
        from airflow_script_provider.hooks.exec import ExecTaskRun

        return ExecTaskRun(self.cluster, hook_log())

    def inputs(self) -> ScriptInputs:
        """The arguments for the script: its source, input and environment."""
        return self.arguments_as(ScriptInputs, script_conn_id=self.conn_id_of_text)

    def options(self) -> ExecOptions:
        """The arguments for the pod, the command and the time limits."""
        return self.arguments_as(ExecOptions)


KubernetesExecScriptOperator.own_arguments = _arguments.arguments_of(KubernetesExecScriptOperator)
