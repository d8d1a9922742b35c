"""A network that loses, delays and refuses: no wrong verdict, no second Job, no lost line, nothing left behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_script_provider import exceptions
from airflow_script_provider.api import client as calls
from airflow_script_provider.api import watch
from airflow_script_provider.jobs import changes, job_logs
from airflow_script_provider.jobs.nodes import creating
from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.cluster.accounts import author
from tests.cluster.conftest import UNHURRIED
from tests.cluster.kubectl import Kubectl
from tests.cluster.node_tasks import SAYS_WHERE, run_nodes
from tests.cluster.tasks import TaskRun, meanwhile, run_and_kill, run_task, wait_until_logged
from tests.cluster.told_to_end import STEPS, UNTIL_TOLD, tell_all
from tests.fault_table import LOGIN_PAGE
from tests.faulty_api import ALL_BUT_THE_FIRST, FIRST, SECOND, TWO_OF_THREE, Fault, FaultyApi
from tests.patience import LONG, wait_for, with_time_to_begin

CREATE = r"^POST .*/{}\?"
WATCH = r"^GET .*[?&]watch=1"
WATCH_PODS = r"^GET .*/pods\?.*watch=1"
WATCH_JOBS = r"^GET .*/jobs\?.*watch=1"
LIST_PODS = r"^GET .*/pods\?(?!.*watch=1)"
GET_JOB = r"^GET .*/jobs/"
LOG = r"^GET .*/log\?"
DELETE = r"^DELETE "

CONFLICT = Fault(
    status=409,
    reason="Conflict",
    message='Operation cannot be fulfilled on resourcequotas "q": the object has been modified',
)
GONE = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}})
NUMBERED = f"""
{STEPS}
for i in range(40):
    print("n", i)
    time.sleep(0.1)
    i == 20 and wait("")
"""
QUIET = f"print('begun')\n{UNTIL_TOLD}print('[7]')"
ENDLESS = f"import time\ntime.sleep({LONG})"
OURS = ("-l", "app.kubernetes.io/managed-by=airflow-script-provider")


@pytest.fixture(autouse=True)
def with_a_watch_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a short script's Job is watched, so that its watch meets what the network does."""
    monkeypatch.setattr(changes, "JOB_UNWATCHED", 0.0)


def on_nodes(waiting: dict[str, Any]) -> dict[str, Any]:
    """The same way of waiting, as the node operator takes it."""
    return {"deferrable": bool(waiting)}


def run_until(happened: Callable[[], object], what: str, kubectl: Kubectl, **arguments: Any) -> TaskRun:
    """Run a script that waits, and let it go on when something has happened."""

    def go_on() -> None:
        wait_for(happened, what)
        tell_all(kubectl, arguments["namespace"])

    telling = meanwhile(go_on)
    run = run_task(**arguments)
    telling.join()
    return run


@pytest.mark.parametrize(
    "fault",
    [Fault(status=429, retry_after=1), Fault(status=500), Fault(status=503), Fault(lost=True)],
    ids=["429", "500", "503", "lost"],
)
def test_two_of_three_calls_fail(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, fault: Fault) -> None:
    """Overload and errors are waited out: success with one Job (R14)."""
    api.on(".", fault, numbers=TWO_OF_THREE)
    run = run_task(script="print('[1]')", env={"A": "b"}, **flaky).succeeded()
    assert run.result["value"] == [1]
    assert len(kubectl.names("jobs", flaky["namespace"])) == 1


@pytest.mark.parametrize("resource", ["jobs", "secrets", "configmaps"])
def test_lost_answer_of_a_create(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, resource: str) -> None:
    """A create whose answer is lost is found again by its name (R6)."""
    api.on(CREATE.format(resource), Fault(lost=True), numbers=FIRST)
    run_task(script="print(1)", env={"A": "b"}, **flaky).succeeded()
    assert len(kubectl.names("jobs", flaky["namespace"])) == 1


@pytest.mark.parametrize("resource", ["jobs", "secrets", "configmaps"])
def test_lost_answer_with_the_role_of_the_docs(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, resource: str
) -> None:
    """The same without any right beyond those in the docs (R6, R17)."""
    config = author(kubectl, flaky["namespace"], api.kubeconfig)
    Path(api.kubeconfig).write_text(yaml.safe_dump(config))
    api.on(CREATE.format(resource), Fault(lost=True), numbers=FIRST)
    run_task(script="print(1)", env={"A": "b"}, **flaky).succeeded()
    assert len(kubectl.names("jobs", flaky["namespace"])) == 1


@pytest.mark.parametrize("timeout", [600, None])
def test_all_answers_of_a_create_are_lost(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, timeout: int | None
) -> None:
    """The Job is found by its name, and the run goes on with it (R6)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 1.0)
    api.on(CREATE.format("jobs"), Fault(lost=True))
    run = run_task(script="print([1])", timeout=timeout, **flaky).succeeded()
    assert run.result["value"] == [1]
    assert len(kubectl.names("jobs", flaky["namespace"])) == 1


@pytest.mark.parametrize("fault", [Fault(lost=True), Fault(reset=True)], ids=["created", "not created"])
def test_nothing_is_known_of_a_job(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """The error has the line that removes what may be there, though nothing else would (R6)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 1.0)
    api.on(CREATE.format("jobs"), fault)
    api.on(GET_JOB, Fault(reset=True))
    run = run_task(script="print(1)", timeout=None, **flaky)
    assert isinstance(run.error, exceptions.ApiUnreachableError)
    (_, command) = str(run.error).splitlines()[1].split(" Run: kubectl ")
    kubectl(*command.split(), "--ignore-not-found")
    wait_for(lambda: not kubectl.names("jobs,pods,secrets,configmaps", flaky["namespace"], *OURS), "the end of all")


def test_all_answers_of_creates_on_nodes_are_lost(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, waiting: dict[str, Any]
) -> None:
    """Each node runs the script once: its Job is found by its name (R6)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 1.0)
    monkeypatch.setattr(creating, "CREATE_ATTEMPTS", 2)
    api.on(CREATE.format("jobs"), Fault(lost=True), numbers=ALL_BUT_THE_FIRST)
    run = run_nodes(script=SAYS_WHERE, **flaky, **on_nodes(waiting)).succeeded()
    assert run.result["succeeded"] == 2
    assert len(kubectl.names("jobs", flaky["namespace"])) == 3


@pytest.mark.parametrize("resource", ["jobs", "secrets", "configmaps"])
def test_conflict_of_a_create(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, resource: str) -> None:
    """A create that another writer of the quota was faster than is repeated, not taken for done (R34)."""
    api.on(CREATE.format(resource), CONFLICT, numbers=range(3))
    run = run_task(script="print([1])", env={"A": "b"}, **flaky).succeeded()
    assert run.result["value"] == [1]
    assert api.count(CREATE.format(resource)) == 4
    assert len(kubectl.names("jobs", flaky["namespace"])) == 1


def test_conflicts_on_nodes(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any]) -> None:
    """Each node runs the script once, however often the creates of its Jobs conflict (R34)."""
    api.on(CREATE.format("jobs"), CONFLICT, numbers=range(1, 5))
    run = run_nodes(script=SAYS_WHERE, **flaky, **on_nodes(waiting)).succeeded()
    assert run.xcoms["value"] == {name: {"node": name, "run": 0} for name in ("node-1", "node-2")}
    assert len(kubectl.names("jobs", flaky["namespace"])) == 3


def test_nodes_whose_jobs_are_never_created(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any]
) -> None:
    """A run on a node has an end though nothing of it is in the cluster; no Job is left (R5, R34)."""
    api.on(CREATE.format("jobs"), CONFLICT, numbers=ALL_BUT_THE_FIRST)
    run = run_nodes(script=SAYS_WHERE, startup_timeout=5, timeout=None, **flaky, **on_nodes(waiting))
    assert run.headline == "2 of 2 nodes failed: node-1 (StartupTimeout), node-2 (StartupTimeout)"
    assert len(kubectl.names("jobs", flaky["namespace"])) == 1, "the owner's"


def test_the_owner_of_runs_that_are_never_created_is_deleted(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, waiting: dict[str, Any]
) -> None:
    """The runs end with it, although no Job of theirs can be deleted (R9, R34)."""

    def delete_owner() -> None:
        wait_for(lambda: api.count(CREATE.format("jobs")) > 2, "creates that conflict")
        (owner,) = kubectl.names("jobs", flaky["namespace"])
        kubectl("delete", "job", owner, "-n", flaky["namespace"])

    api.on(CREATE.format("jobs"), CONFLICT, numbers=ALL_BUT_THE_FIRST)
    deleting = meanwhile(delete_owner)
    run = run_nodes(script=SAYS_WHERE, timeout=None, **flaky, **on_nodes(waiting))
    deleting.join()
    assert isinstance(run.error, exceptions.NodesFailedError)
    assert "deleted" in str(run.error).lower(), "in the triggerer, too: the worker that resumes finds no owner"
    assert kubectl.names("jobs", flaky["namespace"]) == []


@pytest.mark.parametrize(
    "request_line",
    [CREATE.format("jobs"), CREATE.format("configmaps"), WATCH_PODS, WATCH_JOBS, LOG, "^PATCH .*/jobs/"],
)
@pytest.mark.parametrize("status", [200, 404])
def test_a_proxy_answers_for_a_moment(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, request_line: str, status: int
) -> None:
    """Its pages are neither objects, nor events, nor output, nor the word that the Job is gone (R9, R14, R19)."""
    api.on(request_line, replace(LOGIN_PAGE, status=status), numbers=range(2))
    run = run_task(script="print('[1]')", **flaky).succeeded()
    assert (run.result["output"], run.result["value"]) == ("[1]\n", [1])
    assert len(kubectl.names("jobs", flaky["namespace"])) == 1
    assert not any("<html>" in line for line in run.lines)


@pytest.mark.parametrize("request_line", [".", CREATE.format("jobs"), WATCH_PODS, WATCH_JOBS])
def test_a_proxy_answers_for_ever(
    api: FaultyApi, flaky: dict[str, Any], monkeypatch: pytest.MonkeyPatch, request_line: str
) -> None:
    """Whatever call it is, the error is the same, and comes when the patience is over (R10, R14, R22)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 1.0)
    monkeypatch.setattr(watch, "WATCH_PATIENCE", 5.0)
    api.on(request_line, LOGIN_PAGE)
    run = run_task(script=ENDLESS, **flaky)
    assert "not a Kubernetes API answer from http://127.0.0.1:" in run.headline
    assert ": an HTML page (status 200). Check the Kubernetes connection and proxies on the way." in run.headline


def test_refused_secret_takes_the_job_along(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl) -> None:
    """Where the Secret may not be created the error is that refusal, and the Job goes again (R6)."""
    api.on(CREATE.format("secrets"), Fault(status=403, message='User "x" cannot create resource "secrets"'))
    run = run_task(script="print(1)", env={"A": "b"}, **flaky)
    assert isinstance(run.error, exceptions.ApiForbiddenError)
    assert 'User "x" cannot create resource "secrets"' in str(run.error)
    wait_for(lambda: not kubectl.names("jobs,pods,secrets,configmaps", flaky["namespace"], *OURS), "the end of all")


@pytest.mark.parametrize(
    "fault",
    [*(Fault(status=status) for status in (400, 403, 404, 410, 429, 500)), Fault(cut=2)],
    ids=["400", "403", "404", "410", "429", "500", "cut"],
)
def test_log_fails_for_a_while(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, fault: Fault) -> None:
    """A log that cannot be read five times is declared and then read from where it stopped (R13, R19)."""
    api.on(LOG, fault, numbers=range(5))
    run = run_until(lambda: api.count(LOG) > 5, "the log is read", kubectl, script=NUMBERED, **flaky).succeeded()
    assert [line for line in run.lines if line.startswith("n ")] == [f"n {i}" for i in range(40)]
    assert any("The log of pod" in line and "interrupted" in line for line in run.warnings)


def test_log_is_refused_once(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl) -> None:
    """One 403, as a restarting API server gives, does not end the log (R13)."""
    api.on(LOG, Fault(status=403, message='User "x" cannot get resource "pods/log"'), numbers=FIRST)
    run = run_until(lambda: api.count(LOG) > 1, "the log is read", kubectl, script=NUMBERED, **flaky).succeeded()
    assert [line for line in run.lines if line.startswith("n ")] == [f"n {i}" for i in range(40)]


def test_end_of_a_burst_is_written_late(api: FaultyApi, flaky: dict[str, Any]) -> None:
    """What the node had not yet written when the container's end was known is read, too (R19)."""
    api.on(f"{LOG}.*follow=true", Fault(size=100_000))
    api.on(f"{LOG}.*follow=false", Fault(size=150_000), numbers=FIRST)
    run = run_task(script="for i in range(5_000): print('n', i)", **flaky).succeeded()
    assert [line for line in run.lines if line.startswith("n ")] == [f"n {i}" for i in range(5_000)]


def test_slow_log_is_read_to_its_end(api: FaultyApi, flaky: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What bounds the log after the script's end is a lack of progress, not its length (R19)."""
    monkeypatch.setattr(job_logs, "LOG_MARGIN", 12.0)
    api.on(LOG, Fault(rate=20_000))  # nineteen seconds
    run = run_task(script="for i in range(4_000): print('n', i, 'x' * 55)", **flaky).succeeded()
    assert [line.split()[1] for line in run.lines if line.endswith("x" * 55)] == [str(i) for i in range(4_000)]


def test_watches_that_are_cut_all_the_time(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load balancer that cuts idle connections does not use up the patience: the server does answer (R14)."""
    monkeypatch.setattr(watch, "WATCH_PATIENCE", 12.0)
    api.on(WATCH, Fault(cut=1.5))

    def took_longer() -> bool:
        return api.count(WATCH_JOBS) > 10

    run = run_until(took_longer, "ten watches, one after the other", kubectl, script=QUIET, **flaky).succeeded()
    assert run.result["value"] == [7]


def test_watches_that_end_at_once_are_not_hammered(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl) -> None:
    """A watch that ends well at once every time is opened anew at a bounded rate (R14)."""
    began = time.monotonic()
    api.on(WATCH, Fault(end=0.02))
    run = run_until(lambda: api.count(WATCH_JOBS) >= 8, "eight watches", kubectl, script=QUIET, **flaky).succeeded()
    assert run.result["value"] == [7]
    # Three watches, each with pauses of at least five seconds after seven shorter ones.
    assert api.count(WATCH) <= 3 * (8 + (time.monotonic() - began) / 5)


def test_lost_position_while_the_server_is_overloaded(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch whose position is lost lists with its own patience, not with that of a single call (R14)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 1.0)
    api.on(WATCH_PODS, Fault(cut=3), numbers=FIRST)
    api.on(WATCH_PODS, Fault(status=200, body=GONE + "\n"), numbers=SECOND)
    api.on(LIST_PODS, Fault(status=503), numbers=range(10))  # more than a single call makes in a second
    run = run_until(lambda: api.count(LIST_PODS) > 10, "a list", kubectl, script=QUIET, **flaky).succeeded()
    assert run.result["value"] == [7]


def test_pods_that_are_seen_after_the_jobs_end(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl) -> None:
    """When the Job's end is known before its pods are, they are waited for: the result is complete (R21)."""

    def is_over() -> bool:
        return any(job["status"].get("succeeded") for job in kubectl.items("jobs", flaky["namespace"]))

    def end_faults() -> None:
        wait_for(is_over, "the end of the Job")
        api.calm()

    api.on(WATCH_PODS, Fault(status=503))
    helper = meanwhile(end_faults)
    run = run_task(script="print('[1]')", **flaky).succeeded()
    helper.join()
    assert run.result["pod_name"].startswith(run.result["job_name"])
    assert (run.result["exit_code"], run.result["output"], run.result["value"]) == (0, "[1]\n", [1])


def test_a_watch_that_tells_nothing_does_not_end_a_healthy_script(api: FaultyApi, flaky: dict[str, Any]) -> None:
    """Before a script counts as not begun, the API server is asked: the watch may be dead (R5, R14)."""

    def run(seconds: float) -> TaskRun:
        api.calm()
        api.on(WATCH_PODS, Fault(late=LONG), numbers=FIRST)
        script = f"import time\ntime.sleep({2 * seconds})\nprint('[1]')"
        return run_task(script=script, startup_timeout=seconds, **flaky)

    _, done = with_time_to_begin(run, lambda done: done.result["category"] != "StartupTimeout")
    assert (done.succeeded().result["exit_code"], done.result["value"]) == (0, [1])


@pytest.mark.parametrize("status", [401, 403])
def test_watch_is_refused_once(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, status: int) -> None:
    """One 401 or 403 in the middle, as while credentials or an API server are renewed, ends nothing (R14, R16)."""
    api.on(WATCH_PODS, Fault(cut=3), numbers=FIRST)
    api.on(WATCH_PODS, Fault(status=status, message='User "x" cannot watch resource "pods"'), numbers=SECOND)
    run = run_until(lambda: api.count(WATCH_PODS) > 2, "a watch", kubectl, script=QUIET, **flaky).succeeded()
    assert run.result["value"] == [7]


@pytest.mark.parametrize(
    "request_line",
    [CREATE.format("configmaps"), "^PATCH .*/jobs/", WATCH_JOBS],
)
def test_credentials_are_refused_for_a_moment(
    api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, request_line: str
) -> None:
    """An authenticator that flaps once it has granted a call, also right after a renewal, ends nothing (R14, R16)."""
    api.on(request_line, Fault(status=401, message="Unauthorized"), numbers=range(4))
    if request_line == WATCH_JOBS:  # a script that ends earlier needs no watch
        script = f"{UNTIL_TOLD}print([1])"
        run = run_until(lambda: api.count(request_line) > 4, "a granted watch", kubectl, script=script, **flaky)
    else:
        run = run_task(script="print([1])", **flaky)
    assert (run.succeeded().result["value"], run.warnings) == ([1], [])
    assert api.count(request_line) > 4


def test_outage_in_the_middle(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl) -> None:
    """An API server that cannot be reached a dozen times fails nothing, and no line is lost (R14, R19)."""

    def outage() -> None:
        wait_until_logged("n 5")
        api.outage(12)
        tell_all(kubectl, flaky["namespace"])

    helper = meanwhile(outage)
    run = run_task(script=NUMBERED, **flaky).succeeded()
    helper.join()
    assert [line for line in run.lines if line.startswith("n ")] == [f"n {i}" for i in range(40)]


@pytest.mark.usefixtures("unhurried")
def test_second_signal_does_not_spare_the_job(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl) -> None:
    """A second SIGTERM while the Job is being deleted does not interrupt that (R1)."""
    api.on(DELETE, Fault(delay=2))
    operator = KubernetesScriptOperator(task_id="task", script=ENDLESS, **flaky)
    is_read, is_deleted = (partial(wait_for, partial(api.count, calls), calls) for calls in (LOG, DELETE))
    run = run_and_kill(operator, is_read, is_deleted)
    assert isinstance(run.error, exceptions.RunKilledError)
    assert kubectl.items("jobs", flaky["namespace"]) == []


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("seconds", [1.5, UNHURRIED - 5])
def test_kill_while_the_job_is_created(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl, seconds: float) -> None:
    """A SIGTERM before the answer of the create comes leaves no Job (R1, R6)."""
    api.on(CREATE.format("jobs"), Fault(late=seconds))
    operator = KubernetesScriptOperator(task_id="task", script=ENDLESS, **flaky)
    run = run_and_kill(operator, lambda: wait_for(lambda: api.count(CREATE.format("jobs")), "the create"))
    assert isinstance(run.error, exceptions.RunKilledError)
    assert kubectl.items("jobs", flaky["namespace"]) == []


def test_kill_while_the_server_is_out_of_reach(api: FaultyApi, flaky: dict[str, Any], kubectl: Kubectl) -> None:
    """A Job that could not be deleted is not called deleted, and the line that deletes it is there (R1)."""
    api.on(DELETE, Fault(reset=True))
    operator = KubernetesScriptOperator(task_id="task", script=ENDLESS, **flaky)
    run = run_and_kill(operator, lambda: wait_for(lambda: api.count(LOG), "the log"))
    job = kubectl.names("jobs", flaky["namespace"])[0]
    assert isinstance(run.error, exceptions.RunKilledError)
    assert "could not be deleted" in str(run.error)
    assert f"kubectl -n {flaky['namespace']} delete job {job}" in str(run.error)


@pytest.mark.parametrize("without", [{"timestamps"}, {"timestamps", "follow"}], ids=["stamps", "stamps and follow"])
def test_a_log_without_time_stamps_is_output(api: FaultyApi, flaky: dict[str, Any], without: set[str]) -> None:
    """A node or a proxy that drops the time stamps costs no line and no value, and is named once (R19, R21)."""
    api.on(LOG, Fault(without=frozenset(without)))
    script = "import time\nprint('hello', flush=True)\ntime.sleep(2)\nprint('{\"rows\": 3}')"
    run = run_task(script=script, **flaky).succeeded()
    assert (run.result["output"], run.xcoms["value"]) == ('hello\n{"rows": 3}\n', {"rows": 3})
    assert (run.lines.count("hello"), sum("has no time stamps" in line for line in run.lines)) == (1, 1)
    assert not [line for line in run.lines if "hello" in line and line != "hello"]


@pytest.mark.parametrize("deferrable", [False, True])
def test_nodes_whose_pods_no_watch_brings(api: FaultyApi, flaky: dict[str, Any], deferrable: bool) -> None:
    """A watch that is open and silent costs neither exit code nor output: the API server is asked (R13, R21)."""
    api.on("GET .*/pods.*watch=1", Fault(delay=LONG))
    run = run_nodes(script="print('[1]')", deferrable=deferrable, **flaky).succeeded()
    assert run.xcoms["value"] == {"node-1": [1], "node-2": [1]}
    entries = run.result["nodes"].values()
    assert [one["runs"][0]["exit_code"] for one in entries] == [0, 0]
