"""A file that the worker can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.request import MAX_CONFIG_MAP
from airflow_script_provider.script import Script
from airflow_script_provider.sources.base import decoded, too_large

SCHEME = "file://"


@dataclass
class FileScript:
    """A script in a file.

    :param path: relative to the folder of the DAG's file, or absolute; ``file://`` may stand in front.
    """

    path: str
    template_fields: Sequence[str] = ("path",)

    def fetch(self, *, folder: str | None = None) -> Script:
        """Read the file; the error names every path that was tried."""
        tried = self._candidates(folder)
        for path in tried:
            if path.is_file():
                return self._read(path)
        places = ", ".join(str(path) for path in tried)
        raise ScriptSourceError(f"script file {self.path!r} does not exist; tried {places}", origin=str(self))

    def _candidates(self, folder: str | None) -> list[Path]:
        is_uri = self.path.lower().startswith(SCHEME)
        path = Path(unquote(self.path[len(SCHEME) :]) if is_uri else self.path)
        if path.is_absolute() or not folder:
            return [path.absolute()]
        return [Path(folder) / path, path.absolute()]

    def _read(self, path: Path) -> Script:
        origin = f"{SCHEME}{path}"
        try:
            with path.open("rb") as file:
                data = file.read(MAX_CONFIG_MAP + 1)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise ScriptSourceError(f"script file {path} cannot be read: {why}", origin=origin) from None
        if len(data) > MAX_CONFIG_MAP:
            raise too_large(origin, path.stat().st_size)
        return decoded(data, origin=origin, name=path.name)

    def __str__(self) -> str:
        return f"file {self.path}"
