"""What one run of a script is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from airflow_script_provider.kube.logs.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.request import other_operators
from airflow_script_provider.kube.syntax import check_depth, check_env_names, check_flag, check_relative_path

# Types of values that are no strings, and won't be after rendering either.
_CONSTANTS = (bool, int, float, bytes, list, tuple, set, dict)


@dataclass(frozen=True, kw_only=True)
class ScriptInputs:
    """The operator's arguments that are not the Job's options, under the same names.

    Before rendering a value may still be template text, or another task's output that is known at run time only.
    """

    script: Any
    script_conn_id: str | None = None
    sha256: str | None = None
    files: Mapping[str, Any] | None = None
    args: Mapping[str, Any] | Sequence[Any] | None = None
    arguments: Sequence[str] | None = None
    env: Mapping[str, str] | None = None
    namespace: str | None = None
    get_logs: bool = True
    max_output_bytes: int = DEFAULT_MAX_OUTPUT

    def check_before_rendering(self) -> None:
        """Refuse what is wrong whatever the templates turn out to be."""
        if self.args is not None and self.arguments is not None:
            raise ValueError("args and arguments exclude each other: one JSON string, or strings as they are")
        size = self.max_output_bytes
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ValueError(f"max_output_bytes={size!r} must be a whole number of bytes, at least 0")
        check_flag(self.get_logs, "get_logs")
        self._check_values()
        if isinstance(self.sha256, _CONSTANTS):
            raise ValueError(f"sha256={self.sha256!r} must be a string of 64 hexadecimal digits")
        for path in self.files if isinstance(self.files, Mapping) else ():
            check_relative_path(path, "files")

    def _check_values(self) -> None:
        """What the script is given."""
        for name in ("args", "arguments", "env"):
            check_depth(getattr(self, name), name)
        if isinstance(self.args, bool | int | float | bytes):
            raise ValueError(f"args must be a mapping or a list of JSON values, not {type(self.args).__name__}")
        if isinstance(self.env, Mapping):
            check_env_names(self.env, "env")
            _refuse_constants(self.env, "env")
        elif isinstance(self.env, Sequence) and not isinstance(self.env, str):
            raise ValueError(f"env must be a mapping of name to string, not {type(self.env).__name__}")


def split(arguments: Mapping[str, Any], *kinds: Any) -> list[Any]:
    """Arguments as one object of each kind, which are dataclasses; the first kind that has an argument gets it.

    ``TypeError`` for an argument that none has.
    """
    left = dict(arguments)
    names = [[field.name for field in fields(kind)] for kind in kinds]
    taken = [{name: left.pop(name) for name in own if name in left} for own in names]
    other_operators.refuse_unknown(left, {name for own in names for name in own})
    return [kind(**own) for kind, own in zip(kinds, taken, strict=True)]


def _refuse_constants(values: Mapping[str, Any], argument: str) -> None:
    """A constant that is no string will be none after rendering either."""
    for name, value in values.items():
        if value is None or isinstance(value, _CONSTANTS):
            raise ValueError(
                f"{argument}[{name!r}] must be a string, not {type(value).__name__}; write str(…) or quotes"
            )
