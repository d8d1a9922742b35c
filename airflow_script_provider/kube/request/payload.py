"""Arguments and environment of a script, checked and ready for a Secret."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider.kube.syntax import check_depth, check_env_names, check_shell_names

ARGS_VARIABLE = "AIRFLOW_SCRIPT_ARGS"
ARGUMENT_VARIABLE = "AIRFLOW_SCRIPT_ARGUMENT_{}"

MAX_STRING = 128 * 1024
"""Linux' MAX_ARG_STRLEN: bytes of one argument or one ``NAME=value``, with its closing NUL."""
MAX_SECRET = 1024 * 1024
"""Bytes that all values of a Secret may have together."""
MAX_EXEC = 2 * 1024 * 1024 - 256 * 1024
"""Bytes of environment and argv together.

Linux allows a quarter of the usual stack of 8 MiB. The image's own variables need some of it.
"""


@dataclass(frozen=True)
class Payload:
    """Environment, and the arguments as variables that Kubernetes expands in the container's argv.

    ``variables`` are all of them by name. ``argv`` has the ``$(NAME)`` references. Neither is ever
    logged.
    """

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    argv: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        args: Mapping[str, Any] | Sequence[Any] | None,
        arguments: Sequence[str] | None,
        env: Mapping[str, str] | None,
        *,
        as_psql_variables: bool = False,
    ) -> Payload:
        """Check and collect the values. ``ValueError`` names the argument and its fault.

        ``as_psql_variables`` passes ``args`` as ``-v name=value``: psql would take a positional
        JSON for the name of a database.
        """
        environment = _checked_env(env or {})
        texts, flags = checked_words(arguments, "arguments"), []
        if args is not None and as_psql_variables:
            texts, flags = _psql_variables(args), ["-v"]
        positional = {ARGUMENT_VARIABLE.format(index): text for index, text in enumerate(texts)}
        if args is not None and not as_psql_variables:
            positional = {ARGS_VARIABLE: encode_args(args)}
        _check_sizes(environment | positional)
        _check_exec_size(environment, positional)
        return cls(environment | positional, tuple(word for name in positional for word in (*flags, f"$({name})")))

    @property
    def arguments(self) -> tuple[str, ...]:
        """``argv`` with values instead of references, for runs without a kubelet's expansion."""
        return tuple(self.variables[_name_in(word)] if _name_in(word) else word for word in self.argv)

    @property
    def environment(self) -> dict[str, str]:
        """The author's variables: those that ``argv`` does not refer to."""
        references = {_name_in(word) for word in self.argv}
        return {name: value for name, value in self.variables.items() if name not in references}


def _name_in(word: str) -> str:
    """The variable that a word of ``argv`` refers to; empty for a flag."""
    return word[2:-1] if word.startswith("$(") else ""


def encode_args(args: Any) -> str:
    """Encode ``args`` as one JSON string, which is ``argv[1]`` of the script."""
    if isinstance(args, str | bytes) or not isinstance(args, Mapping | Sequence):
        raise ValueError(f"args must be a mapping or a list of JSON values, not {type(args).__name__}")
    check_depth(args, "args")
    try:
        text = json.dumps(args, allow_nan=False, ensure_ascii=False)
        text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ValueError(f"args cannot be written as JSON: {error}") from None
    return text


def _psql_variables(args: Any) -> list[str]:
    """``name=value`` of each entry. Values other than strings are encoded as JSON."""
    encode_args(args)
    if not isinstance(args, Mapping):
        raise ValueError("args must be a mapping for psql: its variables have names")
    check_shell_names(args, "args")
    texts = {n: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for n, v in args.items()}
    return checked_words([f"{name}={text}" for name, text in texts.items()], "args")


def _checked_env(env: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(env, Mapping):
        raise ValueError(f"env must be a mapping of name to string, not {type(env).__name__}")
    check_env_names(env, "env")
    for name, value in env.items():
        if not isinstance(value, str):
            raise ValueError(f"env[{name!r}] must be a string, not {type(value).__name__}; write str(…) or quotes")
        _check_text(value, f"env[{name!r}]")
        if name.startswith(ARGS_VARIABLE.removesuffix("S")):
            raise ValueError(f"env has a reserved name {name!r}: the arguments are passed in it; choose another name")
    return dict(env)


def checked_words(words: Sequence[str] | None, argument: str) -> list[str]:
    """Check the words of a command line. ``ValueError`` names their argument."""
    if words is None:
        return []
    if isinstance(words, str | bytes) or not isinstance(words, Sequence):
        raise ValueError(f"{argument} must be a list of strings, not {type(words).__name__}")
    for position, text in enumerate(words):
        if not isinstance(text, str):
            raise ValueError(f"{argument}[{position}] must be a string, not {type(text).__name__}")
        _check_text(text, f"{argument}[{position}]")
    return list(words)


def _check_text(text: str, label: str) -> None:
    if "\0" in text:
        raise ValueError(
            f"{label} contains a NUL character, which Linux does not allow in arguments and variables; remove it"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{label} cannot be encoded as UTF-8: character {error.start} is a surrogate") from None


def _check_sizes(variables: Mapping[str, str]) -> None:
    total = 0
    for name, value in variables.items():
        size = len(value.encode("utf-8"))
        total += size
        if size + len(name) + 2 > MAX_STRING:
            raise ValueError(_too_long(name, size))
    if total > MAX_SECRET:
        raise ValueError(
            f"env and args have {total:,} bytes together, more than the {MAX_SECRET:,} that a Secret holds; "
            "pass large data by reference, through a volume or an object store"
        )


def _check_exec_size(environment: Mapping[str, str], positional: Mapping[str, str]) -> None:
    """Refuse more than Linux accepts when the program is executed.

    Arguments count twice: as variables and in argv.
    """
    size = sum(len(value.encode()) for values in (environment, positional, positional) for value in values.values())
    if size > MAX_EXEC:
        raise ValueError(
            f"env and arguments need {size:,} bytes when the script is started, more than the {MAX_EXEC:,} that "
            "Linux leaves for them; pass large data by reference, through files=…, a volume or an object store"
        )


def _too_long(name: str, size: int) -> str:
    label = {ARGS_VARIABLE: "args"}.get(name, f"env[{name!r}]")
    if name.startswith(ARGUMENT_VARIABLE.format("")):
        label = f"arguments[{name.rsplit('_', 1)[-1]}]"
    return (
        f"{label} has {size:,} bytes, more than Linux passes in one string ({MAX_STRING:,} with its name); "
        "pass large data by reference, through files=…, a volume or an object store"
    )
