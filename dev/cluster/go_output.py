"""Reads what Go's commands print about a build."""

from __future__ import annotations

import re

# For `go list -f`: import path, whether Go would build the package, and why.
LIST_FORMAT = "{{.ImportPath}}\t{{.Stale}}\t{{.StaleReason}}"
CACHED = "not installed but available in build cache"
PACKAGE = re.compile(r"[A-Za-z0-9][\w.~/+-]*")
REQUIREMENT = re.compile(r"^(?:require )?\s*[^\s/(]+\.[^\s]+ v\d\S*(?:\s*//.*)?$", re.MULTILINE)


def to_compile(listing: str) -> set[str]:
    """The packages of `go list -deps -f LIST_FORMAT` that `go build -v` will compile and print.

    Packages in Go's build cache are not among them.
    """
    rows = [line.split("\t") for line in listing.splitlines()]
    return {path for path, stale, reason in rows if stale == "true" and reason != CACHED}


def is_download(line: str) -> bool:
    """Whether the line reports the beginning of a module's download."""
    return line.startswith("go: downloading ")


def is_package(line: str) -> bool:
    """Whether `go build -v` names a package in the line; messages have spaces or colons."""
    return PACKAGE.fullmatch(line) is not None


def required_modules(go_mod: str) -> int:
    """How many modules a go.mod requires: an upper limit for the downloads of a build."""
    return len(REQUIREMENT.findall(go_mod))
