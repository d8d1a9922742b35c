"""The outcome of a script in a running pod."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.exceptions import JobTimeoutError, OutcomeUnknownError, ScriptFailedError
from airflow_script_provider.kube.exec import outcome as exec_outcome
from airflow_script_provider.kube.exec.ends import (
    ConnectionBroken,
    ExecEnd,
    Exited,
    NotStarted,
    PodEnded,
    ShellKilled,
    Stopped,
    TimedOut,
)
from airflow_script_provider.kube.exec.outcome import ExecCase, ExecOutput, PodLocation
from airflow_script_provider.kube.job import outcomes
from airflow_script_provider.kube.job.outcomes import Outcome
from airflow_script_provider.kube.wording import MAX_HEADLINE
from airflow_script_provider.result import ScriptResult
from tests.builders import an_exec_request

PLACE = PodLocation("shop", "api-x1", "api", "api:1", "node-1")


def an_outcome(
    end: ExecEnd, script: str | None = "print(1)", *, out: bytes = b"", err: bytes = b"", **options: Any
) -> Outcome:
    """The outcome of a run with this output."""
    printed = ExecOutput.of(64)
    for both, one, data in ((printed.both, printed.stdout, out), (printed.both, printed.stderr, err)):
        both.add([data])
        one.add([data])
    times = {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:02Z"}
    request = an_exec_request(script, **options)
    program = request.invocation(PLACE.image).argv[0]
    return exec_outcome.conclude(ExecCase(request, program, PLACE, end, printed, 2.0, times))


def test_the_scripts_own_error_is_in_the_first_line() -> None:
    """What the interpreter says, without the values of the request (R26, R37)."""
    printed = ExecOutput.of(500)
    printed.both.add([b'Traceback (most recent call last):\n  File "x", line 1\nValueError: hunter2 is wrong\n'])
    case = ExecCase(an_exec_request(), "python3", PLACE, Exited(1), printed, 2.0)
    ended = "Pod shop/api-x1: the script ended with exit code 1"
    assert error_of(exec_outcome.conclude(case)).message.splitlines()[0] == f"{ended}."
    shown = exec_outcome.conclude(replace(case, hide=lambda line: line.replace("hunter2", "***")))
    assert error_of(shown).message.splitlines()[0] == f"{ended}: ValueError: *** is wrong."


def test_an_end_with_0_after_a_sigterm_is_unknown_if_the_pod_ends() -> None:
    """The script may have stopped half-way, and has ended, so a retry is safe (R1, R2, R36)."""
    concluded = an_outcome(Stopped("the pod is being deleted, perhaps by a rollout"))
    error = error_of(concluded)
    assert " ".join(str(error).split()) == (
        "Outcome unknown: the script in pod shop/api-x1 ended with exit code 0 after a SIGTERM; "
        "the pod is being deleted, perhaps by a rollout. A retry chooses a ready pod again."
    )
    result = concluded.result
    assert (isinstance(error, OutcomeUnknownError), error.retryable, result.category) == (True, True, "PodEnded")


def test_an_end_with_0_after_a_sigterm_is_a_success_if_the_pod_goes_on() -> None:
    """A script may signal its own group (R1)."""
    assert an_outcome(Exited(0, got_sigterm=True)).diagnosis is None


@pytest.mark.parametrize(
    ("printed", "advice"),
    [
        ("ModuleNotFoundError: No module named 'pandas'", "The image lacks it."),
        ("MemoryError", "The container's memory limit may be too low."),
        ("PermissionError: [Errno 1] Operation not permitted", "The container may lack a capability."),
        ("PermissionError: [Errno 13] Permission denied: '/x'", "The container's user may not."),
        ("OSError: [Errno 8] Exec format error: './x'", "It is built for other processors."),
        ("E: Unable to lock database: Permission denied", "The container's user may not."),
        ("OSError: [Errno 30] Read-only file system: '/x'", "Write to /tmp, or mount a volume."),
    ],
)
def test_advice_names_no_argument_that_shapes_a_pod(printed: str, advice: str) -> None:
    """The pod runs already, and its image, user and limits are its author's (R37)."""
    output = ExecOutput.of(500)
    output.both.add([f"{printed}\n".encode()])
    case = ExecCase(an_exec_request(), "python3", PLACE, Exited(1), output, 2.0)
    assert str(error_of(exec_outcome.conclude(case))).splitlines()[0].endswith(f" {advice}")


def error_of(outcome_: Outcome) -> ScriptFailedError:
    """The error that a failure raises."""
    error = outcomes.failure(outcome_)
    assert error is not None
    return error


def test_a_success_has_everything_apart() -> None:
    """The result has both streams together and apart, and the value of stdout."""
    concluded = an_outcome(Exited(0), out=b'{"n": 1}\n', err=b'{"n": 2}\n')
    result = concluded.result
    assert (result.output, result.stdout_tail, result.stderr_tail) == (
        '{"n": 1}\n{"n": 2}\n',
        '{"n": 1}\n',
        '{"n": 2}\n',
    )
    assert (result.value, result.job_name, result.pod_name, result.container_name) == ({"n": 1}, None, "api-x1", "api")
    assert (result.succeeded, result.failed, result.error, concluded.diagnosis) == (1, 0, None, None)
    assert result.attempts[0].started_at == "2026-01-01T00:00:00Z"
    assert ScriptResult.from_dict(result.to_dict()) == result


@pytest.mark.parametrize(
    ("end", "first"),
    [
        (Exited(3), "Pod shop/api-x1: the script ended with exit code 3."),
        (
            Exited(127),
            'Pod shop/api-x1: the script ended with exit code 127. Command not found, perhaps "python3" itself: '
            "check that image api:1 has it.",
        ),
        (
            Exited(126),
            'Pod shop/api-x1: the script ended with exit code 126. A command cannot be executed, perhaps "python3" '
            "itself: check its permissions.",
        ),
        (
            Exited(137),
            "Pod shop/api-x1: the script ended with exit code 137 (SIGKILL). It was killed, perhaps for memory "
            "(OOMKilled). Check: kubectl -n shop describe pod api-x1",
        ),
        (
            NotStarted("sh"),
            'Pod shop/api-x1: image api:1 has no "sh" (executable file not found), so the script cannot run.',
        ),
        (
            NotStarted("working_dir"),
            "Pod shop/api-x1: working_dir '/app' cannot be entered in image api:1. Check working_dir.",
        ),
        (
            NotStarted("code", "exit code 127"),
            "Pod shop/api-x1: sh in image api:1 could not read the script (exit code 127). "
            "Check that the image has head, mkdir and rm.",
        ),
        (
            NotStarted("connection", "dial tcp 10.0.0.2:10250: connect: connection refused"),
            "Pod shop/api-x1: the script was not started: its node cannot be reached (dial tcp 10.0.0.2:10250: "
            "connect: connection refused). A retry chooses a ready pod again.",
        ),
        (
            NotStarted("refused", 'unable to upgrade connection: container not found ("api")'),
            "Pod shop/api-x1: the script was not started: its node refused the exec (unable to upgrade connection: "
            'container not found ("api")). A retry chooses a ready pod again.',
        ),
        (
            NotStarted("container", "cannot exec in a stopped container"),
            "Pod shop/api-x1: the script was not started: cannot exec in a stopped container. A retry chooses a ready "
            "pod again.",
        ),
        (
            NotStarted("permission", "exec /app: exec format error"),
            "Pod shop/api-x1: the script cannot be started: exec /app: exec format error. Check command and image.",
        ),
        (
            NotStarted("folder"),
            "Pod shop/api-x1: the container has no writable folder. Mount an emptyDir at /tmp, or set TMPDIR.",
        ),
        (
            NotStarted("write"),
            "Pod shop/api-x1: script and files cannot be written in the container. Free space in /dev/shm and /tmp.",
        ),
        (
            NotStarted("killed", "exit code 137, SIGKILL"),
            "Pod shop/api-x1: sh in image api:1 was killed before the script began (exit code 137, SIGKILL). It was "
            "killed, perhaps for memory (OOMKilled).",
        ),
        (
            TimedOut("it was ended"),
            "Pod shop/api-x1: the script ran longer than its timeout of 600 s (DeadlineExceeded); it was ended. "
            "Raise timeout.",
        ),
        (
            TimedOut("it could not be ended", may_still_run=True),
            "Pod shop/api-x1: the script ran longer than its timeout of 600 s (DeadlineExceeded); it could not be "
            "ended. It may still be running, so Airflow does not retry.",
        ),
        (
            PodEnded("the pod was deleted or replaced by a rollout while the script ran"),
            "Pod shop/api-x1: the pod was deleted or replaced by a rollout while the script ran. "
            "A retry chooses a ready pod again.",
        ),
    ],
    ids=str,
)
def test_the_first_line_says_it(end: ExecEnd, first: str) -> None:
    """The first line has object, cause and advice (R22)."""
    message = str(error_of(an_outcome(end, working_dir="/app")))
    assert message.splitlines()[0].startswith(first)
    assert len(message.splitlines()[0]) <= MAX_HEADLINE


def test_without_a_shell_a_command_is_advised() -> None:
    """The message advises a command without a shell."""
    assert "pass command=[…] without env" in str(error_of(an_outcome(NotStarted("sh"))))


def test_a_command_is_called_so() -> None:
    """A run without a script is called a command."""
    concluded = an_outcome(Exited(2), None, command=["ls"])
    assert concluded.result.error == "The command ended with exit code 2"
    assert concluded.result.script_sha256 is None


def test_last_lines_follow() -> None:
    """The error ends with the last lines of output (R22)."""
    assert str(error_of(an_outcome(Exited(1), out=b"why\n"))).endswith("Last line of output:\n  why")


@pytest.mark.parametrize(
    ("end", "kind", "retryable"),
    [
        (Exited(1), ScriptFailedError, True),
        (TimedOut("it was ended"), JobTimeoutError, True),
        (TimedOut("it could not be ended", may_still_run=True), JobTimeoutError, False),
        (NotStarted("code", "exit code 127"), ScriptFailedError, True),
        (PodEnded("gone", 137), ScriptFailedError, True),
        (NotStarted("sh"), ScriptFailedError, False),
        (NotStarted("program", "x"), ScriptFailedError, False),
        (NotStarted("permission", "x"), ScriptFailedError, False),
        (NotStarted("container", "x"), ScriptFailedError, True),
        (NotStarted("working_dir"), ScriptFailedError, False),
        (NotStarted("write"), ScriptFailedError, True),
        (NotStarted("connection", "x"), ScriptFailedError, True),
        (NotStarted("refused", "x"), ScriptFailedError, True),
        (ConnectionBroken("why", 2.0, is_running=False), OutcomeUnknownError, True),
        (ConnectionBroken("why", 2.0, is_running=True), OutcomeUnknownError, False),
        (ConnectionBroken("why", 2.0), OutcomeUnknownError, False),
        (NotStarted("killed", "exit code 137, SIGKILL"), ScriptFailedError, True),
        (ShellKilled(137, is_running=False), OutcomeUnknownError, True),
        (ShellKilled(137, is_running=True), OutcomeUnknownError, False),
        (ShellKilled(137), OutcomeUnknownError, False),
    ],
    ids=str,
)
def test_whether_another_try_may_help(end: ExecEnd, kind: type, retryable: bool) -> None:
    """A try is never repeated while its process may still run (R2)."""
    error = error_of(an_outcome(end))
    assert (type(error), error.retryable) == (kind, retryable)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (
            True,
            "It is still running, so Airflow does not retry. "
            "To end it: kubectl exec -n shop api-x1 -c api -- sh -c 'kill -- -12'",
        ),
        (False, "It is no longer running (why)."),
        (None, "It may still be running, so Airflow does not retry (why)."),
    ],
)
def test_a_broken_connection(runs: bool | None, said: str) -> None:
    """The outcome is unknown, and the message says what is known of the process (R1, R36)."""
    message = str(error_of(an_outcome(ConnectionBroken("why", 2.0, runs, 12))))
    assert message.startswith("Outcome unknown: the connection to pod shop/api-x1 broke after 2.0 s.")
    assert said in message


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (
            ShellKilled(137, is_running=True, process_group=12),
            "Outcome unknown: the script in pod shop/api-x1 lost the shell that reports its end (exit code 137, "
            "SIGKILL).\nIt is still running, so Airflow does not retry. "
            "To end it: kubectl exec -n shop api-x1 -c api -- sh -c 'kill -- -12'",
        ),
        (
            ShellKilled(137, is_running=False, process_group=12),
            "Outcome unknown: the script in pod shop/api-x1 lost the shell that reports its end (exit code 137, "
            "SIGKILL). It is no longer running (perhaps the shell was OOMKilled).",
        ),
        (
            ShellKilled(139),
            "Outcome unknown: the script in pod shop/api-x1 lost the shell that reports its end (exit code 139, "
            "SIGSEGV). It may still be running, so Airflow does not retry (a signal ended the shell).",
        ),
    ],
)
def test_a_killed_shell(end: ExecEnd, message: str) -> None:
    """The script's own end is unknown, and no exit code of its shell stands for it (R1, R36)."""
    outcome = an_outcome(end)
    assert str(error_of(outcome)) == message
    assert outcome.result.exit_code is None


def test_an_exit_code_of_the_author_skips() -> None:
    """Only an exit code of the script itself skips the task."""
    assert an_outcome(Exited(99), skip_on_exit_code=[99]).skipped
    assert not an_outcome(PodEnded("gone", 99), skip_on_exit_code=[99]).skipped
    assert not an_outcome(ShellKilled(137), skip_on_exit_code=[137]).skipped
    assert not an_outcome(Exited(1), skip_on_exit_code=[99]).skipped
