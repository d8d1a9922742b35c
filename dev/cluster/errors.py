"""The one error that ends the program with a message instead of a traceback."""

from __future__ import annotations


class ClusterError(Exception):
    """What went wrong and what to do, ready to be printed."""
