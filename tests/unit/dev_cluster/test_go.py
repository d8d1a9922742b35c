"""Builds with Go, and what they report."""

from __future__ import annotations

from pathlib import Path

import pytest
from errors import ClusterError
from go import Compilation, Module

# Prints what Go prints: lists and package names, and a compiler's error for package `./broken`.
GO = """#!/bin/sh
case "$*" in
list*) echo 'go: downloading example.org/a v1.0.0' >&2; printf 'fmt\\tfalse\\t\\nos\\ttrue\\tx\\na\\ttrue\\tx\\n' ;;
*./broken) printf 'os\\n# broken\\n./main.go:1:1: syntax error\\na\\n' >&2; exit 1 ;;
build*) printf 'os\\na\\n' >&2 ;;
esac
"""


@pytest.fixture
def go(tmp_path: Path) -> str:
    """A stand-in for Go."""
    path = tmp_path / "go"
    path.write_text(GO)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def module(tmp_path: Path) -> Module:
    """A module with two requirements."""
    go_mod = tmp_path / "go.mod"
    go_mod.write_text("require (\n\texample.org/a v1.0.0\n\texample.org/b v1.0.0\n)\n")
    return Module(tmp_path, ["-trimpath"], {}, go_mod)


def test_a_download_reports_modules_and_what_to_compile(go: str, module: Module) -> None:
    """`fmt` is in Go's cache, so two of the three packages are to be compiled."""
    reports: list[str] = []
    assert module.download(go, ["."], reports.append) == 2
    assert reports == ["1 of at most 2", "1 module downloaded, 2 packages to compile"]


def test_a_build_reports_each_package(go: str, module: Module) -> None:
    """After the last package, Go links the program."""
    reports: list[str] = []
    module.build(go, {Path("program"): "."}, 2, reports.append)
    assert reports == ["0 of 2 packages", "1 of 2 packages", "2 of 2 packages, then linking", "2 packages compiled"]


def test_a_failed_build_shows_the_compilers_lines(go: str, module: Module) -> None:
    """The names of packages are not among them."""
    with pytest.raises(ClusterError, match="exit code 1") as failure:
        module.build(go, {Path("program"): "./broken"}, 2, lambda _: None)
    assert str(failure.value).splitlines()[1:] == ["# broken", "./main.go:1:1: syntax error"]


def test_without_a_total_the_count_stands_alone() -> None:
    """kwok is built from a module that Go cannot list beforehand."""
    reports: list[str] = []
    counter = Compilation(reports.append)
    assert counter.is_progress("go: downloading example.org/a v1.0.0")
    assert counter.is_progress("os")
    assert reports == ["0 packages", "1 package"]
