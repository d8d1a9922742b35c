"""The exit code of the command line, by the result of its run."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.cli.main import _exit_code
from airflow_script_provider.result import Status
from tests.builders import a_result


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({}, 0),
        ({"status": Status.FAILED, "exit_code": 3}, 3),
        ({"status": Status.TIMEOUT, "exit_code": 143}, 124),
        ({"status": Status.FAILED, "exit_code": None}, 125),
        ({"status": Status.FAILED, "exit_code": 0}, 125),
    ],
)
def test_only_a_success_ends_with_0(facts: dict[str, Any], code: int) -> None:
    """A script that the kubelet stopped may have ended with 0, and is not a success (R1)."""
    assert _exit_code(a_result(**facts)) == code
