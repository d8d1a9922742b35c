"""A file that the worker can read."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.kube.request.sizes import MAX_CONFIG_MAP
from airflow_script_provider.kube.wording import shortened
from airflow_script_provider.script import Script
from airflow_script_provider.sources.base import decode, permanent_error, too_large_error
from airflow_script_provider.spec.settings import has_template

SCHEME = "file://"

_MAX_SHOWN = 120
_MISSING = "it does not exist"


@dataclass
class FileScript:
    """A script in a file.

    :param path: absolute, or relative to the folder of the DAG's file. It may begin with
        ``file://``. What a template gives stays in the folder that is written before it, or in the
        folder of the DAG's file if none is. (templated)
    """

    path: str
    template_fields: Sequence[str] = ("path",)
    _within: str | None = field(default=None, repr=False, compare=False)
    """The folder that the file must be in, "" for the DAG's own; None allows every file."""

    def __post_init__(self) -> None:
        if self._within is not None:
            return
        if not isinstance(self.path, str):  # another task's output
            self._within = ""
        elif has_template(self.path):
            self._within = _folder_before_template(_without_scheme(self.path))

    def confined(self) -> FileScript:
        """A copy for a path that is not written in the DAG: only files in the DAG's folder."""
        return replace(self, _within="")

    def written_as(self, path: Any) -> FileScript:
        """A copy whose path, before rendering, was this one; None if the DAG has none."""
        return replace(self, _within=FileScript(path)._within)

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
        path = Path(_without_scheme(self.path))
        if self._within is not None:
            self._refuse_outside(path, folder)
            return [Path(folder or "") / path]
        if path.is_absolute() or not folder:
            return [path.absolute()]
        return [Path(folder) / path, path.absolute()]

    def _refuse_outside(self, path: Path, folder: str | None) -> None:
        """Refuse a path that leaves its folder, also by ``..`` or a symbolic link."""
        written = _resolved(folder, self._within or "")
        allowed = written if self._within and written != Path("/") else folder and _resolved(folder, "")
        if not allowed or not _resolved(folder, path).is_relative_to(allowed):
            raise permanent_error(
                f"script file {shortened(self.path, _MAX_SHOWN)!r} may not be read: "
                f"it is not in {allowed or 'the folder of a DAG'}\n"
                "Only rendering gave this path, so it may not leave the folder that the DAG names before the template, "
                "or the DAG's own. Write the folder into the DAG, as in file:///opt/scripts/{{ … }}, or let a "
                "decorated function return FileScript(…)",
                str(self),
            )

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


def _without_scheme(path: str) -> str:
    return unquote(path[len(SCHEME) :]) if path.lower().startswith(SCHEME) else path


def _folder_before_template(path: str) -> str:
    """The folder that is written before the first template, "" if there is none."""
    written = min(path.split(mark, 1)[0] for mark in ("{{", "{%", "{#"))
    return written.rpartition("/")[0] + "/" if "/" in written else ""


def _resolved(folder: str | None, path: Path | str) -> Path:
    """The path without symbolic links; relative ones start from the folder."""
    try:
        return Path(os.path.realpath(Path(folder or "") / path))
    except ValueError:  # a NUL character: no file has such a name
        return Path(os.path.normpath(Path(folder or "") / path))


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
