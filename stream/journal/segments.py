"""The bytes of a journal: records, the files that hold them, and how a torn tail is found.

A segment is a file named after the position of its first byte. Its records are

    length of the body   u32
    CRC-32               u32, over the stamp and the body
    stamp                u64: microseconds since 1970 in the lower 56 bits, the kind above
    body

in little-endian order. A sealed segment is compressed as a whole to `.journal.zst`.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import zstandard

from stream.errors import Broken

HEADER = struct.Struct("<IIQ")
STAMP = struct.Struct("<Q")
KIND_SHIFT = 56
TIME_MASK = (1 << KIND_SHIFT) - 1
FRAME, NOTE = 0, 1
MAX_BODY = 1 << 30  # a length above this is no length but torn bytes

RAW, PACKED = ".journal", ".journal.zst"
COMPRESSION_LEVEL = 3


class Segment(msgspec.Struct):
    """One file of a journal. `size` is on disk; `end` the position behind its last record."""

    path: Path
    start: int
    end: int
    size: int
    changed_at: float  # seconds since 1970

    @property
    def packed(self) -> bool:
        return self.path.name.endswith(PACKED)


def encode(kind: int, microseconds: int, body: bytes) -> tuple[bytes, bytes]:
    """Header and body of one record."""
    stamp = kind << KIND_SHIFT | microseconds
    crc = zlib.crc32(body, zlib.crc32(STAMP.pack(stamp)))
    return HEADER.pack(len(body), crc, stamp), body


def intact(crc: int, stamp: int, body: bytes | memoryview) -> bool:
    """Whether these bytes are what was written."""
    return zlib.crc32(body, zlib.crc32(STAMP.pack(stamp))) == crc


def segment_name(start: int) -> str:
    return f"{start:020d}{RAW}"


def start_of(path: Path) -> int:
    return int(path.name.partition(".")[0])


def open_segment(path: Path) -> BinaryIO:
    """A segment's bytes from its start, whether it is compressed or not."""
    file = path.open("rb")
    if path.name.endswith(PACKED):
        reader = zstandard.ZstdDecompressor().stream_reader(file, closefd=True)
        return io.BufferedReader(reader, 1 << 18)
    return file


def read(file: BinaryIO, count: int, path: Path) -> bytes:
    """So many bytes of an open segment, or fewer at its end. Broken when it is damaged."""
    try:
        return file.read(count)
    except zstandard.ZstdError as error:
        raise Broken(f"{path} is damaged ({error}); restore it from a copy.") from error


def records(file: BinaryIO, path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Kind, time (microseconds) and body of every record. Broken when one is damaged or torn."""
    while header := read(file, HEADER.size, path):
        torn = len(header) < HEADER.size
        length, crc, stamp = (MAX_BODY, 0, 0) if torn else HEADER.unpack(header)
        body = b"" if length >= MAX_BODY else read(file, length, path)
        if len(body) < length or not intact(crc, stamp, body):
            raise Broken(f"{path} is damaged; restore it from a copy.")
        yield stamp >> KIND_SHIFT, stamp & TIME_MASK, body


def scan(path: Path) -> int:
    """Length of the intact records at the start of a raw segment."""
    good = 0
    with path.open("rb") as file:
        while len(header := file.read(HEADER.size)) == HEADER.size:
            length, crc, stamp = HEADER.unpack(header)
            if length > MAX_BODY:
                break
            body = file.read(length)
            if len(body) < length or not intact(crc, stamp, body):
                break
            good += HEADER.size + length
    return good


def packed_length(path: Path) -> int:
    """Length of a compressed segment's content; it is written in the frame header."""
    with path.open("rb") as file:
        return zstandard.frame_content_size(file.read(32))


def last_time(path: Path) -> int:
    """Time of the last record of an intact segment, in microseconds; 0 when it has none."""
    last = 0
    with open_segment(path) as file:
        while len(header := read(file, HEADER.size, path)) == HEADER.size:
            length, _, stamp = HEADER.unpack(header)
            read(file, length, path)
            last = stamp & TIME_MASK
    return last


def compress(path: Path) -> Path:
    """Write the compressed twin of a sealed segment, durably, and return its path."""
    packed = path.with_name(path.name.removesuffix(RAW) + PACKED)
    partial = packed.with_name(packed.name + ".partial")
    size = path.stat().st_size
    compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True)
    try:
        with path.open("rb") as source, partial.open("wb") as target:
            compressor.copy_stream(source, target, size=size)
            target.flush()
            os.fsync(target.fileno())
    except OSError:  # a full disk must not be fuller by it
        partial.unlink(missing_ok=True)
        raise
    partial.rename(packed)
    return packed
