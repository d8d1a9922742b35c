"""The logs of a Job's pods, from an API server that answers as it likes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.api.sessions import Session
from airflow_script_provider.jobs import job_logs
from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.job_logs import JobLogs, Outputs, container_logs
from airflow_script_provider.kube.job.follow_state import FollowState, Kept
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.logs.container_logs import ContainerLog
from airflow_script_provider.kube.logs.output import Output, Tail
from airflow_script_provider.kube.logs.pod_lines import LogPosition
from tests.builders import a_container, a_launched_job, a_pod, a_view
from tests.kept_log import KeptLog
from tests.patience import PATIENCE
from tests.servers import Answer, WebServer
from tests.stand_in_api import a_refusal, stand_in

LOG = "/api/v1/namespaces/etl/pods/load-x1/log"
INSTALLED = a_container(name="install", exit_code=0)
LINE = b"2026-01-01T00:00:01.000000001Z n 0\n"
OF_INSTALLATION = b"2026-01-01T00:00:00.000000001Z i 0\n"


@pytest.fixture
def server() -> Iterator[WebServer]:
    """What is asked as the API server."""
    with stand_in() as server:
        yield server


@asynccontextmanager
async def reading(
    server: WebServer,
    log: KeptLog,
    *,
    start: FollowState | None = None,
    folds_groups: bool = True,
    **settings: Any,
) -> AsyncIterator[JobLogs]:
    """The logs of the Job ``etl/load``, for its result."""
    api = KubernetesApi(Session(server.url, aiohttp.ClientSession(), {}))
    context = JobContext(api, a_launched_job(), log, folds_groups=folds_groups)
    logs = JobLogs(context, start or FollowState(), lambda uid: Output(), **settings)
    try:
        async with logs.reading(), asyncio.timeout(PATIENCE):
            yield logs
    finally:
        await api.close()


async def seen_until(log: KeptLog, line: str) -> None:
    """Wait until this line is in the log."""
    while line not in log.lines:
        await asyncio.sleep(0.01)


def held_after(*chunks: bytes, until: threading.Event) -> Answer:
    """An answer that stays open after these bytes."""

    def body() -> Iterator[bytes]:
        yield from chunks
        until.wait(PATIENCE)

    return Answer(body())


async def test_containers_of_a_pod_come_one_after_the_other(server: WebServer) -> None:
    """The installation's lines are a group of their own, before the script's (R19, R22)."""
    log = KeptLog()
    server.answers(LOG, OF_INSTALLATION, LINE)
    async with reading(server, log) as logs:
        logs.see(a_view(a_pod(exit_code=0, installers=[INSTALLED])))
        await logs.finish()
    assert log.lines == ["::group::Installing dependencies", "i 0", "::endgroup::", "n 0"]


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("ends", [True, False])
async def test_a_group_of_an_installation_ends_with_its_reader(is_first: bool, ends: bool, server: WebServer) -> None:
    """The next reader may be a trigger that shows no lines: all that follows would be hidden (R22, R26)."""
    log, over = KeptLog(), threading.Event()
    earlier = LogPosition("2026-01-01T00:00:00.000000001Z", (0,))
    start = FollowState() if is_first else FollowState({("uid-load-x1", "install"): earlier})
    server.answers(LOG, held_after(OF_INSTALLATION, LINE, until=over), LINE)
    running, ended = ([a_container(name="install", **state)] for state in ({"running": True}, {"exit_code": 1}))
    async with reading(server, log, start=start) as logs:
        logs.see(a_view(a_pod(installers=running)))
        await seen_until(log, "n 0")
        if ends:
            logs.see(a_view(a_pod(installers=ended)))
            await logs.finish()
    over.set()
    assert log.lines == ["::group::Installing dependencies", *(["i 0"] if is_first else []), "n 0", "::endgroup::"]


async def test_a_reader_without_a_line_of_an_installation_begins_no_group(server: WebServer) -> None:
    """The one before has shown all lines (R22)."""
    log, position = KeptLog(), LogPosition("2026-01-01T00:00:00.000000001Z", (0,))
    server.answers(LOG, OF_INSTALLATION)
    async with reading(server, log, start=FollowState({("uid-load-x1", "install"): position})) as logs:
        await logs.read_left([ContainerLog("uid-load-x1", "load-x1", "install", 0)])
    assert log.lines == []


async def test_a_log_may_have_no_groups(server: WebServer) -> None:
    """Where its lines are part of another group (R22)."""
    log = KeptLog()
    server.answers(LOG, OF_INSTALLATION, LINE)
    async with reading(server, log, groups_installation=False) as logs:
        logs.see(a_view(a_pod(exit_code=0, installers=[INSTALLED])))
        await logs.finish()
    assert log.lines == ["i 0", "n 0"]


def marked(*lines: str) -> bytes:
    """Lines of a log, one in each second."""
    return b"".join(f"2026-01-01T00:00:{n:02}.000000001Z {line}\n".encode() for n, line in enumerate(lines))


async def test_a_scripts_group_ends_with_its_container(server: WebServer) -> None:
    """What comes after the script is not hidden in it, and what looks like a marker is text (R22)."""
    log = KeptLog()
    server.answers(LOG, marked("::group::all is well", "error … ::endgroup::"))
    async with reading(server, log) as logs:
        logs.see(a_view(a_pod(exit_code=4)))
        await logs.finish()
    assert log.lines == ["::group::all is well", "error … :\u200b:endgroup::", "::endgroup::"]


async def test_a_group_goes_on_with_the_next_reader(server: WebServer) -> None:
    """The first one ends it where it stops; the script's own end then is no second one (R20, R22)."""
    log, over = KeptLog(), threading.Event()
    first, second = marked("::group::a", "n 0", "::endgroup::", "n 1").split(b"2026-01-01T00:00:02", 1)
    server.answers(LOG, held_after(first, until=over), first + b"2026-01-01T00:00:02" + second)
    async with reading(server, log) as logs:
        logs.see(a_view(a_pod(running=True)))
        await seen_until(log, "n 0")
        positions = logs.positions
    over.set()
    log.note("handed over")
    start = FollowState.from_dict(FollowState(positions).to_dict())
    async with reading(server, log, start=start) as logs:
        logs.see(a_view(a_pod(exit_code=0)))
        await logs.finish()
    assert log.lines == ["::group::a", "n 0", "::endgroup::", "handed over", "n 1"]


async def test_a_log_for_a_terminal_has_the_lines_as_printed(server: WebServer) -> None:
    """The command line shows a Job's output unchanged."""
    log = KeptLog()
    server.answers(LOG, marked("::group::a", "x ::endgroup::"))
    async with reading(server, log, folds_groups=False) as logs:
        logs.see(a_view(a_pod(exit_code=0)))
        await logs.finish()
    assert log.lines == ["::group::a", "x ::endgroup::"]


async def test_logs_in_sequence_are_not_mixed(server: WebServer) -> None:
    """The lines of a pod that was evicted come before those of its replacement, which is read faster (R7, R19)."""
    log, over = KeptLog(), threading.Event()
    second = LINE.replace(b"n 0", b"n 1")
    threading.Timer(1.0, over.set).start()
    server.answers(LOG, held_after(LINE, until=over), LINE)
    server.answers(LOG.replace("load-x1", "load-x2"), second)
    async with reading(server, log, in_sequence=True) as logs:
        logs.see(a_view(a_pod(running=True)))
        await seen_until(log, "n 0")
        logs.see(a_view(a_pod(running=True), a_pod("load-x2", exit_code=0)))
        await asyncio.sleep(0.3)
        assert log.lines == ["n 0"]
        logs.see(a_view(a_pod(exit_code=137), a_pod("load-x2", exit_code=0)))
        await logs.finish()
    assert log.lines == ["n 0", "n 1"]


async def test_how_a_pod_ended_comes_after_its_lines(server: WebServer) -> None:
    """Also where the end is known before the log was read (R22)."""
    log = KeptLog()
    server.answers(LOG, OF_INSTALLATION, LINE)
    async with reading(server, log, groups_installation=False) as logs:
        logs.see(a_view(a_pod(exit_code=0, installers=[INSTALLED])))
        logs.afterwards("uid-load-x1", lambda: log.note("ended"))
        await logs.finish()
        logs.afterwards("uid-load-x1", lambda: log.note("deleted"))
    assert log.lines == ["i 0", "n 0", "ended", "deleted"]


async def test_the_end_of_a_silent_script_is_read(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time without progress begins when the script has ended, however long it was silent before (R19)."""
    monkeypatch.setattr(job_logs, "LOG_MARGIN", 2.0)
    log, over = KeptLog(), threading.Event()
    server.answers(LOG, held_after(LINE, until=over), LINE + LINE.replace(b"1Z n 0", b"2Z n 1"))
    async with reading(server, log) as logs:
        logs.see(a_view(a_pod(running=True)))
        await seen_until(log, "n 0")
        await asyncio.sleep(2.2)
        logs.see(a_view(a_pod(exit_code=0)))
        await logs.finish()
    over.set()
    assert log.lines == ["n 0", "n 1"]


async def test_a_log_without_progress_is_given_up(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came is shown, and one line says that more may be missing (R13)."""
    monkeypatch.setattr(job_logs, "LOG_MARGIN", 2.0)
    log, over = KeptLog(), threading.Event()
    server.answers(LOG, held_after(LINE, until=over))
    async with reading(server, log) as logs:
        logs.see(a_view(a_pod(exit_code=0)))
        await logs.finish()
    over.set()
    assert log.lines == ["n 0", "The log of pod load-x1 is incomplete from here: nothing more came"]


async def test_a_script_that_prints_for_ever_does_not_hold_the_task(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod of a Job that was deleted without it runs on, while the task is to end with an error (R10, R13)."""
    monkeypatch.setattr(job_logs, "LOG_MARGIN", 0.5)
    log, over = KeptLog(), threading.Event()

    def chatter() -> Iterator[bytes]:
        while not over.wait(0.01):
            yield LINE

    server.answers(LOG, Answer(chatter()))
    async with reading(server, log) as logs:
        logs.see(a_view(a_pod(running=True)))
        await seen_until(log, "n 0")
        await logs.finish()
        assert logs.lacks_end("uid-load-x1")
    over.set()
    assert set(log.lines[:-1]) == {"n 0"}
    assert log.lines[-1] == "The log of pod load-x1 is incomplete from here: its container was not seen to end"


async def test_a_log_that_was_read_is_not_given_up(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation's log is whole, whatever becomes of the script's (R13)."""
    monkeypatch.setattr(job_logs, "LOG_MARGIN", 2.0)
    log, over = KeptLog(), threading.Event()
    server.answers(LOG, OF_INSTALLATION, held_after(LINE, until=over))
    async with reading(server, log, groups_installation=False) as logs:
        logs.see(a_view(a_pod(exit_code=0, installers=[INSTALLED])))
        await logs.finish()
    over.set()
    assert log.lines == ["i 0", "n 0", "The log of pod load-x1 is incomplete from here: nothing more came"]


async def test_a_log_that_is_gone_is_not_asked_for_again(server: WebServer) -> None:
    """The pod of a Job that is over is never made again (R13)."""
    log = KeptLog()
    async with reading(server, log) as logs:
        await logs.read_left([ContainerLog("uid-load-x1", "load-x1", "script", 0)])
    assert len(server.requests) == 1
    assert len(log.lines) == 1
    assert log.lines[0].startswith("The log of pod load-x1 is incomplete from here: ")


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_a_log_of_which_the_kubelet_has_no_more_lacks_its_end(server: WebServer, end: bytes) -> None:
    """It answers with its own words and 200, so what looks like a value may not be the last line (R13, R21)."""
    log = KeptLog()
    server.answers(LOG, Answer(LINE), Answer(b"unable to retrieve container logs for containerd://0a" + end))
    async with reading(server, log) as logs:
        logs.see(a_view(a_pod(running=True)))
        await seen_until(log, "n 0")
        logs.see(a_view(a_pod(exit_code=0)))
        await logs.finish()
        assert logs.lacks_end("uid-load-x1")
        assert not logs.positions["uid-load-x1", "script"].complete
    assert log.lines == ["n 0", "The log of pod load-x1: unable to retrieve container logs for containerd://0a"]


@pytest.mark.parametrize(
    ("view", "found"),
    [
        (a_view(), []),
        (a_view(a_pod(waiting="ContainerCreating")), []),
        (a_view(a_pod(running=True)), [("script", None)]),
        (a_view(a_pod(exit_code=3)), [("script", 3)]),
        (a_view(a_pod(installers=[a_container(name="install", running=True)])), [("install", None)]),
        (a_view(a_pod(running=True, installers=[INSTALLED])), [("install", 0), ("script", None)]),
    ],
)
def test_which_logs_there_are(view: View, found: list[tuple[str, int | None]]) -> None:
    """A container has a log from its start on (R20)."""
    assert [(log.container, log.exit_code) for log in container_logs(view)] == found


PROXY = a_container(name="proxy", running=True)


class TestOutputs:
    """What is kept of the output of a Job's pods."""

    @staticmethod
    def printed(outputs: Outputs, uid: str, text: str) -> Output | Tail:
        """Begin a pod's output with this line."""
        output = outputs.begin(uid)
        output.add([f"{text}\n".encode()])
        return output

    def test_of_two_pods_each_has_its_own(self) -> None:
        """The pod that decided may be the one before the last (R21)."""
        outputs = Outputs(100, whole=True)
        for uid in ("first", "second", "third"):
            self.printed(outputs, uid, uid)
        assert outputs.of("second").tail() == "second\n"
        assert outputs.of("third").tail() == "third\n"
        assert outputs.of("first").tail() == "third\n"
        assert outputs.of(None).tail() == ""

    @pytest.mark.parametrize(
        ("uid", "lacks_end", "why"),
        [
            ("first", False, ""),
            ("first", True, "The end of the log could not be read, so the result has no value"),
            ("second", False, "Only an earlier attempt has printed, so the result has no value"),
        ],
    )
    def test_a_value_is_the_deciding_pods_last_word(self, uid: str, lacks_end: bool, why: str) -> None:
        """What another attempt printed, or what came before a gap, is no value (R21)."""
        outputs = Outputs(100, whole=True)
        self.printed(outputs, "first", '{"rows": 5}')
        value = outputs.of(uid, lacks_end=lacks_end).value()
        assert (value.value, value.warnings) == (None if why else {"rows": 5}, (why,) if why else ())

    @pytest.mark.parametrize("lacks_end", [False, True])
    def test_what_another_process_kept(self, lacks_end: bool) -> None:
        """It has a value if that process has read the end (R21)."""
        output = Outputs(100, whole=True).of_kept(Kept("[1]\n", 40), lacks_end=lacks_end)
        assert (output.tail(), output.size) == ("[1]\n", 40)
        assert output.value().value == (None if lacks_end else [1])

    def test_ends_are_kept_for_another_process(self) -> None:
        """The end of the last pod's output, and how much there was (R21)."""
        outputs = Outputs(6, whole=False)
        self.printed(outputs, "uid", "one")
        self.printed(outputs, "uid", "two and a half")
        assert outputs.kept("uid") == Kept("two and a half\n", 15, is_whole=True)
        assert outputs.kept("other") == Kept()

    @pytest.mark.parametrize(
        ("size", "lacks_start", "is_whole"), [(6, False, True), (7, False, False), (6, True, False)]
    )
    def test_an_output_that_is_kept_whole_needs_no_log(self, size: int, lacks_start: bool, is_whole: bool) -> None:
        """The worker then asks for no log that has gone with its pod (R21, R22)."""
        outputs = Outputs(0, whole=False)
        tail = outputs.begin("uid")
        tail.max_bytes, tail.lacks_start = 6, lacks_start
        tail.add([b"x" * size])
        assert outputs.kept("uid").is_whole is is_whole

    def test_what_a_process_before_has_read_is_missing(self) -> None:
        """The result says so (R21)."""
        output = Outputs(100, whole=True).of_kept(Kept("bye\n", 4, lacks_start=True), lacks_end=False)
        assert (output.truncated, output.lacks_start) == (True, True)

    @pytest.mark.parametrize("has_sidecars", [False, True])
    def test_of_a_pod_with_sidecars_enough_is_kept_for_a_value(self, has_sidecars: bool) -> None:
        """Its log goes with its pod, however little of the output is asked for (R12, R21)."""
        value = list(range(20_000))
        outputs = Outputs(6, whole=False, pod_of=lambda _: a_pod(others=[PROXY] if has_sidecars else []))
        outputs.begin("uid").add([f"{json.dumps(value)}\n".encode()])
        output = Outputs(6, whole=True).of_kept(outputs.kept("uid"), lacks_end=False)
        assert output.value().value == (value if has_sidecars else None)
        assert len(output.tail()) <= 6


NO_RIGHT = a_refusal(403, "Forbidden", 'pods "load-x1" is forbidden: User "me" cannot get resource "pods/log"')


@pytest.mark.parametrize("refused_before_the_end", range(5))
async def test_a_missing_right_is_said_once(refused_before_the_end: int, server: WebServer) -> None:
    """However often the log was refused while the script ran, and of both containers (R17)."""
    log = KeptLog()
    server.answers(LOG, *[NO_RIGHT] * 50)
    async with reading(server, log, groups_installation=False) as logs:
        logs.see(a_view(a_pod(running=True, installers=[INSTALLED])))
        async with asyncio.timeout(PATIENCE):
            while len(server.requests) < 3 + refused_before_the_end:
                await asyncio.sleep(0.01)
        logs.see(a_view(a_pod(exit_code=0, installers=[INSTALLED])))
        await logs.finish()
    (line,) = log.lines
    assert "403" in line or "cannot get resource" in line


async def test_a_refusal_that_passes_is_not_said(server: WebServer) -> None:
    """An API server that has just started may not know a right yet (R8)."""
    log = KeptLog()
    server.answers(LOG, NO_RIGHT, NO_RIGHT, LINE)
    async with reading(server, log) as logs:
        logs.see(a_view(a_pod(running=True)))
        await seen_until(log, "n 0")
        logs.see(a_view(a_pod(exit_code=0)))
        await logs.finish()
    assert log.lines == ["n 0"]
