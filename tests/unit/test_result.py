"""The result that downstream tasks read."""

from __future__ import annotations

import json

import pytest

from airflow_script_provider.result import Attempt, RunEnd, RunLocation, ScriptResult, Status
from tests.builders import a_failed_result, a_result, a_script, some_output

SCRIPT_TOOLS_KEYS = [
    "status", "job_name", "namespace", "pod_name", "execution_time", "output", "succeeded", "failed", "exit_code",
]  # fmt: skip
FILES = {"lib/a.py": {"sha256": "ab12", "origin": "gs://etl/a.py", "bytes": 7}}


def test_a_result_is_made_of_the_runs_facts() -> None:
    """The result has the run's times, sizes and digests; one run counts as one."""
    script = a_script()
    result = ScriptResult.of_run(
        RunEnd(Status.FAILED, 3, "script failed: exit code 3", "Error"),
        RunLocation(namespace="shop", pod_name="api-x1", container_name="api"),
        some_output("hi"),
        1.23456,
        script=script.facts,
        files=FILES,
    )
    assert (result.succeeded, result.failed, result.execution_time, result.duration_ms) == (0, 1, 1.235, 1235)
    assert (result.output, result.output_bytes, result.output_truncated) == ("hi\n", 3, False)
    assert (result.script_sha256, result.script_bytes, result.files) == (script.sha256, script.size, FILES)
    assert (result.status, result.reason, result.job_name) == (Status.FAILED, "Error", None)


def test_a_job_counts_its_failed_pods() -> None:
    """A Job that succeeds in its second attempt has one failure."""
    end, location = RunEnd(Status.COMPLETED, 0), RunLocation(job_name="load")
    result = ScriptResult.of_run(end, location, some_output(), 1.0, script=None, files={}, failed=1)
    assert (result.succeeded, result.failed, result.script_sha256) == (1, 1, None)


def test_a_result_is_json() -> None:
    """XCom can store the result's dict."""
    data = a_failed_result(value={"a": [1, None]}, files=FILES).to_dict()
    assert json.loads(json.dumps(data)) == data


def test_the_script_tools_keys_come_first() -> None:
    """The result begins with the nine keys of the Script tool's result."""
    assert list(a_result().to_dict())[:9] == SCRIPT_TOOLS_KEYS


def test_the_status_is_a_plain_string() -> None:
    """The status is a plain string, which downstream tasks compare."""
    assert type(a_result().to_dict()["status"]) is str


@pytest.mark.parametrize(
    "result",
    [
        a_result(files=FILES),
        a_failed_result(value=[1], output_truncated=True),
        a_result(job_name=None, container_name="api", stdout_tail="hi\n", stderr_tail=""),
    ],
)
def test_a_result_survives_its_dict(result: ScriptResult) -> None:
    """``from_dict`` reads what ``to_dict`` wrote."""
    assert ScriptResult.from_dict(result.to_dict()) == result


def test_unknown_keys_are_dropped() -> None:
    """A result of a newer version can be read, even its attempts."""
    data = a_result().to_dict() | {"new": 1, "attempts": [{"pod_name": "load-x1", "new": 2}]}
    assert ScriptResult.from_dict(data) == a_result(attempts=(Attempt("load-x1"),))


def test_the_envelope_of_a_success() -> None:
    """The envelope has the Script tool's nine keys under ``data``."""
    data = {
        "status": "completed", "job_name": "load", "namespace": "etl", "pod_name": "load-x1",
        "execution_time": 1.5, "output": "hi\n", "succeeded": 1, "failed": 0, "exit_code": 0,
    }  # fmt: skip
    envelope = {"status": "success", "data": data, "error": None, "duration_ms": 1600}
    assert a_result(duration_ms=1600, value={"n": 1}).to_envelope() == envelope


@pytest.mark.parametrize("status", [Status.FAILED, Status.TIMEOUT])
def test_the_envelope_of_a_failure(status: Status) -> None:
    """The envelope of every failure has ``error`` and the reason."""
    envelope = a_failed_result(status=status).to_envelope()
    assert (envelope["status"], envelope["data"]["status"]) == ("error", str(status))
    assert envelope["error"] == "Job failed with 1 failures: the script ended with exit code 3"
