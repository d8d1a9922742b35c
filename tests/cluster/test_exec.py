"""Scripts and commands in running pods."""

from __future__ import annotations

import base64
import hashlib
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.execution_time.timeout import timeout as airflow_timeout

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowFailException, AirflowSkipException, AirflowTaskTimeout
from airflow_script_provider.execs import session
from tests.cluster.apps import NO_SHELL, a_deployment, nothing_runs, pods_of, processes_in, rolled_out
from tests.cluster.conftest import UNHURRIED
from tests.cluster.execs import HANDLES_TERM, IGNORES_TERM, SLEEPS, an_exec, first_pod, run_exec, wait_until_up
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import TaskRun, meanwhile, run_and_kill, wait_until_logged
from tests.faulty_api import FIRST, Fault, faulty_api
from tests.patience import LONG, wait_for, with_time_to_begin


@pytest.fixture(scope="module")
def app(kubectl: Kubectl, kubeconfig: str, shared_namespace: str) -> dict[str, Any]:
    """Operator arguments: Deployments with one and two containers, not ready, without a shell."""
    apps = [
        a_deployment("api", shared_namespace, env=[("FROM_POD", "pod"), ("OVER", "pod")], replicas=2),
        a_deployment("two", shared_namespace, "main", "helper"),
        a_deployment("bare", shared_namespace, image=NO_SHELL),
    ]
    kubectl.apply(a_deployment("unready", shared_namespace, ready=False))
    rolled_out(kubectl, *apps)
    return {"config_file": kubeconfig, "namespace": shared_namespace}


def test_script_has_the_pods_environment_and_its_own(app: dict[str, Any], kubectl: Kubectl) -> None:
    """The script gets the pod's environment, the author's over it, and args as JSON."""
    script = (
        "import json, os, sys\n"
        "print('oops', file=sys.stderr)\n"
        "print(json.dumps([sys.argv[1], os.environ['FROM_POD'], os.environ['OVER'], os.getcwd()]))"
    )
    run = run_exec(script=script, args={"a": "it's\n$(id)"}, env={"OVER": "ours\n'"}, working_dir="/usr", **app)
    result = run.succeeded().result
    assert result["value"] == ['{"a": "it\'s\\n$(id)"}', "pod", "ours\n'", "/usr"]
    assert (result["stderr_tail"], result["job_name"], result["exit_code"]) == ("oops\n", None, 0)
    assert result["pod_name"] == first_pod(kubectl, app)
    levels = {entry["event"]: entry["log_level"] for entry in run.log}
    assert (levels["oops"], levels[result["stdout_tail"].strip()]) == ("warning", "info")
    assert any("the first of 2 ready pods of ReplicaSet api-" in line for line in run.lines)


def test_value_is_from_stdout_only(app: dict[str, Any]) -> None:
    """JSON on stderr is not a result (R21)."""
    run = run_exec(script="echo '{\"n\": 1}'; sleep 0.3; echo '{\"n\": 2}' >&2", interpreter=["sh"], **app)
    assert run.succeeded().xcoms["value"] == {"n": 1}
    assert run.result["output"] == '{"n": 1}\n{"n": 2}\n'


def test_any_bytes_are_printed(app: dict[str, Any]) -> None:
    """Bytes that are not text, and a last line without an end, are accepted (R13)."""
    run = run_exec(script="import sys\nsys.stdout.buffer.write(bytes(range(256)) + b'end')", **app)
    assert run.succeeded().result["output_bytes"] == 259
    assert run.result["stdout_tail"].endswith("end")


def test_twenty_megabytes_arrive_byte_for_byte(app: dict[str, Any]) -> None:
    """20 MB on both streams are complete, or the node has broken the connection, which is no success (R19, R36)."""
    script = (
        "import base64, random, sys\n"
        "r = random.Random(7)\n"
        "for n in range(20):\n"
        "  for _ in range(700): print(base64.b64encode(r.randbytes(1100)).decode())\n"
        "  print(n, file=sys.stderr)\n"
    )

    def whole() -> TaskRun | None:
        run = run_exec(script=script, max_output_bytes=32 * 1024 * 1024, **app)
        if isinstance(run.error, exceptions.OutcomeUnknownError):
            assert "the connection to the node broke" in str(run.error)  # a busy node loses the end, with our last line
            return None
        return run.succeeded()

    run = wait_for(whole, "a connection that the node does not break")
    numbers = random.Random(7)
    lines = [base64.b64encode(numbers.randbytes(1100)) + b"\n" for _ in range(14_000)]
    expected = hashlib.sha256(b"".join(lines)).hexdigest()
    assert hashlib.sha256(run.result["stdout_tail"].encode()).hexdigest() == expected
    assert run.result["stderr_tail"] == "".join(f"{n}\n" for n in range(20))
    assert run.result["output_bytes"] > 20_000_000


def test_nothing_is_left_in_the_pod(app: dict[str, Any], kubectl: Kubectl) -> None:
    """No script leaves a file or a process in the pod (R6)."""
    files = {"lib/util.py": "text = 'found'\n", "data.txt": "x" * 300_000}
    script = (
        "import lib.util, os; print(lib.util.text, os.path.getsize(os.environ['AIRFLOW_SCRIPT_FILES'] + '/data.txt'))"
    )
    assert run_exec(script="print(1)", **app).succeeded()
    assert run_exec(script=script, files=files, **app).succeeded().result["output"] == "found 300000\n"
    pod = first_pod(kubectl, app)
    found = ("sh", "-c", "find / -xdev -name 'airflow-script*'; ls -A /dev/shm /tmp")
    listed = kubectl("exec", "-n", app["namespace"], pod, "--", *found)
    assert listed == "/dev/shm:\n\n/tmp:\n"
    assert processes_in(kubectl, app["namespace"], pod) == []


def test_a_command_in_a_container_that_is_named(app: dict[str, Any]) -> None:
    """A command runs unchanged, in one container of two."""
    run = run_exec(
        deployment="two", container="helper", command=["sh", "-c", 'echo "$0" "$A"', "a b"], env={"A": "1"}, **app
    )
    assert (run.succeeded().result["output"], run.result["container_name"]) == ("a b 1\n", "helper")
    assert run.result["script_sha256"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"deployment": "two"}, "has several containers: main, helper. Set container to one of them."),
        ({"deployment": "two", "container": "web"}, "has no container 'web'. It has: main, helper."),
        ({"deployment": "apu"}, "does not exist. The namespace has: api, bare"),
        ({"deployment": "unready"}, "has no ready pod (1 pods of ReplicaSet unready-"),
        ({"pod": "api-0"}, "does not exist. The namespace has: api-"),
        ({"label_selector": "a==b==c"}, "is not a valid label selector: found '=='"),
        ({"label_selector": "app=none"}, "kubectl -n {namespace} get pods -l app=none"),
        ({"statefulset": "db"}, "The namespace has no StatefulSet. Check namespace."),
        ({"namespace": "no-such-place"}, "namespace 'no-such-place' does not exist"),
        ({"namespace": "no-such-place", "label_selector": "a=b"}, "kube-system"),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_what_there_is_instead(arguments: dict[str, str], said: str, app: dict[str, Any]) -> None:
    """The error names what was asked for, what exists, and what to do (R22)."""
    run = run_exec(command=["true"], **(app | arguments))
    assert isinstance(run.error, exceptions.TargetError | AirflowFailException)
    assert said.format(**app) in str(run.error)


def test_the_annotated_container_is_the_default(app: dict[str, Any], kubectl: Kubectl) -> None:
    """As for kubectl, an annotation of the pod chooses among several containers."""
    deployment = a_deployment("annotated", app["namespace"], "proxy", "web")
    annotations = {"kubectl.kubernetes.io/default-container": "web"}
    deployment["spec"]["template"]["metadata"]["annotations"] = annotations
    rolled_out(kubectl, deployment)
    run = run_exec(deployment="annotated", command=["true"], **app)
    assert run.succeeded().result["container_name"] == "web"


def test_pods_may_be_selected_or_named(app: dict[str, Any], kubectl: Kubectl) -> None:
    """A label selector and a name also choose a pod."""
    pod = pods_of(kubectl, app["namespace"], "api")[1]
    assert run_exec(label_selector="app in (api,x),tier!=web", command=["true"], **app).succeeded()
    assert run_exec(pod=pod, command=["true"], **app).succeeded().result["pod_name"] == pod


def test_exit_code_fails_or_skips(app: dict[str, Any]) -> None:
    """An exit code fails the task, with the script's own error, or skips it by ``skip_on_exit_code`` (R37)."""
    failed = run_exec(script="echo why; exit 3", interpreter=["sh"], **app)
    assert isinstance(failed.error, exceptions.ScriptFailedError)
    assert failed.headline.endswith(": the script ended with exit code 3.")
    assert "why" in str(failed.error)
    assert (failed.result["exit_code"], failed.result["status"]) == (3, "failed")
    failed = run_exec(script="import os\nraise ValueError(os.environ['A'])", env={"A": "hunter2"}, **app)
    assert failed.headline.endswith(": the script ended with exit code 1: ValueError: ***.")
    skipped = run_exec(script="exit 99", interpreter=["sh"], skip_on_exit_code=99, **app)
    assert isinstance(skipped.error, AirflowSkipException)
    assert skipped.result["exit_code"] == 99


def test_missing_interpreter_is_explained(app: dict[str, Any]) -> None:
    """The error for 127 names interpreter and image (R22)."""
    run = run_exec(script="x", interpreter=["php"], **app)
    assert 'perhaps "php" itself: check that image python:3.11-slim has it' in str(run.error)


def test_image_without_a_shell_runs_commands_only(app: dict[str, Any]) -> None:
    """Without a shell a script fails; a command runs, but cannot be ended."""
    script = run_exec(deployment="bare", script="echo 1", interpreter=["sh"], **app)
    assert isinstance(script.error, AirflowFailException)
    assert 'image pause-only:1 has no "sh" (executable file not found), so the script cannot run.' in str(script.error)
    assert "Either pass command=[…] without env, files and working_dir" in str(script.error)
    missing = run_exec(deployment="bare", command=["/none"], **app)
    assert 'the command cannot be started: "/none": executable file not found in the image' in str(missing.error)
    command = run_exec(deployment="bare", command=["/pause"], timeout=3, **app)
    assert isinstance(command.error, AirflowFailException)
    assert "it could not be ended" in str(command.error)
    assert "It may still be running, so Airflow does not retry." in str(command.error)


def test_image_without_a_shell_whose_answer_is_lost(app: dict[str, Any], kubeconfig: str, tmp_path: Path) -> None:
    """If the server's word that there is no shell is lost, it is asked again, and nothing is unknown (R1)."""
    with faulty_api(kubeconfig, tmp_path) as api:
        api.on("GET .*/exec", Fault(lost=True), numbers=FIRST)
        where = app | {"config_file": api.kubeconfig, "deployment": "bare"}
        run = run_exec(script="echo 1", interpreter=["sh"], **where)
    assert 'image pause-only:1 has no "sh" (executable file not found), so the script cannot run.' in str(run.error)


def test_shell_without_its_programs_is_no_success(app: dict[str, Any], kubectl: Kubectl) -> None:
    """If sh cannot read the code, nothing runs, and the error says why (R1, R36)."""
    only_a_shell = "/bin/mkdir /x; /bin/cp /bin/sh /x/sh; exec /bin/sleep infinity"
    command = ["/bin/sh", "-c", only_a_shell]
    rolled_out(kubectl, a_deployment("lone", app["namespace"], env=[("PATH", "/x")], command=command))
    run = run_exec(deployment="lone", script="echo 1", interpreter=["sh"], **app)
    assert isinstance(run.error, exceptions.ScriptFailedError)
    assert "could not read the script (exit code 127). Check that the image has head, mkdir and rm." in str(run.error)


@pytest.mark.parametrize(
    ("script", "grace", "ending", "printed"),
    [
        (SLEEPS, LONG, "it was ended", "up\n"),
        (HANDLES_TERM, LONG, "it was ended", "up\nbye\n"),
        (IGNORES_TERM, 1, "it was killed, 1 s after SIGTERM", "up\n"),
    ],
    ids=["sleeps", "handles", "ignores"],
)
def test_timeout_ends_the_whole_group(
    script: str, grace: int, ending: str, printed: str, app: dict[str, Any], kubectl: Kubectl
) -> None:
    """The group gets SIGTERM, then SIGKILL; its last output is logged (R5)."""
    arguments = {"script": script, "termination_grace_period": grace, "files": {"x": "folder\n"}, **app}
    seconds, run = with_time_to_begin(
        lambda seconds: run_exec(timeout=seconds, **arguments), lambda run: run.result["output"].startswith("up\n")
    )
    assert isinstance(run.error, exceptions.JobTimeoutError)
    assert f"ran longer than its timeout of {seconds:g} s (DeadlineExceeded); {ending}." in run.headline
    assert (run.result["output"], run.result["status"]) == (printed, "timeout")
    nothing_runs(kubectl, app["namespace"], first_pod(kubectl, app))
    assert "airflow" not in kubectl("exec", "-n", app["namespace"], first_pod(kubectl, app), "--", "ls", "/dev/shm")


@pytest.mark.usefixtures("unhurried")
def test_kill_ends_the_process(app: dict[str, Any], kubectl: Kubectl) -> None:
    """Airflow's kill ends the process, which usually has five seconds for that (R3)."""
    run = run_and_kill(an_exec(script=SLEEPS, **app), lambda: wait_until_up(kubectl, app))
    assert isinstance(run.error, exceptions.RunKilledError)
    assert "it was ended." in str(run.error)
    nothing_runs(kubectl, app["namespace"], first_pod(kubectl, app))


@pytest.mark.usefixtures("unhurried")
def test_kill_reaches_who_ignores_it_after_we_have_gone(app: dict[str, Any], kubectl: Kubectl) -> None:
    """SIGKILL follows in the pod after the worker has ended."""
    pod, grace = first_pod(kubectl, app), 2 * UNHURRIED
    ignoring = an_exec(script=IGNORES_TERM, termination_grace_period=grace, **app)
    run = run_and_kill(ignoring, lambda: wait_until_logged("up"))
    assert f"received SIGTERM; SIGKILL follows after {grace:g} s" in str(run.error)
    assert processes_in(kubectl, app["namespace"], pod)
    nothing_runs(kubectl, app["namespace"], pod)


def test_airflows_timeout_ends_the_process(app: dict[str, Any], kubectl: Kubectl) -> None:
    """Airflow's timeout ends the process, and is raised on (R5)."""
    with airflow_timeout(4):  # type: ignore[no-untyped-call]  # not annotated in the SDK
        run = run_exec(script=SLEEPS, **app)
    assert isinstance(run.error, AirflowTaskTimeout)
    nothing_runs(kubectl, app["namespace"], first_pod(kubectl, app))


def test_airflows_timeout_is_no_retry_beside_the_process(app: dict[str, Any], kubectl: Kubectl) -> None:
    """The end of a process that ignores SIGTERM is waited for (R2, R5)."""
    ignoring = {"script": IGNORES_TERM, "termination_grace_period": 8, "execution_timeout": timedelta(seconds=LONG)}
    with airflow_timeout(4):  # type: ignore[no-untyped-call]  # not annotated in the SDK
        run = run_exec(**ignoring, **app)
    assert isinstance(run.error, AirflowTaskTimeout)
    left = processes_in(kubectl, app["namespace"], first_pod(kubectl, app))
    assert not [line for line in left if "/dev/fd/" in line]


def test_execution_timeout_is_the_sooner_end(app: dict[str, Any]) -> None:
    """The task's own timeout limits the run, and the error names it (R5)."""
    run = run_exec(script=SLEEPS, execution_timeout=timedelta(seconds=4), **app)
    assert isinstance(run.error, exceptions.JobTimeoutError)
    assert "ran longer than its execution_timeout of 4 s" in run.headline


def test_silence_is_no_end(app: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that is silent for longer than a heartbeat goes on (R10)."""
    monkeypatch.setattr(session, "HEARTBEAT", 6.0)
    assert run_exec(script="import time\ntime.sleep(15)\nprint('done')", **app).succeeded().result["output"] == "done\n"


def test_no_value_is_in_the_request(app: dict[str, Any], kubeconfig: str, tmp_path: Path) -> None:
    """The exec's URL, which audit logs keep, has no script, argument or variable (R26)."""
    with faulty_api(kubeconfig, tmp_path) as api:
        secrets = {
            "script": "echo secret-1",
            "args": ["secret-2"],
            "env": {"A": "secret-3"},
            "files": {"f": "secret-4\n"},
        }
        run = run_exec(interpreter=["sh"], **(app | secrets | {"config_file": api.kubeconfig}))
        assert run.succeeded().result["output"] == "secret-1\n"
        assert api.count("GET .*/exec.*command=sh") == 1
        assert not api.count("secret-")
        assert not [line for line in run.lines if "secret-2" in line or "secret-3" in line]


@pytest.mark.parametrize("status", [401, 429, 503, None], ids=str)
def test_flakes_at_the_start_are_outlived(
    status: int | None, app: dict[str, Any], kubeconfig: str, tmp_path: Path
) -> None:
    """The start is repeated after an overload or an expired token (R14, R16)."""
    with faulty_api(kubeconfig, tmp_path) as api:
        api.on("GET .*/exec", Fault(status=status, reset=status is None), numbers=FIRST)
        run = run_exec(script="print('once')", **(app | {"config_file": api.kubeconfig}))
    assert run.succeeded().result["output"] == "once\n"


def test_timeout_before_anything_has_begun(app: dict[str, Any], kubeconfig: str, tmp_path: Path) -> None:
    """A script that was never sent never begins, and may be retried (R5)."""
    with faulty_api(kubeconfig, tmp_path) as api:
        api.on("GET .*/exec", Fault(status=503))
        run = run_exec(script="print('late')", timeout=2, **(app | {"config_file": api.kubeconfig}))
    assert isinstance(run.error, exceptions.JobTimeoutError)
    assert "ran longer than its timeout of 2 s (DeadlineExceeded); it had not begun" in run.headline


@pytest.fixture
def web(kubectl: Kubectl, kubeconfig: str, namespace: str) -> dict[str, Any]:
    """Operator arguments for the test's own Deployment."""
    rolled_out(kubectl, a_deployment("web", namespace))
    return {"config_file": kubeconfig, "namespace": namespace, "deployment": "web"}


def test_rollout_in_the_middle_fails_the_script_and_the_next_try_runs_in_the_new_pod(
    web: dict[str, Any], kubectl: Kubectl
) -> None:
    """A rollout is the failure's reason; the next try runs in the new pod."""
    old = []

    def roll_out() -> None:
        old.append(wait_until_up(kubectl, web, "web"))
        rolled_out(kubectl, a_deployment("web", web["namespace"], env=[("NEW", "1")]))

    rolling = meanwhile(roll_out)
    run = run_exec(script=SLEEPS, **web)
    rolling.join()
    assert isinstance(run.error, exceptions.ScriptFailedError)
    assert "was deleted or replaced by a rollout" in run.headline or "is being deleted" in run.headline
    assert (run.result["pod_name"], run.result["category"]) == (old[0], "PodEnded")
    again = run_exec(script="import os; print(os.environ['NEW'])", **web).succeeded()
    assert again.result["output"] == "1\n"


def test_an_eviction_is_not_told_as_a_rollout(web: dict[str, Any], kubectl: Kubectl) -> None:
    """It is the node that has to be looked at then, not the Deployment (R26)."""
    evicting = meanwhile(lambda: kubectl.evict(wait_until_up(kubectl, web, "web"), web["namespace"]))
    run = run_exec(script=SLEEPS, **web)
    evicting.join()
    assert "was ended by the cluster (EvictionByEvictionAPI: " in run.headline
    assert (run.result["category"], run.result["reason"]) == ("EvictionByEvictionAPI", "EvictionByEvictionAPI")


def test_old_pods_are_not_taken_during_a_rollout(web: dict[str, Any], kubectl: Kubectl) -> None:
    """No old pod is chosen while the new pods are not ready."""
    kubectl.apply(a_deployment("web", web["namespace"], ready=False))
    run = run_exec(command=["true"], **web)
    assert isinstance(run.error, exceptions.TargetError)
    assert f"Check: kubectl -n {web['namespace']} rollout status deployment web" in str(run.error)


def test_container_that_ends_is_the_reason(kubectl: Kubectl, kubeconfig: str, namespace: str) -> None:
    """The error has the container's reason and exit code, not only 137 (R22)."""
    ends_at_term = ["python3", "-c", "import signal, sys\nsignal.signal(15, lambda *_: sys.exit(3))\nsignal.pause()"]
    rolled_out(kubectl, a_deployment("web", namespace, command=ends_at_term))
    web = {"config_file": kubeconfig, "namespace": namespace}

    def end() -> None:
        pod = wait_until_up(kubectl, web, "web")
        kubectl("exec", "-n", namespace, pod, "--", "sh", "-c", "kill 1", check=False)

    ending = meanwhile(end)
    run = run_exec(deployment="web", script=SLEEPS, **web)
    ending.join()
    assert isinstance(run.error, exceptions.ScriptFailedError)
    assert 'container "web" ended while the script ran (Error, exit code 3)' in run.headline


def test_sql_in_the_databases_own_pod(database: dict[str, str], app: dict[str, Any]) -> None:
    """psql reads its script from the open file, and its variables from args."""
    script = "-- migration\nselect :'who' as who \\gset\n\\echo :who"
    env = {"PGHOST": "127.0.0.1", "PGUSER": database["PGUSER"]}
    run = run_exec(pod="postgres", script=script, args={"who": "it's"}, env=env, **app)
    assert run.succeeded().result["output"] == "it's\n"
