"""Lines of the installation that runs before a script in the same container."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_script_provider.kube.logs.groups import BEGIN_OF_INSTALLATION, end_of_installation
from airflow_script_provider.kube.logs.output import Output, Tail


class Prelude:
    """Separates the lines of the installation before a script from the script's own.

    ``mark`` ends the installation's last line, None where nothing is installed. A log whose start
    is gone, because the node has rotated it, may have lost that line: what is left of it counts as
    the script's, unless the line comes after all.
    """

    def __init__(self, mark: str | None, output: Output | Tail) -> None:
        self._last = end_of_installation(mark or "")
        self._is_over = mark is None
        self._lacks_start: bool | None = None
        self._output = output

    def add(self, lines: Sequence[bytes]) -> None:
        """Add those of the next lines that are the script's to its output."""
        last = None if self._is_over else next((n for n, line in enumerate(lines) if line.endswith(self._last)), None)
        if last is not None:
            self._is_over = True
            self._output.restart()
            lines = lines[last + 1 :]
        if self._lacks_start is None and lines:
            self._lacks_start = not lines[0].startswith(BEGIN_OF_INSTALLATION)
        if self._is_over or self._lacks_start:
            self._output.add(lines)
