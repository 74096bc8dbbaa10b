"""Opening a journal after a stop, a kill, a power loss or disk damage: what is intact stays.

Damage is what a disk, a memory module or a person does to bytes that were written whole. The intact
records around it are found by their checksums. What lies between them goes into a file next to the
journal, and a record of the kind DAMAGE of the same length takes its place: so nothing moves,
positions stay valid, and the writer stores one reject for it.
"""

import contextlib
import logging
import mmap
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import zstandard

from stream import files
from stream.files import PARTIAL
from stream.journal import segments
from stream.journal.segments import DAMAGE, HEADER, TIME_MASK, Segment

logger = logging.getLogger(__name__)

DAMAGED = ".damaged"  # suffix of files with unreadable bytes, named after their position
DAMAGED_BYTES_MAX = 256 << 20  # kept per journal, the newest
# The upper two bytes of a stamp: times from 2014 to 2059, and the kind. Text has no such bytes.
_STAMP_END = re.compile(rb"[\x05-\x09][\x00-\x02]", re.DOTALL)

_FRAME_MAGIC = re.escape(b"\x28\xb5\x2f\xfd")  # of zstd

Data: TypeAlias = "bytes | mmap.mmap"


class Recovered(msgspec.Struct, frozen=True):
    """The state of a journal's folder after recovery."""

    id: uuid.UUID | None  # a copied folder keeps its id; None: unreadable
    segments: list[Segment]  # oldest first
    truncated: int  # bytes of an incomplete last record that were removed
    last: int  # time of the newest record, microseconds since 1970; 0 when there is none
    damages: list[str]  # one sentence per repair
    surplus: list[bytes]  # frames that no longer fit at their position


def recover(folder: Path) -> Recovered:
    """Repair what a crash or the disk has damaged, and list the segments; reads all raw ones."""
    for partial in folder.glob(f"*{PARTIAL}"):
        partial.unlink()
    paths = _current(folder)
    starts = [segments.start_of(path) for path in paths]
    found: list[Segment] = []
    truncated = 0
    damages: list[str] = []
    surplus: list[bytes] = []
    for path, start, following in zip(paths, starts, [*starts[1:], None], strict=False):
        room = None if following is None else following - start
        if path.name.endswith(segments.COMPRESSED):
            length = segments.content_length(path) if room is None else room
            is_damaged = not length
        else:
            removed, is_damaged = _truncate(path, room)
            truncated += removed
            length = path.stat().st_size
        if not is_damaged:
            found.append(_segment(path, length))
            continue
        rewritten = rewrite_damaged(path, room)
        damages += rewritten.damages
        surplus += rewritten.surplus
        found.append(_segment(path.with_name(segments.segment_name(start)), rewritten.length))
    return Recovered(read_id(folder / "id"), found, truncated, _last(found), damages, surplus)


def _current(folder: Path) -> list[Path]:
    """The segment files, oldest first; deletes raw ones that are compressed as well."""
    compressed = {segments.start_of(path) for path in segments.files(folder, segments.COMPRESSED)}
    for path in segments.files(folder, segments.RAW):
        if segments.start_of(path) in compressed:
            path.unlink()  # killed after compressing, before deleting the original
    return segments.files(folder, segments.RAW, segments.COMPRESSED)


def _truncate(path: Path, room: int | None) -> tuple[int, bool]:
    """Remove an incomplete last record: its bytes, and whether the rest needs repair."""
    size = path.stat().st_size
    with mapped(path) as data:
        damaged = [piece for piece in pieces(data) if not piece.stamp]
        good = size
        if room is None and damaged and damaged[-1].end == size:
            good = damaged.pop().begin
            keep_damaged(path.parent, segments.start_of(path) + good, data[good:size])
    if good < size:
        os.truncate(path, good)
    return size - good, bool(damaged) or (room is not None and size > room)


def _segment(path: Path, length: int) -> Segment:
    start, stat = segments.start_of(path), path.stat()
    return Segment(path, start, start + length, stat.st_size, stat.st_mtime)


def _last(found: list[Segment]) -> int:
    for each in reversed(found):
        try:
            last = segments.last_time(each.path)
        except segments.Damaged:
            last = int(each.changed_at * 1e6)
        if last:
            return last
    return 0


def read_id(path: Path) -> uuid.UUID | None:
    """The id of a journal; None when its file is missing or unreadable."""
    try:
        return uuid.UUID(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None


def write_id(folder: Path, identity: uuid.UUID) -> None:
    files.write(folder / "id", str(identity).encode())


# -- damaged segments -----------------------------------------------------------------------------


class Piece(NamedTuple):
    """A record, or the damaged bytes between two records."""

    begin: int
    end: int
    stamp: int  # of the record; 0: damaged bytes


class Rewritten(NamedTuple):
    """Result of rewriting a damaged segment."""

    length: int
    damages: list[str]  # one sentence each
    surplus: list[bytes]  # frames after its end: bytes had been inserted


def pieces(data: Data) -> Iterator[Piece]:
    """The records and damaged pieces of a segment, in order."""
    at = 0
    while at < len(data):
        stamp, end = _record(data, at)
        if not stamp:
            end = _next_record(data, at + 1)
        yield Piece(at, end, stamp)
        at = end


def _record(data: Data, at: int) -> tuple[int, int]:
    """Stamp and end of the record that begins here; zeros when there is no intact one."""
    body = at + HEADER.size
    if body > len(data):
        return 0, 0
    length, crc, stamp = HEADER.unpack(data[at:body])
    end = body + length
    if length > segments.MAX_BODY or end > len(data):
        return 0, 0
    return (stamp, end) if segments.intact(crc, stamp, data[body:end]) else (0, 0)


def _next_record(data: Data, at: int) -> int:
    """Find the beginning of the next intact record; the end when there is none."""
    for found in _STAMP_END.finditer(data, at + HEADER.size - 2):
        begin = found.end() - HEADER.size
        if _record(data, begin)[0]:
            return begin
    return len(data)


def content(path: Path, room: int | None) -> bytes:
    """The readable bytes of a segment at their places; zeros replace what cannot be unpacked."""
    data = path.read_bytes() if path.exists() else b""  # it may have been deleted by hand
    if not data or not path.name.endswith(segments.COMPRESSED):
        return data
    whole = segments.content_length(path) if room is None else room
    starts = [found.start() for found in re.finditer(_FRAME_MAGIC, data)]
    head, failed_at = _unpack(data, starts[0] if starts else len(data))
    tail = b""
    for start in starts:
        if start > failed_at:
            tail, failed = _unpack(data, start)
            if failed == len(data):
                break
            tail = b""
    return head + bytes(max(whole - len(head) - len(tail), 0)) + tail


def _unpack(data: bytes, at: int) -> tuple[bytes, int]:
    """The content of the zstd frames from `at` on, and where the first damaged one begins."""
    parts: list[bytes] = []
    while at < len(data):
        unpacker = zstandard.ZstdDecompressor().decompressobj()
        try:
            part = unpacker.decompress(memoryview(data)[at:])
        except zstandard.ZstdError:
            break
        if not unpacker.eof:
            break
        parts.append(part)
        at = len(data) - len(unpacker.unused_data)
    return b"".join(parts), at


def rewrite_damaged(path: Path, room: int | None) -> Rewritten:
    """Replace a damaged segment by an uncompressed, repaired one; `room` is its greatest length.

    The caller makes sure that nothing else uses the segment.
    """
    data, start = content(path, room), segments.start_of(path)
    damages: list[str] = []
    surplus: list[bytes] = []
    length, last = 0, 0
    raw = path.with_name(segments.segment_name(start))
    with files.replacing(raw) as file:
        for piece in pieces(data):
            record = data[piece.begin : piece.end]
            if not piece.stamp:
                damages.append(_describe(path, start + piece.begin, record))
                record = _placeholder(record, last & TIME_MASK, path)
            if room is not None and length + len(record) > room:
                if piece.stamp >> segments.KIND_SHIFT == segments.FRAME and piece.stamp:
                    surplus.append(record[HEADER.size :])
                continue
            file.write(record)
            length += len(record)
            last = piece.stamp or last + bool(record)
    if path != raw:
        path.unlink(missing_ok=True)
        files.sync_folder(path.parent)
    return Rewritten(length, damages, surplus)


def _placeholder(damaged: bytes, last: int, path: Path) -> bytes:
    """A DAMAGE record of the same length; empty when the damaged bytes are too few for one."""
    if len(damaged) < HEADER.size:
        return b""
    time = last + 1 if last else int(path.stat().st_mtime * 1e6)
    return b"".join(segments.encode(DAMAGE, time, damaged[HEADER.size :]))


def _describe(path: Path, position: int, damaged: bytes) -> str:
    kept = keep_damaged(path.parent, position, damaged)
    where = f"; they are kept in {kept}" if kept else ""
    return f"{len(damaged):,} bytes of {path.name} are damaged at position {position}{where}"


def keep_damaged(folder: Path, position: int, damaged: bytes) -> Path | None:
    """Write damaged bytes to a file next to the journal, unless they are empty or it is full."""
    if not damaged.strip(b"\0"):
        return None
    path = folder / f"{position:020d}{DAMAGED}"
    try:
        files.write(path, damaged)
        left = DAMAGED_BYTES_MAX
        for each in sorted(folder.glob(f"*{DAMAGED}"), key=_changed_at, reverse=True):
            left -= each.stat().st_size
            if left < 0 and each != path:
                each.unlink()
    except OSError as error:
        logger.warning("keeping damaged bytes failed", extra={"path": str(path), "why": str(error)})
        return None
    return path


def _changed_at(path: Path) -> float:
    return path.stat().st_mtime


class RecordStart(NamedTuple):
    """The beginning of a record, and the frames before it that damage may have moved."""

    begin: int
    doubtful: list[bytes]


def find_record(segment: Segment, position: int) -> RecordStart:
    """The first record at or after a position; Damaged when an earlier one is."""
    at, doubtful = segment.start, list[bytes]()
    with segments.open_segment(segment.path) as file:
        for kind, _, body in segments.records(file, segment.path):
            if at >= position:
                break
            if kind == DAMAGE:
                doubtful.clear()  # records before it have not moved
            elif kind == segments.FRAME:
                doubtful.append(body)
            at += HEADER.size + len(body)
    return RecordStart(at, doubtful)


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[Data]:
    """The bytes of a file, memory-mapped."""
    with path.open("rb") as file:
        if not path.stat().st_size:  # an empty file cannot be mapped
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
