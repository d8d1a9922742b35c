"""Generated combinations of faults on the way to a recorded run: its verdict and its lines stay what they are.

``make test-nightly`` does the same to the real API server (``tests/cluster/test_fault_table.py``).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as some

from airflow_script_provider import exceptions
from airflow_script_provider.api import client as calls
from airflow_script_provider.api import watch
from airflow_script_provider.hooks.script import KubernetesScriptHook
from airflow_script_provider.jobs import changes, log_reader
from airflow_script_provider.result import ScriptResult
from tests.builders import a_kubeconfig
from tests.fault_table import ENDS, KINDS, OF_JOBS, REFUSALS
from tests.faulty_api import ALWAYS, Fault, FaultyApi, faulty_api
from tests.patience import PATIENCE
from tests.recorded_api import FAILING_SCRIPT, LINES, PODS_OF_FAILURE, SCRIPT, RecordedApi
from tests.requests_made import kind_of
from tests.servers import serving

QUICK = {
    name: replace(fault, late=fault.late / 10, retry_after=None, delay=fault.delay and 5)
    for name, fault in KINDS.items()
}
"""The kinds, with the shorter times of these runs."""
ENV = {"A": "b"}
LATER = 20
"""Seconds by which an answer is later than the others, also on a busy machine."""
NUMBERS = [{0}, {1}, {0, 1}]
"""The first request of a call, the second one, or both."""
COMBINATIONS = some.dictionaries(
    some.sampled_from(list(OF_JOBS.values())),
    some.tuples(some.sampled_from(list(QUICK.values())), some.sampled_from(NUMBERS)),
    min_size=1,
)


@pytest.fixture(scope="module", autouse=True)
def hasty() -> Iterator[None]:
    """Short pauses, patience of a fraction of a second where nothing is heard, and none with a refusal.

    The Job is watched from its creation, so that its watch meets the faults.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "uniform", lambda _low, _high: 0.02)
        for module, name in ((calls, "CALL_READ_TIMEOUT"), (watch, "WATCH_SILENCE"), (log_reader, "FIRST_SILENCE")):
            patch.setattr(module, name, 0.4)
        patch.setattr(watch, "REFUSAL_PATIENCE", 0.0)
        patch.setattr(changes, "JOB_UNWATCHED", 0.0)
        yield


def run_through(
    folder: Path, recorded: RecordedApi, faults: dict[str, Any], script: str, env: dict[str, str] | None = ENV
) -> ScriptResult:
    """Run a script on the recorded API server, with these faults on the way."""
    with faulty_api(_kubeconfig(folder, recorded.url), folder) as api:
        _make(api, faults)
        hook = KubernetesScriptHook(config_file=api.kubeconfig)
        try:
            return hook.run(script, namespace="etl", image="python:3.11-slim", env=env, backoff_limit=1)
        finally:
            recorded.is_over = True


@settings(max_examples=30, phases=[Phase.generate])
@given(faults=COMBINATIONS)
def test_a_success_stays_one(tmp_path_factory: pytest.TempPathFactory, faults: dict[str, Any]) -> None:
    """One Job, every line once and in order, the value, and nothing left (R6, R14, R19)."""
    with serving(RecordedApi("success")) as recorded:
        result = run_through(tmp_path_factory.mktemp("run"), recorded, faults, SCRIPT)
    assert (result.exit_code, result.value, result.output.splitlines()) == (0, {"a": "b"}, LINES)
    assert _is_tidy(recorded)


@settings(max_examples=30, phases=[Phase.generate])
@given(faults=COMBINATIONS)
def test_a_failure_stays_one(tmp_path_factory: pytest.TempPathFactory, faults: dict[str, Any]) -> None:
    """The exit code, both attempts and the last one's lines (R6, R14, R19)."""
    with serving(RecordedApi("failure")) as recorded, pytest.raises(exceptions.ScriptFailedError) as failed:
        run_through(tmp_path_factory.mktemp("run"), recorded, faults, FAILING_SCRIPT)
    result = failed.value.result
    assert result is not None
    assert (result.exit_code, len(result.attempts)) == (7, PODS_OF_FAILURE)
    assert result.output.splitlines() == LINES
    assert _is_tidy(recorded)


@pytest.mark.parametrize(
    ("env", "more"), [(None, []), ({"A": "b"}, ["POST secrets", "DELETE secrets"])], ids=["without env", "with env"]
)
def test_what_a_short_success_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str] | None, more: list[str]
) -> None:
    """Its Job is not watched, and no right asked for beforehand; a log is followed only while its script runs (R39)."""
    monkeypatch.setattr(changes, "JOB_UNWATCHED", PATIENCE)
    with serving(RecordedApi("success")) as recorded:
        run_through(tmp_path, recorded, {}, SCRIPT, env)
    always = ["POST jobs", "POST configmaps", "WATCH pods", "GET pods/log", "PATCH jobs"]
    asked = [kind_of(f"{request.method} {request.path}") for request in recorded.requests]
    assert sorted(one for one in asked if one != "GET pods/log follow") == sorted([*always, *more])


def test_the_command_line_runs_a_job_without_airflow(tmp_path: Path) -> None:
    """Its import takes seconds, and a run with a kubeconfig needs nothing of it (R39)."""
    program = (
        "import sys; from airflow_script_provider.cli.main import main; code = main(sys.argv[1:]); "
        "print('airflow' in sys.modules, code, file=sys.stderr)"
    )
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with serving(RecordedApi("success")) as recorded:
        environment = {**os.environ, "KUBECONFIG": _kubeconfig(tmp_path, recorded.url)}
        command = [sys.executable, "-c", program, "run", "-x", "job", "-n", "etl", "-e", "A=b", str(script)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == LINES
    assert done.stderr.endswith("False 0\n")


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("call", OF_JOBS)
def test_a_refusal_for_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, call: str, refusal: str
) -> None:
    """It ends the run with the server's words and without the Job, or changes nothing (R1, R6, R26)."""
    if call == "read the log":  # it is never read, so waiting for it longer shows nothing more
        monkeypatch.setattr(log_reader, "FINAL_PATIENCE", 0.2)
    faults = {OF_JOBS[call]: (REFUSALS[refusal], ALWAYS)}
    with serving(RecordedApi("success")) as recorded:
        if refusal in ENDS["job"].get(call, ()):
            if call == "watch the Job":  # the pod's success, which needs no watch of the Job, is heard of later
                faults |= {OF_JOBS[one]: (Fault(delay=LATER), ALWAYS) for one in ("watch its pods", "list its pods")}
            with pytest.raises(exceptions.ScriptProviderError, match=f"{refusal}.*: refused for good"):
                run_through(tmp_path, recorded, faults, SCRIPT)
            assert not any("/jobs/" in name for name in recorded.objects)
            return
        result = run_through(tmp_path, recorded, faults, SCRIPT)
    has_log = call != "read the log"
    assert (result.exit_code, result.value) == (0, {"a": "b"} if has_log else None)
    assert result.output.splitlines() == (LINES if has_log else [])
    assert has_log or "refused for good" in capsys.readouterr().out, "a log that is missing is told"


def _kubeconfig(folder: Path, server: str) -> str:
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(a_kubeconfig(server, token="t")))
    return str(path)


def _make(api: FaultyApi, faults: dict[str, Any]) -> None:
    for requests, (fault, numbers) in faults.items():
        api.on(requests, fault, numbers=numbers)


def _is_tidy(recorded: RecordedApi) -> bool:
    """Whether one Job was made, and all that is left is that Job and the script that it owns."""
    made = [path for path in recorded.granted if path.endswith("/jobs")]
    return len(made) == 1 and sorted(name.split("/")[-2] for name in recorded.objects) == ["configmaps", "jobs"]
