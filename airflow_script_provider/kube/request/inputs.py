"""The inputs of one run of a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from airflow_script_provider.kube.logs.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.request import other_operators
from airflow_script_provider.kube.syntax import check_depth, check_env_names, check_flag, check_relative_path

# Types that rendering does not turn into strings.
_CONSTANTS = (bool, int, float, bytes, list, tuple, set, dict)


@dataclass(frozen=True, kw_only=True)
class ScriptInputs:
    """The operator's arguments that are not the Job's options, under the same names.

    Before rendering, a value may be template text, or another task's output that is known only at
    run time.
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

    @property
    def values(self) -> list[str]:
        """Every text and number that the script gets, to be hidden in messages."""
        from airflow_script_provider.kube.hiding import values_in

        return list(values_in(self.env, self.args, self.arguments))

    def check_before_rendering(self) -> None:
        """Refuse values that no rendering can make valid."""
        if self.args is not None and self.arguments is not None:
            raise ValueError(
                "args and arguments exclude each other: args is one JSON string, arguments are separate strings"
            )
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
        """Refuse wrong values of ``args``, ``arguments`` and ``env``."""
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
    """Split arguments into one object of each kind, which is a dataclass.

    The first kind with a field of that name gets the argument. Raises ``TypeError`` for an
    argument without a field.
    """
    left = dict(arguments)
    names = [[field.name for field in fields(kind)] for kind in kinds]
    taken = [{name: left.pop(name) for name in own if name in left} for own in names]
    other_operators.refuse_unknown(left, {name for own in names for name in own})
    return [kind(**own) for kind, own in zip(kinds, taken, strict=True)]


def _refuse_constants(values: Mapping[str, Any], argument: str) -> None:
    """Refuse constants other than strings: rendering leaves them as they are."""
    for name, value in values.items():
        if value is None or isinstance(value, _CONSTANTS):
            raise ValueError(
                f"{argument}[{name!r}] must be a string, not {type(value).__name__}; write str(…) or quotes"
            )
