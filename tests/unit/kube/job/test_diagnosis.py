"""Why a run failed, in one line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.kube.causes.events import event_line
from airflow_script_provider.kube.hiding import Hide, hider, name_of_error
from airflow_script_provider.kube.job.diagnosis import (
    Case,
    Diagnosis,
    diagnose,
    hint_for,
)
from airflow_script_provider.kube.job.verdict import Cause, Limits
from airflow_script_provider.kube.labels import TIMEOUT_ANNOTATION
from airflow_script_provider.kube.pods import ending
from airflow_script_provider.kube.request.provision import PERMANENT
from airflow_script_provider.kube.wording import MAX_HEADLINE, signal_name
from airflow_script_provider.result import Category
from tests.builders import IMAGE, a_case, a_container, a_job, a_pod, an_end, an_event, some_limits


def test_oom_names_the_limit() -> None:
    """An out-of-memory kill names the limit and the argument to raise (R22)."""
    assert diagnose(a_case(a_pod(oom_killed=True, memory="512Mi"))) == Diagnosis(
        cause='container "script" was OOMKilled (limit 512Mi, exit 137)',
        headline='Job etl/load failed: container "script" was OOMKilled (limit 512Mi, exit 137). '
        "Raise container_resources limits memory.",
        category=Category.OOM_KILLED,
        reason="OOMKilled",
        hint="Raise container_resources limits memory.",
    )


def test_oom_without_a_limit_of_ours() -> None:
    """Where the pod has no limit of its own, none is named (R22)."""
    assert "OOMKilled (exit 137)" in diagnose(a_case(a_pod(oom_killed=True))).cause


def test_a_child_killed_for_memory_is_not_the_script() -> None:
    """With cgroup v1 the container is called OOMKilled, although the script went on and chose its end (R22)."""
    found = diagnose(a_case(a_pod(exit_code=7, reason="OOMKilled", memory="96Mi")))
    assert found.headline == (
        "Job etl/load failed: the script ended with exit code 7; a process of it was killed for memory "
        "(OOMKilled, limit 96Mi). Raise container_resources limits memory."
    )
    assert (found.category, found.reason) == (Category.CHILD_OOM_KILLED, "OOMKilled")


DEADLINE = "Pod was active on the node longer than the specified deadline"


@pytest.mark.parametrize("code", [137, 143])
@pytest.mark.parametrize("cause", [Cause.SCRIPT_FAILED, Cause.JOB_FAILED])
def test_what_ended_the_pod_is_the_cause(code: int, cause: Cause) -> None:
    """Not the signal that carried it out, and nothing about memory (R22)."""
    pod = a_pod(exit_code=code, phase="Failed", pod_reason="DeadlineExceeded", pod_message=DEADLINE)
    found = diagnose(a_case(pod, cause=cause, reason="BackoffLimitExceeded"))
    assert found.headline == (
        f"Job etl/load failed: DeadlineExceeded: {DEADLINE} (exit code {code}). "
        "Raise activeDeadlineSeconds in pod_overrides."
    )
    assert (found.category, found.reason, found.advice) == (Category.DEADLINE_EXCEEDED, "DeadlineExceeded", "")


EVICTED = "Pod ephemeral local storage usage exceeds the total limit of containers 50Mi."


def test_an_eviction_by_the_kubelet_names_its_limit() -> None:
    """The message says which limit it was (R22)."""
    pod = a_pod(exit_code=143, phase="Failed", pod_reason="Evicted", pod_message=EVICTED)
    found = diagnose(a_case(pod))
    assert f"Evicted: {EVICTED.rstrip('.')} (exit code 143)." in found.headline
    assert "ephemeral-storage" in found.headline + found.advice
    assert (found.category, found.reason) == (Category.STORAGE_LIMIT_EXCEEDED, "Evicted")


def test_a_script_that_the_kubelet_stopped_is_unknown() -> None:
    """Its exit code 0 may be that of a handler of SIGTERM (R1)."""
    found = diagnose(a_case(a_pod(exit_code=0), cause=Cause.STOPPED, reason="Evicted", message=EVICTED))
    assert found.headline.startswith(
        "Job etl/load: outcome unknown: Evicted: Pod ephemeral local storage usage exceeds"
    )
    assert "ended with exit code 0" in found.headline
    assert "ephemeral-storage" in found.headline + found.advice


def test_a_denied_pod_has_no_advice_about_time() -> None:
    """The policy's words stand in the first line (R11)."""
    words = "ValidatingAdmissionPolicy no-env denied its pod: put secrets into files"
    found = diagnose(a_case(cause=Cause.REFUSED, reason="FailedCreate", message=words))
    assert found.headline == f"Job etl/load failed: {words}."
    late = diagnose(a_case(cause=Cause.STARTUP_TIMEOUT, warnings=["Job load: FailedCreate: Error creating: webhook"]))
    assert "startup_timeout." not in late.headline


def test_an_installation_that_takes_too_long_is_named() -> None:
    """It is a part of the start, whose limit can be raised (R5, R22)."""
    pod = a_pod(waiting="PodInitializing", installers=[a_container(name="install", running=True)])
    headline = diagnose(a_case(pod, cause=Cause.STARTUP_TIMEOUT)).headline
    why = "did not start within startup_timeout of 300 s: is installing dependencies on node-1. Raise startup_timeout."
    assert headline == f"Job etl/load {why}"


def test_a_missing_program_that_is_not_the_interpreter_is_named() -> None:
    """With ``install_packages`` the first program is ``sh`` (R22)."""
    message = 'exec: "sh": executable file not found in $PATH'
    case = a_case(a_pod(exit_code=128), cause=Cause.NOT_EXECUTABLE, message=message, program="python3")
    assert diagnose(case).cause == 'image python:3.11-slim has no "sh"'


def test_an_exit_code_is_said() -> None:
    """An ordinary failure is its exit code (R22)."""
    found = diagnose(a_case(a_pod(exit_code=3)))
    assert (found.headline, found.reason) == ("Job etl/load failed: the script ended with exit code 3.", "Error")


@pytest.mark.parametrize(
    ("own", "asked", "reason", "headline"),
    [
        (60, 600, "DeadlineExceeded", "the Job's activeDeadlineSeconds of 60 s (its timeout is 600 s)"),
        (60, None, "DeadlineExceeded", "the Job's activeDeadlineSeconds of 60 s (its timeout is None)"),
        (600, 600, "DeadlineExceeded", "its timeout of 600 s"),
        (None, 600, "DeadlineExceeded", "its timeout of 600 s"),
        (3600, 600, None, "its timeout of 600 s"),
    ],
    ids=["a policy's", "a policy's alone", "ours", "not known", "this provider ended the Job"],
)
def test_a_deadline_is_named_after_what_sets_it(
    own: int | None, asked: int | None, reason: str | None, headline: str
) -> None:
    """No raise of ``timeout`` helps against a policy that sets the Job's deadline (R5, R22)."""
    job, limits = a_job(deadline=own), some_limits(deadline=asked)
    found = diagnose(a_case(a_pod(running=True), cause=Cause.DEADLINE, reason=reason, job=job, limits=limits))
    assert found.headline.startswith(f"Job etl/load ran longer than {headline} (DeadlineExceeded).")
    advice = "Raise timeout." if headline.startswith("its") else "Find out what sets activeDeadlineSeconds"
    assert advice in found.headline + found.advice


GUARDED = some_limits(timeout=600, deadline=1800)
SUM = "schedule_timeout + startup_timeout + timeout of 1800 s"


@pytest.mark.parametrize(
    ("pods", "cause", "hint"),
    [
        ([a_pod(unschedulable="no room")], f"did not start within {SUM} (DeadlineExceeded): Unschedulable", ""),
        ([a_pod(running=True)], f"ran longer than {SUM} (DeadlineExceeded)", "Raise timeout."),
        (
            [a_pod("load-x1", exit_code=1), a_pod("load-x2", unschedulable="no room")],
            f"ran longer than {SUM} (DeadlineExceeded), at last waiting: Unschedulable",
            "",
        ),
    ],
    ids=["never began", "ran", "waited at last"],
)
def test_a_run_without_a_follower_names_all_its_timeouts(pods: list[dict[str, Any]], cause: str, hint: str) -> None:
    """Kubernetes ended it after their sum (R5, R22)."""
    case = a_case(*pods, cause=Cause.DEADLINE, reason="DeadlineExceeded", job=a_job(deadline=1800), limits=GUARDED)
    found = diagnose(case)
    assert found.cause.startswith(cause)
    assert hint in found.hint


@pytest.mark.parametrize("deadline", [130, 600])
@pytest.mark.parametrize("limits", [GUARDED, some_limits(deadline=1800, deadline_name="execution_timeout")])
def test_the_end_of_the_work_is_told_from_a_policys(deadline: int, limits: Limits) -> None:
    """The Job's deadline was changed by its follower, as an annotation says (R5, R22)."""
    job = a_job(deadline=deadline)
    job["metadata"]["annotations"] = {TIMEOUT_ANNOTATION: "600"}
    found = diagnose(
        a_case(a_pod(running=True), cause=Cause.DEADLINE, reason="DeadlineExceeded", job=job, limits=limits)
    )
    assert found.headline == "Job etl/load ran longer than its timeout of 600 s (DeadlineExceeded). Raise timeout."


def test_a_policys_deadline_is_named_beside_the_timeout() -> None:
    """And not beside the sum, which the author has not written (R5, R22)."""
    job = a_job(deadline=60)
    case = a_case(a_pod(running=True), cause=Cause.DEADLINE, reason="DeadlineExceeded", job=job, limits=GUARDED)
    assert "the Job's activeDeadlineSeconds of 60 s (its timeout is 600 s)" in diagnose(case).headline


def test_work_that_only_a_delete_could_end_was_a_timeout() -> None:
    """Kubernetes refused the change of the Job (R5)."""
    found = diagnose(a_case(a_pod(running=True), cause=Cause.TIMEOUT, limits=GUARDED))
    assert found.headline == "Job etl/load ran longer than its timeout of 600 s (DeadlineExceeded). Raise timeout."


def test_several_attempts_are_counted() -> None:
    """With more than one attempt the headline says how many (R7, R22)."""
    case = a_case(a_pod("first", exit_code=1), a_pod("second", exit_code=2), limits=some_limits(backoff_limit=1))
    assert diagnose(case).cause == "the script ended with exit code 2 (2 attempts)"


@pytest.mark.parametrize(("code", "name"), [(137, "SIGKILL"), (139, "SIGSEGV"), (143, "SIGTERM")])
def test_a_signal_is_named(code: int, name: str) -> None:
    """128 + n is the signal n (R22)."""
    assert f"exit code {code} ({name})" in ending.in_words(an_end(code), None)


@pytest.mark.parametrize("code", [0, 1, 127, 128, 255])
def test_other_codes_are_no_signals(code: int) -> None:
    """What is no 128 + n names no signal."""
    assert signal_name(code) is None


def test_a_kill_without_oom_has_a_guess() -> None:
    """The kernel may kill a child process without Kubernetes calling it OOMKilled (R22)."""
    assert "kernel may have killed a child process" in diagnose(a_case(a_pod(exit_code=137))).headline


def test_a_missing_capability_has_a_hint() -> None:
    """The container drops all capabilities; what the script printed tells that it needs one."""
    case = a_case(a_pod(exit_code=1), last_lines=["chown: Operation not permitted"])
    assert "add it in pod_overrides" in diagnose(case).headline


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("/scripts/script.sh: 2: .: cannot open ./lib.sh: No such file", "lib.sh"),
        ("/scripts/script.sh: line 2: ./lib.sh: No such file or directory", "lib.sh"),
        ("/scripts/script.sh: line 2: lib.sh: file not found", "lib.sh"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'sql/a.sql'", "sql/a.sql"),
        ("Error: ENOENT: no such file or directory, open 'sql/a.sql'", "sql/a.sql"),
        ("cat: can't open 'lib.sh': No such file or directory", "lib.sh"),
    ],
)
@pytest.mark.parametrize("code", [1, 2, 127])
def test_a_file_beside_the_script_has_its_path(line: str, path: str, code: int) -> None:
    """The script starts in the image's working directory, so a relative path does not find it (R22)."""
    case = a_case(a_pod(exit_code=code), last_lines=["begin", line, "end"], files=["lib.sh", "sql/a.sql"])
    advice = f"{path} is beside the script, not in the working directory: write /scripts/{path}."
    assert advice in diagnose(case).headline


@pytest.mark.parametrize(
    ("handled", "error", "code"),
    [
        ("config.json not found, using defaults", "ModuleNotFoundError: No module named 'pandas'", 1),
        ("mkdir: cannot create directory '//.cache': Permission denied", "ConnectionRefusedError: [Errno 111] x", 1),
        ("WARNING: could not open config.json: not found", "MemoryError", 1),
        ("etl: error while loading shared libraries: libz.so", "/scripts/script.sh: line 3: foo: not found", 127),
        ("config.json not found, using defaults", "", 137),
    ],
)
def test_advice_is_about_the_error(handled: str, error: str, code: int) -> None:
    """The script went on after what it printed before (R22)."""
    lines = [handled, "Traceback (most recent call last):", '  File "script.py", line 3, in <module>', error]
    case = a_case(a_pod(exit_code=code), last_lines=lines, files=["config.json"], hide=str)
    assert diagnose(case) == diagnose(replace(case, last_lines=lines[1:], files=[]))


def test_a_missing_file_of_no_ones_has_no_such_hint() -> None:
    """Only what is mounted is beside the script."""
    case = a_case(a_pod(exit_code=1), last_lines=["cat: other.sh: No such file or directory"], files=["lib.sh"])
    assert diagnose(case).headline == "Job etl/load failed: the script ended with exit code 1."


@pytest.mark.parametrize(
    "line",
    [
        "mkdir: cannot create directory '//.cache': Permission denied",
        "mkdir: cannot create directory ‘//.cache’",
        "PermissionError: [Errno 13] Permission denied: '/.local'",
        "error: could not lock config file //.gitconfig: Permission denied",
        "touch: cannot touch '/.npmrc': Read-only file system",
    ],
)
def test_a_user_without_a_home_has_a_hint(line: str) -> None:
    """A uid that the image does not know has the home / (R22)."""
    case = a_case(a_pod(exit_code=1), last_lines=[line])
    assert "home is /: set run_as_uid instead of runAsUser, or HOME in env" in diagnose(case).headline


@pytest.mark.parametrize("line", ["Permission denied: '/data/.lock'", "reading /.config", "./a: Permission denied"])
def test_other_folders_are_no_home(line: str) -> None:
    """Only a hidden file at the root shows it."""
    assert "home" not in diagnose(a_case(a_pod(exit_code=1), last_lines=[line])).headline


@pytest.mark.parametrize(
    ("program", "advice"),
    [
        ("/usr/bin/python9", "Change image or interpreter, or write #!/usr/bin/env python3."),
        ("/usr/local/bin/bash", "Change image or interpreter, or write #!/usr/bin/env bash."),
        ("bash", "Change image or interpreter."),
        ("/usr/bin/env", "Change image or interpreter."),
    ],
)
def test_a_path_that_the_image_lacks_has_the_shebang_that_finds_it(program: str, advice: str) -> None:
    """A shebang with a path holds in one image only (R22)."""
    message = f'exec: "{program}": stat {program}: no such file or directory'
    case = a_case(a_pod(exit_code=128), cause=Cause.NOT_EXECUTABLE, message=message, program=program)
    assert diagnose(case).headline.endswith(f'has no "{program}". {advice}')


def test_a_path_that_the_image_lacks_behind_an_installation() -> None:
    """There a shell reports it (R22)."""
    line = "/scripts/.airflow/prelude.sh: 62: exec: /usr/bin/python9: not found"
    case = a_case(a_pod(exit_code=127), program="/usr/bin/python9", last_lines=[line])
    assert diagnose(case).headline.endswith("check image and interpreter, or write #!/usr/bin/env python3.")


def test_a_deadline_names_the_argument() -> None:
    """A run that was too slow says how long it had (R5, R22)."""
    found = diagnose(a_case(a_pod(running=True), cause=Cause.DEADLINE, reason="DeadlineExceeded"))
    assert found.headline == "Job etl/load ran longer than its timeout of 600 s (DeadlineExceeded). Raise timeout."
    assert (found.category, found.reason) == (Category.DEADLINE_EXCEEDED, "DeadlineExceeded")


def test_a_deadline_before_the_start_says_what_was_in_the_way() -> None:
    """A Job that used up its time waiting is not called slow (R11)."""
    pod = a_pod(unschedulable="0/2 nodes are available: 2 Insufficient memory.")
    found = diagnose(a_case(pod, cause=Cause.DEADLINE))
    headline = found.headline
    assert "did not start within its timeout of 600 s (DeadlineExceeded): Unschedulable: 0/2 nodes" in headline
    assert found.category is Category.UNSCHEDULABLE
    assert headline.endswith("Ask for less in container_resources, or add nodes.")


def test_no_pod_is_explained_by_the_jobs_events() -> None:
    """A Job that never got a pod says why, in its own event's words (R11)."""
    warning = 'Job load: FailedCreate: Error creating: exceeded quota: q, requested: pods=1, used: pods=0, limited: "0"'
    found = diagnose(a_case(cause=Cause.SCHEDULE_TIMEOUT, warnings=[warning]))
    assert "got no node within schedule_timeout of 900 s: FailedCreate: exceeded quota: q" in found.headline
    assert (found.category, found.reason) == (Category.EXCEEDED_QUOTA, "FailedCreate")


def test_no_pod_and_no_event_is_said_too() -> None:
    """Where nothing is known, the only advice is time (R11)."""
    found = diagnose(a_case(cause=Cause.SCHEDULE_TIMEOUT))
    assert found.headline.endswith("no pod was created. Raise schedule_timeout.")
    assert (found.category, found.reason) == (Category.SCHEDULE_TIMEOUT, None)


def test_a_job_that_stays_suspended_is_not_explained_by_its_last_pod() -> None:
    """A queue preempted the script, and did not admit it again (R11)."""
    pod = a_pod(exit_code=143, being_deleted=True)
    found = diagnose(a_case(pod, cause=Cause.SCHEDULE_TIMEOUT, job=a_job("Suspended", suspended=True)))
    assert "got no node within schedule_timeout of 900 s: the Job is suspended. Look at" in found.headline
    assert (found.category, found.reason) == (Category.SCHEDULE_TIMEOUT, None)


def test_a_pod_that_waits_quietly_is_explained_by_events() -> None:
    """``ContainerCreating`` says nothing; the warning about the volume does (R15)."""
    warning = 'Pod load-x1: FailedMount: MountVolume.SetUp failed for volume "v" : secret "s" not found'
    headline = diagnose(a_case(a_pod(), cause=Cause.STARTUP_TIMEOUT, warnings=[warning])).headline
    assert "FailedMount" in headline
    assert headline.endswith("Create it, or change env_from or volumes.")


def test_an_image_names_image_and_registrys_words() -> None:
    """A wrong tag fails with image and the registry's message (R15)."""
    message = 'failed to pull and unpack image "python:9": failed to resolve reference "python:9": python:9: not found'
    case = a_case(a_pod(image="python:9"), cause=Cause.IMAGE, reason="ErrImagePull", message=message)
    assert diagnose(case).headline == (
        "Job etl/load failed: image python:9 cannot be pulled (ErrImagePull): not found. "
        "Check image and image_pull_secrets."
    )


def test_a_missing_interpreter_is_named() -> None:
    """The image has no such program: both are named (R22)."""
    message = 'exec: "bash": executable file not found in $PATH'
    case = a_case(a_pod(exit_code=128), cause=Cause.NOT_EXECUTABLE, message=message, program="bash")
    assert diagnose(case).headline == (
        'Job etl/load failed: image python:3.11-slim has no "bash". Change image or interpreter.'
    )


def test_a_program_that_cannot_be_executed_is_named() -> None:
    """A program of another architecture is there, and useless (R22)."""
    case = a_case(a_pod(exit_code=128), cause=Cause.NOT_EXECUTABLE, message="exec format error", program="etl")
    assert diagnose(case).cause == '"etl" cannot be executed in image python:3.11-slim'


def test_an_eviction_is_the_clusters_doing() -> None:
    """An evicted pod says who ended it (R22)."""
    found = diagnose(
        a_case(a_pod(running=True, being_deleted=True, disrupted="EvictionByEvictionAPI"), cause=Cause.JOB_FAILED)
    )
    assert found.cause == "pod load-x1 was ended by the cluster: EvictionByEvictionAPI: the node is drained"
    assert (found.category, found.reason) == (Category.EVICTION_BY_API, "EvictionByEvictionAPI")


def test_a_deleted_pod_is_said() -> None:
    """Somebody deleted the last pod."""
    found = diagnose(a_case(a_pod(running=True, being_deleted=True), cause=Cause.JOB_FAILED))
    assert (found.cause, found.category, found.reason) == ("pod load-x1 was deleted", Category.POD_DELETED, None)


def test_a_deletion_that_may_have_ended_a_script_with_0_is_said() -> None:
    """Kubernetes has no word for it, so there is no reason (R1, R22)."""
    pod = a_pod(exit_code=0, being_deleted=True)
    found = diagnose(a_case(pod, cause=Cause.STOPPED, reason="", message="pod load-x1 was deleted"))
    assert found.cause.startswith("outcome unknown: pod load-x1 was deleted. Its script ended with exit code 0")
    assert (found.category, found.reason) == (Category.POD_DELETED, None)


def test_a_disruption_after_the_scripts_own_end_is_not_its_cause() -> None:
    """The node died while a sidecar was stopping (R22)."""
    case = a_case(a_pod(exit_code=3))
    later = a_pod(exit_code=3, disrupted="DeletionByTaintManager", being_deleted=True)
    found = diagnose(replace(case, view=case.view.with_pod(later, 1)))
    assert (found.cause, found.reason) == ("the script ended with exit code 3", "Error")


@pytest.mark.parametrize("code", [137, 143, 1])
def test_a_deletion_explains_the_end_of_its_script(code: int) -> None:
    """A signal, or the code of a handler, says nothing more, and nothing of memory (R22)."""
    pod = a_pod(exit_code=code, being_deleted=True)
    found = diagnose(a_case(pod, cause=Cause.JOB_FAILED, last_lines=["KeyError: 1"], hide=str))
    assert found.headline == f"Job etl/load failed: pod load-x1 was deleted (exit code {code})."
    assert (found.category, found.reason) == (Category.POD_DELETED, None)


@pytest.mark.parametrize(
    ("ended", "category"),
    [
        ({"being_deleted": True}, Category.POD_DELETED),
        ({"phase": "Failed", "pod_reason": "DeadlineExceeded", "pod_message": "Too late"}, Category.DEADLINE_EXCEEDED),
        ({"phase": "Failed", "pod_reason": "Evicted", "pod_message": "Low on resource: memory"}, Category.EVICTED),
        ({}, Category.INSTALL_FAILED),
    ],
)
def test_what_ended_the_pod_explains_the_end_of_its_installation(ended: dict[str, Any], category: Category) -> None:
    """The packages are not at fault (R22)."""
    pod = a_pod(waiting="PodInitializing", installers=[a_container(name="install", exit_code=137)], **ended)
    assert diagnose(a_case(pod, cause=Cause.JOB_FAILED)).category is category


def test_a_probe_explains_the_signal() -> None:
    """The kubelet killed the script, not the kernel (R22)."""
    case = a_case(a_pod(exit_code=137))
    stopped = case.view.with_stopped("uid-load-x1", "Killing", "Stopping container script: Liveness probe failed")
    found = diagnose(replace(case, view=stopped))
    assert found.headline == (
        "Job etl/load failed: Killing: Stopping container script: Liveness probe failed (exit code 137). "
        "Change this probe in pod_overrides."
    )
    assert (found.category, found.reason) == (Category.STOPPED, "Killing")


@pytest.mark.parametrize("reason", ["StartError", "ContainerCannotRun"])
def test_a_deletion_explains_no_container_that_could_not_start(reason: str) -> None:
    """The container runtime names the cause (R22)."""
    pod = a_pod(exit_code=128, reason=reason, message="error mounting /data: no such device", being_deleted=True)
    found = diagnose(a_case(pod, cause=Cause.JOB_FAILED))
    assert found.cause == 'container "script" could not start: error mounting /data: no such device'


def test_a_deletion_explains_no_earlier_end() -> None:
    """The Job of a script with a sidecar is deleted; memory and missing packages have their own words."""
    case = a_case(a_pod(exit_code=3))
    deleted = case.view.with_pod(a_pod(exit_code=3, being_deleted=True), 1)
    assert diagnose(replace(case, view=deleted)).cause == "the script ended with exit code 3"
    assert diagnose(a_case(a_pod(oom_killed=True, being_deleted=True))).category is Category.OOM_KILLED
    both = a_pod(exit_code=3, being_deleted="2026-01-01T00:01:09Z", grace_period=30)
    assert diagnose(a_case(both, cause=Cause.JOB_FAILED)).cause == "the script ended with exit code 3"
    installer = a_container(name="install", exit_code=PERMANENT, message='could not install "pandaz"')
    installing = a_pod(waiting="PodInitializing", being_deleted=True, installers=[installer])
    assert diagnose(a_case(installing)).category is Category.INSTALL_FAILED


def test_without_an_exit_code_the_jobs_words_count() -> None:
    """Where no pod tells anything, the Job's condition does."""
    case = a_case(cause=Cause.JOB_FAILED, reason="BackoffLimitExceeded", message="Job has reached\nits limit")
    assert diagnose(case).cause == "BackoffLimitExceeded: Job has reached its limit"


@pytest.mark.parametrize(
    ("cause", "words"),
    [(Cause.JOB_DELETED, "the Job was deleted"), (Cause.SILENCE, "the API server did not report the Job's end")],
)
def test_an_unknown_outcome_is_called_unknown(cause: Cause, words: str) -> None:
    """Nobody guesses how the script ended (R9)."""
    assert diagnose(a_case(cause=cause)).headline.startswith(f"Job etl/load: outcome unknown: {words}. ")


def test_silence_names_a_command_that_kubectl_takes() -> None:
    """The line can be pasted."""
    assert diagnose(a_case(cause=Cause.SILENCE)).headline.endswith("Run kubectl -n etl describe job load.")


LONG = "xx " * 100
EVERY_CAUSE = [
    a_case(a_pod(oom_killed=True, memory="512Mi")),
    a_case(a_pod(exit_code=137)),
    a_case(a_pod(exit_code=128, reason="StartError", message=LONG)),
    a_case(cause=Cause.JOB_FAILED, reason="X", message=f"two\n{LONG}"),
    a_case(a_pod(unschedulable=LONG), cause=Cause.STARTUP_TIMEOUT),
    a_case(a_pod(), cause=Cause.IMAGE, reason="ErrImagePull", message=LONG),
    a_case(cause=Cause.SILENCE, job_name="n/" + "j" * 63),
]


@pytest.mark.parametrize("case", EVERY_CAUSE)
def test_a_headline_is_one_short_line(case: Case) -> None:
    """The first line has at most 200 characters, whatever Kubernetes says (R22)."""
    headline = diagnose(case).headline
    assert "\n" not in headline
    assert len(headline) <= MAX_HEADLINE


def test_a_cut_headline_keeps_its_advice() -> None:
    """Kubernetes' words are cut, what to do is not (R22)."""
    case = a_case(a_pod(), cause=Cause.IMAGE, reason="ErrImagePull", message=LONG)
    assert diagnose(case).headline.endswith("xx… Check image and image_pull_secrets.")


def test_a_container_that_cri_o_does_not_create_for_its_program() -> None:
    """CRI-O reports a missing interpreter before the container exists (R22)."""
    message = "container create failed: executable file `ruby` not found in $PATH: No such file or directory\n"
    pod = a_pod(waiting="CreateContainerError", message=message)
    found = diagnose(a_case(pod, cause=Cause.STARTUP_TIMEOUT, hide=str))
    assert (found.category, found.reason) == (Category.PROGRAM_NOT_FOUND, "CreateContainerError")
    assert "CreateContainerError: executable file `ruby` not found" in found.headline
    assert found.headline.endswith("Change image or interpreter.")


NOT_STARTED = 'exec: "s3cr3t-1": executable file not found in $PATH'
OF_RUNTIMES = [
    a_case(a_pod(exit_code=128, reason="StartError", message=NOT_STARTED)),
    a_case(a_pod(exit_code=128), cause=Cause.NOT_EXECUTABLE, message=NOT_STARTED),
    a_case(a_pod(waiting="CreateContainerError", message=NOT_STARTED), cause=Cause.STARTUP_TIMEOUT),
    a_case(a_pod(waiting="RunContainerError", message=NOT_STARTED), cause=Cause.DEADLINE),
    a_case(a_pod(waiting="CreateContainerError", message=NOT_STARTED), cause=Cause.NOT_CREATED, message=NOT_STARTED),
    a_case(a_pod(installers=[a_container(name="install", exit_code=128, reason="StartError", message=NOT_STARTED)])),
]


@pytest.mark.parametrize(
    ("hide", "shown"),
    [(hider(["s3cr3t-1"]), '"***"'), (None, '"…"'), (name_of_error, '"…"')],
    ids=["known", "none", "others"],
)
@pytest.mark.parametrize("case", OF_RUNTIMES, ids=lambda case: case.verdict.cause.name)
def test_a_runtimes_message_has_no_value(case: Case, hide: Hide | None, shown: str) -> None:
    """It may quote an argument or a variable: what is unknown is not shown (R22, R26)."""
    found = diagnose(replace(case, hide=hide))
    assert "s3cr3t" not in str(found)
    is_only_named = case.verdict.cause in (Cause.NOT_EXECUTABLE, Cause.NOT_CREATED)
    assert ('container "script"' if is_only_named and shown == '"…"' else shown) in found.headline


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("executable file `python9` not found in $PATH", f'image {IMAGE} lacks the program of container "script"'),
        (
            'exec: "/tmp/x": permission denied',
            f'the program of container "script" cannot be executed in image {IMAGE}',
        ),
    ],
)
def test_a_program_that_may_be_a_value_is_named_by_its_container(message: str, cause: str) -> None:
    """A triggerer knows no values (R22, R26)."""
    waiting = a_pod(waiting="CreateContainerError", message=message)
    case = a_case(waiting, cause=Cause.NOT_CREATED, message=message)
    assert diagnose(case).headline == f"Job etl/load failed: {cause}. Change image or interpreter."


def test_a_program_of_another_container_that_cri_o_does_not_create() -> None:
    """The image is that container's, and so is what to change (R22)."""
    message = "container create failed: executable file `ruby` not found in $PATH"
    pod = a_pod(others=[a_container(name="proxy", waiting="CreateContainerError", message=message)])
    case = a_case(pod, cause=Cause.NOT_CREATED, reason="CreateContainerError", message=message, hide=str)
    assert diagnose(case).headline.endswith('has no "ruby". Check container "proxy" in pod_overrides.')


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ('violates PodSecurity "restricted:latest": runAsNonRoot != true', "Set run_as_uid."),
        ('violates PodSecurity "baseline": hostPath volumes', "Ask for less in pod_overrides"),
        ("failed quota: q: must specify limits.cpu for: script", "Set container_resources"),
        ("exceeded quota: q, requested: pods=1", "Ask for less in container_resources, or free"),
        ('error looking up service account etl/x: serviceaccount "x" not found', "change service_account_name"),
        ('persistentvolumeclaim "data" not found', "change volumes"),
        ('Error: configmap "x" not found', "change env_from or volumes"),
        ("1 node(s) didn't match Pod's node affinity/selector", "node_selector"),
        ("1 node(s) had untolerated taint {a: b}", "Set tolerations."),
    ],
)
def test_hints_name_the_argument(message: str, hint: str) -> None:
    """A rejection names the argument that is missing (R18)."""
    assert hint in hint_for(message)


def test_unknown_words_have_no_hint() -> None:
    """No hint is better than a wrong one."""
    assert hint_for("something else") == ""


def test_an_event_is_one_line() -> None:
    """Kind, name, reason and message."""
    assert event_line(an_event("FailedMount", "a\nb")) == "Pod load-x1: FailedMount: a b"


def test_an_event_of_a_start_shows_nothing_that_a_runtime_quotes() -> None:
    """It may be any value of the container; an image is none (R26)."""
    failed = an_event("Failed", 'Error: failed to create containerd task: exec: "hunter22": not found')
    assert event_line(failed) == 'Pod load-x1: Failed: Error: failed to create containerd task: exec: "…": not found'
    assert '"etl:9"' in event_line(an_event("Failed", 'Failed to pull image "etl:9": not found'))


def test_an_init_container_that_failed_is_named() -> None:
    """Where the script never ran, the container that failed is the cause (R22)."""
    pod = a_pod(installers=[a_container(name="prepare", exit_code=1)], phase="Failed")
    case = a_case(pod, cause=Cause.JOB_FAILED, reason="BackoffLimitExceeded", job=a_job(failed=1))
    assert diagnose(case).cause == 'init container "prepare" ended with exit code 1'


def test_an_installation_says_itself_what_failed() -> None:
    """The termination message of the install container is the cause (R22)."""
    pod = a_pod(installers=[a_container(name="install", exit_code=97, message="could not install x")], phase="Failed")
    found = diagnose(a_case(pod, cause=Cause.SCRIPT_FAILED, hide=str))
    assert (found.cause, found.category, found.reason) == ("could not install x", Category.INSTALL_FAILED, "Error")


INDEX = "could not install: ERROR: Could not fetch https://host/t0ken-t0ken/org/simple/pandas/"


@pytest.mark.parametrize(
    ("message", "hide", "cause"),
    [
        (
            INDEX,
            hider(["t0ken-t0ken"]),
            "could not install: ERROR: Could not fetch https://host/***/org/simple/pandas/",
        ),
        (INDEX, None, "could not install"),
        (INDEX, lambda line: "", "could not install"),
        ('could not install "pandaz": no matching distribution', None, None),
        ('could not install "a @ https://t0ken@h/": not a requirement', None, "could not install: not a requirement"),
        ("could not install: the image has neither pip nor uv", None, None),
        ("could not install: t0ken", None, "could not install"),
        ("t0ken", None, "could not install"),
    ],
)
def test_an_installation_quotes_no_value(message: str, hide: Hide | None, cause: str | None) -> None:
    """An index may have a token in its path; where values are unknown, only our own words stay (R26)."""
    pod = a_pod(installers=[a_container(name="install", exit_code=97, message=message)], phase="Failed")
    assert diagnose(a_case(pod, hide=hide)).cause == (cause or message)


@pytest.mark.parametrize(
    ("message", "hide", "cause"),
    [
        ("could not install packages: E: Failed to fetch http://p/t0ken-t0ken/x", hider(["t0ken-t0ken"]),
         "could not install packages: E: Failed to fetch http://p/***/x"),
        ("could not install packages: E: Failed to fetch http://p/t0ken-t0ken/x", None, "could not install packages"),
        ("could not install packages: the container does not run as root", None, None),
    ],
)  # fmt: skip
def test_packages_quote_no_value(message: str, hide: Hide | None, cause: str | None) -> None:
    """A mirror or a proxy may have a token in its address (R26)."""
    pod = a_pod(exit_code=98, message=f"airflow-script: {message}")
    pod["spec"]["containers"][0]["env"] = [{"name": "AIRFLOW_SCRIPT_PACKAGES"}]
    assert diagnose(a_case(pod, hide=hide)).cause == (cause or message)


@pytest.mark.parametrize(("hide", "shown"), [(hider(["hunter22"]), 'message: "*** is wrong"'), (None, "Error.")])
def test_a_hook_quotes_no_value(hide: Hide | None, shown: str) -> None:
    """The message of a hook has its command and its output (R26)."""
    said = 'Exec lifecycle hook ([sh -c a]) for Container "script" failed - error: x, message: "hunter22 is wrong"'
    case = a_case(a_pod(waiting="PostStartHookError", message=said), cause=Cause.STARTUP_TIMEOUT, hide=hide)
    assert "hunter22" not in diagnose(case).headline + diagnose(case).cause
    assert shown in diagnose(case).headline + diagnose(case).cause


@pytest.mark.parametrize("reason", ["Unhealthy", "FailedPostStartHook"])
def test_an_event_of_a_hook_or_a_probe_quotes_no_value(reason: str) -> None:
    """What a probe printed is not in the first line (R26)."""
    warning = event_line(an_event(reason, "Startup probe failed: hunter22 is wrong"))
    case = a_case(a_pod(waiting="ContainerCreating"), cause=Cause.STARTUP_TIMEOUT, warnings=[warning])
    found = diagnose(case)
    assert "hunter22" not in found.headline + found.cause
    assert "Startup probe failed" in found.cause


def test_a_deadline_that_nobody_watched() -> None:
    """The Job had a pod, which its controller has deleted: nobody says that there was none."""
    job = a_job("Failed", reason="DeadlineExceeded", failed=1)
    case = a_case(job=job, cause=Cause.DEADLINE, limits=some_limits(deadline=12))
    assert (
        "was ended by its timeout of 12 s (DeadlineExceeded); its pods and their logs are gone"
        in diagnose(case).headline
    )


def test_a_timeout_names_what_the_last_attempt_waited_for() -> None:
    """After a preemption, attempt 2 found no room (R5, R11)."""
    first = a_pod("load-x1", running=True, being_deleted=True, disrupted="PreemptionByScheduler")
    room = "0/2 nodes are available: 2 Insufficient memory."
    found = diagnose(a_case(first, a_pod("load-x2", unschedulable=room), cause=Cause.DEADLINE))
    assert (
        found.cause
        == f"ran longer than its timeout of 600 s (DeadlineExceeded), at last waiting: Unschedulable: {room}"
    )
    assert found.category is Category.UNSCHEDULABLE


def test_a_timeout_beside_a_sidecar_names_what_the_script_waited_for() -> None:
    """The sidecar runs, and the script's container waits for its Secret (R5, R15)."""
    sidecars = [a_container(name="proxy", running=True)]
    pod = a_pod(waiting="CreateContainerConfigError", message='secret "db" not found', sidecars=sidecars)
    found = diagnose(a_case(pod, cause=Cause.DEADLINE))
    assert found.cause == (
        "did not start within its timeout of 600 s (DeadlineExceeded): "
        'CreateContainerConfigError: secret "db" not found'
    )


@pytest.mark.parametrize(
    ("is_ours", "words"),
    [
        (False, "ended when it was resumed: its time in suspension counted towards its timeout of 15 s"),
        (True, "was still suspended at the end of its timeout of 15 s"),
    ],
)
def test_a_timeout_of_a_suspended_job_says_so(is_ours: bool, words: str) -> None:
    """Before Kubernetes 1.36 the controller looks at the deadline before it resets the start time (R5, R11)."""
    job = a_job("FailureTarget", reason="DeadlineExceeded")
    job["status"]["conditions"].append({"type": "Suspended", "status": "True"})
    case = a_case(a_pod(running=True), job=job, cause=Cause.DEADLINE, limits=some_limits(deadline=15))
    found = diagnose(replace(case, verdict=replace(case.verdict, delete_job=is_ours)))
    assert words in found.cause
    assert found.category is Category.DEADLINE_EXCEEDED


def test_a_settled_event_is_not_blamed() -> None:
    """Once the pod exists, what kept the Job from creating it does not matter (R11)."""
    quota = 'Job load: FailedCreate: Error creating: pods "load-x1" is forbidden: exceeded quota: q'
    network = "Pod load-x1: NetworkNotReady: network is not ready"
    found = diagnose(a_case(a_pod(), cause=Cause.STARTUP_TIMEOUT, warnings=[quota, network]))
    assert "NetworkNotReady" in found.cause
    assert found.category is not Category.EXCEEDED_QUOTA
    alone = diagnose(a_case(a_pod(), cause=Cause.STARTUP_TIMEOUT, warnings=[quota]))
    assert alone.cause == "did not start within startup_timeout of 300 s: is starting on node-1"


def test_a_node_that_does_not_answer_is_named() -> None:
    """Which node, which pod, and that the script may still run (R10)."""
    pod = a_pod(running=True, being_deleted=True)
    found = diagnose(a_case(pod, cause=Cause.UNREACHABLE, reason="DeletionByTaintManager"))
    assert (found.category, found.reason) == (Category.NODE_UNREACHABLE, "DeletionByTaintManager")
    assert found.headline == (
        "Job etl/load: outcome unknown: node node-1 does not report the end of its pod (DeletionByTaintManager): "
        "the script may still run in load-x1, so it is not retried. Run kubectl describe node node-1."
    )
