"""What a run on a node came to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.kube.job.verdict import Cause
from airflow_script_provider.kube.labels import OUTCOME_ANNOTATION
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.nodes import record as node_record
from airflow_script_provider.kube.nodes.board import owner_annotation
from airflow_script_provider.kube.nodes.progress import Lost
from airflow_script_provider.kube.nodes.record import RunRecord, from_text, of_case, of_lost
from airflow_script_provider.result import Category, Status
from tests.builders import a_case, a_failed_record, a_pod, a_record, some_output

FACTS: dict[str, Any] = {"index": 0, "job_name": "load-a-0", "execution_time": 2.0}
LOST = Lost(
    "unreachable",
    "DeletionByTaintManager",
    "load-x1",
    "DeletionByTaintManager: Taint manager: deleting",
    is_confirmed=False,
)


def a_success(*lines: str, max_bytes: int = 2048) -> RunRecord:
    """The record of a script that printed these lines."""
    case = a_case(a_pod(exit_code=0), cause=Cause.SCRIPT_SUCCEEDED)
    return of_case(case, some_output(*lines, max_bytes=max_bytes), **FACTS)


def test_a_success() -> None:
    """With what the script printed, its value and where it ran."""
    record = a_success("hello", '{"free": 3}')
    assert (record.status, record.exit_code, record.reason) == (Status.COMPLETED, 0, None)
    assert (record.output, record.value) == ('hello\n{"free": 3}\n', {"free": 3})
    assert (record.pod_name, record.started_at) == ("load-x1", "2026-01-01T00:00:01Z")


def test_long_output_is_cut_to_its_end() -> None:
    """In whole lines, and marked."""
    record = a_success(*["x" * 99] * 100, max_bytes=550)
    assert record.output == ("x" * 99 + "\n") * 5
    assert (record.output_truncated, record.value_truncated) == (True, False)


def test_a_value_that_is_too_long_is_none() -> None:
    """Half of it would be of no use; that it is missing is marked."""
    record = a_success('{"rows": "' + "x" * 600 + '"}', max_bytes=500)
    assert (record.value, record.value_truncated) == (None, True)


@pytest.mark.parametrize(
    ("pod", "why"),
    [({"exit_code": 3}, "exit 3"), ({"oom_killed": True}, "OOMKilled"), ({"exit_code": 139}, "exit 139")],
)
def test_why_a_script_failed(pod: dict[str, Any], why: str) -> None:
    """In a word or two, for a line that names many nodes."""
    record = of_case(a_case(a_pod(**pod)), Output(), **FACTS)
    assert (record.why, record.status, record.failures) == (why, Status.FAILED, 1)


NO_PANDAS = ['  File "a.py", line 1', "ModuleNotFoundError: No module named 'pandas'"]
ITS_ERROR = "exit code 1: ModuleNotFoundError: No module named 'pandas'. Add it to install_dependencies."


def a_failure(*lines: str, max_bytes: int = 2048, **facts: Any) -> RunRecord:
    """The record of a script that printed these lines and ended with 1."""
    output = some_output(*lines, max_bytes=max_bytes)
    return of_case(a_case(a_pod(exit_code=1), lines=lines, last_lines=lines, **facts), output, **FACTS)


def test_an_error_has_the_scripts_own_line() -> None:
    """As the first line of a failed Job has it, with category and advice (R22, R37)."""
    record = a_failure(*NO_PANDAS, hide=str).with_whole_error(str)
    assert (record.error, record.why) == (ITS_ERROR, "exit 1, ModuleNotFound")


def test_a_line_waits_for_a_process_that_knows_the_secrets() -> None:
    """A triggerer writes the record, and the worker that reads it makes the line safe (R26, R37)."""
    left = from_text(a_failure(*NO_PANDAS).to_text())
    assert left is not None
    assert left.error == "the script ended with exit code 1."
    assert left.with_whole_error(str).error == ITS_ERROR
    assert left.with_whole_error(lambda line: line.replace("pandas", "***")).error == ITS_ERROR.replace("pandas", "***")
    assert (
        left.with_whole_error(lambda _: "").error
        == "the script ended with exit code 1. Add it to install_dependencies."
    )
    assert not {"line", "advice"} & left.with_whole_error(str).to_dict().keys()


PANIC = ("thread 'main' panicked at src/main.rs:2:5:", "index out of  bounds", "note: run with RUST_BACKTRACE=1")


@pytest.mark.parametrize(
    ("ended", "lines", "error"),
    [
        ({"exit_code": 101}, PANIC, f"exit code 101: {PANIC[0]} {PANIC[1]}."),
        ({"exit_code": 1, "message": "partition 7 is corrupt"}, ["hi"], "exit code 1: partition 7 is corrupt."),
        ({"exit_code": 1, "message": "part 7\nof 9"}, ["hi"], "exit code 1: part 7."),
    ],
)
def test_a_triggerer_and_a_worker_report_the_same(ended: dict[str, Any], lines: list[str], error: str) -> None:
    """An error of two lines, and a message that the script wrote (R22, R37)."""
    output = some_output(*lines, max_bytes=2048)
    case = a_case(a_pod(**ended), lines=lines, last_lines=lines)
    in_worker = of_case(replace(case, hide=str), output, **FACTS)
    in_triggerer = from_text(of_case(case, output, **FACTS).to_text())
    assert in_triggerer is not None
    assert (in_worker.with_whole_error(str).error, in_triggerer.with_whole_error(str).error) == (error, error)


def test_a_record_keeps_no_line_that_kubernetes_took_from_the_log() -> None:
    """Where the output is left out, only the error's name stays (R26)."""
    lines = ['  File "a.py", line 1', "ValueError: s3cr3t"]
    case = a_case(a_pod(exit_code=1, message="\n".join(lines)), lines=lines, last_lines=lines)
    assert of_case(case, some_output(*lines, max_bytes=0), **FACTS).line == "ValueError: …"


@pytest.mark.parametrize("length", [0, 2048])
def test_a_record_keeps_no_line_that_its_output_lacks(length: int) -> None:
    """Only the error's name: the output may be left out, and a long line could be cut in a secret (R26)."""
    error = f"ValueError: {'s3cr3t' * 500}" if length else "ValueError: s3cr3t"
    record = a_failure('  File "a.py", line 1', error, max_bytes=length)
    assert record.line == "ValueError: …"


def test_a_record_without_output_has_no_line_of_it() -> None:
    """The owner's annotations and a triggerer's memory have no room for it (R25)."""
    assert a_failure(*NO_PANDAS).without_output().line == ""


def test_an_error_is_bounded() -> None:
    """Whatever a kubelet or a registry reports (R25)."""
    pod = a_pod(unschedulable="x" * 9000)
    record = of_case(a_case(pod, cause=Cause.STARTUP_TIMEOUT), Output(), **FACTS)
    assert len(str(record.with_whole_error(str).error)) <= node_record.MAX_CAUSE + 100


def test_an_error_has_the_advice() -> None:
    """Of any failure; a node that is away is the advice itself (R22)."""
    pod = a_pod(unschedulable="0/2 nodes are available: 1 Insufficient cpu")
    record = of_case(a_case(pod, cause=Cause.STARTUP_TIMEOUT), Output(), **FACTS)
    advice = "Ask for less in container_resources, or add nodes."
    assert str(record.with_whole_error(str).error).endswith(f"Insufficient cpu. {advice}")
    assert str(node_record.with_state_of_node(record, "gone").with_whole_error(str).error).endswith(
        "cpu. The node is gone."
    )


def test_a_timeout() -> None:
    """The Job's deadline ended it."""
    record = of_case(a_case(a_pod(running=True), cause=Cause.DEADLINE), Output(), **FACTS)
    assert (record.status, record.why) == (Status.TIMEOUT, "DeadlineExceeded")


def test_a_pod_without_room_on_its_node() -> None:
    """The scheduler's words are in the error; no other run is worth a try."""
    pod = a_pod(unschedulable="0/2 nodes are available: 1 Insufficient cpu")
    record = of_case(a_case(pod, cause=Cause.STARTUP_TIMEOUT), Output(), **FACTS)
    assert (record.category, record.reason, record.is_lost) == (Category.UNSCHEDULABLE, "Unschedulable", True)
    assert "Insufficient cpu" in str(record.error)


def test_a_lost_node() -> None:
    """The pod that cannot be confirmed dead is named."""
    record = of_lost(LOST, Output(), **FACTS)
    assert (record.why, record.is_lost, record.failures) == ("NodeUnreachable", True, 1)
    assert str(record.error).startswith("the node is unreachable: DeletionByTaintManager")
    assert str(record.error).endswith("pod load-x1 cannot be confirmed dead and may still run")


def test_a_ready_node_is_not_called_unreachable() -> None:
    """Its kubelet cannot end the script, which hangs in a system call for example (R10, R22)."""
    record = of_lost(LOST.with_ready_node(), Output(), **FACTS)
    assert (record.category, record.is_lost) == (Category.NO_ANSWER, True)
    assert record.error == (
        "the node is ready, but its pod was deleted, and the kubelet did not report the pod's end; "
        "pod load-x1 cannot be confirmed dead and may still run"
    )


def test_a_script_of_which_nothing_is_heard_is_not_repeated() -> None:
    """It may still run on its node, so no other run begins beside it (R5, R10)."""
    record = of_case(a_case(a_pod(running=True), cause=Cause.SILENCE), Output(), **FACTS)
    assert (record.category, record.is_lost) == (Category.NO_ANSWER, True)


def test_a_failure_is_named_after_its_node() -> None:
    """A pod that could not start because its node was away meanwhile."""
    pod = a_pod(unschedulable="0/2 nodes are available")
    record = of_case(a_case(pod, cause=Cause.STARTUP_TIMEOUT), Output(), **FACTS)
    assert node_record.with_state_of_node(record, "gone").why == "NodeGone"
    assert node_record.with_state_of_node(record, None).why == "Unschedulable"


def test_an_exit_code_is_the_scripts() -> None:
    """Whatever became of the node later."""
    assert node_record.with_state_of_node(a_failed_record(), "unreachable").why == "exit 3"


def test_failures_add_up() -> None:
    """Each record knows those before it, which may be forgotten."""
    case = a_case(a_pod(exit_code=3))
    assert of_case(case, Output(), **FACTS | {"failures": 2}).failures == 3


def test_a_record_travels() -> None:
    """In an annotation of its Job."""
    record = a_failed_record(value={"a": [1, "ü"]}, started_at="2026-01-01T00:00:01Z")
    assert from_text(record.to_text()) == record
    assert node_record.of_job({"metadata": {"annotations": {OUTCOME_ANNOTATION: record.to_text()}}}) == record
    assert node_record.of_job({"metadata": {}}) is None


@pytest.mark.parametrize("reason", ["unreachable", "not ready", "gone", "unschedulable"])
def test_a_record_of_an_earlier_version_still_tells_a_lost_node(reason: str) -> None:
    """It has no category; the node gets no further run."""
    old = {"index": 0, "status": "failed", "reason": reason, "error": "x", "failures": 1}
    record = from_text(json.dumps(old))
    assert record is not None
    assert record.is_lost


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '"x"', '{"index": 0}', '{"index": 0, "status": "odd"}'])
def test_what_somebody_has_changed_is_no_record(text: str) -> None:
    """The run is then concluded anew."""
    assert from_text(text) is None


@pytest.mark.parametrize(
    "changed",
    [
        '"finished_at": "noon"', '"finished_at": "2026-01-01T00:00:00"', '"started_at": 5', '"failures": "x"',
        '"failures": 1e400', '"execution_time": NaN', '"exit_code": "3"', '"output": 5', '"error": []',
        '"index": 1e400', '"line": 5', '"advice": null',
    ],
)  # fmt: skip
def test_a_field_that_somebody_has_changed_leaves_no_record(changed: str) -> None:
    """Its type or its time is wrong, so nothing can count with it."""
    assert from_text(f'{{"index": 0, "status": "failed", {changed}}}') is None


def test_the_largest_record_fits_into_an_annotation() -> None:
    """Kubernetes gives all annotations of an object 256 KiB."""
    size = node_record.MAX_RUN_OUTPUT_LIMIT
    record = a_record(output="\x01" * size, value="\x01" * (size // 6), line="\x01" * node_record.MAX_LINE)
    assert len(record.to_text().encode()) < 128 * 1024


@pytest.mark.parametrize("size", [-1, True, "2048", 16 * 1024 + 1])
def test_bounds_that_do_not_fit_are_refused(size: Any) -> None:
    """The error says what to do instead."""
    with pytest.raises(ValueError, match=r"max_output_bytes=.* write a longer output to storage"):
        node_record.check_max_output(size)


def test_an_owner_has_room_for_the_records_of_a_thousand_nodes() -> None:
    """A quota refuses all Jobs: their records fit into what Kubernetes allows for annotations (R11, R25)."""
    owner: dict[str, Any] = {"metadata": {"annotations": {}}}
    refused: dict[str, Any] = {
        "status": Status.FAILED, "job_name": "x" * 63, "exit_code": None, "error": "x" * 200, "failures": 1,
        "output": "", "category": Category.EXCEEDED_QUOTA, "reason": "Forbidden",
        "finished_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    for number in range(1000):
        kept = node_record.for_owner(a_record(**refused), owner)
        node = f"ip-10-0-{number // 256}-{number % 256}.eu-central-1.compute.internal"
        owner["metadata"]["annotations"] |= owner_annotation(node, kept)
    texts = owner["metadata"]["annotations"]
    assert sum(len(name) + len(text) for name, text in texts.items()) < 240 * 1024
    records = [from_text(text) for text in texts.values()]
    assert {record.why for record in records if record} == {"ExceededQuota"}
    assert sum(record.error is not None for record in records if record) >= 90


def test_a_text_has_no_defaults() -> None:
    """It is short, and a version that wrote all fields can read it."""
    assert json.loads(RunRecord(0, Status.COMPLETED, value=False).to_text()) == {
        "index": 0,
        "status": "completed",
        "value": False,
    }
