"""Lines that a trigger has held: a worker shows those of which it can mask the secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_script_provider.clusters.access import ClusterRef
from airflow_script_provider.exceptions import ConnectionFieldError
from airflow_script_provider.hooks import _held
from airflow_script_provider.hooks._held import left_to_trigger, why_not_shown
from airflow_script_provider.hooks.script import ScriptTaskRun
from airflow_script_provider.kube.hiding import check_digits
from airflow_script_provider.kube.job.follow_state import FollowState, JobEnd, Kept, to_event
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.kube.job.verdict import Cause, Verdict
from airflow_script_provider.kube.request import provenance
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.run_log import NoRunLog
from airflow_script_provider.sources.file import FileScript
from airflow_script_provider.sources.inline import InlineScript
from tests.builders import a_launched_job, a_pod, a_request, a_script, a_view
from tests.kept_log import KeptLog

TEXT, LAUNCHED = "print('a password')\n", {"API_TOKEN": "launched-token"}
OTHER_VALUES, OF_SCRIPT = "the values of env", "there is a secret in the script itself"


def a_held_job(*, held_by_script: bool = False, files: dict[str, str] | None = None) -> LaunchedJob:
    """A Job that was launched with a secret."""
    shown = provenance.of_files({path: a_script(text) for path, text in (files or {}).items()})
    digits = check_digits(ScriptInputs(script=TEXT, env=LAUNCHED).values)
    return a_launched_job(
        script=a_script(TEXT).facts, files=shown, check_digits=digits, holds_lines=True, held_by_script=held_by_script
    )


def rendered(script: Any = TEXT, files: Any = None, **env: str) -> ScriptInputs:
    """The inputs as a worker has rendered them."""
    script = InlineScript(script) if isinstance(script, str) else script
    return ScriptInputs(script=script, env=LAUNCHED | env, files=files)


@pytest.mark.parametrize(
    ("job", "inputs", "why"),
    [
        (a_launched_job(), None, ""),
        (a_launched_job(check_digits="abc"), rendered(), ""),
        (a_held_job(), rendered(), ""),
        (a_held_job(), rendered(FileScript("other.py")), ""),
        (a_held_job(), None, OTHER_VALUES),
        (a_held_job(), rendered(API_TOKEN="another-token"), OTHER_VALUES),
        (a_held_job(held_by_script=True), rendered(), ""),
        (a_held_job(held_by_script=True), rendered("print('another password')\n"), OF_SCRIPT),
        (a_held_job(held_by_script=True), ScriptInputs(script="inline, 20 bytes", env=LAUNCHED), OF_SCRIPT),
        (a_held_job(held_by_script=True), rendered(FileScript("load.py")), OF_SCRIPT),
        (a_held_job(held_by_script=True, files={"a": "1"}), rendered(files={"a": InlineScript("1")}), ""),
        (a_held_job(held_by_script=True, files={"a": "1"}), rendered(files={"a": InlineScript("2")}), OF_SCRIPT),
    ],
)
def test_lines_are_shown_where_their_secrets_are_masked(
    job: LaunchedJob, inputs: ScriptInputs | None, why: str
) -> None:
    """A worker masks what it has rendered, and knows no other secret of the script (R26)."""
    found = why_not_shown(job, inputs)
    assert found.startswith(why)
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    ("request_of", "holds_lines", "held_by_script"),
    [
        ({}, False, False),
        ({"env": {"A": "a password"}}, True, False),
        ({"files": {"a": a_script("a password")}}, True, True),
        ({"script": TEXT, "env": {"A": "another password"}}, True, True),
        ({"script": TEXT, "env": {"A": "password"}}, True, False),
        ({"script": TEXT, "args": {"login": {"secret": "password"}}}, True, False),
    ],
)
def test_the_row_says_where_a_secret_is(
    monkeypatch: pytest.MonkeyPatch, request_of: dict[str, Any], holds_lines: bool, held_by_script: bool
) -> None:
    """The worker that resumes the task may not render the script (R26)."""

    def masked(text: str) -> str:
        return text.replace("password", "***")

    monkeypatch.setattr(_held, "masked", masked)
    monkeypatch.setattr("airflow_script_provider.hooks._prepare.masked", masked)
    left = left_to_trigger(a_launched_job(), a_request(**request_of))
    assert (left.holds_lines, left.held_by_script) == (holds_lines, held_by_script)
    assert LaunchedJob.from_dict(json.loads(json.dumps(left.to_dict()))) == left


@pytest.mark.parametrize("token", ["launched-token", "another-token"])
def test_a_worker_shows_no_line_that_it_cannot_mask(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Not even in the failure; a token may be another one each time it is rendered (R22, R26)."""
    log = KeptLog()

    def run_log(_: object, *, get_logs: bool = True) -> Any:
        log.output = log.output if get_logs else NoRunLog().output  # type: ignore[method-assign]
        return log

    def refuse(_: object) -> None:
        raise ConnectionFieldError("connection x: not a valid field")

    monkeypatch.setattr(ScriptTaskRun, "run_log", run_log)
    monkeypatch.setattr(ClusterRef, "resolve", refuse)
    kept = Kept("RuntimeError: launched-token\n", 29)
    end = JobEnd(Verdict(Cause.SCRIPT_FAILED, "uid-load-x1"), a_view(a_pod(exit_code=1)), 1.0, FollowState(), kept)
    event = json.loads(json.dumps(to_event(a_held_job().to_dict(), end)))
    run = ScriptTaskRun(ClusterRef(None, config_file="/none"), object())  # type: ignore[arg-type]
    outcome = run.resume(event, rendered(API_TOKEN=token))
    is_shown = token == "launched-token"
    assert ("RuntimeError: launched-token" in log.lines) == is_shown
    assert any("the secrets in them cannot be masked" in note for note in log.notes) != is_shown
    assert bool(outcome.last_lines) == is_shown
    assert outcome.diagnosis is not None
    assert "launched-token" not in outcome.diagnosis.headline
