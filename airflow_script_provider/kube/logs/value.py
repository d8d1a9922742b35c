"""The JSON that a script printed, as Airflow and its databases can keep it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from airflow_script_provider.kube.wording import reported

MAX_VALUE = 1024 * 1024
"""Bytes that a value's JSON may have."""
MAX_LEVELS = 100
"""Levels that a value may be nested: code that copies or stores it recurses."""

_REPLACEMENT = "\ufffd"
_INTEGERS = range(-(2**63), 2**64)
"""Integers that fit into a message from a task to its supervisor, which is msgpack."""
_MAX_DIGITS = 20
"""Digits that such an integer may have. Python refuses to read thousands of them."""
_AIRFLOWS_KEYS = frozenset(["__type", "__var", "__source"])
"""Keys with a meaning of Airflow's own, besides those that end with two underscores."""
_SHOWN = 40
"""Characters of a key or number that a warning shows."""
_MOST_WARNINGS = 5
"""Changes of one kind that have a warning each: a list may have thousands of them."""


@dataclass(frozen=True)
class Value:
    """A value found in the output; ``warnings`` say what could not be kept of it.

    ``kinds`` say the same where the warnings quote what was printed.
    """

    value: Any = None
    warnings: tuple[str, ...] = ()
    kinds: tuple[str, ...] = field(default=(), compare=False)

    def notes(self, *, may_quote: bool) -> tuple[str, ...]:
        """The warnings; they quote nothing that was printed unless they ``may_quote``."""
        return self.warnings if may_quote else self.kinds or self.warnings


def parse_json(text: bytes) -> Value | None:
    """The JSON document in these bytes, None if they are none.

    What Airflow cannot keep of it is changed, with a warning. One that is nested too deep has no
    value.
    """
    changes = _Changes()
    try:
        parsed = json.loads(
            # From bytes with a NUL, json.loads would take it for UTF-16.
            text.decode("utf-8-sig", "surrogatepass"),
            parse_constant=changes.no_number,
            parse_float=changes.finite,
            parse_int=changes.integer,
        )
        return Value(changes.kept(parsed), changes.warnings(), changes.kinds())
    except ValueError:
        return None
    except RecursionError:
        if text.rstrip()[-1:] not in (b"}", b"]"):
            return None
        return Value(None, (f"value: it is nested more than {MAX_LEVELS} levels deep, so the result has none",))


def storable(value: Any) -> Value:
    """JSON as Airflow gives it back unchanged from an XCom.

    - Integers beyond 64 bits become strings; NaN and Infinity become None.
    - A key that begins and ends with two underscores, or that Airflow keeps for itself, loses its
      underscores.
    - Text loses what no database can store.

    ``RecursionError`` if it is nested too deep.
    """
    changes = _Changes()
    return Value(changes.kept(value), changes.warnings())


def clean_text(text: str) -> str:
    """Text that every database can store: no NUL, no half of a surrogate pair."""
    return text.replace("\0", _REPLACEMENT).encode("utf-8", "replace").decode("utf-8")


class _Kind(Enum):
    """A kind of change, in words for many of it."""

    NO_NUMBER = "numbers are not valid JSON, so they became null"
    INTEGER = "integers do not fit into 64 bits, so they became strings"
    KEY = "keys are reserved in Airflow, so they became others"
    TEXT = "characters that no database can store were replaced"


@dataclass
class _Changes:
    """What is changed of a value: the different changes of each kind, in their order."""

    _found: dict[_Kind, dict[str, None]] = field(default_factory=dict)

    def warnings(self) -> tuple[str, ...]:
        """A line for each change; of many of one kind for the first ones, and their number."""
        lines: list[str] = []
        for kind, found in self._found.items():
            lines += itertools.islice(found, _MOST_WARNINGS)
            left = len(found) - _MOST_WARNINGS
            lines += [f"… and {left:,} more {kind.value}"] if left > 0 else []
        return tuple(f"value: {reported(line)}" for line in lines)

    def kinds(self) -> tuple[str, ...]:
        """A line for each kind of change."""
        return tuple(f"value: {kind.value}" for kind in self._found)

    def no_number(self, name: str) -> None:
        """NaN or Infinity."""
        self._warn(_Kind.NO_NUMBER, f"{_shown(name)} is not valid JSON, so it became null")

    def finite(self, text: str) -> float | None:
        """A number with a fraction or exponent, None if it is too large."""
        number = float(text)
        if math.isfinite(number):
            return number
        self.no_number(text)
        return None

    def integer(self, text: str) -> int | str:
        """A whole number, as text where it has more than 64 bits."""
        if len(text.lstrip("-")) <= _MAX_DIGITS and int(text) in _INTEGERS:
            return int(text)
        self._warn(_Kind.INTEGER, f"{_shown(text)} does not fit into 64 bits, so it became a string")
        return text

    def kept(self, value: Any, levels: int = MAX_LEVELS) -> Any:
        """The value with everything in it."""
        if not levels:
            raise RecursionError
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.kept(item, levels - 1) for item in value]
        if isinstance(value, dict):
            return self._mapping(value, levels)
        if isinstance(value, float):
            return self.finite(str(value))
        return value if value in (None, True, False) or value in _INTEGERS else self.integer(str(value))

    def _mapping(self, value: dict[str, Any], levels: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        names = {self._text(key): item for key, item in value.items()}
        free = _FreeNames(names)
        for key, item in names.items():
            name = self._renamed(key, free) if _is_airflows(key) else key
            kept[name] = self.kept(item, levels - 1)
        return kept

    def _renamed(self, key: str, free: _FreeNames) -> str:
        name = free.take(key.strip("_") or "_")
        self._warn(_Kind.KEY, f"key {_shown(key)} is reserved in Airflow, so it became {_shown(name)}")
        return name

    def _text(self, text: str) -> str:
        clean = clean_text(text)
        if clean != text:
            self._warn(_Kind.TEXT, _Kind.TEXT.value)
        return clean

    def _warn(self, kind: _Kind, what: str) -> None:
        self._found.setdefault(kind, {})[what] = None


class _FreeNames:
    """Names that no key of a mapping has.

    Each is found without a search from the start: a mapping may have thousands of reserved keys.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._numbers: dict[str, Iterator[int]] = {}

    def take(self, bare: str) -> str:
        """The name itself, or the first free one with a number; from now on it is taken."""
        numbers = self._numbers.setdefault(bare, itertools.count(2))
        name = bare
        while name in self._taken:
            name = f"{bare}_{next(numbers)}"
        self._taken.add(name)
        return name


def _is_airflows(key: str) -> bool:
    return key.startswith("__") and (key.endswith("__") or key in _AIRFLOWS_KEYS)


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
