"""Waiting in a worker and waiting in the triggerer come to the same: result, state, log (R29)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Any

import pytest

from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import OF_A_BUSY_NODE, TaskRun, lines_so_far, meanwhile, run_task
from tests.cluster.told_to_end import UNTIL_TOLD, tell
from tests.patience import LONG

IN_TIME = 20
"""Seconds in which Kubernetes says why a pod does not start."""
COUNTS = f"{UNTIL_TOLD}for i in range(12):\n    print('n', i)\n"
"""Goes on when our log has that its pod runs: a state that is told of late would be another log."""
LASTING: dict[str, dict[str, Any]] = {
    "success": {"script": COUNTS + "print('{\"rows\": 3}')"},
    "failure": {"script": COUNTS + "raise SystemExit(3)", "backoff_limit": 0},
    "attempts": {"script": COUNTS + "raise SystemExit(3)", "backoff_limit": 1},
    "skipped": {"script": COUNTS + "raise SystemExit(99)", "skip_on_exit_code": 99},
    "final": {"script": COUNTS + "raise SystemExit(4)", "fail_on_exit_code": [4]},
    "killed for memory": {
        "script": COUNTS + "print(len('x' * 300_000_000))",
        "container_resources": {"limits": {"memory": "64Mi"}},
        "backoff_limit": 0,
    },
    "no such image": {"script": "print(1)", "image": "python:no-such-tag", "startup_timeout": IN_TIME},
    "never starts": {"script": "print(1)", "node_selector": {"no": "such-node"}, "schedule_timeout": IN_TIME},
    "without logs": {"script": COUNTS, "get_logs": False},
}
SHORT: dict[str, dict[str, Any]] = {
    "no such program": {"script": "print(1)", "interpreter": ["no-such-program"]},
    "installs": {"script": "import six\nprint('n', six.__name__)", "install_dependencies": ["six"]},
    "prints too much": {"script": "print('x' * 200_000)\nprint('n', 1)", "max_output_bytes": 1000},
    "prints nothing": {"script": "pass"},
    "no end of line": {"script": "import sys\nsys.stdout.write('[1]')"},
}
TOO_LONG: dict[str, Any] = {"script": f"print('n', 0)\nimport time\ntime.sleep({LONG})", "timeout": LONG}

_PASSING = re.compile(r"Pod NAME is (waiting for a node|starting on|being deleted on)\b")
"""States that a pod soon leaves: a watch tells of a pod as it is by then, so several changes at once are one line."""
_RUNNING = re.compile(r"Pod NAME is running on NODE$")
"""So is this, where a script ends at once."""
_OF_A_BUSY_NODE = re.compile(rf"(\n  )?{OF_A_BUSY_NODE.pattern}")
_OF_THE_SCHEDULER = re.compile(r"\d+/\d+ nodes are available: [^\n\"]*")
"""What it says of each node, and our advice on it; other tests' nodes come and go."""
_BETWEEN_TWO_PULLS = "ImagePullBackOff"
"""A kubelet says this and ``ErrImagePull`` in turns: which of the two a follower sees is the moment's."""
_DEFERRED = "; the triggerer follows it"
_OF_ONE_RUN = ("job_name", "pod_name", "execution_time", "duration_ms", "attempts")


def outcome(run: TaskRun) -> Any:
    """What is the same of every run: the result without names and times, and the error without them."""
    result = {name: value for name, value in run.result.items() if name not in _OF_ONE_RUN}
    attempts = [(attempt["exit_code"], attempt["reason"]) for attempt in run.result["attempts"]]
    error = None if run.error is None else (type(run.error).__name__, _nameless(str(run.error)))
    return _nameless(str(result)), attempts, run.xcoms["value"], error


def _nameless(text: str) -> str:
    text = re.sub(r"script-task-[0-9a-f]{10}(-[a-z0-9]{5})?", "NAME", text)
    text = re.sub(r"\bnode-[12]\b", "NODE", text)  # the scheduler's choice
    text = _OF_THE_SCHEDULER.sub("NODES", text).replace(_BETWEEN_TWO_PULLS, "ErrImagePull")
    text = re.sub(r"\n\nWarning events:(?=\n\n|$)", "", _OF_A_BUSY_NODE.sub("", text))
    return re.sub(r"\d+(\.\d+)?(ms| s)\b", "TIME", text)


def log_of(run: TaskRun) -> list[tuple[str, str]]:
    """Level and text of each line, ours and the script's, but for names, times and what two runs may differ in.

    "Attempt 2" goes with the first state of a pod that is seen, and that may be a passing one.
    """
    named = [(entry["log_level"], _nameless(str(entry["event"])).removeprefix("Attempt 2: ")) for entry in run.log]
    return [(level, text) for level, text in named if text and not (_PASSING.match(text) or text.endswith(_DEFERRED))]


def ours(log: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Our lines, of a script that is too short for each state of its pod to be seen."""
    return [line for line in log if line not in theirs(log) and not _RUNNING.match(line[1])]


def theirs(log: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The script's lines."""
    return [line for line in log if line[1].startswith(("n ", "x", "[1]"))]


@contextmanager
def each(find: Callable[[], Iterable[str]], act: Callable[[str], None]) -> Iterator[None]:
    """During the block, act on each that is found, once."""
    is_over, done = Event(), set[str]()

    def look() -> None:
        while not is_over.wait(0.1):
            for one in set(find()) - done:
                act(one)
                done.add(one)

    looking = meanwhile(look)
    try:
        yield
    finally:
        is_over.set()
        looking.join()


def both(
    case: dict[str, Any],
    where: dict[str, Any],
    find: Callable[[], Iterable[str]] = tuple,
    act: Callable[[str], None] = print,
    *,
    defer_after: float = 1,
) -> tuple[TaskRun, TaskRun]:
    """The same task waited for in a worker, then in the triggerer; so late that the worker has said something, too.

    What is found meanwhile is acted on; in the second run after it was deferred, so that it does not end before.
    """
    runs: list[TaskRun] = []
    with each(lambda: find() if not runs or _times_deferred(lines_so_far()) else (), act):
        runs.append(run_task(**case, **where))
        runs.append(run_task(**case, **where, deferrable=True, defer_after=defer_after))
    assert [_times_deferred(run.lines) for run in runs] == [0, 1]
    return runs[0], runs[1]


def _times_deferred(lines: Iterable[str]) -> int:
    return sum(line.endswith(_DEFERRED) for line in lines)


def pods_said_to_run() -> list[str]:
    """The pods of which the log of the run has that they run."""
    found = (re.search(r"Pod (\S+) is running on", line) for line in lines_so_far())
    return [match[1] for match in found if match]


@pytest.mark.parametrize("case", LASTING)
def test_the_same_comes_out(own: dict[str, Any], kubectl: Kubectl, case: str) -> None:
    """Same XCom, same error, same log in the same order, whether a worker waits or the triggerer does (R29)."""
    in_a_worker, deferred = both(LASTING[case], own, pods_said_to_run, partial(tell, kubectl, own["namespace"]))
    assert outcome(deferred) == outcome(in_a_worker)
    assert log_of(deferred) == log_of(in_a_worker)


@pytest.mark.parametrize("case", SHORT)
def test_the_same_comes_out_of_short_scripts(shared: dict[str, Any], case: str) -> None:
    """Same XCom, same error, same lines; but a success that no triggerer saw running is read after its end was told."""
    in_a_worker, deferred = both(SHORT[case], shared, defer_after=0)
    assert outcome(deferred) == outcome(in_a_worker)
    assert ours(log_of(deferred)) == ours(log_of(in_a_worker))
    assert theirs(log_of(deferred)) == theirs(log_of(in_a_worker))


def test_a_timeout_is_told_alike(own: dict[str, Any], kubectl: Kubectl) -> None:
    """Same result, error and lines, though Kubernetes deletes the pod and its log with it (R5)."""

    def jobs_that_print() -> list[str]:
        return [pod.rpartition("-")[0] for pod in pods_said_to_run()] if "n 0" in lines_so_far() else []

    let_expire = partial(kubectl.let_expire, namespace=own["namespace"])
    # At once: of what the worker has read before, the triggerer keeps nothing.
    in_a_worker, deferred = both(TOO_LONG, own, jobs_that_print, let_expire, defer_after=0)
    assert in_a_worker.result["output"] == "n 0\n"
    for run in (in_a_worker, deferred):  # the pod goes, whether its exit code was seen by then or not
        run.result["exit_code"] = None
        run.result["attempts"] = []
    assert outcome(deferred) == outcome(in_a_worker)
    assert theirs(log_of(deferred)) == theirs(log_of(in_a_worker)) == [("info", "n 0")]


def test_a_short_script_ends_in_the_worker(shared: dict[str, Any]) -> None:
    """What is over within ``defer_after`` is never deferred."""
    run = run_task(script="print(1)", **shared, deferrable=True, defer_after=LONG).succeeded()
    assert not [line for line in run.lines if "the triggerer follows it" in line]
