"""Running a script from any Python code: what becomes of the arguments."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import threading
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk._shared.secrets_masker import redact, reset_secrets_masker

from airflow_script_provider._airflow import AirflowTaskTimeout
from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.clusters.access import ClusterAccess, ClusterRef
from airflow_script_provider.exceptions import ApiForbiddenError, ApiUnreachableError, ScriptSourceError
from airflow_script_provider.hooks import _task_run
from airflow_script_provider.hooks.script import KubernetesScriptHook, ScriptTaskRun
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.guard import JobGuard
from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.job.follow_state import FollowState, to_event
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.request.inputs import ScriptInputs, split
from airflow_script_provider.kube.request.interpreters import Interpreter
from airflow_script_provider.kube.request.options import JobOptions
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.run_log import NoRunLog
from airflow_script_provider.sources import FileScript
from tests.builders import a_failed_outcome, a_kubeconfig, a_launched_job, a_script, a_task
from tests.patience import PATIENCE
from tests.stand_in_api import an_object, api_of, requests, stand_in
from tests.task_runs import a_script_run, inputs_and_options

A_CIRCLE: dict[str, Any] = {}
A_CIRCLE["me"] = A_CIRCLE
A_HOOK = KubernetesScriptHook(None, config_file="/none")


FORBIDDEN = ApiForbiddenError("the API server refused to watch pods in namespace etl (403)", status=403)
NO_CREDENTIALS = ApiUnreachableError("the kubeconfig does not exist", retryable=False)


@pytest.mark.parametrize(
    ("interruption", "try_number", "alone", "is_left"),
    [
        (FORBIDDEN, 1, True, True),
        (FORBIDDEN, 3, True, False),
        (FORBIDDEN, 1, False, False),
        (NO_CREDENTIALS, 1, True, False),
        (RuntimeError("a defect"), 1, True, False),
    ],
    ids=["tries are left", "last try", "other code may go on", "not tried again", "another error"],
)
async def test_a_job_that_cannot_be_followed_is_left_to_the_next_try(
    interruption: Exception, try_number: int, alone: bool, is_left: bool
) -> None:
    """It is healthy: only if no try follows that reattaches to it, it is deleted (R2, R14)."""
    task = a_task(try_number=try_number)
    meaning = partial(a_script_run().meaning_of_kill, task, alone=alone)
    with stand_in() as server:
        server.answers("/apis/batch/v1/namespaces/etl/jobs/load", an_object(uid="job-uid"))
        async with api_of(server) as api:
            guard = JobGuard(JobContext(api, a_launched_job(), NoRunLog()), meaning)
            with pytest.raises(type(interruption)) as raised:
                async with guard.protecting():
                    raise copy.copy(interruption)
        assert requests(server, "DELETE") == (not is_left)
    fate = "The Job cannot be followed: Job etl/load is left to the next try, which reattaches to it."
    assert raised.value.__notes__ == [fate if is_left else "Job etl/load is deleted."]


def a_plugin_that_fails_once(folder: Path) -> dict[str, Any]:
    """A user of a kubeconfig."""
    answer = json.dumps({"apiVersion": "v1", "kind": "ExecCredential", "status": {"token": "t"}})
    plugin = folder / "plugin"
    plugin.write_text(f"#!/bin/sh\ncd {folder}\ntest -e asked && echo '{answer}' && exit\ntouch asked\nexit 1\n")
    plugin.chmod(0o755)
    return {"exec": {"apiVersion": "v1", "command": str(plugin)}}


@pytest.mark.parametrize("patience", [PATIENCE, 0.0], ids=["asked again", "given up"])
def test_a_plugin_that_fails_once_need_not_cost_a_try(
    patience: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is resumed after its script's success may have no other try (R15, R16)."""
    monkeypatch.setattr(_task_run, "LOAD_PATIENCE", patience)
    access, asked = ClusterAccess(config=a_kubeconfig(**a_plugin_that_fails_once(tmp_path))), []

    async def ask(api: KubernetesApi) -> None:
        asked.append(api.host)

    with nullcontext() if patience else pytest.raises(ApiUnreachableError, match="process returned 1") as error:
        a_script_run().run(access, ask)
    assert asked == (["https://a:6443"] if patience else [])
    assert error is None or error.value.retryable


def test_arguments_are_split_into_inputs_and_options() -> None:
    """The hook takes the operator's arguments."""
    inputs, options = split(
        {"script": "echo", "env": {"A": "b"}, "image": "node:22", "timeout": 5}, ScriptInputs, JobOptions
    )
    assert inputs == ScriptInputs(script="echo", env={"A": "b"})
    assert options == JobOptions(image="node:22", timeout=5)


def test_an_unknown_argument_is_answered_with_the_nearest() -> None:
    """A misspelt argument is refused."""
    with pytest.raises(TypeError, match=r"unknown argument 'imag'; did you mean 'image'\?"):
        A_HOOK.prepare("echo", imag="node:22")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pod_overrides": {"spec": {"restartPolicy": "Always"}}}, "pod_overrides may not set spec.restartPolicy"),
        ({"arguments": ["x"] * 9000}, "arguments makes the Job too large"),
    ],
)
def test_what_no_job_can_have_is_refused_before_the_cluster_is_asked(arguments: dict[str, Any], words: str) -> None:
    """The whole Job is spelled once while it is prepared (R25)."""
    with pytest.raises(ValueError, match=words):
        A_HOOK.prepare("echo", **arguments)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"args": {}, "arguments": []}, "args and arguments exclude each other"),
        ({"max_output_bytes": -1}, "max_output_bytes=-1 must be a whole number of bytes, at least 0"),
        ({"max_output_bytes": 1.5}, "max_output_bytes=1.5 must be a whole number of bytes"),
        ({"get_logs": "no"}, "get_logs='no' must be True or False"),
        ({"sha256": 5}, "sha256=5 must be a string of 64 hexadecimal digits"),
        ({"files": {1: "x"}}, "files has an illegal path 1"),
        ({"args": A_CIRCLE}, "args is nested more than 100 levels deep, or holds itself"),
    ],
)
def test_a_bad_call_is_refused(values: dict[str, Any], words: str) -> None:
    """The words name argument and value."""
    with pytest.raises(ValueError, match=words):
        ScriptInputs(script="echo", **values).check_before_rendering()


def a_prepared(**arguments: Any) -> JobRequest:
    """What the hook makes of these arguments, without a cluster."""
    return A_HOOK.prepare(**({"script": "print('hi')\n"} | arguments))


def test_a_request_has_the_digest_of_the_script() -> None:
    """What was read is what is checked and run."""
    script = a_script()
    assert a_prepared(sha256=script.sha256.upper()).script == script


@pytest.mark.parametrize(
    ("arguments", "interpreter"),
    [
        ({"interpreter": ["bash", "-eu"], "image": "postgres:15"}, Interpreter(("bash", "-eu"), "interpreter")),
        ({"script": "#!/bin/sh\necho", "image": "postgres:15"}, Interpreter(("/bin/sh",), "shebang")),
        ({"image": "node:22"}, Interpreter(("node",), "image")),
    ],
)
def test_a_request_has_its_interpreter(arguments: dict[str, Any], interpreter: Interpreter) -> None:
    """It is chosen when the request is made, and what made the choice is kept for the log."""
    assert a_prepared(**arguments).interpreter == interpreter


def test_another_digest_is_refused() -> None:
    """A script that somebody changed fails before anything is created; no retry helps (R24)."""
    with pytest.raises(ScriptSourceError, match="not the expected abc; nothing was created") as refusal:
        a_prepared(sha256="abc")
    assert not refusal.value.retryable


def test_an_empty_digest_pins_nothing_and_is_refused() -> None:
    """A template that renders to nothing must not take the pin away."""
    with pytest.raises(ScriptSourceError, match="not the expected one: the argument sha256 is empty"):
        a_prepared(sha256="")


def test_the_digest_of_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    """What ``sha256sum`` prints of the file is accepted."""
    data = b"\xef\xbb\xbfprint('hi')\n"
    (tmp_path / "etl.py").write_bytes(data)
    file, digest = FileScript(str(tmp_path / "etl.py")), hashlib.sha256(data).hexdigest()
    assert a_prepared(script=file, sha256=digest).script.text == "print('hi')\n"


@pytest.mark.parametrize(
    "data", [b"\n  #!/bin/bash\n  set -e\n", b"\xef\xbb\xbf\r\n#!/bin/bash\n", b"\n#!/bin/bash\n\xe9"]
)
def test_a_script_whose_shebang_is_not_first(tmp_path: Path, data: bytes) -> None:
    """The line comes first then; the digest of the file and that of the script that runs both pin it (R23, R24)."""
    (tmp_path / "x.sh").write_bytes(data)
    request = a_prepared(script=FileScript(str(tmp_path / "x.sh")), sha256=hashlib.sha256(data).hexdigest())
    assert request.interpreter == Interpreter(("/bin/bash",), "shebang")
    assert request.script.data.startswith(b"#!/bin/bash\n\n")
    assert a_prepared(script=FileScript(str(tmp_path / "x.sh")), sha256=request.script.sha256).script == request.script


def test_a_file_beside_the_script_keeps_its_blank_lines() -> None:
    """Only the script itself is run."""
    assert a_prepared(files={"x.sh": "\n  #!/bin/sh\n"}).files["x.sh"].text == "\n  #!/bin/sh\n"


@pytest.fixture
def only_own_secrets() -> None:
    """What other tests of this process have masked may be a part of what is masked here."""
    reset_secrets_masker()


@pytest.mark.usefixtures("only_own_secrets")
def test_the_login_of_a_url_in_env_is_masked() -> None:
    """As that of an index is, under a name that nobody calls sensitive (R26)."""
    a_prepared(env={"PIP_INDEX_URL": "https://bob:index-hunter2@pypi.example/simple"})
    assert redact("https://bob:index-hunter2@pypi.example") == "https://***@pypi.example"
    assert redact("index-hunter2") == "***"


@pytest.mark.usefixtures("only_own_secrets")
def test_a_secret_of_several_lines_is_masked_in_each_of_them() -> None:
    """A script's output comes line by line, so the whole key is never in one (R26)."""
    key = "-----BEGIN PRIVATE KEY-----\nMIIEhookslines\nQIBADhookslines\n-----END PRIVATE KEY-----\n"
    a_prepared(env={"PRIVATE_KEY": key, "QUERY": "SELECT a FROM hooks\nWHERE b = 'readable'"})
    shown = ["-----BEGIN PRIVATE KEY-----", "***", "***", "-----END PRIVATE KEY-----"]
    assert [redact(line) for line in key.splitlines()] == shown
    assert redact("WHERE b = 'readable'") == "WHERE b = 'readable'"


def test_files_are_fetched_beside_the_script(tmp_path: Path) -> None:
    """Each file comes from a source of its own."""
    (tmp_path / "util.py").write_text("x = 1\n")
    request = a_prepared(files={"lib/util.py": FileScript(str(tmp_path / "util.py")), "data": "a,b"})
    assert {path: file.text for path, file in request.files.items()} == {"lib/util.py": "x = 1\n", "data": "a,b"}


def test_a_bad_file_is_named() -> None:
    """The message leads to the entry."""
    with pytest.raises(ValueError, match=r"files\['a'\]='x.sql'"):
        a_prepared(files={"a": "x.sql"})


def test_an_argument_of_another_operator_is_answered() -> None:
    """The hook answers as the operator does."""
    with pytest.raises(TypeError, match="use 'env' instead"):
        A_HOOK.prepare("echo", env_vars={})


@pytest.mark.parametrize(
    ("timeout", "deadline"),
    [(600, 750), (0.5, 151), (timedelta(minutes=1), 210), (None, None), (2**31 - 1, 2**31 - 1)],
)
def test_the_jobs_deadline_has_time_for_the_work_and_all_before_it(timeout: Any, deadline: int | None) -> None:
    """Kubernetes ends a run without a follower, and none before its work is over; None is no end (R5)."""
    request = a_prepared(timeout=timeout, schedule_timeout=90.5, startup_timeout=59)
    assert request.deadline == Deadline(deadline, "timeout")


def test_outside_a_task_each_request_is_a_launch_of_its_own() -> None:
    """Two runs of the same script are two Jobs (R2)."""
    assert a_prepared().identity != a_prepared().identity


def test_two_launches_of_one_try_are_two_jobs() -> None:
    """The ordinal tells a second run in the same task from the first (R2)."""
    inputs, options = inputs_and_options(script="print('hi')")
    run, task = a_script_run(), a_task(instance_id="two-launches")
    names = {run.prepare(inputs, options, task=task).identity.job_name for _ in range(2)}
    assert len(names) == 2


def test_the_next_try_finds_each_launch_again_whatever_their_order() -> None:
    """Two scripts that threads start in another order at the next try keep their digests (R2)."""
    run = a_script_run()

    def digests(instance: str, *scripts: str) -> dict[str, str]:
        arguments = {script: inputs_and_options(script=script) for script in scripts}
        task = a_task(instance_id=instance)
        return {script: run.prepare(*both, task=task).identity.request for script, both in arguments.items()}

    assert digests("try-1", "print(1)", "print(2)") == digests("try-2", "print(2)", "print(1)")


def test_a_call_of_the_next_try_is_the_same_whatever_came_before() -> None:
    """Runs that differ only in their values keep their digests when the next try skips some (R1, R2)."""
    run = a_script_run()

    def calls(instance: str, *days: int) -> dict[int, str | None]:
        arguments = {day: inputs_and_options(script="print(1)", args={"day": day}) for day in days}
        task = a_task(instance_id=instance, key="k" * 32)
        return {day: run.prepare(*both, task=task).identity.call for day, both in arguments.items()}

    first, second = calls("days-1", 1, 2, 3), calls("days-2", 3, 2)
    assert len(set(first.values())) == 3
    assert second == {day: first[day] for day in (3, 2)}


@pytest.mark.parametrize(
    ("timeout", "left", "deadline"),
    [
        (600, 60.2, Deadline(61, "execution_timeout")),
        (60, 600, Deadline(600, "execution_timeout")),
        (60, 4000, Deadline(3960, "timeout")),
        (None, 60, Deadline(60, "execution_timeout")),
        (60, -5, Deadline(1, "execution_timeout")),
    ],
)
def test_what_is_left_of_the_tasks_time_bounds_the_job(timeout: int | None, left: float, deadline: Deadline) -> None:
    """``execution_timeout`` ends the Job too, where it is the shorter one (R5)."""
    assert JobOptions(timeout=timeout).checked().deadline_within(left) == deadline


class TimedOut(ScriptTaskRun):
    """A run that ``execution_timeout`` ends; ``after`` is what is found afterwards."""

    after: Outcome | None = None
    asked = 0

    def run(self, *_: Any) -> Any:
        """Airflow's timeout at first, then the look at the pods."""
        self.asked += 1
        if self.asked == 1:
            self._launched.job = a_launched_job()
            raise AirflowTaskTimeout
        return self.after


def test_a_timeout_in_a_worker_is_no_retry_beside_the_script() -> None:
    """As for a deferred task: a pod that does not end makes the outcome unknown (R5, R10)."""
    run = TimedOut(ClusterRef(None, config_file="/none"), logging.getLogger(__name__))
    event = to_event(a_launched_job().to_dict(), FollowState())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClusterRef, "resolve", lambda _: ClusterAccess(config={}))
        with pytest.raises(AirflowTaskTimeout):
            run.resume(event)
        run.asked, run.after = 0, a_failed_outcome(retryable=False)
        assert run.resume(event) is run.after
    assert run.asked == 2


@pytest.mark.parametrize("alone", [True, False])
def test_code_looks_at_its_script_after_a_timeout(alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an operator does: a script that has succeeded must not run again (R1, R2, R5)."""
    monkeypatch.setattr(ClusterRef, "resolve", lambda _: ClusterAccess(config={}))
    run = TimedOut(ClusterRef(None, config_file="/none"), logging.getLogger(__name__))
    with pytest.raises(AirflowTaskTimeout):
        run.outcome(*inputs_and_options(script="print(1)", namespace="etl"), alone=alone)
    assert run.asked == 2


def test_threads_of_one_hook_have_jobs_of_their_own() -> None:
    """Only that of the main thread meets Airflow's timeout (R5)."""
    run = TimedOut(ClusterRef(None, config_file="/none"), logging.getLogger(__name__))
    other = threading.Thread(target=partial(setattr, run._launched, "job", a_launched_job()))
    other.start()
    other.join()
    assert run._launched.job is None
