"""What a script's output becomes: log, XCom and value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.tasks import KEEPS_LONG_LOGS, FakeTaskInstance, run_task


@pytest.fixture
def shared(shared: dict[str, Any], waiting: dict[str, Any]) -> dict[str, Any]:
    """Everything here holds in a worker and deferred (R29)."""
    return shared | waiting


def test_result_of_a_script(shared: dict[str, Any]) -> None:
    """The result says how the run went, and value is the JSON that the script printed (R21)."""
    run = run_task(script='print("hello")\nprint(\'{"rows": 3}\')', **shared).succeeded()
    result = run.result
    assert (result["status"], result["exit_code"], result["succeeded"], result["failed"]) == ("completed", 0, 1, 0)
    assert result["output"] == 'hello\n{"rows": 3}\n'
    assert result["value"] == run.xcoms["value"] == {"rows": 3}
    assert result["error"] is None
    assert [attempt["exit_code"] for attempt in result["attempts"]] == [0]


def test_lines_appear_as_printed_and_operator_lines_are_few(shared: dict[str, Any]) -> None:
    """Unbuffered, no prefix, blank lines kept; at most 15 lines of ours around them (R22, R23)."""
    printed = ["first", "", "  indented\ttabbed", "::group::mine", "%s {} %d", "::endgroup::"]
    script = f"import sys\nfor line in {printed!r}:\n    print(line)\nsys.stdout.write('no line end')"
    run = run_task(script=script, **shared).succeeded()
    start = run.lines.index("first")
    assert run.lines[start : start + 7] == [*printed, "no line end"]
    assert len(run.lines) - 7 <= 15
    assert run.result["output"].endswith("no line end")


@pytest.mark.parametrize("size", [0, 1, 65_535, 1_000_000])
def test_values_of_every_size_arrive_exactly(shared: dict[str, Any], size: int) -> None:
    """A value of 0 B to 1 MB arrives, whatever the tail keeps (R21)."""
    run = run_task(script=f"import json\nprint('x' * 10)\nprint(json.dumps({{'v': 'a' * {size}}}))", **shared)
    assert run.succeeded().result["value"] == {"v": "a" * size}
    assert run.result["output_truncated"] == (size > 65_000)


def test_value_that_is_too_large_says_so(shared: dict[str, Any]) -> None:
    """A value beyond 1 MiB is None with a warning that names its size (R21)."""
    script = "import json\nprint(json.dumps(['a' * 1_100_000]))"
    run = run_task(script=script, node_selector=KEEPS_LONG_LOGS, **shared).succeeded()
    assert run.result["output_bytes"] == 1_100_005
    assert run.result["value"] is None
    assert any("1,100,004 bytes" in line for line in run.warnings)


def test_value_is_pushed_on_failure_too(shared: dict[str, Any]) -> None:
    """A script that prints its result and fails leaves it in XCom (R21)."""
    run = run_task(script="print('{\"done\": 7}')\nraise SystemExit(3)", backoff_limit=0, **shared)
    assert run.error is not None
    assert run.result["status"] == "failed"
    assert run.xcoms["value"] == {"done": 7}


def test_max_output_bytes_keeps_the_tail(shared: dict[str, Any]) -> None:
    """XCom keeps the end of a long output, the log all of it (R21)."""
    run = run_task(script="for i in range(1000): print('line', i)", max_output_bytes=100, **shared).succeeded()
    assert run.result["output"].splitlines()[-1] == "line 999"
    assert len(run.result["output"]) <= 100
    assert run.result["output_truncated"]
    assert {f"line {i}" for i in range(1000)} <= set(run.lines)


def test_get_logs_false_keeps_the_log_quiet_and_the_result_whole(shared: dict[str, Any]) -> None:
    """Without get_logs the script's lines stay out of the log, but not out of the result (R21)."""
    run = run_task(script="print('secret sauce')", get_logs=False, **shared).succeeded()
    assert "secret sauce" not in run.lines
    assert run.result["output"] == "secret sauce\n"


def test_do_xcom_push_false_pushes_nothing(shared: dict[str, Any]) -> None:
    """do_xcom_push=False suppresses value and the result of a failure."""
    run = run_task(script="raise SystemExit(1)", do_xcom_push=False, backoff_limit=0, **shared)
    assert run.xcoms == {}


def test_nan_becomes_null_with_a_warning(shared: dict[str, Any]) -> None:
    """NaN and Infinity, which JSON does not know, become None (R35)."""
    run = run_task(script="import json\nprint(json.dumps({'a': float('nan'), 'b': 1}))", **shared).succeeded()
    assert run.result["value"] == {"a": None, "b": 1}
    assert any("NaN" in line for line in run.warnings)


def test_what_airflow_cannot_keep_is_changed_with_warnings(shared: dict[str, Any]) -> None:
    """Whole numbers beyond 64 bits and reserved keys never fail a finished run (R35)."""
    script = """print('{"wei": 1180591620717411303424, "__example__": [1]}')"""
    run = run_task(script=script, **shared).succeeded()
    assert run.result["value"] == run.xcoms["value"] == {"wei": "1180591620717411303424", "example": [1]}
    assert [line for line in run.warnings if line.startswith("value: ")] == [
        "value: 1180591620717411303424 does not fit into 64 bits, so it became a string",
        "value: key __example__ is reserved in Airflow, so it became example",
    ]


def test_a_value_that_airflow_does_not_take_is_left_out(shared: dict[str, Any]) -> None:
    """The task succeeds, and its result lacks the value, also where Airflow pushes it once more (R35)."""
    run = run_task(ti=SmallXComs(), script="print('{\"a\": 1}')", **shared).succeeded()
    assert (run.result["status"], run.result["value"], run.xcoms["value"]) == ("completed", None, None)
    assert run.result["output"] == '{"a": 1}\n'
    warning = "Airflow does not take the XCom {}, so it has no value: too large"
    assert [warning.format("value"), warning.format("return_value")] == run.warnings


class SmallXComs(FakeTaskInstance):
    """A task whose XCom backend refuses values."""

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep an XCom without a value."""
        if (value if key == "value" else value["value"]) is not None:
            raise RuntimeError("too large")
        super().xcom_push(key, value)


def test_result_survives_json(shared: dict[str, Any]) -> None:
    """Everything in the result is plain JSON (R35)."""
    result = run_task(script="print(1)", **shared).succeeded().result
    assert json.loads(json.dumps(result)) == result
