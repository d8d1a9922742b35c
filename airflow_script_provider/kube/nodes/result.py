"""The result of a script on all nodes, limited in size, and its texts for the log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_script_provider.exceptions import NodesFailedError
from airflow_script_provider.kube.hiding import Hide
from airflow_script_provider.kube.logs.groups import END_OF_GROUP, GROUP, shown_text
from airflow_script_provider.kube.nodes.plan import NodePlan
from airflow_script_provider.kube.nodes.record import RunRecord
from airflow_script_provider.kube.nodes.selection import nodes_in_words
from airflow_script_provider.kube.wording import MAX_HEADLINE, MAX_NAMES, first_of, shortened
from airflow_script_provider.result import NodesResult, Status

MAX_RESULT = 4 * 1024 * 1024
"""Bytes that the result may have as JSON."""
ROOM_FOR_NAMES = 60
"""Characters of the first line that the names of nodes have beside an error."""
SKIPPED = "skipped"
NOT_STARTED = "not started"

Records = Mapping[str, Sequence[RunRecord]]


def conclude(
    plan: NodePlan, records: Records, hide: Hide, *, seconds: float, missing: str = NOT_STARTED, **facts: Any
) -> NodesResult:
    """Make the result from the runs of each node, which may be in any order.

    ``facts`` are further fields of the result. ``missing`` is the reason of runs without a record.
    ``hide`` makes a line of the script safe for a message.
    """
    kept = {
        node: tuple(run.with_whole_error(hide) for run in _newest(records[node], plan.history_limit))
        for node in (*plan.earlier, *plan.nodes)
        if node in records
    }
    error = headline(plan, kept, missing)
    bounded = _cut_to_limit(kept, MAX_RESULT)
    nodes = {
        name: _of_node(name, plan, bounded, kept, missing)
        for name in sorted({*plan.nodes, *plan.earlier, *plan.skipped})
    }
    counts = [node["status"] for node in nodes.values()]
    return NodesResult(
        status=Status.FAILED if error else Status.COMPLETED,
        nodes=nodes,
        succeeded=counts.count(str(Status.COMPLETED)),
        failed=counts.count(str(Status.FAILED)),
        skipped=counts.count(SKIPPED),
        execution_time=round(seconds, 3),
        error=error,
        truncated=bounded != kept,
        **facts,
    )


def headline(plan: NodePlan, records: Records, missing: str = NOT_STARTED) -> str | None:
    """Which nodes failed and why, in one line; None if no node failed.

    If the script's own error is the same on all of them, it stands first. Of many nodes, the first
    ones are named; the result has all of them.
    """
    failed = {node: why for node in plan.nodes if (why := _why_failed(records.get(node, ()), plan, missing))}
    failed |= {node: _why_owed(node, plan) for node in plan.owed}
    not_run = [node for node in plan.nodes if not records.get(node)]
    if not failed and not not_run:
        return None
    total = len(plan.nodes) + len(plan.earlier) + len(plan.owed)
    first = f"{len(failed)} of {nodes_in_words(total)} failed"
    rest = f"; {len(not_run)} {missing}" if not_run else ""
    if not failed:
        return f"{first}{rest}"
    room = MAX_HEADLINE - len(first) - len(rest) - len(": ")
    return f"{first}: {_failures_in(room, failed, _shared_error(failed, records))}{rest}"


def _failures_in(room: int, failed: Mapping[str, str], shared: str | None) -> str:
    """The nodes that failed and why, in so many characters."""
    if not shared:
        return _fitting([f"{node} ({why})" for node, why in failed.items()], room)
    error, then = shared.rstrip("."), ". Failed: "
    names = _fitting(list(failed), max(room - len(error) - len(then), ROOM_FOR_NAMES))
    return f"{shortened(error, room - len(then) - len(names))}{then}{names}"


def _fitting(words: Sequence[str], room: int) -> str:
    """As many of the words as have room, and how many there are if that is not all."""
    forms = (first_of(words, most) for most in range(min(len(words), MAX_NAMES), 0, -1))
    return next((form for form in forms if len(form) <= room), shortened(first_of(words, 1), room))


def successful(result: NodesResult) -> NodesResult:
    """Return the result of a success. Raises ``NodesFailedError`` with it if a node failed."""
    if result.error is not None:
        raise NodesFailedError(result.error, result=result.to_dict())
    return result


def title(node: str, plan: NodePlan, record: RunRecord) -> str:
    """The title of a run's lines in the log: its node, and how it ended."""
    run = f", run {record.index + 1} of {plan.runs}" if plan.runs > 1 else ""
    how = "completed" if record.status is Status.COMPLETED else f"failed ({record.why})"
    return f"Node {node}{run}: {how} in {record.execution_time:.1f} s"


def summary(result: NodesResult) -> str:
    """One line about the end of all runs."""
    numbers = {"succeeded": result.succeeded, "failed": result.failed, SKIPPED: result.skipped}
    counts = ", ".join(f"{number} {name}" for name, number in numbers.items() if number)
    return f"{nodes_in_words(len(result.nodes))} in {result.execution_time:.1f} s: {counts or 'none'}"


def lines(result: NodesResult) -> list[str]:
    """The end of what each run printed, as the result has it, in a group for each."""
    shown: list[str] = []
    for name, node in result.nodes.items():
        for run in node["runs"]:
            number = f", run {run['index'] + 1}" if run["index"] else ""
            shown += [f"{GROUP}Node {name}{number}: {run['status']}", *shown_text(run["output"]), END_OF_GROUP]
    return shown


def _of_node(name: str, plan: NodePlan, records: Records, before: Records, missing: str) -> dict[str, Any]:
    if name in plan.owed:
        return _entry(Status.FAILED, message=_why_owed(name, plan)) | {"runs": []}
    if name in plan.skipped:
        return _entry(SKIPPED, message=plan.skipped[name]) | {"runs": []}
    runs = records.get(name, ())
    shown: dict[str, Any] = {"runs": [run.to_dict() for run in runs]}
    if dropped := len(before.get(name, ())) - len(runs):
        shown["runs_truncated"] = dropped
    if name in plan.earlier:
        return _entry(Status.COMPLETED, message="succeeded in an earlier try") | shown
    if not before.get(name):
        return _entry(SKIPPED, message=missing) | shown
    why = _why_failed(before[name], plan, missing)
    return _entry(Status.FAILED if why else Status.COMPLETED, message=why, run=_last_failed(before[name])) | shown


def _entry(status: str, *, message: str | None, run: RunRecord | None = None) -> dict[str, Any]:
    category = str(run.category) if run and run.category else None
    return {"status": str(status), "message": message, "category": category, "reason": run.reason if run else None}


def _why_owed(node: str, plan: NodePlan) -> str:
    return f"no success in an earlier try, now left out: {plan.skipped[node]}"


def _why_failed(runs: Sequence[RunRecord], plan: NodePlan, missing: str) -> str | None:
    """Why a node counts as failed, None if it does not.

    The reason is its last failed run, a failed run that was dropped, a run whose Job was deleted
    with its record, or runs that did not start.
    """
    if failed := _last_failed(runs):
        return failed.why
    if runs and max(run.failures for run in runs):
        return "an earlier run failed"
    if unknown := plan.unknown([run.index for run in runs]):
        return f"{len(unknown)} of {plan.runs} runs of unknown outcome (their Jobs were deleted)"
    ended = max((run.index + 1 for run in runs), default=plan.runs)
    return f"{ended} of {plan.runs} runs, the others {missing}" if ended < plan.runs else None


def _shared_error(failed: Iterable[str], records: Records) -> str | None:
    """The script's own error, if it is the same on all nodes that failed."""
    last = [_last_failed(records.get(node, ())) for node in failed]
    errors = {run.error if run and run.has_own_line else None for run in last}
    return errors.pop() if len(errors) == 1 else None


def _last_failed(runs: Sequence[RunRecord]) -> RunRecord | None:
    return next((run for run in reversed(runs) if run.status is not Status.COMPLETED), None)


def _newest(runs: Iterable[RunRecord], limit: int) -> tuple[RunRecord, ...]:
    return tuple(sorted(runs, key=lambda run: run.index)[-limit:])


def _cut_to_limit(records: Records, limit: int) -> Records:
    """Cut the records to ``limit`` bytes.

    First the longest outputs and values are cut. Then the oldest runs are left out.
    """
    size = _size(records)
    if size <= limit:
        return records
    share = _fair_share([_output_size(run) for runs in records.values() for run in runs], size - limit)
    cut: Records = {node: tuple(_cut(run, share) for run in runs) for node, runs in records.items()}
    for keep in range(max(map(len, cut.values())), 1, -1):
        if _size(cut) <= limit:
            break
        cut = {node: runs[-(keep - 1) :] for node, runs in cut.items()}
    return cut


def _fair_share(sizes: Sequence[int], too_much: int) -> int:
    """Bytes that each keeps, so that all lose ``too_much`` together. Short ones stay whole."""
    left = sum(sizes) - too_much
    remaining = len(sizes)
    for size in sorted(sizes):
        if left <= 0 or size * remaining > left:
            return max(0, left // remaining)
        left, remaining = left - size, remaining - 1
    return max(sizes, default=0)


def _cut(run: RunRecord, share: int) -> RunRecord:
    """The run with its value, if that fits, and with as much of the output's end as fits."""
    value_size = _json_size(run.value) if run.value is not None else 0
    if _output_size(run) <= share:
        return run
    keeps_value = value_size <= share
    room = share - value_size if keeps_value else share
    output = run.output
    while _json_size(output) > room + len('""') and output:
        output = output[max(1, (_json_size(output) - room) // 6) :]
    return replace(
        run,
        output=output,
        output_truncated=run.output_truncated or output != run.output,
        value=run.value if keeps_value else None,
        value_truncated=run.value_truncated or not keeps_value,
    )


def _output_size(run: RunRecord) -> int:
    """Bytes of the script's output and value."""
    return _json_size(run.output) + (_json_size(run.value) if run.value is not None else 0)


def _size(records: Records) -> int:
    return sum(_json_size(run.to_dict()) for runs in records.values() for run in runs)


def _json_size(value: Any) -> int:
    return len(json.dumps(value).encode())
