"""Waiting in a worker and waiting in the triggerer come to the same: result, state, log (R29)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.cluster.tasks import TaskRun, run_task

LONG = "import time\nfor i in range(12):\n    print('n', i)\n    time.sleep(0.25)\n"
CASES: dict[str, dict[str, Any]] = {
    "success": {"script": LONG + "print('{\"rows\": 3}')"},
    "failure": {"script": LONG + "raise SystemExit(3)", "backoff_limit": 0},
    "attempts": {"script": LONG + "raise SystemExit(3)", "backoff_limit": 1},
    "skipped": {"script": LONG + "raise SystemExit(99)", "skip_on_exit_code": 99},
    "final": {"script": LONG + "raise SystemExit(4)", "fail_on_exit_code": [4]},
    "killed for memory": {
        "script": LONG + "print(len('x' * 300_000_000))",
        "container_resources": {"limits": {"memory": "64Mi"}},
        "backoff_limit": 0,
    },
    "no such image": {"script": "print(1)", "image": "python:no-such-tag", "startup_timeout": 10},
    "no such program": {"script": "print(1)", "interpreter": ["no-such-program"]},
    "never starts": {"script": "print(1)", "node_selector": {"no": "such-node"}, "startup_timeout": 5},
    "takes too long": {"script": "print('n', 0)\nimport time\ntime.sleep(60)", "timeout": 6},
    "installs": {"script": "import six\nprint('n', six.__name__)", "install_dependencies": ["six"]},
    "prints too much": {"script": "print('x' * 200_000)\nprint('n', 1)", "max_output_bytes": 1000},
    "prints nothing": {"script": "pass"},
    "no end of line": {"script": "import sys\nsys.stdout.write('[1]')"},
    "without logs": {"script": LONG, "get_logs": False},
}

_OF_ONE_RUN = ("job_name", "pod_name", "execution_time", "duration_ms", "attempts")


def outcome(run: TaskRun) -> Any:
    """What is the same of every run: the result without names and times, and the error without them."""
    result = {name: value for name, value in run.result.items() if name not in _OF_ONE_RUN}
    attempts = [(attempt["exit_code"], attempt["reason"]) for attempt in run.result["attempts"]]
    error = None if run.error is None else (type(run.error).__name__, _nameless(str(run.error)))
    return _nameless(str(result)), attempts, run.xcoms["value"], error


def _nameless(text: str) -> str:
    text = re.sub(r"script-task-[0-9a-f]{10}(-[a-z0-9]{5})?", "NAME", text)
    return re.sub(r"\d+(\.\d+)?(ms| s)\b", "TIME", text)


def said(run: TaskRun) -> list[str]:
    """The script's lines."""
    return [line for line in run.lines if line.startswith(("n ", "x", "[1]"))]


@pytest.mark.parametrize("case", CASES)
def test_the_same_comes_out(shared: dict[str, Any], case: str) -> None:
    """Same XCom, same error, same lines of the script, whether a worker waits or the triggerer does (R29)."""
    arguments = {"task_id": "task"} | CASES[case]
    in_a_worker = run_task(**arguments, **shared)
    deferred = run_task(**arguments, **shared, deferrable=True, defer_after=1)
    assert outcome(deferred) == outcome(in_a_worker)
    assert said(deferred) == said(in_a_worker)
    assert len(deferred.warnings) == len(in_a_worker.warnings)


def test_a_short_script_ends_in_the_worker(shared: dict[str, Any]) -> None:
    """What is over within ``defer_after`` is never deferred."""
    run = run_task(script="print(1)", **shared, deferrable=True, defer_after=60).succeeded()
    assert not [line for line in run.lines if "the triggerer follows it" in line]
