"""Tests that shorten a patience name it as text, which no type checker follows when it moves."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PACKAGE = "airflow_script_provider"


def imported(tree: ast.Module) -> dict[str, str]:
    """The modules of the package that a test imports by a name of its own, by that name."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    found = {one.asname or one.name: f"{node.module}.{one.name}" for node in nodes for one in node.names}
    return {name: module for name, module in found.items() if module.startswith(PACKAGE) and is_module(module)}


def is_module(name: str) -> bool:
    """Whether a dotted name is that of a module."""
    path = TESTS.parent / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def patched(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What a test sets in such modules: the module, and the name in it."""
    modules = imported(tree)
    for call in ast.walk(tree):
        match call:
            case ast.Call(
                func=ast.Attribute(attr="setattr"), args=[ast.Name(id=module), ast.Constant(value=str(name)), _]
            ) if module in modules:
                yield modules[module], name


PATCHED = sorted({found for file in TESTS.rglob("*.py") for found in patched(ast.parse(file.read_text()))})


@pytest.mark.parametrize(("module", "name"), PATCHED)
def test_what_a_test_sets_is_there(module: str, name: str) -> None:
    """Otherwise the test on the cluster fails only when it is run."""
    assert hasattr(importlib.import_module(module), name)
