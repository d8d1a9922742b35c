"""Which program runs a script."""

from __future__ import annotations

import pytest

from airflow_script_provider.kube.request.interpreters import Interpreter, choose, has_known_extension
from tests.builders import IMAGE, a_script


@pytest.mark.parametrize(
    ("shebang", "argv"),
    [
        ("#!/bin/sh", ("/bin/sh",)),
        ("#! /bin/bash -eu", ("/bin/bash", "-eu")),
        ("#!/usr/bin/env bash", ("bash",)),
        ("#!/usr/bin/env python3", ("python3", "-u")),
        ("#!/usr/bin/python3.12", ("/usr/bin/python3.12", "-u")),
        ("#!/usr/bin/env -S python3 -O", ("python3", "-O")),
        ("#!/usr/bin/env -S A=1 python3", ("/usr/bin/env", "A=1", "python3")),
        ("#!/usr/bin/env -S", ("/usr/bin/env",)),
        ("#!/usr/bin/env -i sh", ("/usr/bin/env", "-i", "sh")),
        ("#!/bin/sh\r", ("/bin/sh",)),
    ],
)
def test_a_shebang_decides(shebang: str, argv: tuple[str, ...]) -> None:
    """The first line's command runs the script; bare Python is unbuffered (R23)."""
    chosen = choose(a_script(f"{shebang}\necho\n", name="x.py"), "node:22")
    assert (chosen.argv, chosen.chosen_by) == (argv, "shebang")


@pytest.mark.parametrize(
    ("name", "program"), [("a.py", "python3"), ("a.js", "node"), ("a.sh", "sh"), ("a.bash", "bash"), ("a.sql", "psql")]
)
def test_else_the_extension_decides(name: str, program: str) -> None:
    """A file's extension names its language."""
    chosen = choose(a_script(name=name), IMAGE)
    assert (chosen.argv[0], chosen.chosen_by) == (program, f"extension {name[1:]}")


@pytest.mark.parametrize(
    ("image", "program"),
    [
        ("node:22", "node"),
        ("docker.io/library/ruby@sha256:abc", "ruby"),
        ("host:5000/postgres:17", "psql"),
        ("python", "python3"),
        ("bash:5", "bash"),
        ("host:5000/tools/bash", "bash"),
    ],
)
def test_else_the_image_decides(image: str, program: str) -> None:
    """An image of one language runs that language."""
    chosen = choose(a_script(), image)
    assert (chosen.argv[0], chosen.chosen_by) == (program, "image")


def test_else_it_is_python() -> None:
    """Unbuffered, so that output is live (R20)."""
    assert choose(a_script(), "team/etl:7") == Interpreter(("python3", "-u"), "default")


def test_the_authors_choice_is_above_all() -> None:
    """An explicit interpreter wins against a shebang (R24)."""
    chosen = choose(a_script("#!/bin/sh\n"), IMAGE, ["bash", "-eu"])
    assert chosen == Interpreter(("bash", "-eu"), "interpreter")


@pytest.mark.parametrize(
    ("argv", "program"),
    [
        (("/usr/bin/python3.11", "-u"), "python"),
        (("env", "ruby"), "ruby"),
        (("/usr/bin/env", "A=1", "python3"), "python"),
        (("-x",), ""),
    ],
)
def test_the_program_is_a_base_name_without_version(argv: tuple[str, ...], program: str) -> None:
    """What the language is told by."""
    assert Interpreter(argv, "test").program == program


@pytest.mark.parametrize(
    ("argv", "name", "file"),
    [
        (("bash",), "script", "script.sh"),
        (("python3", "-u"), "etl.py", "script.py"),
        (("node",), "module.mjs", "script.mjs"),
        (("Rscript",), "plot.R", "script"),
        (("sh",), "notes.txt", "script.sh"),
    ],
)
def test_the_script_keeps_its_languages_extension(argv: tuple[str, ...], name: str, file: str) -> None:
    """Some interpreters go by the extension, so the mounted file has one."""
    assert Interpreter(argv, "test").script_file(a_script(name=name)) == file


def test_known_extensions_are_recognised() -> None:
    """What looks like a path is told from a command."""
    assert has_known_extension("scripts/etl.py")
    assert not has_known_extension("scripts/etl")
