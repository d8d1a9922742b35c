"""Prints what is being done and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


@contextmanager
def step(done: str) -> Iterator[None]:
    """Print `done` with the seconds it took, once the block has ended well."""
    started = time.monotonic()
    yield
    say(f"  {done}  {time.monotonic() - started:.1f} s")
