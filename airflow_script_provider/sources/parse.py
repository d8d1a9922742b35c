"""Parse the argument ``script`` into a source."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_script_provider import sources
from airflow_script_provider.kube.request.interpreters import has_known_extension
from airflow_script_provider.script import Script
from airflow_script_provider.sources.base import ScriptSource
from airflow_script_provider.sources.file import FileScript
from airflow_script_provider.sources.inline import InlineScript
from airflow_script_provider.spec.source import LATER, SourceSettings, source_settings

_URI = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://[^\n]*", re.IGNORECASE)
# By name: a DAG file that is parsed needs few of them.
_SOURCES = {"file": "FileScript", "http": "HttpScript", "https": "HttpScript", "s3": "S3Script", "gs": "GCSScript"}
_SPEC_SOURCES = {"file": "FileScript", "http": "HttpScript", "s3": "S3Script", "gcs": "GCSScript"}
_WITHOUT_CONNECTION = ("file",)
_ONE_EXPRESSION = re.compile(r"\{\{[^{}\n]*\}\}")


def parse(script: Any, *, template: bool = False, conn_id: str | None = None) -> ScriptSource:
    """The source in ``script``: a source, the Script tool's mapping, a one-line URI, or text.

    ``conn_id`` is the connection of a URI's source, None for the source's default. ``ValueError``
    says why it is not a script, ``TypeError`` that it has the wrong type.
    """
    if not isinstance(script, str):
        return _given_source(script, template=template, conn_id=conn_id)
    line = script.strip()
    if not line:
        raise ValueError("script is empty")
    uri = _URI.fullmatch(line)
    if uri:
        return _source_of(uri["scheme"].lower(), line, conn_id)
    if _looks_like_a_path(line):
        raise ValueError(
            f"script={line!r} would run as text, not as a file; for a file write file://{line} or FileScript({line!r})"
        )
    _refuse_connection(conn_id, "the script is text")
    return InlineScript(script, template=template)


def _given_source(script: Any, *, template: bool, conn_id: str | None) -> ScriptSource:
    if isinstance(script, Mapping):
        script = source_of(source_settings(script), template=template)
    if not isinstance(script, ScriptSource):
        raise TypeError(f"script must be text, a URI or a source such as FileScript(…), not {type(script).__name__}")
    _refuse_connection(conn_id, f"{type(script).__name__}(…) has its own conn_id")
    return script


def parse_file(file: Any, path: str, *, template: bool = False) -> ScriptSource:
    """The source of one of ``files``, which may be empty; errors name the entry."""
    if isinstance(file, str) and not file.strip():
        return InlineScript(file, template=template)
    try:
        return parse(file, template=template)
    except (TypeError, ValueError) as error:
        raise type(error)(f"files[{path!r}]{str(error).removeprefix('script')}") from None


def source_of(settings: SourceSettings, *, template: bool = False) -> ScriptSource:
    """The source of settings in the Script tool's format.

    A text that is only one Jinja expression is not a script in any language, so it is always
    rendered.
    """
    if settings.kind == LATER:
        return RenderedScript(**settings.arguments, template=template)
    if settings.kind == "inline":
        text = settings.arguments["text"]
        return InlineScript(text, template=template or is_one_expression(text))
    return _made(_SPEC_SOURCES[settings.kind], **settings.arguments)


class RenderedScript:
    """A script in the Script tool's format whose type, or whose other settings, are templates.

    What it is is known after rendering. An inline text is rendered as ``source_of`` says.
    """

    template_fields: Sequence[str] = ("settings",)

    def __init__(self, script: Mapping[str, Any], variables: Mapping[str, Any], *, template: bool = False) -> None:
        content = script.get("content")
        is_rendered = template or is_one_expression(content)
        self.settings = {name: value for name, value in script.items() if name != "content" or is_rendered}
        self._content = {} if is_rendered or content is None else {"content": content}
        self._variables = variables
        self._written_uri = script.get("uri")

    def confined(self) -> RenderedScript:
        """A copy for settings that are not written in the DAG: only files in the DAG's folder."""
        other = copy.copy(self)
        other._written_uri = None
        return other

    def fetch(self, *, folder: str | None = None) -> Script:
        """Read the script from what its settings have become."""
        settings = source_settings({**self.settings, **self._content}, self._variables)
        if settings.kind == LATER:
            raise ValueError("script has settings that are still templates; only an operator renders them")
        source = source_of(settings)
        if isinstance(source, FileScript):
            source = source.written_as(self._written_uri)
        return source.fetch(folder=folder)

    def __str__(self) -> str:
        return f"script of the type {self.settings['type']}"


def is_one_expression(script: Any) -> bool:
    """Whether the text is only one Jinja expression, which gives the script's text or URI."""
    return isinstance(script, str) and bool(_ONE_EXPRESSION.fullmatch(script.strip()))


def _source_of(scheme: str, uri: str, conn_id: str | None) -> ScriptSource:
    if scheme not in _SOURCES:
        from airflow_script_provider.sources.web.url import redacted

        known = ", ".join(f"{name}://" for name in _SOURCES)
        raise ValueError(f"script={redacted(uri)!r} has the unknown scheme {scheme}://; known schemes: {known}")
    if scheme in _WITHOUT_CONNECTION:
        _refuse_connection(conn_id, f"a {scheme}:// script needs no connection")
        conn_id = None
    return _made(_SOURCES[scheme], uri, **({"conn_id": conn_id} if conn_id else {}))


def _made(name: str, *given: Any, **arguments: Any) -> ScriptSource:
    source: ScriptSource = getattr(sources, name)(*given, **arguments)
    return source


def _refuse_connection(conn_id: str | None, why: str) -> None:
    if conn_id:
        raise ValueError(
            f"script_conn_id={conn_id!r} has no effect: {why}; it is only for http(s)://, s3:// and gs:// URIs"
        )


def _looks_like_a_path(line: str) -> bool:
    return len(line.split()) == 1 and has_known_extension(line)
