"""A file that the worker can read."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.kube.wording import shortened
from airflow_script_provider.script import Script
from airflow_script_provider.sources.base import decode, too_large_error

SCHEME = "file://"

_MAX_SHOWN = 120
_MISSING = "it does not exist"


@dataclass
class FileScript:
    """A script in a file.

    :param path: absolute, or relative to the folder of the DAG's file. It may begin with
        ``file://``.
    """

    path: str
    template_fields: Sequence[str] = ("path",)

    def fetch(self, *, folder: str | None = None) -> Script:
        """Read the file; the error lists every path that was tried."""
        problems = {}
        for path in self._candidates(folder):
            problem = _problem(path)
            if problem is None:
                return self._read(path)
            problems[path] = problem
        name = shortened(self.path, _MAX_SHOWN)
        places = ", ".join(str(path) for path in problems)
        why = f"does not exist; tried {places}"
        if found := {path: problem for path, problem in problems.items() if problem != _MISSING}:
            why = f"cannot be read: {found.popitem()[1]}\nTried {places}"
        raise ScriptSourceError(f"script file {name!r} {why}", origin=str(self))

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
            raise too_large_error(origin, path.stat().st_size)
        return decode(data, origin=origin, name=path.name)

    def __str__(self) -> str:
        return f"file {self.path}"


def _problem(path: Path) -> str | None:
    """Why the path is not a readable file, None if it is one."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return _MISSING
    except OSError as error:
        return error.strerror or type(error).__name__
    if stat.S_ISDIR(mode):
        return "it is a folder, not a file"
    return None if stat.S_ISREG(mode) else "it is not a regular file"
