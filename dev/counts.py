"""Count what the house rules bound: sizes of folders, modules and functions, words, docstrings.

Prints a table; exits with 1 where a count passes its bound. ``tests/contract/test_counts.py`` runs it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "airflow_script_provider"

MAX_MODULES = 12
"""Modules of a folder, ``__init__`` aside."""
MAX_LINES = 400
"""Lines of a module."""
MAX_FUNCTION = 40
"""Lines of a function; a constructor of an operator may be longer."""

MAX_COLUMN = 100
"""Column before which prose ends; code may be wider."""

_WORDS = re.compile(r"\b(nobody|somebody|whoever)\b", re.IGNORECASE)
_IS_NO = re.compile(r"(?<!there )\bis no\b(?! longer)", re.IGNORECASE)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Count:
    """A number, the bound that it must not pass, and the places that it counts."""

    what: str
    number: int
    bound: int
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.number:>5}  (at most {self.bound})  {self.what}"


def counts(package: Path = PACKAGE, docs: Path = ROOT / "docs") -> list[Count]:
    """All counts of a package and of its documentation."""
    modules = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in modules.items()}
    folders = Counter(path.parent for path in modules if path.name != "__init__.py")
    fullest = max(folders, key=lambda folder: folders[folder])
    pages = {
        path: path.read_text(encoding="utf-8") for path in sorted([*docs.rglob("*.md"), *docs.parent.glob("*.md")])
    }
    programs = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.sh"))}
    long_modules = [f"{_name(path)}: {len(text.splitlines())}" for path, text in modules.items() if _is_long(text)]
    return [
        Count(f"modules in the fullest folder, {_name(fullest)}", folders[fullest], MAX_MODULES),
        _zero(f"modules over {MAX_LINES} lines", long_modules),
        _zero(f"functions over {MAX_FUNCTION} lines, constructors aside", _each(trees, _long_functions)),
        _zero('"nobody", "somebody", "whoever" in the package', _lines_with(_WORDS, modules | programs)),
        _zero('"nobody", "somebody", "whoever" in the documentation', _lines_with(_WORDS, pages)),
        _zero('"is no …" in messages', _each(trees, _messages_with_is_no)),
        _zero('"is no …" in the documentation', _lines_with(_IS_NO, pages)),
        _zero("public names without a docstring", _each(trees, _undocumented)),
        _zero(f"lines of docstrings with {MAX_COLUMN} characters or more", _long_lines(modules, trees)),
    ]


def _zero(what: str, places: list[str]) -> Count:
    return Count(what, len(places), 0, tuple(places))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _is_long(text: str) -> bool:
    return len(text.splitlines()) > MAX_LINES


def _lines_with(pattern: re.Pattern[str], texts: dict[Path, str]) -> list[str]:
    return [
        f"{_name(path)}:{number}: {line.strip()}"
        for path, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def _each(trees: dict[Path, ast.Module], find: Callable[[ast.Module], Iterator[str]]) -> list[str]:
    return [f"{_name(path)}:{found}" for path, tree in trees.items() for found in find(tree)]


def _long_functions(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS) and node.name != "__init__":
            size = (node.end_lineno or 0) - node.lineno + 1
            if size > MAX_FUNCTION:
                yield f"{node.lineno}: {node.name} has {size} lines"


def _long_lines(modules: dict[Path, str], trees: dict[Path, ast.Module]) -> list[str]:
    found = []
    for path, tree in trees.items():
        lines = modules[path].splitlines()
        for node in ast.walk(tree):
            if not isinstance(node, ast.Expr) or not isinstance(getattr(node.value, "value", None), str):
                continue
            for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                if len(lines[number - 1]) >= MAX_COLUMN:
                    found.append(f"{_name(path)}:{number}: {lines[number - 1].strip()}")
    return found


def _messages_with_is_no(tree: ast.Module) -> Iterator[str]:
    docstrings = {id(expression.value) for expression in ast.walk(tree) if isinstance(expression, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in docstrings:
            continue
        if _IS_NO.search(node.value):
            yield f"{node.lineno}: {node.value!r}"


def _undocumented(tree: ast.Module) -> Iterator[str]:
    if ast.get_docstring(tree) is None:
        yield "1: the module"
    yield from _undocumented_in(tree.body)


def _undocumented_in(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)) or node.name.startswith("_") or _is_overload(node):
            continue
        if ast.get_docstring(node) is None:
            yield f"{node.lineno}: {node.name}"
        if isinstance(node, ast.ClassDef):
            yield from _undocumented_in(node.body)


def _is_overload(node: ast.stmt) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in getattr(node, "decorator_list", ()))


def main() -> int:
    """Print the table, and the places of every count that passes its bound."""
    found = counts()
    for count in found:
        print(count)
        for place in count.places:
            print(f"       {place}")
    return int(any(count.number > count.bound for count in found))


if __name__ == "__main__":
    sys.exit(main())
