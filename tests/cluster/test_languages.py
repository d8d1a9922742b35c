"""Interpreters: chosen by explicit list, shebang, extension or image, and run for real."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider.sources import InlineScript
from tests.cluster.tasks import run_task

POSTGRES = "postgres:15-alpine"


@pytest.mark.parametrize(
    ("script", "image", "said"),
    [
        ("print(__import__('json').loads(__import__('sys').argv[1])['n'] + 1)", "python:3.11-slim", "(by image)"),
        ("console.log(JSON.parse(process.argv[2]).n + 1)", "node:20-slim", "(by image)"),
        ('#!/bin/sh\necho "$1" | tr -dc 0-9 | { read n; echo $((n + 1)); }', "python:3.11-slim", "(by shebang)"),
        ("#!/usr/bin/env bash\n[[ $1 =~ [0-9]+ ]]; echo $((BASH_REMATCH[0] + 1))", "python:3.11-slim", "(by shebang)"),
        ('#!/usr/bin/perl\n$ARGV[0] =~ /(\\d+)/; print $1 + 1, "\\n";', "python:3.11-slim", "(by shebang)"),
    ],
    ids=["python", "node", "sh", "bash", "perl"],
)
def test_language_reads_its_args(shared: dict[str, Any], script: str, image: str, said: str) -> None:
    """Every language finds the JSON of args in its first argument, and the choice is logged."""
    run = run_task(script=script, image=image, args={"n": 41}, **shared).succeeded()
    assert run.result["value"] == 42
    assert any(said in line for line in run.lines)


def test_extension_chooses_the_interpreter(shared: dict[str, Any], tmp_path: Path) -> None:
    """A file's extension decides before the image does."""
    (tmp_path / "count.pl").write_text('print "perl $0\\n";')
    run = run_task(script="file://count.pl", folder=str(tmp_path), **shared).succeeded()
    assert run.result["output"] == "perl /scripts/script.pl\n"


MAIN_MODULE = """
import { pathToFileURL } from "node:url";
import { word } from "./lib/words.mjs";
if (import.meta.url === pathToFileURL(process.argv[1]).href) console.log(word, process.argv[1]);
"""
PYTHON_FOLDER = "from pathlib import Path\nprint((Path(__file__).resolve().parent / 'lib/word').read_text(), __file__)"


@pytest.mark.parametrize(
    ("script", "name", "image", "printed"),
    [
        (MAIN_MODULE, "main.mjs", "node:20-slim", "ran /scripts/script.mjs"),
        ("console.log(require.main === module, __filename)", "m.cjs", "node:20-slim", "true /scripts/script.cjs"),
        ("console.log(require.resolve('./lib/words.mjs'))", "m.cjs", "node:20-slim", "/scripts/lib/words.mjs"),
        (PYTHON_FOLDER, "main.py", "python:3.11-slim", "ran /scripts/script.py"),
        ('echo "$(readlink -f "$0") $0"', "main.sh", "python:3.11-slim", "/scripts/script.sh /scripts/script.sh"),
        ('cat "$(dirname "$(readlink -f "$0")")/lib/word"', "main.sh", "python:3.11-slim", "ran"),
    ],
    ids=["module", "commonjs", "resolve", "python", "readlink", "file in a folder"],
)
def test_script_is_where_it_says_it_is(
    shared: dict[str, Any], tmp_path: Path, script: str, name: str, image: str, printed: str
) -> None:
    """The path that a script is run by is its resolved path, and its files are beside it (R1)."""
    (tmp_path / name).write_text(script)
    files = {"lib/words.mjs": "export const word = 'ran';", "lib/word": InlineScript("ran")}
    run = run_task(script=f"file://{name}", folder=str(tmp_path), image=image, files=files, **shared).succeeded()
    assert run.result["output"].strip() == printed


def test_sql_with_variables(shared: dict[str, Any], database: dict[str, str]) -> None:
    """SQL runs by psql, args are its variables, quotes and all (R24)."""
    script = "\\t on\n\\a\nselect :'name' || :n;"
    run = run_task(script=script, image=POSTGRES, args={"name": "it's", "n": 7}, env=database, **shared).succeeded()
    assert run.result["output"].splitlines()[-1] == "it's7"


def test_sql_is_one_transaction_that_stops_at_an_error(shared: dict[str, Any], database: dict[str, str]) -> None:
    """An error ends the script, and nothing of it remains."""
    arguments: dict[str, Any] = {"image": POSTGRES, "env": database, **shared}
    broken = run_task(script="create table t (a int);\nselect 1/0;\nselect 'after';", backoff_limit=0, **arguments)
    assert broken.result["exit_code"] == 3
    assert "division by zero" in broken.result["output"]
    assert "after" not in broken.result["output"]
    run_task(script="create table t (a int);\ndrop table t;", **arguments).succeeded()


def test_explicit_psql_replaces_the_flags(shared: dict[str, Any], database: dict[str, str]) -> None:
    """CREATE INDEX CONCURRENTLY cannot run in a transaction: an explicit interpreter has no flags of ours."""
    script = f"create table c{time.time_ns()} (a int);\ncreate table if not exists k (a int);\n"
    script += "create index concurrently if not exists i on k (a);"
    arguments: dict[str, Any] = {"image": POSTGRES, "env": database, "script": script, **shared}
    run_task(interpreter=["psql", "-v", "ON_ERROR_STOP=1", "-f"], **arguments).succeeded()
