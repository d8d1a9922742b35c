"""What was asked of an API server, in words."""

from __future__ import annotations

import re


def kind_of(line: str) -> str:
    """The verb and the resource of a request."""
    method, _, path = line.partition(" ")
    found = re.search(r"/(?:namespaces/[^/]+/)?(pods(?=/[^/]+/log)|[a-z]+)(?:/[^/?]+)?(/log)?(?:\?(.*))?$", path)
    assert found, line
    resource, part, query = found[1], found[2] or "", found[3] or ""
    verb = "WATCH" if "watch=1" in query else method
    return f"{verb} {resource}{part}{' follow' if 'follow=true' in query else ''}"
