"""The journal of one source: append frames and notes, know its segments, say when it is full."""

import asyncio
import contextlib
import fcntl
import logging
import os
import struct
import threading
import time
import uuid
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path

import msgspec

from stream.config import JournalSettings
from stream.errors import Broken, JournalFull, TwitterstreamError
from stream.files import sync_folder
from stream.journal import segments
from stream.journal.recovery import recover, write_id
from stream.journal.segments import RecordClock, Segment, open_to_append, unwritable, why_no_room
from stream.notes import EventNote, Note, TracksInForce

SURPLUS_BATCH = 1000  # frames appended again at once
GIVEN = "given"  # a file with one position
POSITION_END = 1 << 62  # of what files and Postgres can count
_GIVEN = struct.Struct("<QI")  # the position, and the CRC of its bytes

logger = logging.getLogger(__name__)

_encode_note = msgspec.json.Encoder().encode


class JournalTaken(TwitterstreamError):
    """Another process has this journal open."""


class Journal:
    """An append-only log of frames. Appending is a synchronous call."""

    def __init__(self, folder: Path, settings: JournalSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.paused_because: str | None = None  # set by the disk watch
        self.keep_stored = True  # for `keep_hours`; False: the disk is short of space
        self._stored = 0
        self._synced = 0
        self._synced_changed = asyncio.Event()
        self.last_at: float | None = None  # when something was received last; seconds since 1970
        self.segments: list[Segment] = []
        self._descriptor = -1
        self._unsynced: list[int] = []  # descriptors of sealed segments, not yet synced
        self.has_unsynced = asyncio.Event()
        self._changed = asyncio.Event()
        self._torn = False  # after the last record are bytes of a failed write
        self.unusable: str | None = None  # why the next segment cannot be created
        self.clock = RecordClock()
        self.end = 0
        self.truncated = 0  # bytes of an incomplete last record, removed by recovery
        self.clock_corrections = 0  # how often the clock was set back since the start
        self.damaged = 0  # how many damages were found since the start
        self._damages: list[str] = []  # found on opening, not yet recorded
        self._surplus: list[bytes] = []  # frames that no longer fit at their position
        self._holes: dict[int, int] = {}  # that are recorded: the beginning by the end
        self.rewrite_lock = threading.Lock()  # while a sealed segment is compressed or repaired
        self.id = uuid.UUID(int=0)
        self.id_lost = False  # there are frames, but the id file is unreadable
        self.given = 0  # position up to which the bus may have frames
        self._given_file = -1

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path, settings: JournalSettings) -> Iterator["Journal"]:
        """Lock, recover and open; JournalTaken when another process has it open."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise JournalTaken(f"another process has the journal {folder} open") from error
            journal = cls(folder, settings)
            journal._recover()
            try:
                yield journal
            finally:
                journal._close()
        finally:
            os.close(lock)

    # -- opening ----------------------------------------------------------------------------------

    def _recover(self) -> None:
        found = recover(self.folder)
        self.segments, self.truncated = found.segments, found.truncated
        self._damages, self._surplus = found.damages, found.surplus
        self.id_lost = found.id is None and bool(found.segments)
        self.adopt(found.id or uuid.uuid4())
        if found.last:
            # If the clock was ahead, the last record cannot be from the future.
            self.clock.last, self.last_at = found.last, min(found.last / 1e6, time.time())
        self.given = self._read_given()
        if self.segments:
            self.end = self.segments[-1].end
        if self.segments and not self.segments[-1].compressed:
            self._descriptor = open_to_append(self.segments[-1].path)
        else:
            self._begin_segment()

    def _read_given(self) -> int:
        """The position in the file; 0 when there is none, or the disk has damaged it."""
        with contextlib.suppress(OSError, struct.error):
            data = (self.folder / GIVEN).read_bytes()
            position, crc = _GIVEN.unpack(data)
            if crc == zlib.crc32(data[:8]) and position < POSITION_END:
                return int(position)
        return 0

    def adopt(self, identity: uuid.UUID) -> None:
        """Take over the id that the database knows this journal by."""
        if identity != self.id:
            self.id = identity
            write_id(self.folder, identity)

    def resume(self, position: int) -> None:
        """Allow appending; `position` is how far Postgres has stored the frames, or the bus has.

        After a power loss, or damage, they may have more than the disk has kept. Frames appended
        before that position would never be read, so the next segment begins there.
        """
        if position > self.end:
            end, self.end = self.end, position
            try:
                self._begin_segment()
            except JournalFull:
                self.end = end
                raise
        if self.truncated:
            self.record_event(
                f"removed {self.truncated} bytes of an incomplete record after a crash"
            )
            self.truncated = 0
        if self.id_lost:
            self.record_event(
                f"the file {self.folder / 'id'} could not be read; the journal is now {self.id}"
                f" and continues at position {position}"
            )
            self.id_lost = False
        self.report_damage(self._damages, [])
        self._damages = []
        self.stored = position

    def report_damage(self, damages: Sequence[str], surplus: Sequence[bytes]) -> None:
        """Record damage that was found, and append the frames that no longer fit again."""
        for text in damages:
            self.damaged += 1
            self.record_event(text)
        self._surplus.extend(surplus)
        with contextlib.suppress(JournalFull):  # then as soon as there is space
            self.append_surplus()

    def append_surplus(self) -> None:
        """Append frames that a repair has displaced; JournalFull when there is no space yet."""
        while self._surplus:
            self._append(segments.FRAME, self._surplus[:SURPLUS_BATCH], is_received=False)
            del self._surplus[:SURPLUS_BATCH]

    # -- damage -----------------------------------------------------------------------------------

    def note_hole(self, begin: int, end: int) -> None:
        """Record that a reader found bytes missing from the disk; of several readers, the first."""
        known = self._holes.get(end, end)
        if begin < known:
            self._holes[end] = begin
            self.report_damage([f"{known - begin:,} bytes are missing at position {begin}"], [])

    def note_received_elsewhere(self, at: float) -> None:
        """Another collector of this source received frames until then, in its own journal."""
        self.last_at = min(max(self.last_at or at, at), time.time())

    # -- appending --------------------------------------------------------------------------------

    def append(self, bodies: Sequence[bytes]) -> None:
        """Append frames in this order; JournalFull when the disk has no space for them."""
        self._append(segments.FRAME, bodies)

    def note(self, note: Note) -> None:
        """Append a note of the daemon itself: a state, a gap, an event."""
        is_received = not isinstance(note, TracksInForce)  # that is what a person did
        self._append(segments.NOTE, [_encode_note(note)], is_received=is_received)

    def record_event(self, text: str) -> None:
        """Record what happened to this journal, in the log and in `events`."""
        logger.warning("%s", text, extra={"journal": self.folder.name})
        note = _encode_note(EventNote("journal", text, time.time()))
        with contextlib.suppress(JournalFull):  # then only the log has it
            self._append(segments.NOTE, [note], is_received=False)

    def _append(self, kind: int, bodies: Sequence[bytes], *, is_received: bool = True) -> None:
        """Append records; `is_received`: a gap would begin with them."""
        if not bodies:
            return
        if back := self.clock.set_back():
            self._follow_clock(back)
        parts: list[bytes] = []
        first = stamp = self.clock.next()
        for stamp, body in enumerate(bodies, first):
            parts.extend(segments.encode(kind, stamp, body))
        self._write(b"".join(parts))
        self.clock.last = stamp
        if is_received:
            self.last_at = stamp / 1e6

    def _follow_clock(self, back: int) -> None:
        """The clock was set back: continue with the correct time, in a new segment."""
        self._try_rotate()
        self.clock.last = 0
        self.clock_corrections += 1
        self.record_event(
            f"the clock was set back by {back / 1e6:,.0f} s; frames now get the correct time"
        )

    def _write(self, data: bytes) -> None:
        # Into the page cache, so on the event loop: a thread would cost more than the write.
        current = self.segments[-1]
        if current.end - current.start >= self.settings.segment_bytes:
            self._try_rotate()
            current = self.segments[-1]
        view = memoryview(data)
        try:
            if self._torn:
                self._cut_back()
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            self._torn = True
            with contextlib.suppress(OSError):
                self._cut_back()
            raise JournalFull(unwritable(current.path, error)) from error
        current.end += len(data)
        current.size += len(data)
        self.end = current.end
        self.has_unsynced.set()
        self._changed.set()

    def _cut_back(self) -> None:
        """Remove the incomplete record that a failed write has left."""
        current = self.segments[-1]
        os.ftruncate(self._descriptor, current.end - current.start)
        self._torn = False

    def _seal(self) -> None:
        if self._descriptor >= 0:
            self.segments[-1].changed_at = time.time()
            self._unsynced.append(self._descriptor)
            self._descriptor = -1

    def _begin_segment(self) -> None:
        """Create the next segment, and seal the current one; JournalFull when that fails."""
        path = self.folder / segments.segment_name(self.end)
        try:
            descriptor = open_to_append(path)
        except OSError as error:
            self.unusable = unwritable(path, error)
            raise JournalFull(self.unusable) from error
        self._seal()
        self._descriptor, self.unusable, self._torn = descriptor, None, False
        if not self.segments or self.segments[-1].path != path:
            self.segments.append(Segment(path, self.end, self.end, 0, time.time()))

    def note_given(self, position: int) -> None:
        """What precedes this position is about to be given to the bus; kept beside the segments.

        Without fsync: what a power loss may take is not given to the bus.
        """
        if position <= self.given:
            return
        self.given = position
        with contextlib.suppress(OSError):
            if self._given_file < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
                self._given_file = os.open(self.folder / GIVEN, flags, 0o600)
            crc = zlib.crc32(position.to_bytes(8, "little"))
            os.pwrite(self._given_file, _GIVEN.pack(position, crc), 0)

    # -- reading ----------------------------------------------------------------------------------

    @property
    def stored(self) -> int:
        """The writer's position: everything before it is in Postgres."""
        return self._stored

    @stored.setter
    def stored(self, position: int) -> None:
        self._stored = position
        self.notify()  # an import may wait for it

    @property
    def synced(self) -> int:
        """Everything before this position survives a power loss, as far as this process knows."""
        return self._synced

    @synced.setter
    def synced(self, position: int) -> None:
        self._synced = position
        self._synced_changed.set()

    @property
    def start(self) -> int:
        """The oldest position that is still on disk."""
        return self.segments[0].start

    def segment_at(self, position: int) -> Segment | None:
        """The segment with this position, or the next one when the position is missing."""
        index = bisect_right(self.segments, position, key=attrgetter("end"))
        return self.segments[index] if index < len(self.segments) else None

    async def wait_synced(self, position: int) -> None:
        """Wait until everything before this position is synced."""
        while self._synced < position:
            self._synced_changed.clear()
            await self._synced_changed.wait()

    async def wait_changed(self) -> None:
        """Wait until the journal has grown, or `notify` was called."""
        self._changed.clear()
        await self._changed.wait()

    def notify(self) -> None:
        """Wake the tasks in `wait_changed`."""
        self._changed.set()

    # -- space ------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Size of a journal on disk, in bytes."""
        return sum(segment.size for segment in self.segments)

    def why_full(self) -> str | None:
        """Why no frames may be appended, and what to do; None when they may."""
        if self.paused_because is not None:
            return self.paused_because
        if self.size >= self.settings.max_bytes:
            return (
                f"the journal {self.folder} has reached journal.max_bytes "
                f"({self.settings.max_bytes:,} bytes); it shrinks once Postgres stores again"
            )
        return self.unusable or why_no_room(self.folder, self.settings)

    # -- syncing and sealing: see `maintenance` ---------------------------------------------------

    def take_unsynced(self) -> list[int]:
        """Descriptors to sync: taken on the event loop, where segments are sealed and created."""
        taken, self._unsynced = [*self._unsynced, os.dup(self._descriptor)], []
        return taken

    def sync(self, descriptors: list[int]) -> None:
        """Flush files to disk, in a thread; Broken when the disk fails."""
        try:
            for each in descriptors:
                os.fdatasync(each)
        except OSError as error:
            # After a failed fsync the kernel may have dropped the pages: nothing is certain now.
            raise Broken(f"the disk lost what was written to {self.folder}: {error}") from error
        finally:
            for each in descriptors:
                os.close(each)
        sync_folder(self.folder)

    def rotate(self) -> None:
        """Seal the current segment, unless it is empty, and create the next."""
        if self.segments[-1].end > self.segments[-1].start:
            self._begin_segment()

    def _try_rotate(self) -> None:
        """Try `rotate`; while it fails the current segment grows, and `why_full` reports it."""
        with contextlib.suppress(JournalFull):
            self.rotate()

    def _close(self) -> None:
        if self._given_file >= 0:
            os.close(self._given_file)
            self._given_file = -1
        if self._descriptor >= 0:
            try:
                self.sync(self.take_unsynced())
            except OSError as error:  # the folder is missing
                extra = {"why": unwritable(self.folder, error)}
                logger.warning("the journal could not be synced", extra=extra)
            finally:
                os.close(self._descriptor)
                self._descriptor = -1
