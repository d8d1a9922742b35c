"""How a program in a running container ended: what counts of all that is reported."""

from __future__ import annotations

import pytest

from airflow_script_provider.kube.exec import ends
from airflow_script_provider.kube.exec.ends import (
    ConnectionBroken,
    ExecEnd,
    Exited,
    NotStarted,
    ShellKilled,
    Termination,
    TimedOut,
)
from airflow_script_provider.kube.exec.own_lines import OwnLines
from airflow_script_provider.kube.exec.protocol import ExecStatus

DIALED = "dial tcp 10.0.0.2:10250: connect: connection refused"
NOT_SENT = f'Internal error occurred: error sending request: Post "https://10.0.0.2:10250/x?command=sh": {DIALED}'
REFUSED = 'unable to upgrade connection: container not found ("api")'
OWN_SUCCESS = ExecStatus(0)
MISSING = 'OCI runtime exec failed: exec: "{}": executable file not found in $PATH: unknown'
BEGUN = b"abc started 12 345\nhi\n"
BROKEN = ExecStatus(None, "InternalError", "websocket: close 1006")
NO_CONNECTION = ExecStatus(None, "InternalError", NOT_SENT)
NO_SHELL = ExecStatus(None, "InternalError", MISSING.format("sh"))
UNREPORTED = ConnectionBroken("the connection to the node broke: the pod has reported no exit code", 2.0)
STATUSES = (OWN_SUCCESS, ExecStatus(3), ExecStatus(137), ExecStatus(143), BROKEN, NO_CONNECTION, NO_SHELL, None)
CUT = tuple(ConnectionBroken(f"InternalError: {why}", 2.0) for why in (BROKEN.message, DIALED))
NONE = ConnectionBroken("why", 2.0)

# What the shell has printed; the end with each of STATUSES.
TABLE: dict[bytes, tuple[ExecEnd, ...]] = {
    b"": (
        UNREPORTED,
        NotStarted("code", "exit code 3"),
        NotStarted("killed", "exit code 137, SIGKILL"),
        NotStarted("killed", "exit code 143, SIGTERM"),
        CUT[0],
        NotStarted("connection", DIALED),
        NotStarted("sh"),
        NONE,
    ),
    b"abc failed write\n": (NotStarted("write"),) * len(STATUSES),
    BEGUN: (
        UNREPORTED,
        Exited(3),
        ShellKilled(137),
        ShellKilled(143),
        *CUT,
        ConnectionBroken('InternalError: exec: "sh": executable file not found in $PATH', 2.0),
        NONE,
    ),
    BEGUN + b"\x1eabc ended 0\n": (Exited(0),) * len(STATUSES),
    BEGUN + b"\x1eabc ended 3\n": (Exited(3),) * len(STATUSES),
    BEGUN + b"\x1eabc ended 137\n": (Exited(137),) * len(STATUSES),
}


@pytest.mark.parametrize(
    ("printed", "status", "end"),
    [(printed, *case) for printed, ends_ in TABLE.items() for case in zip(STATUSES, ends_, strict=True)],
)
def test_an_end_rests_on_the_shells_report(printed: bytes, status: ExecStatus | None, end: ExecEnd) -> None:
    """Without the shell's report nothing is a success, nor a signal the script's, whatever the node says (R1, R36)."""
    own_lines = OwnLines("abc")
    if printed:
        own_lines.feed(printed)
    own_lines.rest()
    assert ends.end_of(own_lines, status, "why", 2.0) == end


@pytest.mark.parametrize("torn", [b"\x1eabc ended", b"abc ended 0\n"])
def test_a_report_that_is_not_whole_is_none(torn: bytes) -> None:
    """Only the whole line, with its mark, is the shell's (R1)."""
    own_lines = OwnLines("abc")
    own_lines.feed(BEGUN + torn)
    assert ends.end_of(own_lines, OWN_SUCCESS, "why", 2.0) == UNREPORTED


TIMED_OUT = TimedOut("it was ended")


@pytest.mark.parametrize(
    ("found", "was_signalled", "end"),
    [
        (Exited(0), False, Exited(0)),
        (Exited(99), False, Exited(99)),
        (NotStarted("sh"), False, TIMED_OUT),
        (Exited(0), True, TIMED_OUT),
        (Exited(143), True, TIMED_OUT),
        (ConnectionBroken("why", 2.0), False, TIMED_OUT),
        (None, False, TIMED_OUT),
    ],
)
def test_an_end_before_the_signal_of_a_deadline_counts(
    found: ExecEnd | None, was_signalled: bool, end: ExecEnd
) -> None:
    """A script that ended by itself, while its deadline was about to end it, has its own outcome (R1, R5)."""
    assert ends.end_at_deadline(found, TIMED_OUT, was_signalled=was_signalled) == end


@pytest.mark.parametrize(
    ("found", "end"),
    [
        (Exited(0), TimedOut("it ended meanwhile (exit code 0)")),
        (Exited(143), TimedOut("it ended meanwhile (exit code 143, SIGTERM)")),
        (ConnectionBroken("why", 2.0), TimedOut("it could not be ended", may_still_run=True)),
        (None, TimedOut("it could not be ended", may_still_run=True)),
    ],
)
def test_a_program_that_has_ended_does_not_run(found: ExecEnd | None, end: ExecEnd) -> None:
    """Its exit code proves that, even if the signal of the deadline got no answer (R5)."""
    timed_out = TimedOut("it could not be ended", may_still_run=True)
    assert ends.end_at_deadline(found, timed_out, was_signalled=True) == end


NOT_ENDED = "process 12 could not be ended. Run: docker exec db sh -c 'kill -- -12'"


@pytest.mark.parametrize(
    ("reply", "termination"),
    [
        ("gone", Termination("it had already ended", may_still_run=False, was_signalled=False)),
        ("ended", Termination("it was ended", may_still_run=False)),
        ("killed", Termination("it was killed, 5 s after SIGTERM", may_still_run=False)),
        ("left", Termination("process 12 cannot be killed", may_still_run=True)),
        ("", Termination("process 12 received SIGTERM; SIGKILL follows after 5 s", may_still_run=True)),
        (None, Termination(NOT_ENDED, may_still_run=True, is_certain=False)),
        ("sh: not found", Termination(NOT_ENDED, may_still_run=True, is_certain=False)),
    ],
)
def test_only_a_reply_shows_that_a_process_was_ended(reply: str | None, termination: Termination) -> None:
    """Without one the process may still run, and the message says how to end it (R5, R27)."""
    assert ends.termination_of(reply, 12, 5.0, "docker exec db", had_ended=False) == termination


TO_EXEC = "Internal error occurred: error executing command in container: failed to exec in container: "
TO_START = f'{TO_EXEC}failed to start exec "6540c1f2": OCI runtime exec failed: exec failed: '
NO_PROCESS = f"{TO_START}unable to start container process: "
NO_MEMORY, NO_PID = (
    "read init-p: connection reset by peer",
    "fork/exec /proc/self/fd/6: resource temporarily unavailable",
)
NO_TASK = "no running task found: task 8a1 not found: not found"


@pytest.mark.parametrize(
    ("message", "end"),
    [
        (f"{TO_START}cannot exec in a stopped container: unknown",
         NotStarted("container", "cannot exec in a stopped container")),
        (f"{TO_EXEC}failed to load task: {NO_TASK}", NotStarted("container", NO_TASK)),
        (f"{TO_EXEC}container is in CONTAINER_EXITED state",
         NotStarted("container", "container is in CONTAINER_EXITED state")),
        (f"{NO_PROCESS}{NO_MEMORY}: unknown", NotStarted("container", NO_MEMORY)),
        (f"{NO_PROCESS}{NO_PID}: unknown", NotStarted("container", NO_PID)),
        (f'{NO_PROCESS}exec: "/app": permission denied: unknown',
         NotStarted("permission", 'exec: "/app": permission denied')),
        (f"{NO_PROCESS}exec /app: exec format error: unknown",
         NotStarted("permission", "exec /app: exec format error")),
        (f'{NO_PROCESS}exec: "/app": stat /app: no such file or directory: unknown',
         NotStarted("program", '"/app": executable file not found in the image')),
        ("Internal error occurred: error executing command in container: executable file `app` not found in $PATH: No "
         "such file or directory", NotStarted("program", '"app": executable file not found in the image')),
        (f'{TO_EXEC}failed to start exec "6540": ttrpc: closed: unknown',
         ConnectionBroken("InternalError: ttrpc: closed", 2.0)),
        (f'{TO_EXEC}failed while waiting for exec "6540": ttrpc: closed: unknown',
         ConnectionBroken('InternalError: failed while waiting for exec "6540": ttrpc: closed', 2.0)),
    ],
)  # fmt: skip
def test_a_start_fails_for_the_program_or_for_the_container(message: str, end: ExecEnd) -> None:
    """Only a container may do better in another try; a call without an answer may have begun (R2, R22)."""
    status = ExecStatus(None, "InternalError", message)
    assert ends.end_of_bare(OwnLines("abc"), status, "why", 2.0) == end
    assert ends.end_of(OwnLines("abc"), status, "why", 2.0) == end


def test_a_command_that_has_printed_was_started() -> None:
    """Whatever the container runtime reports afterwards: its end is unknown (R1, R36)."""
    own_lines, status = OwnLines("abc"), ExecStatus(None, "InternalError", f"{NO_PROCESS}{NO_MEMORY}: unknown")
    own_lines.skip_first()
    own_lines.feed(b"migrated 1 of 9\n")
    assert ends.end_of_bare(own_lines, status, "why", 2.0) == ConnectionBroken(f"InternalError: {NO_MEMORY}", 2.0)


def test_an_image_without_sh_is_known_by_each_runtime() -> None:
    """A bare command then runs without it (R22)."""
    said = "executable file `sh` not found in $PATH: No such file or directory"
    status = ExecStatus(None, "InternalError", f"Internal error occurred: error executing command in container: {said}")
    assert ends.end_of(OwnLines("abc"), status, "why", 2.0) == NotStarted("sh")


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (OWN_SUCCESS, Exited(0)),
        (ExecStatus(3), Exited(3)),
        (None, ConnectionBroken("why", 2.0)),
        (ExecStatus(None, "InternalError", NOT_SENT), NotStarted("connection", DIALED)),
        (ExecStatus(None, "InternalError", f"Internal error occurred: {REFUSED}"), NotStarted("refused", REFUSED)),
        (ExecStatus(None, "InternalError", "x"), ConnectionBroken("InternalError: x", 2.0)),
        (
            ExecStatus(None, "InternalError", MISSING.format("/x")),
            NotStarted("program", '"/x": executable file not found in the image'),
        ),
    ],
)
def test_the_end_of_a_bare_command_is_the_nodes_word(status: ExecStatus | None, end: ExecEnd) -> None:
    """A command without a shell ends as the node says."""
    assert ends.end_of_bare(OwnLines("abc"), status, "why", 2.0) == end
