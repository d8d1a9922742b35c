"""Our own lines in the output of a program that was sent through stdin."""

from __future__ import annotations

import itertools

import pytest

from airflow_script_provider.kube.exec.own_lines import OwnLines, RemoteProcess

FIRST = b"abc started 12 345\n"


def read(data: bytes, size: int) -> tuple[bytes, OwnLines]:
    """The program's part of an output that comes in pieces of this size."""
    own_lines = OwnLines("abc")
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(map(own_lines.feed, pieces)) + own_lines.rest(), own_lines


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("output", "shown", "code"),
    [
        (b"hi\n\x1eabc ended 0\n", b"hi\n", 0),
        (b"\x1eabc ended 137\n", b"", 137),
        (b"hi\x1eabc ended 0 TERM\n", b"hi", 0),
        (b"no line end\x1eabc ended 1\n", b"no line end", 1),
        (b"on a terminal\r\n\x1eabc ended 3\r\n", b"on a terminal\r\n", 3),
        (b"hi\n\x1eabc ended 0\nof a descendant\n", b"hi\nof a descendant\n", 0),
        (b"two\x1eabc ended 0\n\x1eabc ended 0\n", b"two", 0),
        (b"abc ended 0\n", b"abc ended 0\n", None),
        (b"\x1eab\x1eabc ended \x1eabc ended 2\n", b"\x1eab\x1eabc ended ", 2),
        (b"\x1eother ended 0\n", b"\x1eother ended 0\n", None),
        (b"\x1eabc ended 0", b"\x1eabc ended 0", None),
        (b"\x1eabc ended 0123\n", b"\x1eabc ended 0123\n", None),
        (b"\x1eabc ended no\n", b"\x1eabc ended no\n", None),
        (b'\x1e{"a": 1}\n\x1e', b'\x1e{"a": 1}\n\x1e', None),
        (b"/dev/shm/airflow-script-abc ", b"/dev/shm/airflow-script-abc ", None),
        (b"", b"", None),
    ],
)  # fmt: skip
def test_the_last_line_is_read_and_not_shown(output: bytes, shown: bytes, code: int | None, size: int) -> None:
    """The exit code is that of our last line only, wherever the stream is cut (R1)."""
    found, own_lines = read(FIRST + output, size)
    assert (found, own_lines.exit_code) == (shown, code)


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize("got_sigterm", [True, False])
def test_the_last_line_says_whether_the_shell_got_sigterm(got_sigterm: bool, size: int) -> None:
    """It may have stopped the program as well (R1)."""
    _, own_lines = read(FIRST + b"\x1eabc ended 0" + b" TERM" * got_sigterm + b"\r\n", size)
    assert (own_lines.exit_code, own_lines.got_sigterm) == (0, got_sigterm)


def test_only_the_start_of_our_last_line_is_held_back() -> None:
    """A prompt without a line end is shown at once."""
    own_lines = OwnLines("abc")
    own_lines.feed(FIRST)
    shown = [own_lines.feed(piece) for piece in (b"a", b"b", b"password: ", b"\x1e", b"x")]
    assert shown == [b"a", b"b", b"password: ", b"", b"\x1ex"]


def test_the_first_line_may_come_in_pieces() -> None:
    """The program's output begins after our line, wherever the stream is cut."""
    for size in (1, 5, 100):
        shown, own_lines = read(b"abc started 12 345\nabc started 1 2\n", size)
        assert (shown, own_lines.process) == (b"abc started 1 2\n", RemoteProcess(12, 345))


def test_terminal_is_ready_before_the_announcement() -> None:
    """The line that a terminal awaits the code is not the script's."""
    own_lines = OwnLines("abc")
    assert (own_lines.feed(b"airflow-script ready\n"), own_lines.is_ready) == (b"", True)
    assert (own_lines.feed(b"abc started\nhi"), own_lines.process) == (b"hi", None)


def test_what_is_not_ours_is_shown() -> None:
    """Other output of the shell is shown."""
    own_lines = OwnLines("abc")
    assert own_lines.feed(b"ab") == b""
    assert own_lines.feed(b"solutely not") == b"absolutely not"


def test_what_is_left_is_shown() -> None:
    """An output that ends within a line that looks like ours is complete."""
    for first, last in itertools.product((b"", b"ab"), (b"", b"\x1eabc end")):
        assert read(first + last, 1)[0] == first + last
