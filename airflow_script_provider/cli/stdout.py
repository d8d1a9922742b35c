"""Reserve stdout for the script's output or its result."""

from __future__ import annotations

import os
import select
import sys
from typing import BinaryIO

_STDOUT, _STDERR = 1, 2
_STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}  # in the order of their descriptors


def open_closed_streams() -> None:
    """Open ``/dev/null`` for each standard stream that is closed.

    Python has None for such a stream. Its descriptor would go to the next file that is opened, and
    that file would get our output.
    """
    for descriptor, (name, mode) in enumerate(_STREAMS.items()):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, errors="backslashreplace"))


def take_stdout() -> BinaryIO:
    """Take stdout; other writers go to stderr.

    Airflow logs to stdout. It logs even while it is imported, before it could be configured.
    """
    own_stdout = os.fdopen(os.dup(_STDOUT), "wb")
    os.dup2(_STDERR, _STDOUT)
    return own_stdout


def write(stream: BinaryIO, data: bytes) -> None:
    """Write all of the data now; it takes as long as the reader needs.

    If that fails, the ``OSError`` names the stream, and the stream drops further data.
    """
    try:
        stream.flush()
        _write_all(stream.fileno(), data)
    except OSError as error:
        _redirect_to_null(stream)
        error.filename = stream.name if isinstance(stream.name, str) else "stdout"
        raise


def _write_all(descriptor: int, data: bytes) -> None:
    """Write to a descriptor, which another program that shares it may have made non-blocking."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def _redirect_to_null(stream: BinaryIO) -> None:
    """Drop the data that could not be written; Python would try to write it again at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
