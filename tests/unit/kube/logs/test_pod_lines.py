"""Every line of a pod's log once, in order, however often the stream breaks."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest

from airflow_script_provider.kube.logs.pod_lines import MAX_LINE, LogLines, LogPosition

START = datetime(2026, 1, 1, tzinfo=UTC)
BERLIN = timezone(timedelta(hours=1))


class EndOfSummer(tzinfo):
    """A zone whose clocks go back by an hour, two seconds after the start of the log."""

    def fromutc(self, moment: datetime) -> datetime:
        """The time there, with the offset of that moment."""
        hours = 2 if moment.replace(tzinfo=UTC) < START + timedelta(seconds=2) else 1
        return moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=hours)))

    def utcoffset(self, _: datetime | None) -> None:
        """Times of this zone have a fixed offset: see ``fromutc``."""

    dst = tzname = utcoffset


@dataclass
class Kubelet:
    """A container's log, served as the kubelet does: with time stamps, from a whole second on."""

    zone: tzinfo = UTC
    lines: list[tuple[int, bytes]] = field(default_factory=list)
    dropped: int = 0

    def write(self, text: bytes, nanoseconds: int) -> None:
        """A line that the container wrote so long after its start."""
        self.lines.append((nanoseconds, text))

    def rotate(self, count: int) -> None:
        """Drop the first ``count`` lines, as a rotation does with the oldest file."""
        self.dropped = count

    def read(self, since: str | None) -> bytes:
        """The stream's bytes; ``since`` may be in any zone, and its fraction is dropped."""
        first = (datetime.fromisoformat(since) - START).total_seconds() if since else 0
        kept = self.lines[self.dropped :]
        return b"".join(self._stamp(ns) + b" " + text for ns, text in kept if ns // 10**9 >= first)

    def _stamp(self, nanoseconds: int) -> bytes:
        moment = (START + timedelta(seconds=nanoseconds // 10**9)).astimezone(self.zone).isoformat()
        zone = "Z" if self.zone is UTC else moment[19:]
        return f"{moment[:19]}.{nanoseconds % 10**9:09d}{zone}".encode()


def pieces_of(data: bytes, rng: random.Random, largest: int) -> Iterator[bytes]:
    """The data in chunks of any size."""
    while data:
        size = rng.randint(1, largest)
        yield data[:size]
        data = data[size:]


def a_random_log(rng: random.Random, count: int, *, long_lines: bool = False) -> Kubelet:
    """Bursts and pauses, blank lines, bytes that are no text, multi-byte characters, perhaps lines of megabytes."""
    kubelet, now = Kubelet(zone=rng.choice([UTC, BERLIN, EndOfSummer()])), 0
    for number in range(count):
        now += rng.choice([1, 1, 1, 50_000_000, 400_000_000])
        body = rng.choice([b"", "ünï 😀".encode(), b"\xff\0\r", b"2026-01-01T00:00:00.0Z x"])
        if long_lines and rng.random() < 0.3:
            body = rng.randbytes(rng.randint(MAX_LINE - 100, 3 * MAX_LINE)).replace(b"\n", b" ")
        kubelet.write(b"%d " % number + body + b"\n", now)
    return kubelet


def follow(kubelet: Kubelet, rng: random.Random, *, cuts: int, largest: int = 200, rotate: bool = False) -> bytes:
    """What is delivered of a log whose stream breaks this often, at any byte."""
    lines, delivered = LogLines(), []
    for _ in range(cuts):
        data = kubelet.read(lines.resume())
        for chunk in pieces_of(data[: rng.randint(0, len(data))], rng, largest):
            delivered += lines.feed(chunk)
        if rotate:
            kubelet.rotate(rng.randint(kubelet.dropped, b"".join(delivered).count(b"\n")))
    for chunk in pieces_of(kubelet.read(lines.resume()), rng, largest):
        delivered += lines.feed(chunk)
    return b"".join([*delivered, *lines.finish()])


def hand_over(kubelet: Kubelet, rng: random.Random, *, readers: int, largest: int = 200, whole: bool = False) -> bytes:
    """What is delivered by readers that follow each other, each from the position of the one before it.

    ``whole`` lets each of them read the log from its start.
    """
    position, delivered = LogPosition(), []
    for reader in range(readers):
        lines = LogLines(LogPosition.from_dict(json.loads(json.dumps(position.to_dict()))))
        since = lines.resume()
        data = kubelet.read(None if whole else since)
        until = len(data) if reader == readers - 1 else rng.randint(0, len(data))
        for chunk in pieces_of(data[:until], rng, largest):
            delivered += lines.feed(chunk)
        position = lines.position()
    return b"".join([*delivered, *lines.finish()])


def printed(kubelet: Kubelet) -> bytes:
    """What the container wrote."""
    return b"".join(text for _, text in kubelet.lines)


@pytest.mark.parametrize("seed", range(20))
def test_every_line_once_in_order(seed: int) -> None:
    """However the stream is cut and opened again, what is delivered is what was printed (R19)."""
    rng = random.Random(seed)
    kubelet = a_random_log(rng, 200)
    assert follow(kubelet, rng, cuts=10) == printed(kubelet)


@pytest.mark.parametrize("seed", range(20))
def test_a_rotation_between_streams_loses_nothing_delivered(seed: int) -> None:
    """Lines that a rotation dropped after they were delivered don't disturb those that follow (R10, R19)."""
    rng = random.Random(seed)
    kubelet = a_random_log(rng, 200)
    assert follow(kubelet, rng, cuts=10, rotate=True) == printed(kubelet)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_readers_that_follow_each_other(seed: int, whole: bool) -> None:
    """Worker, trigger and worker deliver each line once between them, wherever one hands over to the next (R19)."""
    rng = random.Random(seed)
    kubelet = a_random_log(rng, 200)
    assert hand_over(kubelet, rng, readers=8, whole=whole) == printed(kubelet)


@pytest.mark.parametrize("seed", range(6))
def test_readers_that_follow_each_other_within_a_long_line(seed: int) -> None:
    """A line of megabytes that was delivered in part goes on where it was (R19)."""
    rng = random.Random(seed)
    kubelet = a_random_log(rng, 8, long_lines=True)
    assert hand_over(kubelet, rng, readers=4, largest=300_000) == printed(kubelet)


def test_a_reader_that_follows_may_lose_its_stream() -> None:
    """What was delivered before the hand-over stays delivered when the stream is opened again in the same second."""
    kubelet = Kubelet()
    for number in range(3):
        kubelet.write(b"%d\n" % number, 1 + number * 400_000_000)
    first = LogLines()
    first.feed(kubelet.read(None))
    second = LogLines(first.position())
    for _ in range(2):
        assert second.feed(kubelet.read(second.resume())) == []


def test_a_position_is_small() -> None:
    """It travels in a trigger's row: of a second of output it keeps the last millisecond (R30)."""
    kubelet, lines = Kubelet(), LogLines()
    for number in range(5_000):
        kubelet.write(b"x\n", number * 190_000)
    lines.feed(kubelet.read(None))
    assert lines.position() == LogPosition(
        "2026-01-01T00:00:00.949810000Z", (950000, 760000, 570000, 380000, 190000, 0)
    )


def test_nothing_was_delivered() -> None:
    """The position of a log that nobody has read is empty."""
    assert LogLines().position().to_dict() == {}


@pytest.mark.parametrize("seed", range(6))
def test_over_long_lines_come_in_pieces_once(seed: int) -> None:
    """Lines of megabytes are delivered in pieces, none twice, whichever of them a cut tears (R13, R19)."""
    rng = random.Random(seed)
    kubelet = a_random_log(rng, 8, long_lines=True)
    assert follow(kubelet, rng, cuts=4, largest=300_000) == printed(kubelet)


def test_a_long_line_survives_two_cuts_in_a_row() -> None:
    """A stream that breaks again before it brings anything forgets nothing of the line it was in (R19)."""
    kubelet, lines = Kubelet(), LogLines()
    kubelet.write(b"x" * (2 * MAX_LINE) + b"\n", 1)
    start = kubelet.read(None)[: MAX_LINE + 100]
    delivered = lines.feed(start)
    lines.resume()
    delivered += lines.feed(kubelet.read(lines.resume()))
    assert b"".join(delivered) == printed(kubelet)


def test_a_complete_long_line_is_not_replayed() -> None:
    """A long line of the second that is read again stays delivered once (R19)."""
    kubelet, lines = Kubelet(), LogLines()
    kubelet.write(b"x" * MAX_LINE + b"end\n", 1)
    data = kubelet.read(None)
    delivered = lines.feed(data)
    lines.resume()
    for chunk in (data[:MAX_LINE], data[MAX_LINE:]):
        delivered += lines.feed(chunk)
    assert b"".join(delivered) == printed(kubelet)


def test_a_long_line_that_rotation_took_is_forgotten() -> None:
    """What was to be skipped of a lost line is not skipped of the next long one (R10)."""
    kubelet, lines = Kubelet(), LogLines()
    for start in (b"a", b"b"):
        kubelet.write(start * (2 * MAX_LINE) + b"\n", len(kubelet.lines))
    lines.feed(kubelet.read(None)[: MAX_LINE + 100])
    kubelet.rotate(1)
    data = kubelet.read(lines.resume())
    delivered = [piece for chunk in (data[:MAX_LINE], data[MAX_LINE:]) for piece in lines.feed(chunk)]
    assert b"".join(delivered) == b"b" * (2 * MAX_LINE) + b"\n"


def test_a_megabyte_is_delivered_before_its_line_ends() -> None:
    """Output without line ends needs no unbounded memory (R13)."""
    lines = LogLines()
    assert lines.feed(b"2026-01-01T00:00:00.000000001Z " + b"x" * MAX_LINE) == [b"x" * MAX_LINE]


def test_a_line_shorter_than_that_comes_in_one_piece() -> None:
    """A line of 100 KB is one line (R23)."""
    lines, stamp = LogLines(), b"2026-01-01T00:00:00.000000001Z "
    delivered = [line for chunk in (stamp, b"x" * 50_000, b"x" * 50_000, b"\n") for line in lines.feed(chunk)]
    assert delivered == [b"x" * 100_000 + b"\n"]


def test_the_last_line_may_lack_its_end() -> None:
    """``finish`` gives what came after the last line end."""
    lines = LogLines()
    lines.feed(b"2026-01-01T00:00:00.000000001Z no end")
    assert lines.finish() == [b"no end"]


@pytest.mark.parametrize("rest", [b"", b"2026", b"2026-01-01T00", b"2026-01-01T00:00:00.000000001Z " + b"x" * MAX_LINE])
def test_nothing_left_is_nothing(rest: bytes) -> None:
    """Neither a torn time stamp nor the end of a long line's last piece becomes a blank line (R23)."""
    lines = LogLines()
    lines.feed(rest)
    assert lines.finish() == []
    assert lines.of_kubelet == []


def test_the_first_stream_starts_at_the_beginning() -> None:
    """Before anything was delivered there is no time to start from."""
    assert LogLines().resume() is None


@pytest.mark.parametrize("zone", ["Z", "+02:00"])
def test_streams_are_resumed_from_a_whole_second_in_utc(zone: str) -> None:
    """The kubelet stamps lines in its node's zone; ``sinceTime`` is asked in UTC (R19)."""
    lines = LogLines()
    lines.feed(b"2026-01-01T05:00:07.123456789" + zone.encode() + b" x\n")
    assert lines.resume() == ("2026-01-01T05:00:07Z" if zone == "Z" else "2026-01-01T03:00:07Z")


def test_what_was_incomplete_comes_again() -> None:
    """A line that the cut tore is taken whole from the next stream (R19)."""
    lines = LogLines()
    assert lines.feed(b"2026-01-01T00:00:00.000000001Z half a") == []
    lines.resume()
    assert lines.feed(b"2026-01-01T00:00:00.000000001Z half a line\n") == [b"half a line\n"]


def test_slight_disorder_of_time_stamps_loses_nothing() -> None:
    """Stdout and stderr are stamped apart; a line may bear an earlier time than the one before it (R19)."""
    kubelet, lines = Kubelet(), LogLines()
    for number, moment in enumerate([1_000_000_001, 999_999_999, 1_000_000_002]):
        kubelet.write(b"%d\n" % number, moment)
    delivered = lines.feed(kubelet.read(None))
    delivered += lines.feed(kubelet.read(lines.resume()))
    assert delivered == [b"0\n", b"1\n", b"2\n"]


def test_words_of_the_kubelets_own_are_no_lines() -> None:
    """What kubelet says in the log's place has no time stamp: it is told apart and moves no position (R13)."""
    lines = LogLines()
    lines.feed(b"2026-01-01T00:00:07.000000001Z x\n")
    assert lines.feed(b"unable to retrieve container logs\n") == []
    assert lines.of_kubelet == ["unable to retrieve container logs"]
    assert lines.resume() == "2026-01-01T00:00:07Z"


UNSTAMPED = b"hello\n\n" + b"x" * (2 * MAX_LINE + 7) + b'\n2026-01-01T00:00:00.0Z is text\n{"rows": 3}\nno line end'


@pytest.mark.parametrize("seed", range(20))
def test_a_log_without_time_stamps_is_delivered_once(seed: int) -> None:
    """A node or a proxy may drop the time stamps: the log comes again from its start each time (R19)."""
    rng = random.Random(seed)
    lines, delivered = LogLines(), []
    for cut in (*(rng.randint(0, len(UNSTAMPED)) for _ in range(4)), len(UNSTAMPED)):
        if rng.random() < 0.5:  # another reader goes on
            lines = LogLines(LogPosition.from_dict(json.loads(json.dumps(lines.position().to_dict()))))
        assert lines.resume() is None
        for chunk in pieces_of(UNSTAMPED[:cut], rng, MAX_LINE):
            delivered += lines.feed(chunk)
    assert b"".join([*delivered, *lines.finish()]) == UNSTAMPED
    assert (lines.is_unstamped, lines.of_kubelet) == (True, [])


def test_stamps_of_the_scripts_own_are_output() -> None:
    """A node that drops the kubelet's stamps leaves those of a logger (R13, R35)."""
    printed = b'2026-01-01T10:00:00.123Z INFO start\nstep 1\n{"rows": 3}\n'
    lines = LogLines()
    assert b"".join(lines.feed(printed)) == printed
    assert (lines.is_unstamped, lines.of_kubelet) == (True, [])
    assert lines.position().unstamped == len(printed)


@pytest.mark.parametrize(
    ("first", "is_unstamped", "of_kubelet"),
    [
        (b"unable to retrieve container logs for containerd://0a\n", False, 1),
        (b"rpc error: code = NotFound desc = an error occurred when try to find container\n", False, 1),
        (b"2026-01-01T00:00:07.000000001Z x\nhello\n", False, 1),
        (b"2026-01-01T00:00:07.000000001Z hello\n", False, 0),
        (b"hello\n2026-01-01T00:00:07.000000001Z x\n", True, 0),
        (b"failed to connect to the database\n", True, 0),
        (b"\n", True, 0),
        (b"", False, 0),
    ],
)
def test_a_log_without_time_stamps_is_told_by_its_first_line(first: bytes, is_unstamped: bool, of_kubelet: int) -> None:
    """Kubelet's messages have no time stamps, and are never output (R13)."""
    lines = LogLines()
    lines.feed(first)
    assert (lines.is_unstamped, len(lines.of_kubelet)) == (is_unstamped, of_kubelet)


@pytest.mark.parametrize("in_one_chunk", [True, False])
@pytest.mark.parametrize(
    ("times", "recent"), [((0, 1, 2), 3), ((0, 1, 10**9), 3), ((0, 10**9, 2 * 10**9), 2), ((0, 1, 2 * 10**9), 1)]
)
def test_a_burst_may_cross_a_second(times: tuple[int, ...], recent: int, in_one_chunk: bool) -> None:
    """Its end may be written late, wherever in a second it falls (R19)."""
    kubelet, lines = Kubelet(), LogLines()
    for nanoseconds in times:
        kubelet.write(b"x\n", nanoseconds)
    data = kubelet.read(None)
    for chunk in [data] if in_one_chunk else data.splitlines(keepends=True):
        lines.feed(chunk)
    assert lines.in_last_seconds == recent
