"""Content-Encodings: whole, cut at every place, damaged, nested, unknown."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest

from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.sources.base import CHUNK
from airflow_script_provider.sources.encoding import unpacked

TEXT = b"echo begin\n" + bytes(range(256)) * 3 + b"\nrm -rf /tmp/x/cache\n"


def raw_deflate(data: bytes) -> bytes:
    """Deflate without zlib's header, as some servers send it."""
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packing.compress(data) + packing.flush()


PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-Gzip", gzip.compress),
    "stored": ("gzip", lambda data: gzip.compress(data, 0)),
    "members": ("gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "nested": ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    "chunked": ("gzip,aws-chunked", gzip.compress),
}


def read(data: bytes, encoding: str | None, size: int = CHUNK) -> bytes:
    """The content of data that arrives in pieces of this size."""
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(unpacked(pieces, encoding, "http://h/x"))


@pytest.mark.parametrize("form", PACKED)
@pytest.mark.parametrize("size", [1, 7, CHUNK])
def test_the_content_is_what_was_packed(form: str, size: int) -> None:
    """In whatever pieces it arrives."""
    encoding, pack = PACKED[form]
    assert read(pack(TEXT), encoding, size) == TEXT


@pytest.mark.parametrize("encoding", [None, "", "identity", "aws-chunked", " Identity "])
def test_without_an_encoding_nothing_is_unpacked(encoding: str | None) -> None:
    """An archive that is the content itself stays one (R24)."""
    assert read(gzip.compress(TEXT), encoding) == gzip.compress(TEXT)


@pytest.mark.parametrize("form", [form for form in PACKED if form != "members"])
def test_data_that_breaks_off_is_refused(form: str) -> None:
    """Wherever it was cut, a part is never taken for the whole (R1)."""
    encoding, pack = PACKED[form]
    packed = pack(TEXT)
    for end in range(len(packed)):
        with pytest.raises(
            ScriptSourceError, match=r"http://h/x breaks off in the middle of its (gzip|deflate|x-gzip)"
        ):
            read(packed[:end], encoding, 50)


def test_a_member_that_breaks_off_is_refused() -> None:
    """The end of the first member is a possible end; the second one then has begun."""
    packed = gzip.compress(TEXT) + gzip.compress(TEXT)
    for end in range(len(packed) // 2 + 1, len(packed)):
        with pytest.raises(ScriptSourceError, match="breaks off"):
            read(packed[:end], "gzip")


@pytest.mark.parametrize("form", ["gzip", "zlib"])
@pytest.mark.parametrize("place", [0, 20, -1])
def test_damaged_data_is_refused(form: str, place: int) -> None:
    """The checksum at the end tells; no further request helps."""
    encoding, pack = PACKED[form]
    packed = bytearray(pack(TEXT))
    packed[place] ^= 0xFF
    with pytest.raises(
        ScriptSourceError, match=f"cannot be decompressed as its Content-Encoding says .{encoding}"
    ) as error:
        read(bytes(packed), encoding)
    assert not error.value.retryable


def test_padding_is_no_content() -> None:
    """Zeros after the last member are ignored, as gzip does."""
    assert read(gzip.compress(TEXT) + bytes(512), "gzip") == TEXT


def test_a_bomb_is_unpacked_in_small_pieces() -> None:
    """The reader stops at its limit; no piece is large (R25)."""
    bomb = gzip.compress(gzip.compress(bytes(100_000_000)))
    sizes = [len(piece) for piece in unpacked([bomb], "gzip, gzip", "x")]
    assert (sum(sizes), max(sizes) <= CHUNK) == (100_000_000, True)


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br"])
def test_another_encoding_is_named(encoding: str) -> None:
    """What cannot be unpacked is not run; the error says what to do."""
    with pytest.raises(
        ScriptSourceError, match=r"has the Content-Encoding '(br|zstd|compress)', which cannot be"
    ) as error:
        read(b"\x00", encoding)
    assert not error.value.retryable
