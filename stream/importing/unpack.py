"""Decompress recordings, recognized by their first bytes and not by name, in bounded memory.

All functions take and yield chunks of bytes, so that a pipe is read like a file. Everything before
a damaged part is yielded before `Damaged` is raised.
"""

import bz2
import codecs
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

import zstandard

from stream.errors import TwitterstreamError
from stream.text import encoding_of

Chunks: TypeAlias = Iterator[bytes]

STEP = 1 << 12  # bytes that are unpacked at once, and lost with a damage among them
GIVEN = 1 << 18  # bytes that are given at once
# A zstd block unpacks to 128 kB at most, and may be 4 bytes long: so many bytes become 4 MB at most
ZSTD_STEP = 128
LAYERS = 3  # such as a .zip with a .gz in it
HEAD = 512  # bytes that identify the compression; tar has its magic at 257
TAR_AT = 257

_GZIP, _BZIP2, _XZ, _LZMA = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x5d\0\0"
# Frames that zstd skips, as pzstd and our journal write them, may be first.
_SKIPPED = (bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))
_ZSTD = (b"\x28\xb5\x2f\xfd", *_SKIPPED)
_OTHERS = {
    b"PK\x03\x04": "a zip",
    b"PK\x05\x06": "an empty zip",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x04\x22\x4d\x18": "compressed with lz4",
    b"LZIP": "compressed with lzip",
    b"\x89LZO": "compressed with lzop",
    b"\x1f\x9d": "compressed with compress",
    b"\xff\x06\x00\x00sNaPpY": "compressed with snappy",
    b"PAR1": "a Parquet file",
    b"Obj\x01": "an Avro file",
    b"SQLite format 3\0": "a SQLite database",
    b"%PDF": "a PDF",
}


class NotRead(TwitterstreamError):
    """A file of a kind that an import does not take; nothing of it was read."""


class Damaged(TwitterstreamError):
    """A file ends too early, or holds bytes that cannot be unpacked."""


class _Unpacker(Protocol):
    """The common interface of bz2, lzma and our own decompressors."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /, max_length: int) -> bytes: ...


class _Gzip:
    """zlib with the interface of the other two."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._full = False  # its input may yield more

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._full

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        found = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self._full = len(found) == max_length
        return found


class _Zstd:
    """zstandard with the interface of the other two; it has no `max_length`."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor().decompressobj()
        self._waiting = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._waiting

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data + self._waiting

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        waiting, taken = memoryview(self._waiting + data), 0
        parts: list[bytes] = []
        length = 0
        while taken < len(waiting) and length < max_length and not self._inner.eof:
            parts.append(self._inner.decompress(waiting[taken : taken + ZSTD_STEP]))
            length += len(parts[-1])
            taken += ZSTD_STEP
        self._waiting = bytes(waiting[taken:])
        return b"".join(parts)


_Packing: TypeAlias = tuple[tuple[bytes, ...], str, Callable[[], _Unpacker]]
_PACKINGS: tuple[_Packing, ...] = (
    ((_GZIP,), "gzip", _Gzip),
    ((_BZIP2,), "bzip2", bz2.BZ2Decompressor),
    ((_XZ,), "xz", lzma.LZMADecompressor),
    ((_LZMA,), "lzma", lzma.LZMADecompressor),
    (_ZSTD, "zstd", _Zstd),
)


def is_zip(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04")


def with_head(chunks: Chunks) -> tuple[bytes, Chunks]:
    """The first bytes, and everything, these included."""
    head, damage = b"", None
    try:
        while len(head) < HEAD:
            head += next(chunks)
    except StopIteration:
        pass
    except Damaged as error:
        damage = error
    return head[:HEAD], _again(head, chunks, damage)


def _again(first: bytes, chunks: Chunks, damage: Damaged | None) -> Chunks:
    if first:
        yield first
    if damage is not None:
        raise damage
    yield from chunks


def unpacked(chunks: Chunks) -> Chunks:
    """The content of a file, decompressed as often as needed; NotRead for unsupported types."""
    for _ in range(LAYERS):
        head, chunks = with_head(chunks)
        packing = next((each for each in _PACKINGS if head.startswith(each[0])), None)
        if packing is None:
            break
        chunks = _unpacked(chunks, packing)
    head, chunks = with_head(chunks)
    if head[TAR_AT : TAR_AT + 5] == b"ustar":
        raise NotRead("it is a tar; pipe its files: tar -xOf FILE | ./twitterstream.py import - …")
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise NotRead(f"it is {name}; unpack it first")
    return chunks


def _unpacked(chunks: Chunks, packing: _Packing) -> Chunks:
    """The content in larger chunks; everything intact before damage is reported."""
    magics, name, make = packing
    parts: list[bytes] = []
    size = 0
    try:
        for part in _members(chunks, magics, make):
            parts.append(part)
            size += len(part)
            if size >= GIVEN or not part:
                yield b"".join(parts)
                parts, size = [], 0
    except (zlib.error, OSError, EOFError, lzma.LZMAError, zstandard.ZstdError) as error:
        yield b"".join(parts)
        why = "ends too early" if isinstance(error, EOFError) else f"cannot be unpacked ({error})"
        raise Damaged(f"it is compressed with {name} and {why}") from error
    yield b"".join(parts)


def _members(chunks: Chunks, magics: tuple[bytes, ...], make: Callable[[], _Unpacker]) -> Chunks:
    """The content of all members of a file; an empty part when more input is needed."""
    unpacker, waiting = make(), b""
    for chunk in chunks:
        waiting += chunk
        while waiting or not unpacker.needs_input:
            if unpacker.eof:
                waiting = waiting.lstrip(b"\0")  # padding
                if any(magic.startswith(waiting) for magic in magics):
                    break  # nothing, or perhaps the beginning of the next member
                unpacker = make()
            given, waiting = waiting, b""
            yield unpacker.decompress(given, STEP)
            if unpacker.eof:
                waiting = unpacker.unused_data
        yield b""
    if waiting or not unpacker.eof:
        raise EOFError


def as_utf8(chunks: Chunks) -> Chunks:
    """Text in UTF-16 or UTF-32 as UTF-8; everything else as it is, without a byte order mark."""
    head, chunks = with_head(chunks)
    encoding = encoding_of(head)
    if not encoding.startswith("utf-8"):
        return _recoded(chunks, encoding)
    # NULs are what a power loss, or turning a log that is open, leaves of a piece of a file.
    if b"\0" in head and head.lstrip(b"\0 \t\r\n")[:1] not in (b"{", b"[", b""):
        raise NotRead("it contains binary data")
    return chunks


def _recoded(chunks: Chunks, encoding: str) -> Chunks:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode()
    yield decoder.decode(b"", final=True).encode()
