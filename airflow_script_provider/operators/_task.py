"""What a task does around a run: render its templates, push the result."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_script_provider.kube.outcome import Outcome
from airflow_script_provider.operators import _base
from airflow_script_provider.sources.base import ScriptSource

if TYPE_CHECKING:
    from airflow.sdk import Context

CONNECTION = ("kubernetes_conn_id", "in_cluster", "config_file", "cluster_context")


@contextmanager
def rendering(operator: Any, wrapped: Iterable[str]) -> Iterator[None]:
    """Render inside this: sources and ``wrapped`` fields are copies then, so the DAG's own keep their templates."""
    import jinja2

    for field in ("script", *wrapped):
        setattr(operator, field, copy.copy(getattr(operator, field)))
    if isinstance(operator.files, dict):
        operator.files = {path: copy.copy(file) for path, file in operator.files.items()}
    try:
        yield
    except jinja2.TemplateError as error:
        if not operator.template_script:
            raise
        raise ValueError(_base.template_message(error, operator.script)) from None
    # An expression may turn out to be a presigned URL, which a plain field would show.
    if operator.script is not None:
        operator.script = _base.source_or_later(operator.script, template=False, conn_id=conn_id_of_text(operator))


def conn_id_of_text(operator: Any) -> str | None:
    """The connection for a script that is no source yet; a source has it, rendered with its other fields."""
    return None if isinstance(operator.script, ScriptSource) else operator.script_conn_id


def hand_over(operator: Any, context: Context, outcome: Outcome) -> None:
    """Push what downstream tasks read, of failures too."""
    if operator.do_xcom_push:
        context["ti"].xcom_push(key="value", value=outcome.result.value)
        context["ti"].xcom_push(key="return_value", value=outcome.result.to_dict())


def connection_of(operator: Any) -> dict[str, Any]:
    """The arguments that a hook is made of."""
    return {name: getattr(operator, name) for name in CONNECTION}


def folder_of(operator: Any) -> str | None:
    """The folder of the operator's DAG, for relative paths, where there is no context to ask."""
    folder: str | None = operator.dag.folder if operator.has_dag() else None
    return folder


def seconds(duration: timedelta | None) -> float | None:
    """A duration as a number."""
    return duration.total_seconds() if duration is not None else None
