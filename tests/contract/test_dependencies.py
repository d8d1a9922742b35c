"""What is imported is declared: Airflow may drop a package that only came with it."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dev.test_matrix import requirements

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_script_provider"
REQUIREMENTS = requirements()


def test_what_is_imported_is_declared() -> None:
    """Also what is imported in a function, where it is needed; what only a type checker reads is left out."""
    files = {path for name in declared() for path in files_of(name)}
    undeclared = {f"{module} ({path.relative_to(ROOT)})" for path, module in imports() if not origin(module) & files}
    assert not undeclared


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_a_requirement_says_from_which_version_on(requirement: Requirement) -> None:
    """The oldest one that was run, and no newest one: Airflow's constraints decide that."""
    assert [one.operator for one in requirement.specifier] == [">="]


def declared() -> set[str]:
    """The distributions that are required, with or without an extra, and the parts of Airflow's own."""
    names = {canonicalize_name(requirement.name) for requirement in REQUIREMENTS}
    parts = [Requirement(one) for one in metadata.requires("apache-airflow") or ()]
    return names | {canonicalize_name(part.name) for part in parts if "==" in str(part.specifier)}


def files_of(name: str) -> set[Path]:
    """The files that a distribution has installed."""
    distribution = metadata.distribution(name)
    return {Path(str(distribution.locate_file(file))).resolve() for file in distribution.files or ()}


def origin(module: str) -> set[Path]:
    """The file of a module; of what only another version of Airflow has, that of the package around it."""
    while (found := importlib.util.find_spec(module)) is None:
        module, _, last = module.rpartition(".")
        assert module, last
    return {Path(found.origin).resolve()} if found.origin else set()


def imports() -> Iterator[tuple[Path, str]]:
    """The modules of others that a file of the package imports."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for module in _imported(ast.parse(path.read_text())):
            if module.partition(".")[0] not in {*sys.stdlib_module_names, PACKAGE.name}:
                yield path, module


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from _imported(node)
