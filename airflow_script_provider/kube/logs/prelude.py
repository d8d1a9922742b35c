"""Lines of the installation that runs before a script in the same container."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_script_provider.kube.logs.groups import end_of_installation


class Prelude:
    """Separates the lines of the installation before a script from the script's own.

    ``mark`` ends the installation's last line, None where nothing is installed.
    """

    def __init__(self, mark: str | None) -> None:
        self._last = end_of_installation(mark or "")
        self._is_over = mark is None

    def of_script(self, lines: Sequence[bytes]) -> list[bytes]:
        """Those of the next lines that are the script's."""
        if self._is_over or self._last not in lines:
            return list(lines) if self._is_over else []
        self._is_over = True
        return list(lines[list(lines).index(self._last) + 1 :])
