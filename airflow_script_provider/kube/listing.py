"""A list of the API, parsed item by item.

If the list is parsed in one piece, thousands of objects are alive until the last one is read. They
take memory at once. They also start full garbage collections, which stop everything else in the
process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_START = '"items":['
_DECODER = json.JSONDecoder()


def metadata_of(text: str) -> dict[str, Any]:
    """The list's own metadata: its version, and the token of the next page."""
    head, separator, _ = text.partition(_START)
    try:
        metadata: dict[str, Any] = json.loads(head.rstrip(" \n,") + "}" if separator else text)["metadata"]
    except (ValueError, KeyError):
        metadata = json.loads(text)["metadata"]
    return metadata


def items_of(text: str) -> Iterator[dict[str, Any]]:
    """The objects, one after the other.

    They come in one piece if the text does not have the API server's form.
    """
    start = text.find(_START)
    if start < 0:
        yield from json.loads(text).get("items") or []
        return
    position = start + len(_START)
    while text[position] != "]":
        item, position = _DECODER.raw_decode(text, position)
        yield item
        position += text[position] == ","
