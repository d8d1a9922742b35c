"""Lines of the installation that runs before a script in the same container."""

from __future__ import annotations

from collections.abc import Sequence

_END_OF_GROUP = "::endgroup::"


class Prelude:
    """Separates the lines of the installation before a script from the script's own.

    ``mark`` ends the installation's last line, None where nothing is installed.
    """

    def __init__(self, mark: str | None) -> None:
        self._last = f"{_END_OF_GROUP}{mark}\n".encode()
        self._is_over = mark is None

    def of_script(self, lines: Sequence[bytes]) -> list[bytes]:
        """Those of the next lines that are the script's."""
        if self._is_over or self._last not in lines:
            return list(lines) if self._is_over else []
        self._is_over = True
        return list(lines[list(lines).index(self._last) + 1 :])

    def shown(self, lines: Sequence[bytes]) -> list[bytes]:
        """Lines as the log shows them: the last one of the installation ends its group."""
        return [_END_OF_GROUP.encode() if line == self._last else line for line in lines]
