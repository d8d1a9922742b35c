"""Template fields of operators.

They hold values that Airflow's pages must not show, and scripts that are known later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_script_provider._airflow import is_resolved_at_run_time, is_set_during_execution
from airflow_script_provider.kube.request.logins import without_logins
from airflow_script_provider.sources.base import ScriptSource
from airflow_script_provider.sources.file import FileScript
from airflow_script_provider.sources.parse import RenderedScript, is_one_expression, parse, parse_file

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import XComArg

    from airflow_script_provider.spec.arguments import PlaybookNames
    from airflow_script_provider.types import ScriptMapping

    ScriptLike = str | ScriptSource | ScriptMapping | Mapping[str, Any] | XComArg

_QUERY = re.compile(r"\?\S+")


class HiddenValues:
    """A template field whose page in Airflow's interface shows names, never values.

    Airflow masks rendered fields by key name only. It would show a short secret under a harmless
    name.
    """

    template_fields: Sequence[str] = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __bool__(self) -> bool:
        return self.value is not None

    def __str__(self) -> str:
        if isinstance(self.value, Mapping):
            return f"{', '.join(str(name) for name in self.value) or 'none'} (values hidden)"
        if isinstance(self.value, list | tuple):
            return f"{len(self.value)} {'item' if len(self.value) == 1 else 'items'} (values hidden)"
        return "(hidden)"


class Requirements(HiddenValues):
    """Lines of a requirements file, shown without logins and queries of their addresses."""

    def __str__(self) -> str:
        if not isinstance(self.value, list | tuple):
            return super().__str__()
        return "\n".join(_QUERY.sub("?…", line) for line in without_logins(self.value))


def hide(value: Any, kind: type[HiddenValues] = HiddenValues) -> Any:
    """Wrap the value in a hidden field; None stays None.

    Airflow resolves another task's output first.
    """
    return None if value is None else kind(value)


def reveal(field: Any) -> Any:
    """The value of a hidden field; other values as they are."""
    return field.value if isinstance(field, HiddenValues) else field


def source_or_later(script: Any, *, template: bool, conn_id: str | None = None) -> Any:
    """The source of a script, or the script itself if rendering decides what it is."""
    if _is_known_later(script):
        return script
    return parse(script, template=template, conn_id=conn_id)


def names_of_the_tool(script: Any) -> PlaybookNames | None:
    """The names of templates in a script in the Script tool's format, None of any other script."""
    if not isinstance(script, Mapping):
        return None
    from airflow_script_provider.spec.arguments import PlaybookNames, names_of_tokens

    return PlaybookNames(short_lived=names_of_tokens(script))


def sources_or_later(files: Any, *, template: bool) -> Any:
    """The sources of ``files``.

    A mapping that another task returns stays as it is until the run.
    """
    if files is None or is_resolved_at_run_time(files):
        return files
    if not isinstance(files, Mapping):
        raise ValueError(f"files must be a mapping of relative path to source, not {type(files).__name__}")
    return {
        path: file if _is_known_later(file) else parse_file(file, path, template=template)
        for path, file in files.items()
    }


def source_when_rendered(script: Any, conn_id: str | None) -> Any:
    """The source of a script that only rendering gave.

    A user who triggers a run may choose it, so it reads none of the worker's files outside of the
    DAG's folder.
    """
    return confined(source_or_later(script, template=False, conn_id=conn_id))


def sources_when_rendered(files: Any) -> Any:
    """The sources of ``files``, confined if only rendering gave them."""
    if not isinstance(files, Mapping):
        return files
    return {path: _file_when_rendered(file, path) for path, file in files.items()}


def _file_when_rendered(file: Any, path: str) -> Any:
    if isinstance(file, ScriptSource):
        return file
    try:
        return confined(parse_file(file, path))
    except (TypeError, ValueError):
        return file  # the run refuses it, for good


def confined(source: Any) -> Any:
    """The source; a file must be in the DAG's folder."""
    return source.confined() if isinstance(source, FileScript | RenderedScript) else source


def _is_known_later(source: Any) -> bool:
    return is_resolved_at_run_time(source) or is_set_during_execution(source) or is_one_expression(source)


def inputs_of_sources(script: Any, files: Any) -> list[Any]:
    """The template values of the sources, which may hold outputs of other tasks."""
    sources = [script, *(files.values() if isinstance(files, Mapping) else [files])]
    fields = [getattr(source, name) for source in sources for name in getattr(source, "template_fields", ())]
    return [*(source for source in sources if is_resolved_at_run_time(source)), *fields]


def template_message(error: jinja2.TemplateError, script: Any) -> str:
    """The message for a script that Jinja cannot render: line, text, argument to change."""
    line = getattr(error, "lineno", None)
    text = ""
    if line is not None and isinstance(script, ScriptSource):
        lines = str(getattr(script, "text", "")).splitlines()
        text = f": {lines[line - 1].strip()!r}" if 0 < line <= len(lines) else ""
    where = f"line {line}{text}: " if line is not None else ""
    return f"script cannot be rendered: {where}{error}. Set template_script=False to run it unchanged."
