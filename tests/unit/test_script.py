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


@pytest.mark.parametrize("data", [b"h\xfcllo", b"\x89PNG\r\n\x00\xff", b"\xef\xbb\xbf\xff", bytes(range(256))])
def test_other_bytes_arrive_unchanged(data: bytes) -> None:
    """What is not UTF-8 is kept byte for byte: a key, an archive, an old encoding (R24)."""
    script = Script.from_bytes(data, origin="x", name="x")
    assert (script.data, script.raw, script.as_run().data) == (data, data, data)
    assert script.sha256 == hashlib.sha256(data).hexdigest()


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
        ("\n#!/bin/bash\nset -e", "/bin/bash"),
        (" \r\n\t\n    #!/bin/bash\n    set -e", "/bin/bash"),
        ("\ufeff#!/bin/bash", "/bin/bash"),
        ("\n\ufeff #!/bin/bash", "/bin/bash"),
        ("echo\n#!/bin/sh", None),
    ],
)
def test_the_shebang_is_the_first_lines(text: str, shebang: str | None) -> None:
    """Only the first line that is not blank can hold one."""
    assert a_script(text).shebang == shebang


@pytest.mark.parametrize(
    ("text", "as_run"),
    [
        ("#!/bin/sh\necho", "#!/bin/sh\necho"),
        ("\n\necho\n  #!/bin/sh", "\n\necho\n  #!/bin/sh"),
        ("  echo hi\n", "  echo hi\n"),
        ("\ufeffprint(1)\n", "print(1)\n"),
        ("\ufeff#!/bin/sh\n", "#!/bin/sh\n"),
        ("\n#!/bin/sh\necho\n", "#!/bin/sh\n\necho\n"),
        ("\n\ufeff#!/bin/sh\necho\n", "#!/bin/sh\n\necho\n"),
        ("\r\n#!/bin/sh\r\necho\r\n", "#!/bin/sh\r\n\necho\r\n"),
        ("\n    #!python3\n    if 1:\n        pass\n    ", "#!python3\n\nif 1:\n    pass\n"),
        ("\n\t#!python3\n\tif 1:\n\n\t\tpass", "#!python3\n\nif 1:\n\n\tpass"),
        ("  #!/bin/sh\n  cat <<X\nleft\n  X\n", "#!/bin/sh\n  cat <<X\nleft\n  X\n"),
        ("\xa0\n #!/bin/sh", "#!/bin/sh\n\n"),
    ],
)
def test_the_shebang_comes_first(text: str, as_run: str) -> None:
    """Line numbers stay; all lines lose the indentation that they have in common with the ``#!`` line (R24)."""
    assert a_script(text).as_run().text == as_run


def test_the_shebang_of_other_bytes_comes_first() -> None:
    """A script in Latin-1 has no other rules."""
    script = Script.from_bytes(b"\n#!/bin/sh\necho \xe9", origin="x", name="x").as_run()
    assert (script.shebang, script.data) == ("/bin/sh", b"#!/bin/sh\n\necho \xe9")
