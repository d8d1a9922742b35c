"""``airflow-script run`` with a task file or a step, on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import airflow_script

TASKS = """
tasks:
  show: {script: 'echo "$GREETING" "$0"', env: {GREETING: "${env:GREETING:-hello}"}, executors: [local]}
  file: {script: scripts/show.py, args: {a: 1}, executor: local}
  lists: {script: "true", executors: [container, kubernetes]}
  bash: {script: "\\n  #!/bin/bash\\n  set -euo pipefail\\n  [[ 1 == 1 ]] && echo ok\\n", executor: local}
  first: {script: "echo here", executors: [container, local]}
flavors:
  loud: {patch: [{op: replace, path: /tasks/show/env/GREETING, value: HELLO}]}
"""
STEP = """
- step: load
  tool: {kind: script, script: {type: file, uri: scripts/show.py}, args: {table: t}, job: {image: "python:3.11-slim"}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a task file, a step and a script."""
    (tmp_path / "airflow-script.yaml").write_text(TASKS)
    (tmp_path / "step.yaml").write_text(STEP)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "show.py").write_text("import sys; print(sys.argv[1:])")
    return tmp_path


def test_a_task_of_this_folder_is_found(project: Path) -> None:
    """A task of ``airflow-script.yaml`` is found by its name; its text is a shell command."""
    assert airflow_script("run", "show", folder=project).stdout.split()[0] == b"hello"


def test_a_task_may_name_its_program_after_an_empty_line(project: Path) -> None:
    """Such a text is no command of ``sh`` (R23)."""
    done = airflow_script("run", "bash", folder=project)
    assert (done.returncode, done.stdout) == (0, b"ok\n"), done.stderr


def test_a_flavor_changes_a_task(project: Path) -> None:
    """``--flavor`` patches the file; ``--env`` replaces the result's values."""
    assert airflow_script("run", "show", "--flavor", "loud", folder=project).stdout.split()[0] == b"HELLO"
    done = airflow_script("run", "show", "--flavor", "loud", "-e", "GREETING=hi", folder=project)
    assert done.stdout.split()[0] == b"hi"


def test_files_start_from_the_task_file(project: Path) -> None:
    """A task's script is found beside the task file, from any working directory."""
    done = airflow_script("run", "file", "-f", str(project / "airflow-script.yaml"), folder=Path("/"))
    assert done.stdout == b"""['{"a": 1}']\n"""


def test_an_executor_outside_the_list_is_refused(project: Path) -> None:
    """``-x`` chooses one of the task's executors; any other one is refused."""
    done = airflow_script("run", "lists", "-x", "local", folder=project)
    assert (done.returncode, b"it allows container, kubernetes" in done.stderr) == (2, True)


def test_the_next_executor_is_taken_where_the_first_is_not_available(project: Path) -> None:
    """Without a container, the second executor of the list runs the task."""
    assert airflow_script("run", "first", folder=project).stdout == b"here\n"


def test_each_executor_of_the_list_says_why_not(project: Path) -> None:
    """If no executor is available, the error gives each one's reason."""
    done = airflow_script("run", "lists", folder=project)
    assert (
        done.returncode,
        b"container: no container is set" in done.stderr,
        b"kubernetes: no Deployment is set" in done.stderr,
    ) == (
        125,
        True,
        True,
    )


def test_a_name_that_is_nothing_is_refused(project: Path) -> None:
    """A name that is neither task nor file nor URI is an error, not a script."""
    done = airflow_script("run", "shw", folder=project)
    assert (done.returncode, b"SCRIPT 'shw' is neither a file, a task nor a URI" in done.stderr) == (2, True)


def test_a_file_that_is_no_yaml_is_named(project: Path) -> None:
    """The error names the task file, which was perhaps found without ``-f``."""
    (project / "airflow-script.yaml").write_text("tasks: [")
    done = airflow_script("run", "show", folder=project)
    assert (done.returncode, done.stderr.startswith(b"airflow-script: airflow-script.yaml: ")) == (2, True), done.stderr


def test_the_example_migrates_a_database_here(tmp_path: Path) -> None:
    """The example's migration also runs on this machine, with its files."""
    example = Path(__file__).parents[3] / "example_dags" / "exec_app" / "airflow-script.yaml"
    database = f"DATABASE={tmp_path / 'shop.db'}"
    done = airflow_script("run", "migrate", "-f", str(example), "-x", "local", "-e", database, folder=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, b'{"from": 0, "to": 2}'), done.stderr


def test_the_task_of_the_page_runs_here() -> None:
    """The task file on the page about the command line runs as the page shows."""
    done = airflow_script("run", "totals", folder=Path(__file__).parents[3] / "example_dags" / "task_file")
    said = b'{"day": "2026-01-31", "total": 42, "currency": "CHF"}'
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, said), done.stderr


def test_a_step_of_the_script_tool_runs_here(project: Path) -> None:
    """``-f`` accepts a step, and ``-x local`` runs its script with its args."""
    done = airflow_script("run", "-f", "step.yaml", "-x", "local", "--output", "json", folder=project)
    assert json.loads(done.stdout)["stdout_tail"] == """['{"table": "t"}']\n"""


def test_templates_of_a_step_are_refused(project: Path) -> None:
    """The program cannot render a step's templates, so the error names them."""
    (project / "step.yaml").write_text(STEP.replace("table: t", 'table: "{{ workload.table }}"'))
    done = airflow_script("run", "-f", "step.yaml", "-x", "local", folder=project)
    assert (done.returncode, b"the step's args contains a template, which only Airflow renders" in done.stderr) == (
        2,
        True,
    )
