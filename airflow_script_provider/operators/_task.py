"""What a task does around a run: render its templates, be killed, push what others read."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow_script_provider._airflow import BaseOperator, is_in_one_process, job_url_setting
from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
from airflow_script_provider.operators import _base
from airflow_script_provider.operators.links import KubernetesJobLink
from airflow_script_provider.sources.base import ScriptSource
from airflow_script_provider.sources.inline import InlineScript

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_script_provider.hooks.base import ConnectedHook

H = TypeVar("H", bound="ConnectedHook")

CONNECTION = ("kubernetes_conn_id", "in_cluster", "config_file", "cluster_context")


class ScriptTask(BaseOperator):
    """What the operators share. ``launched_job`` is the Job of this try, for the task's links."""

    wrapped_fields: ClassVar[tuple[str, ...]] = ("args", "arguments", "env")
    script: Any
    launched_job: JobRef | None = None
    _hook: ConnectedHook | None = None
    _killed: bool = False

    def on_kill(self) -> None:
        """Let the run end what it has started; does no I/O, because Airflow calls it from a signal handler."""
        self._killed = True
        if self._hook is not None:
            self._hook.kill()

    def _do_render_template_fields(self, parent: Any, *others: Any, **named: Any) -> None:
        """Render; Airflow calls this alone for a mapped task, which it makes anew.

        Sources and hidden fields are copied first, so that the DAG's own keep their templates.
        """
        with _rendering(self, self.wrapped_fields) if parent is self else contextlib.nullcontext():
            super()._do_render_template_fields(parent, *others, **named)

    def _started(self, hook: H) -> H:
        """The hook, which knows of a kill, whether it came before or comes now."""
        self._hook = hook
        if self._killed:
            hook.kill()
        return hook

    def _resumed(self, event: Mapping[str, Any]) -> LaunchedJob:
        """The Job of a trigger's event, which is this try's."""
        job = LaunchedJob.from_dict(event["job"])
        self.launched_job = job.ref
        return job

    def _announce(self, context: Context, ref: JobRef) -> None:
        """Show the link to the Job of this try from now on: Airflow would show it at the task's end."""
        self.launched_job = ref
        for link in self.operator_extra_links:
            try:
                address = link.address(self) if isinstance(link, KubernetesJobLink) else ""
                if address:
                    context["ti"].xcom_push(key=link.xcom_key, value=address)
            except Exception as error:  # noqa: BLE001  # no link is worth a run
                self.log.warning("No link %s: %s", link.name, error)

    def _push(self, context: Context, value: Any, result: Mapping[str, Any]) -> None:
        """Push what downstream tasks read, of failures too."""
        if not self.do_xcom_push:
            return
        parts = result if getattr(self, "multiple_outputs", False) else {}
        for key, pushed in {**parts, "value": value, "return_value": result}.items():
            context["ti"].xcom_push(key=key, value=pushed)


def job_links() -> tuple[KubernetesJobLink, ...]:
    """The links of an operator that launches Jobs: none without the setting that says where they lead."""
    return (KubernetesJobLink(),) if job_url_setting() else ()


@contextmanager
def _rendering(operator: Any, wrapped: Iterable[str]) -> Iterator[None]:
    """Render inside this: sources and ``wrapped`` fields are copies then, so the DAG's own keep their templates."""
    operator.script = _copy_of_script(operator.script)
    for field in wrapped:
        setattr(operator, field, copy.copy(getattr(operator, field)))
    if isinstance(operator.files, dict):
        operator.files = {path: copy.copy(file) for path, file in operator.files.items()}
    with _template_errors(operator, operator.script):
        yield
    # An expression may turn out to be a presigned URL, which a plain field would show.
    if operator.script is not None:
        operator.script = _base.source_or_later(operator.script, template=False, conn_id=conn_id_of_text(operator))


def rendered_script(operator: Any, source: ScriptSource, context: Context) -> ScriptSource:
    """A source with its templates rendered, for an operator whose other fields are rendered already."""
    source = _copy_of_script(source)
    with _template_errors(operator, source):
        operator.render_template(source, context, operator.get_template_env())
    return source


def _copy_of_script(script: Any) -> Any:
    """A copy to be rendered, and shown as it runs."""
    return script.shown() if isinstance(script, InlineScript) else copy.copy(script)


@contextmanager
def _template_errors(operator: Any, script: Any) -> Iterator[None]:
    """Say where in a script its rendering failed, and which argument made it a template."""
    import jinja2

    try:
        yield
    except jinja2.TemplateError as error:
        if not operator.template_script:
            raise
        raise ValueError(_base.template_message(error, script)) from None


def conn_id_of_text(operator: Any) -> str | None:
    """The connection for a script that is no source yet; a source has it, rendered with its other fields."""
    return None if isinstance(operator.script, ScriptSource) else operator.script_conn_id


def connection_of(operator: Any) -> dict[str, Any]:
    """The arguments that a hook is made of."""
    return {name: getattr(operator, name) for name in CONNECTION}


def circumstances(operator: Any) -> dict[str, Any]:
    """The arguments of a trigger that say how its task runs."""
    return {
        "execution_timeout": seconds(operator.execution_timeout),
        "in_one_process": is_in_one_process(),
        **connection_of(operator),
    }


def folder_of(operator: Any) -> str | None:
    """The folder of the operator's DAG, for relative paths, where there is no context to ask."""
    folder: str | None = operator.dag.folder if operator.has_dag() else None
    return folder


def seconds(duration: timedelta | None) -> float | None:
    """A duration as a number."""
    return duration.total_seconds() if duration is not None else None
