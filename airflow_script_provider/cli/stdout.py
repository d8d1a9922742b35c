"""Our stdout: the script's output or its result, and nothing else."""

from __future__ import annotations

import os
from typing import BinaryIO

_STDOUT, _STDERR = 1, 2


def take_stdout() -> BinaryIO:
    """A stream to stdout that only who has it writes to: what libraries print from now on goes to stderr.

    Airflow logs to stdout, while it is imported even before anybody could configure it.
    """
    ours = os.fdopen(os.dup(_STDOUT), "wb")
    os.dup2(_STDERR, _STDOUT)
    return ours


def write(stream: BinaryIO, data: bytes) -> None:
    """Write all of it now. Where that fails the ``OSError`` has its name, and the stream takes nothing more."""
    try:
        stream.write(data)
        stream.flush()
    except OSError as error:
        _abandon(stream)
        error.filename = stream.name if isinstance(stream.name, str) else "stdout"
        raise


def _abandon(stream: BinaryIO) -> None:
    """Python would try once more, at its end, what could not be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
