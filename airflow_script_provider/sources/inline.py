"""A script that is given as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from airflow_script_provider.script import Script


@dataclass
class InlineScript:
    """A script that is given as text.

    :param text: the script.
    :param template: render Jinja in the text. By default the text stays unchanged.
    :param name: file name of the script; its extension decides the interpreter, such as
        ``load.sql``.
    """

    text: str
    template: bool = False
    name: str = "script"
    _is_shown: bool = field(default=False, repr=False, compare=False)

    @property
    def template_fields(self) -> Sequence[str]:
        """The text if ``template`` is set.

        Jinja cannot parse some scripts, such as ``${#array[@]}``.
        """
        return ("text",) if self.template else ()

    def fetch(self, *, folder: str | None = None) -> Script:
        """The text as a script."""
        return Script(self.text, origin="inline", name=self.name)

    def shown(self) -> InlineScript:
        """A copy whose text the page Rendered Templates shows.

        The page does not show a rendered text, because its values may be secrets.
        """
        return replace(self, _is_shown=not self.template)

    def serialize(self) -> str:
        """The form that Airflow stores: only the size in a DAG, so that the DAG stays small.

        In a task it is what the page Rendered Templates shows.
        """
        return self.text if self._is_shown else str(self)

    def __str__(self) -> str:
        return f"inline script, {len(self.text.encode('utf-8', 'replace')):,} bytes"
