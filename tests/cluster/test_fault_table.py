"""Every call meets every kind of fault: nothing hangs, nothing is left, no verdict is wrong, no line is lost."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some

from airflow_script_provider import exceptions
from airflow_script_provider.api import client as calls
from airflow_script_provider.api import watch, websocket
from airflow_script_provider.jobs import changes, log_reader
from airflow_script_provider.jobs.answers import doubt
from tests.cluster.apps import a_deployment, rolled_out
from tests.cluster.execs import run_exec
from tests.cluster.kubectl import Kubectl
from tests.cluster.node_tasks import run_nodes
from tests.cluster.tasks import TaskRun, run_task
from tests.fault_table import CALLS, ENDS, KINDS, OF_JOBS, REFUSALS, Column, columns, refusals
from tests.faulty_api import FIRST, SECOND, FaultyApi
from tests.patience import wait_for

LINES = [f"n {number}" for number in range(30)]
SCRIPT = """
import json, os, time
for number in range(30):
    print("n", number, flush=True)
    time.sleep(0.02)
print(json.dumps({"a": os.environ["A"]}))
"""
SOME_COLUMNS = some.builds(
    Column,
    subject=some.just("job"),
    is_deferred=some.booleans(),
    kinds=some.dictionaries(some.sampled_from(list(OF_JOBS)), some.sampled_from(list(KINDS)), min_size=1),
)
OWNED = "secrets,configmaps"
OURS = ("-l", "app.kubernetes.io/managed-by=airflow-script-provider")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a byte is given up after two seconds. A short script's Job is watched as well."""
    for module, name in ((calls, "CALL_READ_TIMEOUT"), (watch, "WATCH_SILENCE"), (websocket, "UPGRADE_TIMEOUT")):
        monkeypatch.setattr(module, name, 2.0)
    monkeypatch.setattr(changes, "JOB_UNWATCHED", 0.0)


@pytest.fixture(scope="module")
def app(kubectl: Kubectl, shared_namespace: str) -> None:
    """A Deployment to run in."""
    rolled_out(kubectl, a_deployment("api", shared_namespace))


def with_faults(api: FaultyApi, column: Column, numbers: range = FIRST) -> None:
    """Let each call meet its kind, at its first time where nothing else is said."""
    for call, kind in column.kinds.items():
        api.on(CALLS[column.subject][call], KINDS[kind], numbers=numbers)


def unknown_calls(api: FaultyApi, subject: str) -> list[str]:
    """What was asked of the API server and has no row in the table."""
    return [line for line in api.seen if not any(re.search(call, line) for call in CALLS[subject].values())]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("column", [one for one in columns() if one.subject != "exec"], ids=str)
def test_a_job_survives_each_kind_at_each_call(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, column: Column
) -> None:
    """Success with one Job, every line once, and nothing left but Jobs that are kept for a time (R6, R14, R19)."""
    with_faults(api, column)
    survives(api, flaky, kubectl, column)


@pytest.mark.nightly
@pytest.mark.usefixtures("impatient")
@settings(max_examples=60, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(column=SOME_COLUMNS, number=some.sampled_from([FIRST, SECOND, range(2)]))
def test_a_job_survives_combinations(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, column: Column, number: range
) -> None:
    """Kinds that hypothesis gives to some of the calls, at the first time, the second, or both (R6, R14, R19)."""
    api.calm()
    api.seen.clear()
    with_faults(api, column, number)
    survives(api, flaky, kubectl, column)


def survives(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, column: Column) -> None:
    """Run, and look at everything that must be as if there had been no faults."""
    run = run_of(column, flaky).succeeded()
    assert unknown_calls(api, column.subject) == []
    values = run.xcoms["value"].values() if column.subject == "nodes" else [run.result["value"]]
    assert list(values) == [{"a": "b"}] * len(list(values))
    assert _numbered(run) == sorted(LINES * len(list(values)), key=_number)
    assert len(kubectl.names("jobs", flaky["namespace"])) == (3 if column.subject == "nodes" else 1)
    uids = {pod["metadata"]["ownerReferences"][0]["uid"] for pod in kubectl.items("pods", flaky["namespace"])}
    assert len(kubectl.items("pods", flaky["namespace"])) == len(uids), "each Job has had one pod"
    kubectl("delete", "jobs", "--all", "-n", flaky["namespace"])
    wait_for(lambda: not kubectl.names(OWNED, flaky["namespace"], *OURS), "the end of what the Jobs owned")


@pytest.mark.usefixtures("impatient", "app")
@pytest.mark.parametrize("column", [one for one in columns() if one.subject == "exec"], ids=str)
def test_an_exec_survives_each_kind_at_each_call(api: FaultyApi, shared: dict[str, Any], column: Column) -> None:
    """A connection that is lost after it was granted has an unknown outcome; all else is a success (R1, R14)."""
    with_faults(api, column)
    run = run_exec(script=SCRIPT, env={"A": "b"}, **shared | {"config_file": api.kubeconfig})
    assert unknown_calls(api, "exec") == []
    if column.kinds["connect"] == "lost":
        assert run.result["category"] == "ConnectionBroken"
        return
    run.succeeded()
    assert run.result["value"] == {"a": "b"}
    assert _numbered(run) == LINES


@pytest.mark.usefixtures("impatient", "app")
@pytest.mark.parametrize("column", list(refusals()), ids=str)
def test_what_does_not_pass(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, column: Column, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal for good ends the run with nothing left, or changes no verdict, and is told (R1, R6, R13)."""
    monkeypatch.setattr(log_reader, "FINAL_PATIENCE", 2.0)
    if column.kinds.keys() & ENDS[column.subject]:  # otherwise the run is over before the refusal is believed
        for module in (watch, doubt):
            monkeypatch.setattr(module, "REFUSAL_PATIENCE", 0.0)
    for call, name in column.kinds.items():
        api.on(CALLS[column.subject][call], REFUSALS[name])
    run = run_of(column, flaky)
    if column.kinds.keys() & ENDS[column.subject]:
        assert isinstance(run.error, exceptions.ScriptProviderError)
        wait_for(lambda: not kubectl.names(f"jobs,pods,{OWNED}", flaky["namespace"], *OURS), "the end of all objects")
        return
    run.succeeded()
    assert any("refused for good" in line for line in run.warnings)


def run_of(column: Column, where: dict[str, Any]) -> TaskRun:
    """Run the script as the column says."""
    where = {"script": SCRIPT, "env": {"A": "b"}, **where}
    if column.subject == "exec":
        return run_exec(**{name: value for name, value in where.items() if name != "image"})
    run = run_nodes if column.subject == "nodes" else run_task
    return run(deferrable=column.is_deferred, **where)


def _numbered(run: TaskRun) -> list[str]:
    return sorted((line for line in run.lines if re.fullmatch(r"n \d+", line)), key=_number)


def _number(line: str) -> int:
    return int(line.removeprefix("n "))
