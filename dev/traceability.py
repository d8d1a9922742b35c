"""Write the lists of tests into the page about requirements; a part of ``make format``.

The docstring of a test names what the test proves: ``(R3)`` or ``(R3, R14)``. A number in the docstring of a fixture
counts for each test that takes the fixture, a number in the docstring of a module for each test of the module.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "requirements.md"
NOT_TESTED = "Not tested yet."
Proofs = Mapping[int, Mapping[str, list[str]]]
"""The tests of each requirement: number, file, names in the order of the file."""

_NAMED = re.compile(r"\(R\d+(?:, R\d+)*\)")
_LIKE_A_NUMBER = re.compile(r"\bR\d+\w*")
_SECTION = re.compile(r"^### R(\d+)\n\n\*\*(.+?)\*\*\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_TESTS = re.compile(r"(<!-- tests of R(\d+), .*?-->\n).*?(<!-- end of the tests -->)", re.DOTALL)
_INDEX = re.compile(r"(<!-- index, .*?-->\n).*?(<!-- end of the index -->)", re.DOTALL)


@dataclass(frozen=True)
class Function:
    """A test or a fixture: the numbers in its docstring and the names of its arguments."""

    numbers: frozenset[int]
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Module:
    """A file of tests."""

    numbers: frozenset[int]
    functions: Mapping[str, Function]


@dataclass(frozen=True)
class Requirement:
    """A section of the page."""

    number: int
    promise: str
    text: str

    @property
    def is_open(self) -> bool:
        """Whether the section has a list of defects."""
        return "**Open.**" in self.text


def proofs(tests: Path) -> Proofs:
    """The tests in a folder by the numbers that they name; files are relative to the folder's parent."""
    modules = {file: _module(file) for file in sorted(tests.rglob("*.py"))}
    found: dict[int, dict[str, list[str]]] = {}
    for file, module in modules.items():
        conftests = (modules.get(folder / "conftest.py") for folder in file.parents)
        layers = [module.functions, *(conftest.functions for conftest in conftests if conftest)]
        for name in (name for name in module.functions if name.startswith("test_")):
            for number in module.numbers | _numbers(name, layers):
                found.setdefault(number, {}).setdefault(str(file.relative_to(tests.parent)), []).append(name)
    return found


def misspelt(tests: Path) -> list[str]:
    """Docstrings with a number that is not in the form ``(R3)`` or ``(R3, R14)``."""
    return [
        f"{file.relative_to(tests.parent)}: {found}"
        for file in sorted(tests.rglob("*.py"))
        for docstring in _docstrings(ast.parse(file.read_text()))
        for found in _LIKE_A_NUMBER.findall(_NAMED.sub("", docstring))
    ]


def requirements(page: str) -> list[Requirement]:
    """The requirements of the page, in its order."""
    return [Requirement(int(number), promise, text) for number, promise, text in _SECTION.findall(page)]


def written(page: str, proven: Proofs) -> str:
    """The page with its index and its lists of tests as they must be."""
    page = _INDEX.sub(lambda match: f"{match[1]}\n{_index(page, proven)}\n\n{match[2]}", page)
    return _TESTS.sub(lambda match: f"{match[1]}{_list(proven.get(int(match[2]), {}))}\n{match[3]}", page)


def _module(file: Path) -> Module:
    tree = ast.parse(file.read_text())
    functions = sorted(_functions(tree), key=lambda function: function.lineno)
    return Module(
        _named(ast.get_docstring(tree)),
        {
            function.name: Function(
                _named(ast.get_docstring(function)), tuple(argument.arg for argument in function.args.args)
            )
            for function in functions
        },
    )


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _docstrings(tree: ast.Module) -> Iterator[str]:
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return (ast.get_docstring(node) or "" for node in (tree, *classes, *_functions(tree)))


def _named(docstring: str | None) -> frozenset[int]:
    return frozenset(int(number) for group in _NAMED.findall(docstring or "") for number in re.findall(r"\d+", group))


def _numbers(name: str, layers: list[Mapping[str, Function]]) -> frozenset[int]:
    """The numbers of a function and of its fixtures; a fixture that takes its own name means the next layer's."""
    for depth, functions in enumerate(layers):
        if function := functions.get(name):
            taken = (_numbers(given, layers[depth + (given == name) :]) for given in function.arguments)
            return function.numbers.union(*taken)
    return frozenset()


def _index(page: str, proven: Proofs) -> str:
    rows = ["| | promise | tests | state |", "| --- | --- | --- | --- |"]
    for requirement in requirements(page):
        tests = sum(map(len, proven.get(requirement.number, {}).values()))
        state = "open" if requirement.is_open else ""
        link = f"[R{requirement.number}](#r{requirement.number})"
        rows.append(f"| {link} | {requirement.promise} | {tests or 'not tested yet'} | {state} |")
    return "\n".join(rows)


def _list(files: Mapping[str, list[str]]) -> str:
    if not files:
        return NOT_TESTED
    lines = [f"<details>\n<summary>{_counted(sum(map(len, files.values())), files)}</summary>\n"]
    for file, tests in files.items():
        lines.append(f"- [`{file}`](../../{file}): {len(tests)}")
        lines += [f"  - `{test}`" for test in tests]
    return "\n".join([*lines, "\n</details>\n"])


def _counted(tests: int, files: Mapping[str, list[str]]) -> str:
    return f"{tests} test{'s' * (tests > 1)} in {len(files)} file{'s' * (len(files) > 1)}"


def main() -> int:
    """Write the page; 1 if a docstring has a number that the page lacks or that is misspelt."""
    page, proven = PAGE.read_text(), proofs(ROOT / "tests")
    known = {requirement.number for requirement in requirements(page)}
    problems = [*misspelt(ROOT / "tests"), *(f"R{number}: {min(proven[number])}" for number in proven.keys() - known)]
    PAGE.write_text(written(page, proven))
    for problem in problems:
        print(f"A docstring names a requirement that {PAGE.name} does not have: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
