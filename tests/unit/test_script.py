"""A script as it was read."""

from __future__ import annotations

import hashlib

import pytest

from airflow_script_provider.script import Script
from tests.builders import a_script


@pytest.mark.parametrize("text", ["echo ${#arr[@]}\n", "{{ not_rendered }}", "a\r\nb\r\n", "ünï 😀", " \n"])
def test_bytes_arrive_unchanged(text: str) -> None:
    """What is read is what the interpreter gets, with the same digest (R24)."""
    data = text.encode()
    script = Script.from_bytes(data, origin="file:///x", name="x")
    assert (script.data, script.size) == (data, len(data))
    assert script.sha256 == hashlib.sha256(data).hexdigest()


def test_a_byte_order_mark_is_dropped() -> None:
    """Editors of Windows put one in front, and no shebang would be found behind it."""
    assert Script.from_bytes(b"\xef\xbb\xbf#!/bin/sh\n", origin="x", name="x").shebang == "/bin/sh"


def test_other_encodings_are_refused_with_the_place() -> None:
    """Latin-1 is no UTF-8; the error says which byte."""
    with pytest.raises(ValueError, match="file:///x is not UTF-8 text: byte 1 is 0xfc"):
        Script.from_bytes(b"h\xfcllo", origin="file:///x", name="x")


@pytest.mark.parametrize("pinned", [b"print(1)\n", b"\xef\xbb\xbfprint(1)\n"])
@pytest.mark.parametrize("read", [b"print(1)\n", b"\xef\xbb\xbfprint(1)\n"])
def test_a_pin_counts_the_byte_order_mark_or_not(pinned: bytes, read: bytes) -> None:
    """What ``sha256sum`` prints of the file pins it, and so does the digest of the text; both stand for one text."""
    script = Script.from_bytes(read, origin="x", name="x")
    assert script.is_pinned_by(f" {hashlib.sha256(pinned).hexdigest().upper()}\n")
    assert script.sha256 == hashlib.sha256(b"print(1)\n").hexdigest()


def test_another_text_is_not_pinned() -> None:
    """Nor is one whose mark stands elsewhere."""
    assert not a_script("print(1)").is_pinned_by(hashlib.sha256("print(1)\ufeff".encode()).hexdigest())


@pytest.mark.parametrize(
    ("text", "shebang"),
    [
        ("#!/bin/sh\necho", "/bin/sh"),
        ("#! /bin/bash -eu\r\n", "/bin/bash -eu"),
        ("# comment\n#!/bin/sh", None),
        ("", None),
        ("#!\necho", ""),
    ],
)
def test_the_shebang_is_the_first_lines(text: str, shebang: str | None) -> None:
    """Only the first line can hold one."""
    assert a_script(text).shebang == shebang
