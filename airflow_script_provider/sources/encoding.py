"""Unpack what a server sends or stores with a Content-Encoding."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.sources.base import CHUNK, permanent_error

_GZIP = zlib.MAX_WBITS | 16
_ZLIB = zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS
_FORMATS = {"gzip": (_GZIP,), "x-gzip": (_GZIP,), "deflate": (_ZLIB, _RAW_DEFLATE)}
_UNCHANGED = ("", "identity", "aws-chunked")  # the last one is only for S3's uploads


def unpacked(chunks: Iterable[bytes], encoding: str | None, origin: str) -> Iterator[bytes]:
    """The content in small chunks, so that the reader may stop at its limit.

    ``ScriptSourceError`` says that the data breaks off, is damaged, or that nothing here unpacks
    the encoding.
    """
    names = [name.strip().lower() for name in (encoding or "").split(",")]
    for name in reversed([name for name in names if name not in _UNCHANGED]):
        if name not in _FORMATS:
            raise permanent_error(
                f"{origin} has the Content-Encoding {name!r}, which cannot be unpacked; store or send it with gzip, "
                "or without an encoding",
                origin,
            )
        chunks = _inflated(chunks, name, origin)
    yield from chunks


def _inflated(chunks: Iterable[bytes], name: str, origin: str) -> Iterator[bytes]:
    unpacking = _Unpacking(name)
    try:
        for chunk in chunks:
            yield from unpacking.feed(chunk)
        yield unpacking.rest()
    except zlib.error:
        message = f"{origin} cannot be decompressed as its Content-Encoding says ({name})"
        raise permanent_error(message, origin) from None
    if not unpacking.is_complete:
        raise ScriptSourceError(f"{origin} breaks off in the middle of its {name} data", origin=origin)


class _Unpacking:
    """Unpacks data of one format, which may consist of several members."""

    def __init__(self, name: str) -> None:
        self._formats = _FORMATS[name]
        self._inflate = zlib.decompressobj(self._formats[0])
        self._header: bytes | None = b""  # what came of zlib's two bytes, None after them

    @property
    def is_complete(self) -> bool:
        """Whether the data has its end."""
        return self._inflate.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Unpack more data. What follows the last member is no content, as for gzip itself."""
        while data:
            if self._inflate.eof:
                if self._formats[0] != _GZIP or not data.startswith(b"\x1f"):
                    return
                self._inflate = zlib.decompressobj(_GZIP)
            yield self._decompress(data)
            data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail

    def rest(self) -> bytes:
        """What zlib has not returned yet."""
        return self._inflate.flush()

    def _decompress(self, data: bytes) -> bytes:
        """Unpack at most a chunk. Some servers send deflate without its header."""
        try:
            return self._inflate.decompress(data, CHUNK)
        except zlib.error:
            if self._header is None or len(self._formats) == 1:
                raise
            self._inflate = zlib.decompressobj(self._formats[1])
            return self._inflate.decompress(self._header + data, CHUNK)
        finally:
            self._header = None if self._header is None or len(self._header + data) > 1 else data
