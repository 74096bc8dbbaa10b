"""What a writer follows: frames of journals, each from its stored position on.

On one machine that is the journal itself, read by `DirectReader`. With a bus it is one lane of a
source, on which the frames of several machines' journals arrive: `stream.bus.lane_reader`.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from stream.db import Executor
from stream.errors import JournalFull
from stream.journal import Journal, JournalReader
from stream.journal.reader import is_boundary
from stream.store import ingest_log
from stream.store.ingest_log import Position
from stream.store.lanes import first_lane
from stream.tweet import BusPosition, Frame, LaneId, Source, SourceId

T = TypeVar("T")
logger = logging.getLogger(__name__)

RESUME_RETRY = 5.0  # seconds between two attempts while the disk has no space


class PositionStore(Protocol):
    """The writer, as its reader sees it: it knows how far each journal is stored."""

    async def in_transaction(self, work: Callable[[Executor], Awaitable[T]]) -> T:
        """Do `work` in a transaction, retried until Postgres is reachable."""
        ...

    async def open_journal(self, journal: uuid.UUID, start: int | None) -> Position | None:
        """How far a journal is stored; one that is new begins at `start`. None: it is not known."""
        ...


class FrameReader(Protocol):
    """Frames in the order in which they are stored. One reader has one writer."""

    @property
    def lane(self) -> LaneId:
        """Whose keys the tweets get: the source's own id, or that of one of its lanes."""
        ...

    @property
    def journal(self) -> uuid.UUID:
        """The journal that the next frames are from."""
        ...

    @property
    def position(self) -> int:
        """The position in that journal after the last frame that was returned."""
        ...

    @property
    def lanes(self) -> Sequence[LaneId] | None:
        """The lanes that share that journal; None: this one has all of it."""
        ...

    @property
    def bus_position(self) -> BusPosition | None:
        """Where that frame is on the bus; None without a bus."""
        ...

    async def open(self, store: PositionStore) -> None:
        """Find where to begin; called once, before everything else."""
        ...

    async def read(self, max_frames: int, max_bytes: int) -> list[Frame]:
        """The next frames, up to these limits, all of one journal.

        [] when there are none, or when the next ones are of another journal: then `journal` and
        `position` have changed.
        """
        ...

    async def wait_changed(self) -> None:
        """Wait until there may be more frames, or `notify` was called."""
        ...

    def notify(self) -> None:
        """Wake the tasks in `wait_changed`."""
        ...

    def note_stored(self, position: int, bus_position: BusPosition | None) -> None:
        """Frames up to here are committed."""
        ...

    async def close(self) -> None:
        """Release files and connections."""
        ...


class DirectReader:
    """Reads the journal of a source on this machine, and lets it be appended to once it is open."""

    bus_position: BusPosition | None = None
    lanes: Sequence[LaneId] | None = None

    def __init__(self, journal: Journal, source: Source) -> None:
        self.lane = first_lane(source.id)
        self._journal = journal
        self._source = source
        self._reader = JournalReader(journal, journal.start)

    @property
    def journal(self) -> uuid.UUID:
        return self._journal.id

    @property
    def position(self) -> int:
        return self._reader.position

    async def open(self, store: PositionStore) -> None:
        if self._journal.id_lost:
            await store.in_transaction(self._find_journal)
        await store.in_transaction(self._unite_lanes)
        found = await store.open_journal(self._journal.id, self._journal.start)
        assert found is not None
        await resume(self._journal, found.position, self._source.name)
        self._reader = JournalReader(self._journal, found.position)
        await self._reader.find_start()

    async def _find_journal(self, connection: Executor) -> None:
        await find_journal(connection, self._journal, self._source.id)

    async def _unite_lanes(self, connection: Executor) -> None:
        """Begin where the slowest lane is, if several have stored this journal before."""
        known = await ingest_log.lane_positions(connection, self._journal.id)
        if any(each.lane != self.lane or each.lanes is not None for each in known):
            low = min(each.position for each in known)
            await ingest_log.share_journal(connection, self._journal.id, [self.lane], None, low)

    async def read(self, max_frames: int, max_bytes: int) -> list[Frame]:
        return await self._reader.read(max_frames, max_bytes)

    async def wait_changed(self) -> None:
        await self._journal.wait_changed()

    def notify(self) -> None:
        self._journal.notify()

    def note_stored(self, position: int, _bus_position: BusPosition | None) -> None:
        self._journal.stored = position

    async def close(self) -> None:
        self._reader.close()


async def resume(journal: Journal, position: int, source: str) -> None:
    """Allow appending to a journal that is stored up to there, as soon as the disk has space."""
    while True:
        try:
            journal.resume(position)
        except JournalFull as error:
            extra = {"source": source, "why": str(error)}
            logger.warning("the journal is not writable; retrying", extra=extra)
            await asyncio.sleep(RESUME_RETRY)
        else:
            return


async def find_journal(connection: Executor, journal: Journal, source_id: SourceId) -> None:
    """Identify a journal whose id file is lost.

    A stored position of its source that falls between two of its records is its own. Without one
    all is read again: duplicates are recognized by their native ids.
    """
    low, high = max(journal.start, 1), journal.end  # 0 would fit any journal
    lane = first_lane(source_id)
    for known, position in await ingest_log.find_positions(connection, lane, low, high):
        if await asyncio.to_thread(is_boundary, journal, position):
            journal.adopt(known)
            return
