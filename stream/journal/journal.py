"""Appending to a journal and keeping its files: sync, seal, compress, trim."""

import asyncio
import contextlib
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from stream.config import JournalSettings
from stream.errors import Broken, JournalFull, TwitterstreamError
from stream.journal import segments
from stream.journal.recovery import recover
from stream.journal.segments import Segment
from stream.tweet import EventNote, Note

SYNC_EVERY = 0.2  # seconds; a loss of power costs at most what came in since
KEEP_EVERY = 1.0  # seconds between two looks at the files
PACK_AGAIN = 10.0  # seconds after there was no room to compress
NEARLY = 0.9  # of max_bytes: from here on what is stored makes room, however young it is
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
HOUR = 3600  # seconds; a segment never holds frames of two hours

_encode_note = msgspec.json.Encoder().encode


class JournalTaken(TwitterstreamError):
    """Another process has this journal open."""


class Journal:
    """The journal of one source. Appending is a plain call: it cannot wait."""

    def __init__(self, folder: Path, settings: JournalSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.held: str | None = None  # why nothing more shall come, said by whoever watches disks
        self.keep_stored = True  # what is stored stays for `keep` hours; False: the disk is short
        self._stored = 0
        self.last_at: float | None = None  # seconds since 1970: the newest record
        self._segments: list[Segment] = []
        self._descriptor = -1
        self._unsynced: list[int] = []  # sealed but not yet on the platter
        self._dirty = asyncio.Event()
        self._grown = asyncio.Event()
        self._last = 0  # microseconds: stamp of the newest record
        self._pack_at = 0.0  # seconds, monotonic: not before, for want of room
        self.end = 0
        self.cut = 0  # bytes of a torn tail that recovery has cut
        self.id = uuid.UUID(int=0)

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path, settings: JournalSettings) -> Iterator["Journal"]:
        """Open, mend and lock; JournalTaken when another process holds it."""
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
        self.id, self._segments, self.cut = found.id, found.segments, found.cut
        if found.last:
            self._last, self.last_at = found.last, found.last / 1e6
        if self._segments:
            self.end = self._segments[-1].end
        if self._segments and not self._segments[-1].packed:
            self._descriptor = _open(self._segments[-1].path)
        else:
            self._begin_segment()

    def resume(self, position: int) -> None:
        """Nothing may be appended before this: `position` is how far Postgres has the frames.

        After a loss of power Postgres may have more than the disk has kept: what is appended then
        must not come to lie before the position, where nobody would read it.
        """
        if position > self.end:
            self._seal()
            self.end = position
            self._begin_segment()
        if self.cut:
            last_at = self.last_at
            text = f"cut {self.cut} bytes of a torn tail after a crash"
            self.note(EventNote("journal", text, time.time()))
            self.last_at = last_at  # the gap since then begins there, not with this note
            self.cut = 0
        self.stored = position

    def heard_elsewhere(self, at: float) -> None:
        """Another collector of this source took frames until then, into a journal of its own."""
        self.last_at = max(self.last_at or at, at)

    # -- appending --------------------------------------------------------------------------------

    def append(self, bodies: Sequence[bytes]) -> None:
        """Keep these frames, in this order. JournalFull when the disk has no room for them."""
        self._append(segments.FRAME, bodies)

    def note(self, note: Note) -> None:
        """Keep what the daemon itself has to say."""
        self._append(segments.NOTE, [_encode_note(note)])

    def _append(self, kind: int, bodies: Sequence[bytes]) -> None:
        parts: list[bytes] = []
        stamp = max(time.time_ns() // 1000, self._last + 1)
        for body in bodies:
            parts.extend(segments.encode(kind, stamp, body))
            stamp += 1
        if not parts:
            return
        self._write(b"".join(parts))
        self._last = stamp - 1
        self.last_at = self._last / 1e6

    def _write(self, data: bytes) -> None:
        # A write into the page cache, so on the loop: a thread would cost more than the write.
        current = self._segments[-1]
        if current.end - current.start >= self.settings.segment_bytes:
            self.rotate()
            current = self._segments[-1]
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            os.ftruncate(self._descriptor, current.end - current.start)
            if error.errno in FULL:
                raise JournalFull(f"no space left for {self.folder}; free some") from error
            raise Broken(f"cannot write to {current.path}: {error}") from error
        current.end += len(data)
        current.size += len(data)
        self.end = current.end
        self._dirty.set()
        self._grown.set()

    def _seal(self) -> None:
        if self._descriptor >= 0:
            self._segments[-1].changed_at = time.time()
            self._unsynced.append(self._descriptor)
            self._descriptor = -1

    def _begin_segment(self) -> None:
        path = self.folder / segments.segment_name(self.end)
        self._descriptor = _open(path)
        if not self._segments or self._segments[-1].path != path:
            self._segments.append(Segment(path, self.end, self.end, 0, time.time()))

    # -- reading ----------------------------------------------------------------------------------

    @property
    def stored(self) -> int:
        """The writer's position: everything before it is in Postgres."""
        return self._stored

    @stored.setter
    def stored(self, position: int) -> None:
        self._stored = position
        self.poke()  # an import may wait for it

    @property
    def start(self) -> int:
        """The oldest position that is still there."""
        return self._segments[0].start

    def segment_at(self, position: int) -> Segment | None:
        """The segment to read from at this position: it holds it, or is the next behind a hole."""
        if position < self.start:
            raise Broken(
                f"{self.folder} begins at {self.start}, but Postgres has only the frames before "
                f"{position}: segments were removed that were not stored yet."
            )
        return next((s for s in self._segments if s.end > position), None)

    async def changed(self) -> None:
        """Wait until the journal has grown, or somebody has poked."""
        self._grown.clear()
        await self._grown.wait()

    def poke(self) -> None:
        """Wake who waits in `changed`."""
        self._grown.set()

    # -- room -------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self._segments)

    def room(self) -> str | None:
        """None while frames may be appended; otherwise why not, and what to do."""
        if self.held is not None:
            return self.held
        if self.size >= self.settings.max_bytes:
            return (
                f"the journal {self.folder} has reached journal.max_bytes "
                f"({self.settings.max_bytes:,} bytes); it shrinks when Postgres stores again"
            )
        disk = os.statvfs(self.folder)
        free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        floor = max(self.settings.min_free_bytes, int(total * self.settings.min_free_percent / 100))
        if free < floor:
            return (
                f"the disk of {self.folder} has {free:,} bytes free, and {floor:,} shall stay "
                "free (journal.min_free_bytes, journal.min_free_percent); free some space"
            )
        return None

    # -- keeping ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Sync, seal, compress and trim, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sync_loop(), name=f"sync {self.folder.name}")
            group.create_task(self._keep_loop(), name=f"keep {self.folder.name}")

    async def _sync_loop(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await asyncio.to_thread(self._sync, self._take_unsynced())
            await asyncio.sleep(SYNC_EVERY)

    def _take_unsynced(self) -> list[int]:
        """What has to be synced: taken on the loop, since there it is sealed and begun anew."""
        taken, self._unsynced = [*self._unsynced, os.dup(self._descriptor)], []
        return taken

    def _sync(self, descriptors: list[int]) -> None:
        try:
            for each in descriptors:
                os.fdatasync(each)
        except OSError as error:
            # After a failed fsync the kernel may have dropped the pages: nothing is sure any more.
            raise Broken(f"the disk lost what was written to {self.folder}: {error}") from error
        finally:
            for each in descriptors:
                os.close(each)
        _sync_folder(self.folder)

    async def _keep_loop(self) -> None:
        while True:
            self._seal_by_hour()
            self._seal_when_full()
            await self._pack()
            await self.trim()
            await asyncio.sleep(KEEP_EVERY)

    async def _pack(self) -> None:
        """Compress what is sealed; on a full disk it stays as it is, until there is room."""
        for segment in self._segments[:-1]:
            if segment.packed or time.monotonic() < self._pack_at:
                continue
            if not await asyncio.to_thread(_compress, segment):
                self._pack_at = time.monotonic() + PACK_AGAIN

    async def trim(self) -> None:
        """Remove the segments that are stored and too old, or in the way of new frames."""
        await asyncio.to_thread(self._unlink, self._take_trimmable())

    def rotate(self) -> None:
        """Seal the current segment, unless it is empty, and begin the next."""
        if self._segments[-1].end > self._segments[-1].start:
            self._seal()
            self._begin_segment()

    def _seal_by_hour(self) -> None:
        if self._last // 1_000_000 // HOUR < time.time() // HOUR:
            self.rotate()

    def _seal_when_full(self) -> None:
        """The segment in use can only go when it is sealed: when all is stored, make room by it."""
        if self.stored >= self.end and self.size >= self.settings.max_bytes * NEARLY:
            self.rotate()

    def _take_trimmable(self) -> list[Segment]:
        """Stored segments that are too old, or in the way of new frames."""
        taken = []
        oldest = time.time() - self.settings.keep * HOUR
        while len(self._segments) > 1 and self._segments[0].end <= self.stored:
            first = self._segments[0]
            young = first.changed_at >= oldest and self.keep_stored
            if young and self.size < self.settings.max_bytes * NEARLY:
                break
            taken.append(self._segments.pop(0))
        return taken

    @staticmethod
    def _unlink(taken: list[Segment]) -> None:
        for segment in taken:
            segment.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            self._sync(self._take_unsynced())
            os.close(self._descriptor)
            self._descriptor = -1


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _compress(segment: Segment) -> bool:
    """False when the disk has no room for both."""
    try:
        packed = segments.compress(segment.path)
    except OSError as error:
        if error.errno in FULL:
            return False
        raise
    raw, size = segment.path, packed.stat().st_size
    segment.path, segment.size = packed, size
    _sync_folder(packed.parent)
    raw.unlink()
    return True
