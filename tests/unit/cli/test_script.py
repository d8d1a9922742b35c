"""The source of a script that the user names."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_script_provider.cli.script import GivenScript, source_of_argument, source_of_task
from airflow_script_provider.sources import FileScript, GCSScript, HttpScript, InlineScript, S3Script

FOLDER = Path("/nowhere")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two words", GivenScript(b"two words")),
        ("one\nline", GivenScript(b"one\nline")),
        ("one\r\nl\udce9ne", GivenScript(b"one\r\nl\xe9ne")),
        ("file:///a.py", FileScript("file:///a.py")),
        ("https://host/a.py", HttpScript("https://host/a.py")),
        ("s3://bucket/a.py", S3Script("s3://bucket/a.py", conn_id=None)),
        ("gs://bucket/a.py", GCSScript("gs://bucket/a.py", conn_id=None)),
    ],
)
def test_words_of_the_command_line(text: str, expected: object) -> None:
    """Text, files and URIs are sources; without a connection buckets use the environment."""
    assert source_of_argument(text, None) == expected


def test_a_connection_is_named() -> None:
    """``--script-conn-id`` is only for a URI."""
    assert source_of_argument("s3://bucket/a.py", "aws_ro") == S3Script("s3://bucket/a.py", conn_id="aws_ro")
    for text in ("two words", "file:///a.py"):
        with pytest.raises(ValueError, match="--script-conn-id"):
            source_of_argument(text, "aws_ro")


@pytest.mark.parametrize(
    ("script", "expected", "is_command"),
    [
        ("npx prisma migrate deploy", InlineScript("npx prisma migrate deploy"), True),
        ("#!/usr/bin/env node\nrun()", InlineScript("#!/usr/bin/env node\nrun()"), False),
        ("\n  #!/bin/bash\n  run", InlineScript("\n  #!/bin/bash\n  run"), False),
        ("\ufeff#!/bin/bash\nrun", InlineScript("\ufeff#!/bin/bash\nrun"), False),
        ("scripts/etl.py", FileScript("scripts/etl.py"), False),
        ("s3://bucket/a.py", S3Script("s3://bucket/a.py", conn_id=None), False),
        ({"type": "inline", "content": "print(1)"}, InlineScript("print(1)"), False),
        ({"type": "file", "uri": "a.py"}, FileScript("a.py"), False),
    ],
)
def test_scripts_of_a_task(script: object, expected: object, is_command: bool) -> None:
    """A task's text is a shell command, unless its first line names another program."""
    assert source_of_task(script, FOLDER, None) == (expected, is_command)
