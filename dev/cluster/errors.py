"""The error that ends the program with a message instead of a traceback."""

from __future__ import annotations


class ClusterError(Exception):
    """A message for the user: what failed and what to do."""
