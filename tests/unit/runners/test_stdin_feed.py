"""A script that is sent through stdin into a container: how it ended."""

from __future__ import annotations

import pytest

from airflow_script_provider.exceptions import TargetError
from airflow_script_provider.kube.exec.program import Invocation
from airflow_script_provider.kube.exec.protocol import Channel, ExecStatus
from airflow_script_provider.kube.request import interpreters
from airflow_script_provider.kube.request.payload import Payload
from airflow_script_provider.runners.recording import ProcessEnd
from airflow_script_provider.runners.stdin_feed import StdinFeed
from tests.builders import a_script

DIALED = "error dialing backend: dial tcp 10.0.0.2:10250: connect: connection refused"
REFUSED = "unable to upgrade connection: pod does not exist"
STATUSES = (
    *map(ExecStatus, (0, 3, 137, None)),
    ExecStatus(None, message=DIALED),
    ExecStatus(None, message=REFUSED),
)


async def a_feed(printed: str = "") -> StdinFeed:
    """The feed of a script whose shell has printed this; ``NONCE`` marks its lines."""

    async def send(data: bytes) -> None:
        """Take it."""

    script = a_script("#!/bin/sh\ntrue\n")
    invocation = Invocation.of_script(script, interpreters.choose(script, "x", None), Payload())
    feed = StdinFeed(invocation, "container x", send, terminal=False)
    await feed.begin()
    if printed:
        await feed.filter(Channel.STDOUT, printed.replace("NONCE", invocation.nonce).encode())
        feed.finish()
    return feed


def unknown(cause: str) -> ProcessEnd:
    """An end that is not known."""
    return ProcessEnd(None, cause=f"outcome unknown: {cause}", is_unknown=True)


def not_started(code: int | None, why: str) -> ProcessEnd:
    """The end of a script that never began."""
    return ProcessEnd(code, cause=f"script was not started: {why}")


BROKEN = unknown("the connection broke while the script ran")
BEGUN = "NONCE started 12 345\nhi\n"
NO_FOLDER = "the container has no writable folder"
# What the shell has printed; the end with each of STATUSES.
TABLE: dict[str, tuple[ProcessEnd, ...]] = {
    "": (
        BROKEN,
        not_started(3, "the container's shell could not read it (exit code 3)"),
        not_started(137, "the container's shell was killed before (exit code 137, SIGKILL)"),
        BROKEN,
        not_started(None, f"its node cannot be reached ({DIALED})"),
        not_started(None, f"its node refused the exec ({REFUSED})"),
    ),
    "NONCE failed folder\n": tuple(not_started(status.exit_code, NO_FOLDER) for status in STATUSES),
    BEGUN: (
        BROKEN,
        ProcessEnd(3),
        unknown("script lost the shell that reports its end (exit code 137, SIGKILL)"),
        BROKEN,
        unknown(DIALED),
        unknown(REFUSED),
    ),
    BEGUN + "\x1eNONCE ended 0\n": (ProcessEnd(0),) * len(STATUSES),
    BEGUN + "\x1eNONCE ended 137\n": (ProcessEnd(137),) * len(STATUSES),
    BEGUN + "\x1eNONCE ended 0 TERM\n": (ProcessEnd(0, got_sigterm=True),) * len(STATUSES),
}


@pytest.mark.parametrize(
    ("printed", "status", "end"),
    [(printed, *case) for printed, ends in TABLE.items() for case in zip(STATUSES, ends, strict=True)],
)
async def test_an_end_rests_on_the_shells_report(printed: str, status: ExecStatus, end: ProcessEnd) -> None:
    """As for the operator: no exit code of the shell stands for the script's (R1, R36)."""
    assert (await a_feed(printed)).process_end(status) == end


async def test_a_container_without_a_shell() -> None:
    """The runtime's message names what the image lacks (R22)."""
    missing = 'OCI runtime exec failed: exec: "sh": executable file not found in $PATH: unknown'
    with pytest.raises(TargetError, match="has no 'sh'"):
        (await a_feed()).process_end(ExecStatus(None, message=missing))


LACKS = 'exec: "git": executable file not found in $PATH\n'
ENDED = "\x1eNONCE ended 0\n"


@pytest.mark.parametrize(
    ("received", "shown"),
    [
        (["2" + LACKS, "1" + BEGUN + ENDED], ["", f"2{LACKS}1hi\n"]),
        (["1NONCE started\n", "2" + LACKS, "1" + ENDED], ["", f"2{LACKS}", ""]),
        (["1a profile\n", "2" + LACKS, "1" + ENDED], ["1a profile\n", "", f"2{LACKS}"]),
        (["2" + LACKS, "2" + "." * 5000], ["", f"2{LACKS}2{'.' * 5000}"]),
    ],
    ids=["stderr is faster", "no group of its own", "the first line was not ours", "too long to be a runtime's"],
)
async def test_what_the_script_says_of_a_program_is_its_output(received: list[str], shown: list[str]) -> None:
    """Only a shell that never announces the script is missing; the script may lack a program as well (R24, R36)."""
    feed = await a_feed()
    nonce = feed.invocation.nonce
    sent = [(Channel(int(text[0])), text[1:].replace("NONCE", nonce).encode()) for text in received]
    pieces = [await feed.filter(*piece) for piece in sent]
    assert ["".join(f"{channel.value}{data.decode()}" for channel, data in found) for found in pieces] == shown
    if received[-1].endswith(ENDED):
        assert feed.process_end(ExecStatus(0)) == ProcessEnd(0)


@pytest.mark.parametrize("channel", [Channel.STDOUT, Channel.STDERR])
async def test_a_runtimes_message_is_not_shown(channel: Channel) -> None:
    """Docker writes it to an output of the exec; the error says what the image lacks (R22)."""
    feed = await a_feed()
    message = b'OCI runtime exec failed: exec: "sh": executable file not found in $PATH: unknown\r\n'
    assert await feed.filter(channel, message) + feed.finish() == []
    with pytest.raises(TargetError, match="has no 'sh'"):
        feed.process_end(ExecStatus(127))


@pytest.mark.parametrize(
    ("printed", "reply", "is_running"),
    [
        (BEGUN, "running", True),
        (BEGUN, "gone", False),
        (BEGUN, None, None),
        ("NONCE started\n", "gone", None),
    ],
)
async def test_whether_it_still_runs(printed: str, reply: str | None, is_running: bool | None) -> None:
    """A program beside it looks for the process that has announced itself (R36)."""

    async def ask(argv: list[str]) -> str | None:
        assert "12" in argv
        return reply

    assert await (await a_feed(printed)).is_running(ask) is is_running


async def test_a_signal_of_our_own_is_not_looked_into() -> None:
    """A timeout does not wait for the end of a pod that goes on (R5)."""

    async def ask(argv: list[str]) -> str | None:
        return "ended"

    async def why_gone() -> str | None:
        raise AssertionError("nothing to look for")

    feed, end = await a_feed(BEGUN + "\x1eNONCE ended 0 TERM\n"), ProcessEnd(0, got_sigterm=True)
    await feed.end_process(ask, 5, "docker exec x")
    assert await feed.end_after_sigterm(end, why_gone) == end


@pytest.mark.parametrize(
    ("printed", "reply", "may_still_run", "was_signalled"),
    [
        (BEGUN, "ended", False, True),
        (BEGUN, "left", True, True),
        (BEGUN, None, True, True),
        (BEGUN + "\x1eNONCE ended 0\n", None, True, False),
        ("NONCE started\n", "ended", True, False),
        ("NONCE failed folder\n", "ended", False, False),
    ],
)
async def test_whether_it_was_ended(printed: str, reply: str | None, may_still_run: bool, was_signalled: bool) -> None:
    """Only a process that has announced itself, and a reply about it, can be known to be ended (R5)."""

    async def ask(argv: list[str]) -> str | None:
        return reply

    termination = await (await a_feed(printed)).end_process(ask, 5, "docker exec x")
    assert (termination.may_still_run, termination.was_signalled) == (may_still_run, was_signalled)
