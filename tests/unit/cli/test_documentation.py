"""The documentation of the command line."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from airflow_script_provider.cli import arguments
from airflow_script_provider.spec import taskfile
from airflow_script_provider.spec.text import read_yaml

_ROOT = Path(__file__).parents[3]
TASK_FILE = (_ROOT / "example_dags" / "task_file" / "airflow-script.yaml").read_text()
PAGE = (_ROOT / "docs" / "howto" / "command-line.md").read_text()
COMMANDS = [line.strip().partition(" #")[0] for line in PAGE.splitlines() if line.startswith("    airflow-script ")]
KEYS = {*taskfile.TASK_KEYS, *taskfile.FILE_KEYS, *taskfile.KUBERNETES_KEYS, *taskfile.COMPONENT_KEYS}


def test_the_task_file_of_the_page_is_one() -> None:
    """The task file that the page includes has the settings that its text names."""
    document = read_yaml(TASK_FILE)
    task = taskfile.read_task(document, "migrate", {}, flavor="staging")
    assert (task.namespace, task.context, task.working_dir) == ("staging", "minikube", "/app")
    assert task.component == taskfile.Component("api-server", "web", "api", None)
    assert taskfile.read_task(document, "console", {}).interactive


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_is_on_the_page(key: str) -> None:
    """The page, or the task file that it includes, has each key of a task file."""
    assert re.search(rf"\b{key}\b", PAGE + TASK_FILE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_are_some(command: str) -> None:
    """The program can parse each command of the page."""
    words = shlex.split(re.split(r" 2>| \|", command)[0])
    assert isinstance(arguments.parse(words[1:]), argparse.Namespace)
