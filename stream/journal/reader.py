"""Reading a journal after its writer, through sealed, compressed and damaged segments alike."""

import asyncio
import contextlib
import logging
from bisect import bisect_left
from collections import deque
from pathlib import Path
from typing import BinaryIO

from stream.errors import Broken, JournalFull
from stream.journal import recovery, segments
from stream.journal.journal import Journal
from stream.journal.segments import Segment
from stream.tweet import Frame

logger = logging.getLogger(__name__)

PAGE_CACHED_BYTES = 4 << 20  # the last bytes of the journal, surely in the page cache
READ_RETRY = 1.0  # seconds between two attempts after a read has failed
CHUNK = 1 << 20  # bytes per read
REPAIR_RETRY = 1.0  # seconds, while the disk has no room for a repair


class JournalReader:
    """Reads the frames of a journal from a position on; with a bus, each lane has one."""

    def __init__(self, journal: Journal, position: int) -> None:
        self.journal = journal
        self.position = position  # after the last frame that was returned
        self._at = position  # of the next record
        self._file: BinaryIO | None = None
        self._path = Path()
        self._start = -1  # of the open segment
        self._unread = 0  # bytes of the open segment that are not in the buffer yet
        self._buffer = b""
        self._taken = 0  # bytes of the buffer that are parsed
        self._repaired = -1  # start of the segment repaired last

    async def find_start(self) -> None:
        """Find the first record at or after the position; damage may have moved the records."""
        self._at = await first_record(self.journal, self.position)

    async def read(self, max_frames: int, max_bytes: int) -> list[Frame]:
        """The next frames, up to these limits; [] when there are none."""
        frames: list[Frame] = []
        try:
            await self._read(frames, max_frames, max_bytes)
        except segments.Damaged as error:
            # Intact frames before the damage are returned first; the next call finds it again.
            if not frames and await self._repair(error):
                return await self.read(max_frames, max_bytes)
        except OSError as error:
            # No descriptor, or a failing disk: the frames wait. An alert reports that nothing is
            # stored.
            extra = {"path": str(self._path), "why": str(error)}
            logger.warning("reading the journal failed; retrying", extra=extra)
            self.close()
            await asyncio.sleep(READ_RETRY)
        if frames:
            self.position = frames[-1].after
        return frames

    async def _read(self, frames: list[Frame], max_frames: int, max_bytes: int) -> None:
        segment = self.journal.segment_at(self._at)
        if segment is None:
            return
        # Opened here and not in the thread: maintenance may replace the file at any time.
        if segment.start != self._start:
            self._open(segment)
        end = segment.end
        limit = min(self._at + max_bytes, end)
        while self._at < limit and len(frames) < max_frames:
            frame = self._next()
            if frame is not None:
                frames.append(frame)
            elif frames:
                break
            elif self.journal.end - self._at <= PAGE_CACHED_BYTES:
                self._load(end)
            else:
                # Far behind: this reads the disk and decompresses.
                await asyncio.to_thread(self._load, end)

    async def _repair(self, error: segments.Damaged) -> bool:
        segment = self.journal.segment_at(self._at)
        assert segment is not None
        if self._repaired == segment.start:
            raise Broken(f"{segment.path} is damaged again: the disk is failing") from error
        self.close()
        if not await repair(self.journal, segment):
            return False
        self._repaired = segment.start
        self._at = await first_record(self.journal, self._at)
        return True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._start = -1

    def _open(self, segment: Segment) -> None:
        self.close()
        while self._file is None:
            try:
                self._path = segment.path
                self._file = segments.open_segment(self._path)
            except FileNotFoundError:
                if self._path == segment.path:  # otherwise it has just been replaced
                    raise segments.Damaged(
                        f"{self._path} is missing; its frames were not stored."
                    ) from None
        self._start = self._unread = segment.start
        self._buffer, self._taken = b"", 0
        if self._at < segment.start:
            self.journal.note_hole(self._at, segment.start)
            self._at = segment.start

    def _next(self) -> Frame | None:
        """The next record; None when the buffer does not contain all of it."""
        header, held = segments.HEADER, len(self._buffer) - self._taken
        if held < header.size:
            return None
        length, crc, stamp = header.unpack_from(self._buffer, self._taken)
        if length > segments.MAX_BODY:
            raise segments.Damaged(f"{self._path} is damaged at position {self._at}.")
        if held < header.size + length:
            return None
        begin = self._taken + header.size
        body = self._buffer[begin : begin + length]
        if not segments.intact(crc, stamp, body):
            raise segments.Damaged(f"{self._path} is damaged at position {self._at}.")
        self._taken = begin + length
        self._at += header.size + length
        kind = stamp >> segments.KIND_SHIFT
        return Frame(
            stamp & segments.TIME_MASK,
            body,
            self._at,
            is_note=kind == segments.NOTE,
            is_damage=kind == segments.DAMAGE,
        )

    def _load(self, end: int) -> None:
        """Read one more chunk into the buffer."""
        assert self._file is not None
        self._skip()
        data = segments.read(self._file, min(CHUNK, end - self._unread), self._path)
        if not data:
            raise segments.Damaged(f"{self._path} ends within the record at {self._at}.")
        self._unread += len(data)
        self._buffer = self._buffer[self._taken :] + data
        self._taken = 0

    def _skip(self) -> None:
        """Skip what was already returned, after opening a segment in its middle."""
        assert self._file is not None
        while self._unread < self._at and not self._buffer:
            wanted = min(self._at - self._unread, CHUNK)
            step = len(segments.read(self._file, wanted, self._path))
            self._unread += step
            if not step:
                raise segments.Damaged(f"{self._path} ends before position {self._at}.")


async def newest_frames(journal: Journal, number: int) -> list[bytes]:
    """The bodies of the last frames on this disk, the newest first; all of one segment."""
    for segment in reversed(journal.segments):
        if found := await asyncio.to_thread(_last_frames, segment, number):
            return found
    return []


def _last_frames(segment: Segment, number: int) -> list[bytes]:
    last: deque[bytes] = deque(maxlen=number)
    # Not what follows damage: a reader repairs that.
    with (
        contextlib.suppress(segments.Damaged, OSError),
        segments.open_segment(segment.path) as file,
    ):
        for kind, _, body in segments.records(file, segment.path):
            if kind == segments.FRAME:
                last.append(body)
    return [*reversed(last)]


# -- damaged segments -----------------------------------------------------------------------------


async def repair(journal: Journal, segment: Segment) -> bool:
    """Repair a damaged segment; False when the disk has no space for it now."""
    try:
        if segment is journal.segments[-1]:
            journal.rotate()
        following = journal.segments[journal.segments.index(segment) + 1]
        rewritten = await asyncio.to_thread(
            _rewrite, journal, segment, following.start - segment.start
        )
    except (OSError, JournalFull) as error:
        extra = {"path": str(segment.path), "why": str(error)}
        logger.warning("repairing a damaged segment failed; retrying", extra=extra)
        await asyncio.sleep(REPAIR_RETRY)
        return False
    journal.report_damage(rewritten.damages, rewritten.surplus)
    return True


def _rewrite(journal: Journal, segment: Segment, room: int) -> recovery.Rewritten:
    with journal.rewrite_lock:
        rewritten = recovery.rewrite_damaged(segment.path, room)
        segment.path = segment.path.with_name(segments.segment_name(segment.start))
        segment.size, segment.end = rewritten.length, segment.start + rewritten.length
    return rewritten


async def first_record(journal: Journal, position: int) -> int:
    """Find the beginning of the first record at or after a position.

    That is the position itself, unless damage in its segment has moved the records. Then some
    frames before it may not be stored: they are appended again.
    """
    segment = _segment_before(journal, position)
    if segment is None:
        return position
    try:
        found = await asyncio.to_thread(recovery.find_record, segment, position)
    except segments.Damaged:
        if not await repair(journal, segment):
            return position
        return await first_record(journal, position)
    index = journal.segments.index(segment) + 1
    moved = index < len(journal.segments) and journal.segments[index].start != segment.end
    if found.begin != position or moved:
        journal.report_damage([], found.doubtful)
    return max(found.begin, position)


def _segment_before(journal: Journal, position: int) -> Segment | None:
    """The segment with the byte before a position, or that had it before the damage."""
    index = bisect_left(journal.segments, position, key=lambda each: each.start)
    before = journal.segments[index - 1] if index else None
    ends = before is not None and position == before.end
    begins = index < len(journal.segments) and journal.segments[index].start == position
    return None if ends or begins else before


def is_boundary(journal: Journal, position: int) -> bool:
    """Whether a record begins or ends there."""
    segment = journal.segment_at(position)
    if segment is None or position == segment.start:
        return True
    try:
        return recovery.find_record(segment, position).begin == position
    except segments.Damaged:
        return False
