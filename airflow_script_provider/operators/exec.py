"""``KubernetesExecScriptOperator``: run a script or a command in a pod that runs already."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_script_provider._airflow import dag_folder, depend_on_xcoms_in
from airflow_script_provider.kube.durations import Duration
from airflow_script_provider.kube.exec.request import ExecOptions, described
from airflow_script_provider.kube.logs.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.options import ExitCodes
from airflow_script_provider.kube.syntax import check_flag
from airflow_script_provider.operators import _arguments, _fields
from airflow_script_provider.operators._base import ScriptTask
from airflow_script_provider.operators._errors import airflow_errors, result_or_raise

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_script_provider.hooks.exec import KubernetesExecScriptHook


class KubernetesExecScriptOperator(ScriptTask):
    """
    Run a script, or a command, in a pod that runs already: with its code, its network and its secrets.

    Script, arguments and environment travel through stdin, and nothing is left in the pod. The result dict is the XCom
    ``return_value``, also when the task fails; the JSON that was printed to stdout is the XCom ``value`` too. Each
    Airflow retry chooses a pod anew. An exec lives as long as its connection, so it cannot be deferred.

    :param deployment: run in the first ready pod of this Deployment's current ReplicaSet. (templated)
    :param statefulset: run in the first ready pod of this StatefulSet's newest revision. (templated)
    :param pod: run in this pod. (templated)
    :param label_selector: run in the first ready pod that this selects, such as ``app=api,tier!=web``. (templated)
    :param container: which container; needed where the pod has several. (templated)
    :param script: text, a one-line URI (``file``, ``http(s)``, ``s3``, ``gs``), or a source such as ``S3Script(…)``.
        (templated)
    :param command: a list instead of a script, such as ``["npx", "prisma", "migrate", "deploy"]``. (templated)
    :param script_conn_id: connection that a script's URI is read with. (templated)
    :param sha256: expected digest of the script; another one fails before anything is started. (templated)
    :param template_script: render Jinja inside the script's text. By default its bytes arrive unchanged.
    :param files: more files, by relative path, in a private folder with the script, which is removed at the end; its
        name is in ``AIRFLOW_SCRIPT_FILES``. (templated)
    :param args: mapping or list that the script gets as one JSON string in ``argv[1]``. (templated)
    :param arguments: strings appended to argv as they are; excludes ``args``. (templated)
    :param env: environment, over the container's own. (templated)
    :param working_dir: the directory it starts in, default the container's. (templated)
    :param interpreter: argv before the script's path. Default by shebang, extension, image, else ``python3 -u``.
    :param namespace: default the connection's, else the worker pod's own, else ``default``. (templated)
    :param timeout: seconds until its process group is ended; None for no end.
    :param termination_grace_period: seconds between SIGTERM and SIGKILL.
    :param skip_on_exit_code: exit codes that skip the task.
    :param get_logs: show the output in the task's log: stdout as INFO, stderr as WARNING.
    :param max_output_bytes: how much of the end of each output the result keeps.
    :param kubernetes_conn_id: connection to the cluster; the default one need not exist.
    :param in_cluster: use the worker pod's service account.
    :param config_file: path of a kubeconfig.
    :param cluster_context: context of the kubeconfig.
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
        _arguments.refuse_unknown(kwargs, _OUR_ARGUMENTS)
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
        """Run it; returns the result dict of a run that ended well."""
        left = self.seconds_left
        hook = self._started(self._new_hook())
        with airflow_errors():
            outcome = hook.run_to_outcome(self.inputs(), self.options(), folder=dag_folder(context), seconds_left=left)
        self.push_result(context, outcome.result.value, outcome.result.to_dict())
        return result_or_raise(outcome)

    def dry_run(self) -> None:
        """Print as YAML what would run where, values hidden. Reads the script, does not ask the cluster."""
        import yaml

        request = self._new_hook().prepare(self.inputs(), self.options(), folder=self.dag_folder)
        print(yaml.safe_dump(described(request), sort_keys=False, allow_unicode=True), end="")  # noqa: T201  # what a dry run is for

    def _new_hook(self) -> KubernetesExecScriptHook:
        from airflow_script_provider.hooks.exec import KubernetesExecScriptHook

        return KubernetesExecScriptHook(**self.connection)

    def inputs(self) -> ScriptInputs:
        """What the script is given, as the arguments say."""
        return self.arguments_as(ScriptInputs, script_conn_id=self.conn_id_of_text)

    def options(self) -> ExecOptions:
        """Where and how it runs, as the arguments say."""
        return self.arguments_as(ExecOptions)


_OUR_ARGUMENTS = _arguments.arguments_of(KubernetesExecScriptOperator)
