"""The files of a journal: their format, and whether the disk takes more of them.

A segment is a file named after the position of its first byte. Its records are

    length of the body   u32
    CRC-32               u32, over the stamp and the body
    stamp                u64: microseconds since 1970 in the lower 56 bits, the kind above
    body

in little-endian order. A sealed segment is compressed to `.journal.zst`: zstd frames of CHUNK bytes
each, so that damage to one spoils no other, and a skippable frame with the length of the content.
"""

import errno
import io
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import zstandard

from stream.config import JournalSettings
from stream.errors import Broken
from stream.files import disk, replacing

HEADER = struct.Struct("<IIQ")
STAMP = struct.Struct("<Q")
KIND_SHIFT = 56
TIME_MASK = (1 << KIND_SHIFT) - 1
FRAME, NOTE, DAMAGE = 0, 1, 2  # DAMAGE replaces bytes that were damaged on disk
MAX_BODY = 1 << 30  # a greater length is not a length but torn bytes

CHUNK = 1 << 20  # bytes of content in each zstd frame
SUMMARY = struct.Struct("<IIQ")  # of a compressed segment: magic, 8, length of the content
SUMMARY_MAGIC = 0x184D2A50  # a skippable frame
RAW, COMPRESSED = ".journal", ".journal.zst"
DIGITS = 20  # of a segment's name: the position of its first record
COMPRESSION_LEVEL = 3

CLOCK_TOLERANCE = 10_000_000  # microseconds that a clock may be set back without being followed
MIN_FREE_INODES = 200  # files that other programs can still create on the disk

_REMEDIES = {
    (errno.ENOSPC, errno.EDQUOT): "free some space, or delete some files if no inodes are left",
    (errno.EFBIG,): "raise the file size limit, or lower journal.segment_bytes",
    (errno.EMFILE, errno.ENFILE): "raise the limit of open files (LimitNOFILE, ulimit -n)",
    (errno.EROFS,): "the disk is read-only: see `dmesg`, check it and remount it read-write",
    (errno.EACCES, errno.EPERM): "give the daemon's user write permission there",
    (errno.ENOENT, errno.ENOTDIR): "the folder is missing: put it back",
    (errno.EIO,): "the disk fails: see `dmesg` and `smartctl -a`",
}


class Damaged(Broken):
    """A segment does not contain what was written."""


class Segment(msgspec.Struct):
    """One file of a journal. `size` is that on disk; `end` the position after its last record."""

    path: Path
    start: int
    end: int
    size: int
    changed_at: float  # seconds since 1970
    compress_at: float = 0.0  # seconds, monotonic: no attempt to compress it before then

    @property
    def compressed(self) -> bool:
        return self.path.name.endswith(COMPRESSED)


def encode(kind: int, microseconds: int, body: bytes) -> tuple[bytes, bytes]:
    """Header and body of one record."""
    stamp = kind << KIND_SHIFT | microseconds
    crc = zlib.crc32(body, zlib.crc32(STAMP.pack(stamp)))
    return HEADER.pack(len(body), crc, stamp), body


def intact(crc: int, stamp: int, body: bytes | memoryview) -> bool:
    """Whether the checksum fits: these bytes are what was written."""
    return zlib.crc32(body, zlib.crc32(STAMP.pack(stamp))) == crc


def segment_name(start: int) -> str:
    return f"{start:0{DIGITS}d}{RAW}"


def start_of(path: Path) -> int:
    return int(path.name.partition(".")[0])


def files(folder: Path, *endings: str) -> list[Path]:
    """The segment files in a folder, oldest first; any other files are ignored."""
    found = [
        path
        for ending in endings
        for path in folder.glob("[0-9]" * DIGITS + ending)
        if path.is_file()
    ]
    return sorted(found, key=start_of)


def open_segment(path: Path) -> BinaryIO:
    """Open a segment at its start, decompressing it if needed."""
    file = path.open("rb")
    if path.name.endswith(COMPRESSED):
        reader = zstandard.ZstdDecompressor().stream_reader(
            file, read_across_frames=True, closefd=True
        )
        return io.BufferedReader(reader, 1 << 18)
    return file


def read(file: BinaryIO, count: int, path: Path) -> bytes:
    """Read `count` bytes of an open segment, fewer at its end; Damaged if zstd refuses them."""
    try:
        return file.read(count)
    except zstandard.ZstdError as error:
        raise Damaged(f"{path} is damaged: {error}.") from error


def records(file: BinaryIO, path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Kind, time (microseconds) and body of every record; Damaged when one is incomplete."""
    while header := read(file, HEADER.size, path):
        torn = len(header) < HEADER.size
        length, crc, stamp = (MAX_BODY, 0, 0) if torn else HEADER.unpack(header)
        body = b"" if length >= MAX_BODY else read(file, length, path)
        if len(body) < length or not intact(crc, stamp, body):
            raise Damaged(f"{path} is damaged.")
        yield stamp >> KIND_SHIFT, stamp & TIME_MASK, body


def content_length(path: Path) -> int:
    """Length of a compressed segment's content; 0 when the segment is damaged."""
    with path.open("rb") as file:
        file.seek(-min(SUMMARY.size, path.stat().st_size), io.SEEK_END)
        tail = file.read()
    if len(tail) == SUMMARY.size:
        magic, _, length = SUMMARY.unpack(tail)
        if magic == SUMMARY_MAGIC:
            return int(length)
    length = 0  # older versions wrote no summary
    try:
        with open_segment(path) as file:
            while part := read(file, CHUNK, path):
                length += len(part)
    except Damaged:
        return 0
    return length


def record_times(path: Path) -> Iterator[tuple[int, int]]:
    """Position and time (microseconds) of every record of a segment, without checking their bytes.

    Ends where a header is torn.
    """
    position = start_of(path)
    with open_segment(path) as file:
        while len(header := read(file, HEADER.size, path)) == HEADER.size:
            length, _, stamp = HEADER.unpack(header)
            if length > MAX_BODY:
                return
            yield position, stamp & TIME_MASK
            read(file, length, path)
            position += HEADER.size + length


def last_time(path: Path) -> int:
    """Time of the last record of an intact segment, in microseconds; 0 when it has none."""
    last = 0
    for _, microseconds in record_times(path):
        last = microseconds
    return last


def compress(path: Path) -> Path:
    """Write a compressed copy of a sealed segment, durably, and return its path."""
    compressed = path.with_name(path.name.removesuffix(RAW) + COMPRESSED)
    compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True)
    with path.open("rb") as source, replacing(compressed) as target:
        while chunk := source.read(CHUNK):
            target.write(compressor.compress(chunk))
        target.write(SUMMARY.pack(SUMMARY_MAGIC, 8, path.stat().st_size))
    return compressed


def _now() -> int:
    return time.time_ns() // 1000


class RecordClock:
    """Timestamps of records: microseconds since 1970, strictly rising.

    If the system clock is corrected backwards by more than CLOCK_TOLERANCE, timestamps follow it.
    Otherwise all records would get nearly the same time until the clock has caught up.
    """

    def __init__(self, clock: Callable[[], int] = _now) -> None:
        self.clock = clock
        self.last = 0  # the newest that was used

    def next(self) -> int:
        """The next timestamp; it counts as used once `last` is set."""
        return max(self.clock(), self.last + 1)

    def set_back(self) -> int:
        """Microseconds by which the clock was set back since the last timestamp; 0: not at all."""
        back = self.last - self.clock()
        return back if back > CLOCK_TOLERANCE else 0


def unwritable(path: Path, error: OSError) -> str:
    """Why a file cannot be created or written, and what to do."""
    known = (remedy for numbers, remedy in _REMEDIES.items() if error.errno in numbers)
    return f"{path} cannot be written ({error.strerror}); {next(known, 'see `dmesg`')}"


def why_no_room(folder: Path, settings: JournalSettings) -> str | None:
    """Why nothing may be written to this disk, and what to do; None when there is space."""
    try:
        found, inodes = disk(folder), os.statvfs(folder)
    except OSError as error:
        return unwritable(folder, error)
    floor = found.floor(settings.min_free_bytes, settings.min_free_percent)
    if found.free < floor:
        return (
            f"the disk of {folder} has {found.free:,} bytes free, less than the minimum"
            f" of {floor:,} (journal.min_free_bytes, journal.min_free_percent); free some space"
        )
    # File systems that create inodes on demand report 0.
    if inodes.f_files and inodes.f_favail < MIN_FREE_INODES:
        return (
            f"the disk of {folder} has only {inodes.f_favail:,} inodes (files) left;"
            " delete files that are not needed"
        )
    return None


def open_to_append(path: Path) -> int:
    """The descriptor of a segment file, which is created if it is missing."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
