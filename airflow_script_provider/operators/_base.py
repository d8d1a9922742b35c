"""What the operators share: rendering templates, being killed, pushing results."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow_script_provider._airflow import (
    AirflowTaskTimeout,
    BaseHook,
    BaseOperator,
    is_in_one_process,
    is_mapped_at_run_time,
    job_url_setting,
    task_instance,
    task_state,
)
from airflow_script_provider.kube.wording import message_of
from airflow_script_provider.operators import _fields
from airflow_script_provider.operators.links import KubernetesJobLink
from airflow_script_provider.run_log import Logger
from airflow_script_provider.sources.base import ScriptSource
from airflow_script_provider.sources.inline import InlineScript

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_script_provider.clusters.access import ClusterRef
    from airflow_script_provider.hooks._task_run import JobTaskRun, TaskRun
    from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
    from airflow_script_provider.kube.job.outcomes import Outcome

R = TypeVar("R", bound="TaskRun")
A = TypeVar("A")


class ScriptTask(BaseOperator):
    """What the operators share.

    ``launched_job`` is the Job of this try, for the task's links. A subclass names the arguments
    of its constructor in ``own_arguments``, and those that it hides with ``hide`` in
    ``wrapped_fields``.
    """

    own_arguments: ClassVar[tuple[str, ...]] = ()
    wrapped_fields: ClassVar[tuple[str, ...]] = ("args", "arguments", "env")
    script: Any
    script_conn_id: str | None
    template_script: bool
    files: Any
    kubernetes_conn_id: str | None
    in_cluster: bool | None
    config_file: str | None
    cluster_context: str | None
    deferrable: bool
    launched_job: JobRef | None = None
    _task_run: TaskRun | None = None
    _killed: bool = False
    _recovers: bool = False
    _lacks_value: bool = False
    _rendering_error: Exception | None = None

    def on_kill(self) -> None:
        """Let the run end what it started. No I/O: Airflow calls this from a signal handler."""
        self._killed = True
        if self._task_run is not None:
            self._task_run.kill()

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue with a trigger's event; without one, find the Job of this try and follow it."""
        from airflow_script_provider._airflow.triggers import failure_of_trigger

        why = failure_of_trigger(next_method, next_kwargs)
        if why is None:
            return super().resume_execution(next_method, next_kwargs, context)
        self.log.warning(
            "No trigger could follow the Job, so a worker does. Install the same version of airflow-script-provider on "
            "workers and triggerers. Airflow's reason:\n%s",
            why,
        )
        if self._rendering_error is not None:
            raise self._rendering_error
        self.deferrable, self._recovers = False, True
        return self.execute(context)

    def announce_job(self, context: Context, ref: JobRef) -> None:
        """Show the link to the Job now; Airflow itself would show it when the task ends."""
        self.launched_job = ref
        for link in self.operator_extra_links:
            try:
                address = link.address(self) if isinstance(link, KubernetesJobLink) else ""
                if address:
                    context["ti"].xcom_push(key=link.xcom_key, value=address)
            except Exception as error:  # noqa: BLE001  # no link is worth a run
                self.log.warning("No link %s: %s", link.name, error)

    def end_before_deferral(self, task_run: JobTaskRun, ref: JobRef, context: Context) -> None:
        """Raise ``RunKilledError`` if the task was killed or ended: then it must not defer."""
        task = task_instance(context["ti"])
        if not self._killed:
            with contextlib.suppress(AirflowTaskTimeout):  # the trigger ends the Job, or finds that it has ended
                task_run.end_if_over(ref, task)
        if self._killed:
            raise task_run.killed(ref, task)

    def _push_outcome(self, context: Context, outcome: Outcome) -> None:
        """Push what downstream tasks read of the run of one script."""
        self.push_result(context, outcome.result.value, outcome.result.to_dict())

    def push_result(self, context: Context, value: Any, result: Mapping[str, Any]) -> None:
        """Push what downstream tasks read; of a task that fails Airflow itself pushes nothing.

        The script is finished: what it printed must not fail its task. If Airflow does not take an
        XCom, it is pushed without the value.
        """
        if not self.do_xcom_push:
            if self.launched_job is not None:
                _check_airflow_answers(context)
            return
        parts = result if getattr(self, "multiple_outputs", False) else {}
        for key, pushed in {**parts, "value": value, "return_value": result}.items():
            if (error := self._push(context, key, pushed)) is None:
                continue
            context["ti"].xcom_push(key=key, value=None if key == "value" else _without_values(pushed))
            self._lacks_value = True
            self.log.warning("Airflow does not take the XCom %s, so it has no value: %s", key, error)

    @staticmethod
    def _push(context: Context, key: str, pushed: Any) -> Exception | None:
        """Push an XCom, once more after a failure that may be over; the error of the last try."""
        refused: Exception | None = None
        for _ in range(2):
            try:
                context["ti"].xcom_push(key=key, value=pushed)
            except Exception as error:  # noqa: BLE001  # a backend of the site may raise anything
                refused = error
            else:
                return None
        return refused

    def as_pushed(self, result: dict[str, Any]) -> dict[str, Any]:
        """The result to return, which Airflow pushes once more."""
        return _without_values(result) if self._lacks_value else result

    def arguments_as(self, kind: type[A], **replaced: Any) -> A:
        """The arguments as a dataclass of the same fields; ``replaced`` has other values."""
        names = {field.name for field in fields(kind)} & {*self.own_arguments}  # type: ignore[arg-type]  # a dataclass
        return kind(**{name: _fields.reveal(getattr(self, name)) for name in names} | replaced)

    @property
    def conn_id_of_text(self) -> str | None:
        """The connection of a script that is not a source yet; a source has its own."""
        return None if isinstance(self.script, ScriptSource) else self.script_conn_id

    @property
    def cluster(self) -> ClusterRef:
        """The cluster that the connection's arguments name."""
        from airflow_script_provider.clusters.access import ClusterRef

        return ClusterRef(self.kubernetes_conn_id, self.in_cluster, self.config_file, self.cluster_context)

    @property
    def dag_folder(self) -> str | None:
        """The folder of the operator's DAG, where relative paths start, without a context."""
        folder: str | None = self.dag.folder if self.has_dag() else None  # type: ignore[no-untyped-call]  # not in Airflow
        return folder

    @property
    def execution_seconds(self) -> float | None:
        """``execution_timeout`` in seconds, None without one."""
        timeout: timedelta | None = self.execution_timeout
        return timeout.total_seconds() if timeout is not None else None

    @property
    def trigger_arguments(self) -> dict[str, Any]:
        """The arguments of a trigger that say how its task runs."""
        return {
            "execution_timeout": self.execution_seconds,
            "in_one_process": is_in_one_process(),
            **self.cluster.to_dict(),
        }

    def render_source(self, source: ScriptSource, context: Context) -> ScriptSource:
        """A copy of the source with its templates rendered; the other fields already are."""
        source = _copy_of_script(source)
        with self._template_errors(source):
            self.render_template(source, context, self.get_template_env())
        return source

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Context, *others: Any, **named: Any
    ) -> None:
        """Render copies of sources and hidden fields: the DAG's own keep their templates.

        For a mapped task Airflow 3.1 to 3.3 makes a new operator and calls only this method, which
        is private there. A task that is resumed only needs its secrets, to mask them: it goes on
        without them where a secrets backend has a bad moment.
        """
        try:
            with self._rendering() if parent is self else contextlib.nullcontext():
                super()._do_render_template_fields(parent, template_fields, context, *others, **named)
        except Exception as error:
            from airflow_script_provider._airflow.triggers import is_resumed

            if parent is not self or not is_resumed(context):
                raise
            self._rendering_error = error

    @contextmanager
    def _rendering(self) -> Iterator[None]:
        """Sources and wrapped fields are copies in this block: the DAG's keep their templates."""
        self.script = _copy_of_script(self.script)
        for field in self.wrapped_fields:
            setattr(self, field, copy.copy(getattr(self, field)))
        if isinstance(self.files, dict):
            self.files = {path: copy.copy(file) for path, file in self.files.items()}
        with self._template_errors(self.script):
            yield
        # An expression may turn out to be a presigned URL, which a plain field would show.
        if self.script is not None and not isinstance(self.script, ScriptSource):
            self.script = _fields.source_when_rendered(self.script, self.conn_id_of_text)
        self.files = _fields.sources_when_rendered(self.files)
        if is_mapped_at_run_time(self, "script"):
            self.script = _fields.confined(self.script)
        if is_mapped_at_run_time(self, "files"):
            self.files = {path: _fields.confined(file) for path, file in self.files.items()}

    @contextmanager
    def _template_errors(self, script: Any) -> Iterator[None]:
        """Say where in a script its rendering failed, and which argument made it a template."""
        import jinja2

        try:
            yield
        except jinja2.TemplateError as error:
            if not self.template_script:
                raise
            raise ValueError(_fields.template_message(error, script)) from None

    def _started(self, task_run: R) -> R:
        """The run, which learns of a kill whether the kill came before or comes later."""
        self._task_run = task_run
        task_run.recovers = self._recovers
        if self._killed:
            task_run.kill()
        return task_run

    def _has_values(self) -> bool:
        """Whether a resumed task knows its arguments; otherwise the log says why not."""
        error = self._rendering_error
        if error is not None:
            self.log.warning("The arguments cannot be rendered, but the Job has them already: %s", message_of(error))
        return error is None

    def _resumed(self, event: Mapping[str, Any]) -> LaunchedJob:
        """The Job of a trigger's event, which is this try's."""
        from airflow_script_provider.kube.job.launched import LaunchedJob

        job = LaunchedJob.from_dict(event["job"])
        self.launched_job = job.ref
        return job


def hook_log() -> Logger:
    """The logger of the hooks: operators' lines and hooks' lines have one name."""
    log: Logger = BaseHook(logger_name="script").log
    return log


def job_links() -> tuple[KubernetesJobLink, ...]:
    """The links of an operator that launches Jobs; none without the setting ``job_url``."""
    return (KubernetesJobLink(),) if job_url_setting() else ()


def _check_airflow_answers(context: Context) -> None:
    """Raise what Airflow raises if it does not answer and a next try may follow.

    It could not hear of the task's end then. The next try needs the Job unread, as it does where
    a push fails.
    """
    task = task_instance(context["ti"])
    if task.has_tries_left:
        task_state(task)


def _copy_of_script(script: Any) -> Any:
    """A copy to render. The page Rendered Templates shows it as the script runs."""
    return script.shown() if isinstance(script, InlineScript) else copy.copy(script)


def _without_values(result: Any) -> Any:
    """A result, or a part of it, without what scripts printed as JSON."""
    if isinstance(result, Mapping):
        return {key: None if key == "value" else _without_values(part) for key, part in result.items()}
    return [_without_values(part) for part in result] if isinstance(result, list) else result
