"""Whole lines from pieces."""

from __future__ import annotations

from airflow_script_provider.kube.logs.pod_lines import MAX_LINE
from airflow_script_provider.kube.logs.stream_lines import Lines


def test_lines_come_whole_wherever_the_stream_was_cut() -> None:
    """Each byte for itself gives the same lines as all at once (R19)."""
    text = b"one\n\ntwo\r\nthree"
    lines = Lines()
    cut = [line for byte in text for line in lines.feed(bytes([byte]))] + lines.finish()
    assert cut == [*Lines().feed(text), b"three"] == [b"one\n", b"\n", b"two\r\n", b"three"]


def test_nothing_is_left_of_whole_lines() -> None:
    """A last line with its end was delivered."""
    lines = Lines()
    assert (lines.feed(b"a\n"), lines.finish()) == ([b"a\n"], [])


def test_an_endless_line_is_delivered_in_pieces() -> None:
    """Output without line ends needs no unbounded memory (R13)."""
    lines = Lines()
    assert [len(piece) for piece in lines.feed(b"x" * MAX_LINE)] == [MAX_LINE]
    assert lines.feed(b"y\n") == [b"y\n"]
