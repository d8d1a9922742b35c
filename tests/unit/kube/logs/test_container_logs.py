"""Which logs are to be read, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_script_provider.kube.labels import INSTALL_CONTAINER, SCRIPT_CONTAINER
from airflow_script_provider.kube.logs.container_logs import ContainerLog, LogKey, logs_left, logs_to_begin
from airflow_script_provider.kube.logs.pod_lines import LogPosition

READ = LogPosition("2026-01-01T00:00:00.000000005Z", (0,), complete=True)
HALF_READ = replace(READ, complete=False)

INSTALLS = ContainerLog("uid-1", "load-1", INSTALL_CONTAINER)
INSTALLED = replace(INSTALLS, exit_code=0)
RUNS = ContainerLog("uid-1", "load-1", SCRIPT_CONTAINER)
SUCCEEDED = replace(RUNS, exit_code=0)
FAILED = replace(RUNS, exit_code=3)
SECOND = ContainerLog("uid-2", "load-2", SCRIPT_CONTAINER)


def begun_by(reader: str, *seen: ContainerLog, begun: set[LogKey], earlier: dict[LogKey, LogPosition]) -> str:
    """The pods and containers whose logs a reader begins."""
    keeps_output, get_logs = "result" in reader, "log" in reader
    found = logs_to_begin(seen, begun, earlier, keeps_output=keeps_output, get_logs=get_logs)
    return ", ".join(f"{log.pod_name}/{log.container}" for log in found)


@pytest.mark.parametrize(
    ("seen", "for_log_and_result", "for_result", "for_log"),
    [
        ([], "", "", ""),
        ([INSTALLS], "load-1/install", "load-1/install", "load-1/install"),
        ([INSTALLED], "load-1/install", "load-1/install", "load-1/install"),
        ([INSTALLED, RUNS], *["load-1/install, load-1/script"] * 3),
        ([RUNS], "load-1/script", "load-1/script", "load-1/script"),
        ([FAILED], "load-1/script", "load-1/script", "load-1/script"),
        ([SUCCEEDED], "load-1/script", "load-1/script", ""),
        ([INSTALLED, SUCCEEDED], *["load-1/install, load-1/script"] * 2, "load-1/install"),
        ([FAILED, SECOND], *["load-1/script, load-2/script"] * 3),
    ],
)
def test_what_is_begun(seen: list[ContainerLog], for_log_and_result: str, for_result: str, for_log: str) -> None:
    """A success that was not followed live is left to the worker, who needs its log for the result (R20, R21)."""
    assert begun_by("log and result", *seen, begun=set(), earlier={}) == for_log_and_result
    assert begun_by("result", *seen, begun=set(), earlier={}) == for_result
    assert begun_by("log", *seen, begun=set(), earlier={}) == for_log
    assert begun_by("nothing", *seen, begun=set(), earlier={}) == ""


@pytest.mark.parametrize(
    ("position", "for_result", "for_log"),
    [
        (None, "load-1/script", "load-1/script"),
        (HALF_READ, "load-1/script", "load-1/script"),
        (READ, "load-1/script", ""),
    ],
)
def test_what_an_earlier_reader_has_read(position: LogPosition | None, for_result: str, for_log: str) -> None:
    """Only the result needs once more what was shown to its end (R19)."""
    earlier = {} if position is None else {RUNS.key: position}
    assert begun_by("log and result", FAILED, begun=set(), earlier=earlier) == for_result
    assert begun_by("log", FAILED, begun=set(), earlier=earlier) == for_log


@pytest.mark.parametrize("reader", ["log and result", "result", "log"])
def test_no_log_is_begun_twice(reader: str) -> None:
    """However often its pod changes (R19)."""
    assert begun_by(reader, INSTALLS, RUNS, begun={INSTALLS.key}, earlier={}) == "load-1/script"
    assert begun_by(reader, RUNS, FAILED, begun={RUNS.key}, earlier={}) == ""


@pytest.mark.parametrize(
    ("earlier", "deciding_pod", "for_result", "for_log"),
    [
        ([], None, "load-1/script, load-2/script", "load-1/install, load-1/script, load-2/script"),
        ([INSTALLED, FAILED], None, *["load-2/script"] * 2),
        ([INSTALLED, FAILED], "uid-1", *["load-1/script, load-2/script"] * 2),
        ([SECOND], "uid-2", "load-1/script, load-2/script", "load-1/install, load-1/script, load-2/script"),
        ([INSTALLED, FAILED, SECOND], "uid-2", *["load-2/script"] * 2),
        ([FAILED, SECOND], None, "", "load-1/install"),
        ([INSTALLED, FAILED, SECOND], None, "", ""),
    ],
)
def test_what_is_left_of_a_job_that_has_ended(
    earlier: list[ContainerLog], deciding_pod: str | None, for_result: str, for_log: str
) -> None:
    """The log of the pod that decided makes the result; a trigger may have held lines of all logs (R20, R21, R26)."""
    seen = [INSTALLED, FAILED, replace(SECOND, exit_code=0)]
    positions = {log.key: READ if log in earlier else HALF_READ for log in [INSTALLED, FAILED, SECOND]}
    for get_logs, expected in ((False, for_result), (True, for_log)):
        left = logs_left(seen, positions, deciding_pod, get_logs=get_logs)
        assert ", ".join(f"{log.pod_name}/{log.container}" for log in left) == expected
