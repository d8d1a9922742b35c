"""The script's text itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from airflow_script_provider.script import Script


@dataclass
class InlineScript:
    """A script given as text.

    :param text: the script.
    :param template: render Jinja inside the text; by default it arrives unchanged.
    :param name: a file name whose extension tells the language, as of a file.
    """

    text: str
    template: bool = False
    name: str = "script"
    _is_shown: bool = field(default=False, repr=False, compare=False)

    @property
    def template_fields(self) -> Sequence[str]:
        """The text, only where that is asked for: Jinja chokes on ``${#array[@]}``."""
        return ("text",) if self.template else ()

    def fetch(self, *, folder: str | None = None) -> Script:
        """The text as a script."""
        return Script(self.text, origin="inline", name=self.name)

    def shown(self) -> InlineScript:
        """A copy whose text the page Rendered Templates shows, unless values were put into it: they may be secrets."""
        return replace(self, _is_shown=not self.template)

    def serialize(self) -> str:
        """What Airflow keeps of it: of a DAG its size, which does not grow with it, of a task what that page shows."""
        return self.text if self._is_shown else str(self)

    def __str__(self) -> str:
        return f"inline script, {len(self.text.encode('utf-8', 'replace')):,} bytes"
