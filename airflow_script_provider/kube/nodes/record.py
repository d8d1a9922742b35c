"""The record of a run on a node, small enough for an annotation of its Job.

The next follower reads it there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from airflow_script_provider.kube.causes import script_error
from airflow_script_provider.kube.hiding import Hide, name_of_error
from airflow_script_provider.kube.job import diagnosis, termination
from airflow_script_provider.kube.job.diagnosis import Case
from airflow_script_provider.kube.labels import ENDED_ANNOTATION_PREFIX, INVALID_TEXT, OUTCOME_ANNOTATION
from airflow_script_provider.kube.logs.output import Output
from airflow_script_provider.kube.nodes import selection
from airflow_script_provider.kube.nodes.progress import Lost
from airflow_script_provider.kube.pods import ending, pod_status
from airflow_script_provider.kube.times import parse_time
from airflow_script_provider.kube.wording import one_line, shortened
from airflow_script_provider.result import Category, Status, category_named

MAX_RUN_OUTPUT_LIMIT = 16 * 1024
"""Bytes of output, and as many of the value: they fit into an annotation as JSON of any text."""

MAX_LINE = 1000
"""Characters of a script's line that a record keeps; a longer one could be cut in a secret."""
MAX_CAUSE = 500
"""Characters of a run's error before the advice."""
ROOM_FOR_DETAILS = 64 * 1024
"""Bytes of an owner's annotations up to which its records have all details.

Kubernetes allows 256 KiB for all of them, and a quota may refuse the runs of a thousand nodes.
"""

_STATES = {
    selection.UNREACHABLE: Category.NODE_UNREACHABLE,
    selection.NOT_READY: Category.NODE_NOT_READY,
    selection.GONE: Category.NODE_GONE,
    selection.READY: Category.NO_ANSWER,
}
_CHANGED_DEADLINE = "The Job has another deadline than it was launched with: see what changes Jobs at admission."
_BY_CODE = (None, Category.ERROR, Category.KILLED, Category.SIGNALED)
_SAYS_LITTLE = (None, "Error", "BackoffLimitExceeded", "PodFailurePolicy")
_OLD_REASONS = {**_STATES, "unschedulable": Category.UNSCHEDULABLE}
"""Reasons in records of an earlier version, which had no categories."""
_LOST = (Category.UNSCHEDULABLE, *_STATES.values())
_NOT_SHOWN = ("failures", "finished_at", "line", "advice")


@dataclass(frozen=True)
class RunRecord:
    """One run on one node.

    ``failures`` counts the failed runs of the node so far. Times are RFC 3339 in UTC. ``output``
    is the end of what the script printed, and ``value`` its JSON value. The value is None if it is
    longer than the output may be (``value_truncated``). ``category`` is one word of ours for a
    failure, and ``reason`` Kubernetes' own word, if it has one.

    A process that does not know the script's secrets keeps ``line``, the script's line that tells
    the cause, and ``advice`` apart from ``error``. ``with_whole_error`` puts them together where
    the secrets are known.
    """

    index: int
    status: Status
    job_name: str = ""
    pod_name: str | None = None
    exit_code: int | None = None
    output: str = ""
    value: Any = None
    started_at: str | None = None
    execution_time: float = 0.0
    category: Category | None = None
    reason: str | None = None
    error: str | None = None
    output_truncated: bool = False
    value_truncated: bool = False
    finished_at: str | None = None
    failures: int = 0
    line: str = ""
    advice: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether no other run may follow on the node.

        The node itself failed, or the script may still run there.
        """
        return self.category in _LOST

    @property
    def why(self) -> str:
        """Why the run failed: ``exit 3``, ``exit 1, ModuleNotFound``, ``OOMKilled``."""
        if self.exit_code is None or self.status is Status.TIMEOUT or self.reason not in _SAYS_LITTLE:
            return str(self.category or self.status)
        more = "" if self.category in _BY_CODE else f", {self.category}"
        return f"exit {self.exit_code}{more}"

    @property
    def has_own_line(self) -> bool:
        """Whether the error has the script's line that tells the cause."""
        return self.error is not None and ending.has_line(self.error)

    def to_dict(self) -> dict[str, Any]:
        """The record as part of the result."""
        shown = {name: value for name, value in asdict(self).items() if name not in _NOT_SHOWN}
        return shown | {"status": str(self.status), "category": self.category and str(self.category)}

    def to_text(self) -> str:
        """The record as text for the annotation, without the fields that have their default."""
        defaults = {one.name: one.default for one in fields(self)}
        given = {name: value for name, value in asdict(self).items() if value != defaults[name]}
        return json.dumps(given, ensure_ascii=False, separators=(",", ":"))

    def without_output(self) -> RunRecord:
        """The record without the script's output and value, which then count as cut."""
        is_cut, has_value = self.output_truncated or self.output != "", self.value is not None
        bare = replace(self, output="", value=None, line="", output_truncated=is_cut)
        return replace(bare, value_truncated=self.value_truncated or has_value)

    def with_whole_error(self, hide: Hide) -> RunRecord:
        """The record with all of its error: the script's line, made safe, and the advice."""
        if self.error is None or not (self.line or self.advice):
            return self
        cause = ending.with_line(self.error.rstrip("."), hide(self.line) if self.line else "")
        error = f"{shortened(cause, MAX_CAUSE).rstrip('.')}. {self.advice}".rstrip()
        return replace(self, error=error, line="", advice="")

    def without_details(self) -> RunRecord:
        """How the run ended, and nothing else."""
        bare = replace(self.without_output(), job_name="", pod_name=None, error=None, advice="")
        return replace(bare, started_at=None, finished_at=None, execution_time=0.0)


def from_text(text: str) -> RunRecord | None:
    """The record of a text of ``to_text``, None if the text was changed and is not valid."""
    return _from_json(_parsed(text))


def of_owner(owner: Mapping[str, Any]) -> Iterator[tuple[str, RunRecord]]:
    """The records of runs without a Job in the annotations of their owner, each with its node."""
    for name, text in (owner["metadata"].get("annotations") or {}).items():
        given: Any = _parsed(text) if name.startswith(ENDED_ANNOTATION_PREFIX) else None
        record = _from_json(given)
        if record is not None and isinstance(node := given.get("node"), str) and node:
            yield node, record


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except INVALID_TEXT:
        return None


def _from_json(given: Any) -> RunRecord | None:
    try:
        known = {one.name: given[one.name] for one in fields(RunRecord) if one.name in given}
        read: dict[str, Any] = {"status": Status(known["status"]), "category": category_named(known.get("category"))}
        if read["category"] is None and known.get("reason") in _OLD_REASONS:
            read["category"] = _OLD_REASONS[known["reason"]]
        record = RunRecord(**known | read | {"index": int(known["index"])})
        return record if _is_valid(record) else None
    except INVALID_TEXT:
        return None


def _is_valid(record: RunRecord) -> bool:
    """Whether the fields have their types. Raises ``ValueError`` for a time that is not one."""
    texts = (record.job_name, record.output, record.line, record.advice)
    texts_or_none = (record.pod_name, record.started_at, record.reason, record.error, record.finished_at)
    numbers = (record.execution_time, record.failures, record.exit_code or 0)
    times = [parse_time(time) for time in (record.started_at, record.finished_at) if time]
    return (
        all(time.tzinfo is not None for time in times)
        and all(isinstance(text, str) for text in texts)
        and all(text is None or isinstance(text, str) for text in texts_or_none)
        and all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
    )


def of_case(case: Case, output: Output, *, may_run_on: bool = False, **facts: Any) -> RunRecord:
    """The record of a run that has a verdict.

    ``may_run_on`` says that the script may still run, so the outcome is unknown. ``facts`` are
    index, job_name, execution_time, finished_at and failures.
    """
    diagnosed = None if case.verdict.is_success else diagnosis.diagnose(case)
    if diagnosed and may_run_on:
        unknown = termination.diagnosed(case, diagnosed, hence="so no other run follows on that node")
        diagnosed = replace(unknown, category=Category.NO_ANSWER)
    end = case.script_end
    attempt = pod_status.attempt(case.pod) if case.pod else None
    category = diagnosed.category if diagnosed else None
    if category is Category.STARTUP_TIMEOUT and _is_unscheduled(case):
        category = Category.UNSCHEDULABLE
    record = RunRecord(
        status=_status(case),
        pod_name=attempt.pod_name if attempt else None,
        exit_code=end.exit_code if end else None,
        started_at=attempt.started_at if attempt else None,
        category=category,
        reason=diagnosed.reason if diagnosed else None,
        error=f"{shortened(diagnosed.cause, MAX_CAUSE).rstrip('.')}." if diagnosed else None,
        line=_kept_line(diagnosed.line, output, case) if diagnosed and case.hide is None else "",
        advice=diagnosed.hint if diagnosed else "",
        **facts,
    )
    return _with_failure_counted(_with_output(record, output))


def of_lost(lost: Lost, output: Output, **facts: Any) -> RunRecord:
    """The record of a run whose node was lost."""
    doubt = "" if lost.is_confirmed else f"; pod {lost.pod_name} cannot be confirmed dead and may still run"
    node = f"the node is {lost.state}" + (", but" if lost.state == selection.READY else ":")
    record = RunRecord(
        status=Status.FAILED,
        pod_name=lost.pod_name,
        started_at=lost.started_at,
        category=_STATES[lost.state],
        reason=lost.reason,
        error=f"{node} {one_line(lost.message)}{doubt}",
        **facts,
    )
    return _with_failure_counted(_with_output(record, output))


def with_state_of_node(record: RunRecord, state_of_node: str | None) -> RunRecord:
    """The record of a failed run, with the state of its node as the category.

    It is unchanged if the state is None, or if the script has ended with an exit code.
    """
    if state_of_node is None or record.exit_code is not None:
        return record
    error = f"{record.error} The node is {state_of_node}."
    return replace(record, category=_STATES[state_of_node], error=error, advice="")


def with_own_deadline(record: RunRecord, argument: str) -> RunRecord:
    """The record of a run whose deadline no argument of ours has set, with that as the advice."""
    is_raised = record.advice == f"Raise {argument}."
    return replace(record, advice=_CHANGED_DEADLINE) if is_raised else record


def _kept_line(line: str, output: Output, case: Case) -> str:
    """The line as the record keeps it: as a whole only where it stands in the cluster anyway.

    That is in the record's output, or in the pod's status as a message that the script wrote for
    it. A line may be joined of two.
    """
    message = case.script_end.message if case.script_end else ""
    written = script_error.termination_message(message, case.lines or case.last_lines)
    known = (output.tail(), *written)
    is_known = any(one_line(line) in one_line(text) for text in known)
    return line if len(line) <= MAX_LINE and is_known else name_of_error(line)


def _with_failure_counted(record: RunRecord) -> RunRecord:
    return record if record.status is Status.COMPLETED else replace(record, failures=record.failures + 1)


def _with_output(record: RunRecord, output: Output) -> RunRecord:
    value = output.value().value
    is_too_long = len(json.dumps(value).encode()) > max(output.max_bytes, len("null"))
    return replace(
        record,
        output=output.tail(),
        value=None if is_too_long else value,
        output_truncated=output.truncated,
        value_truncated=is_too_long,
    )


def _status(case: Case) -> Status:
    if case.verdict.is_success:
        return Status.COMPLETED
    return Status.TIMEOUT if case.verdict.is_timeout else Status.FAILED


def _is_unscheduled(case: Case) -> bool:
    return case.pod is not None and pod_status.node(case.pod) is None


def for_owner(record: RunRecord, owner: Mapping[str, Any]) -> RunRecord:
    """The record of a run without a Job as its owner has room for it."""
    annotations = owner["metadata"].get("annotations") or {}
    size = sum(len(f"{name}{text}".encode()) for name, text in annotations.items())
    return record.without_output() if size < ROOM_FOR_DETAILS else record.without_details()


def check_max_output(value: Any) -> None:
    """Refuse a limit of a run's output that does not fit into an annotation."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_RUN_OUTPUT_LIMIT:
        raise ValueError(
            f"max_output_bytes={value!r} must be a whole number of bytes, at most {MAX_RUN_OUTPUT_LIMIT:,} for each "
            "run; write a longer output to storage, and print its address"
        )


def of_job(job: Mapping[str, Any]) -> RunRecord | None:
    """The record in a Job's annotation, None if there is none."""
    text = (job["metadata"].get("annotations") or {}).get(OUTCOME_ANNOTATION)
    return from_text(text) if text else None
