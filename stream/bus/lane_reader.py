"""Read one lane of a source from the bus: what a writer on another machine follows.

The bus is read by the numbers of its messages, from the one that was committed with the rows. What
it says twice is skipped by the position in the journal; where a block is missing, the publisher of
the journal is asked for it, and what comes after it waits until it is sent again.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from stream.bus import blocks
from stream.bus.blocks import Block, UnknownVersion, UnreadableBlock
from stream.bus.messages import READ_BLOCKS, RESEND, WAKE, BusMessage, ResendRequest
from stream.errors import BusAway
from stream.frame_readers import PositionStore
from stream.notes import TracksInForce, marker
from stream.store import ingest_log
from stream.tweet import BusPosition, Frame, LaneId, Source

if TYPE_CHECKING:
    from stream.bus.connection import Bus

POLL_INTERVAL = 1.0  # seconds, in case that a notification is lost
FOLLOWER_INTERVAL = 0.02  # seconds, while the server that answers lacks what another one has
CHECK_INTERVAL = 5.0  # seconds between two looks at the stream while nothing comes
REQUEST_INTERVAL = 2.0  # seconds between two requests for the same block
_IN_FORCE = marker(TracksInForce)
_NO_TRACKS = "tracks that a collector has are not in this database yet"
NO_JOURNAL = uuid.UUID(int=0)  # before the first block

# Waits until the tracks are as they were at a time, by the clock of Postgres.
UntilTracks: TypeAlias = Callable[[float], Awaitable[None]]

logger = logging.getLogger(__name__)


class LaneReader:
    """The frames of one lane, from all journals on which its source was collected."""

    def __init__(self, bus: "Bus", source: Source, lane: LaneId, until_tracks: UntilTracks) -> None:
        self.bus = bus
        self.until_tracks = until_tracks
        self.source = source
        self.lane = lane
        self.journal = NO_JOURNAL
        self.position = 0
        self.bus_position: BusPosition | None = None
        self.away_because: str | None = None  # why nothing can be read at the moment
        self.whole_at = time.time()  # when all that had come was read, in seconds since 1970
        self._ends: dict[uuid.UUID, int] = {}  # of the newest block that was seen, by journal
        self._asked_at: dict[uuid.UUID, float] = {}  # loop time of the last request
        self._at_end = False  # all that the stream has was read
        self._positions: dict[uuid.UUID, int] = {}  # how far each journal is read
        self._lanes: dict[uuid.UUID, list[LaneId]] = {}  # that share each journal
        self._messages: deque[BusMessage] = deque()
        self._parts: list[BusMessage] = []  # of a block that is not complete
        self._frames: deque[Frame] = deque()
        self._next: BusPosition | None = None  # the message to read next
        self._taken = 0  # number after the last message whose frames were found
        self.stored: BusPosition | None = None  # the block that was stored last
        self._freed: BusPosition | None = None
        self._checked_at = -CHECK_INTERVAL  # loop time of the last look at the stream
        self._changed = asyncio.Event()
        self._announced = 0  # number of the newest message that a collector has published
        self._announced_at = 0.0  # loop time
        self._opened = contextlib.AsyncExitStack()

    @property
    def lanes(self) -> list[LaneId]:
        """The lanes that share the journal."""
        return self._lanes.get(self.journal, [])

    # -- FrameReader ------------------------------------------------------------------------------

    async def open(self, store: PositionStore) -> None:
        self._store = store
        stored = await store.in_transaction(
            lambda connection: ingest_log.bus_position(connection, self.lane)
        )
        await self.bus.until_connected()
        self._reading = await self._opened.enter_async_context(self.bus.reading(self.lane))
        await self._opened.enter_async_context(
            self.bus.listening(WAKE, str(self.lane), self._note_announced)
        )
        self.stored = self._next = stored

    async def read(self, max_frames: int, max_bytes: int) -> list[Frame]:
        while not self._frames:
            journal = self.journal
            message = await self._next_message()
            if message is None:
                return []
            await self._take(message)
            self._taken = message.sequence + 1
            if self.journal != journal:
                return []
        found: list[Frame] = []
        size = 0
        while self._frames and len(found) < max_frames and size < max_bytes:
            found.append(self._frames.popleft())
            size += len(found[-1].body)
        self.position = self._positions[self.journal] = found[-1].after
        return found

    def _note_announced(self, data: bytes) -> None:
        if data.isdigit():
            self._announced = int(data)
            self._announced_at = asyncio.get_running_loop().time()
        self._changed.set()

    @property
    def _lacks_announced(self) -> bool:
        """Whether a message that is there was not read: each server answers from its own store."""
        read = 0 if self._next is None else self._next.sequence - 1
        passed = asyncio.get_running_loop().time() - self._announced_at
        return self._announced > read and passed < POLL_INTERVAL

    async def wait_changed(self) -> None:
        interval = FOLLOWER_INTERVAL if self._lacks_announced else POLL_INTERVAL
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await self._changed.wait()
        # Also when nothing is read next: a writer that waits for its commit would never yield.
        self._changed.clear()

    def notify(self) -> None:
        self._changed.set()

    def note_stored(self, _position: int, bus_position: BusPosition | None) -> None:
        self.stored = bus_position

    async def close(self) -> None:
        await self._opened.aclose()

    @property
    def missing(self) -> dict[uuid.UUID, int]:
        """Positions from which frames are missing, although later ones were on the bus."""
        positions = self._positions
        return {each: positions[each] for each, end in self._ends.items() if positions[each] < end}

    @property
    def cannot_go_on(self) -> bool:
        """Whether frames may be there that cannot be read at the moment."""
        return self.away_because is not None or bool(self.missing)

    async def free(self) -> None:
        """Let the bus delete what is stored; BusAway."""
        if self.stored is not None and self.stored != self._freed:
            await self._free_before(self.stored)
            self._freed = self.stored

    async def free_read(self) -> None:
        """Let the bus delete all that was read, also what was skipped; BusAway.

        Only when all that `read` has returned is stored.
        """
        if self._next is not None and not self._frames:
            taken = self._parts[0].sequence if self._parts else self._taken
            await self._free_before(BusPosition(self._next.created, taken))

    async def _free_before(self, position: BusPosition) -> None:
        """Delete messages of before this one, if they are of the stream that there is now."""
        state = await self.bus.find_stream()
        is_same = state is not None and state.created == position.created
        if is_same and position.sequence > 1:  # NATS understands "before 1" as "all"
            await self.bus.free(self.lane, position.sequence)

    # -- messages ---------------------------------------------------------------------------------

    async def _next_message(self) -> BusMessage | None:
        if not self._messages:
            try:
                await self._fetch()
                self.away_because = None
            except BusAway as error:
                if self.away_because is None:
                    extra = {"lane": self.lane, "why": str(error)}
                    logger.warning("the lane cannot be read; retrying", extra=extra)
                self.away_because = str(error)
        return self._messages.popleft() if self._messages else None

    async def _fetch(self) -> None:
        self._changed.clear()  # before asking: what comes after the answer sets it again
        if self._at_end:  # what is missing may have been sent again already
            await self._request_missing()
        clock = asyncio.get_running_loop().time
        if self._next is None or clock() - self._checked_at >= CHECK_INTERVAL:
            await self._check_stream()
            self._checked_at = clock()
        assert self._next is not None
        self._messages.extend(await self._reading.next(self._next.sequence))
        self._at_end = len(self._messages) < READ_BLOCKS
        if self._at_end and not self.missing:
            self.whole_at = time.time()
        if self._messages:
            sequence = self._messages[-1].sequence + 1
            self._next = msgspec.structs.replace(self._next, sequence=sequence)
            self._checked_at = clock()

    async def _check_stream(self) -> None:
        """Begin again where the stream has lost what was read: what is stored is skipped."""
        state = await self.bus.ensure_stream()
        at = self._next
        if at is None or at.created != state.created or at.sequence > state.last_sequence + 1:
            if at is not None:
                extra = {"lane": self.lane, "sequence": at.sequence}
                logger.warning(
                    "the stream has lost what was read; reading it from the beginning", extra=extra
                )
            self._next = BusPosition(state.created, 1)
            self._taken = 0
            self._parts.clear()
            self._at_end = False

    # -- blocks -----------------------------------------------------------------------------------

    async def _take(self, message: BusMessage) -> None:
        """Take the frames of a block that are not read yet, once all its parts are here."""
        if message.part == 0:
            self._parts.clear()
        self._parts.append(message)
        if [each.part for each in self._parts] != list(range(len(self._parts))):
            self._parts.clear()  # without its beginning
            await self._ask_for(message)
        elif len(self._parts) == message.parts:
            parts = list(self._parts)
            self._parts.clear()
            try:
                block = blocks.decode(each.data for each in parts)
            except UnreadableBlock as error:
                extra = {"lane": self.lane, "sequence": message.sequence, "why": str(error)}
                logger.warning("a block of the bus is unreadable", extra=extra)
                if not isinstance(error, UnknownVersion):
                    await self._ask_for(message)
            else:
                await self._take_block(block, parts[0].sequence)

    async def _take_block(self, block: Block, sequence: int) -> None:
        journal = block.journal
        position = await self._position_in(block)
        if position is None or block.end <= position:
            return
        if block.start > position and not block.after_hole:
            self._note_missing(journal, block.end)
            return
        assert self._next is not None
        self.bus_position = BusPosition(self._next.created, sequence)
        frames = block.frames_after(position)
        await self._wait_for_tracks(frames)
        self._frames.extend(frames)
        self.journal, self.position = journal, position

    async def _wait_for_tracks(self, frames: Sequence[Frame]) -> None:
        """Credit no frame to older tracks than those that it was collected for."""
        for each in frames:
            if each.is_note and _IN_FORCE in each.body:
                note = msgspec.json.decode(each.body, type=TracksInForce)
                self.away_because = _NO_TRACKS
                await self.until_tracks(note.at)
                self.away_because = None

    async def _position_in(self, block: Block) -> int | None:
        """How far the block's journal is read; None: it is of a former division into lanes."""
        journal, lanes = block.journal, list(block.lanes)
        if self._lanes.get(journal) != lanes:
            known = await self._store.open_journal(journal, None)
            # Without a row, the publisher is about to add one, and sends everything again.
            if known is None or known.lanes != lanes:
                return None
            self._lanes[journal], self._positions[journal] = lanes, known.position
        return self._positions[journal]

    async def _ask_for(self, message: BusMessage) -> None:
        """Ask for the block of a message that is of no use; without a name the next one does."""
        journal = message.journal
        if journal is None:
            return
        if journal not in self._positions:
            known = await self._store.open_journal(journal, None)
            if known is None or known.lanes is None:  # of a former division
                return
            self._lanes[journal], self._positions[journal] = list(known.lanes), known.position
        if message.end > self._positions[journal]:
            self._note_missing(journal, message.end)

    def _note_missing(self, journal: uuid.UUID, end: int) -> None:
        """Blocks up to this position are missing; they are requested until they come."""
        if journal not in self.missing:
            position = self._positions[journal]
            extra = {"lane": self.lane, "journal": journal.hex, "position": position}
            logger.warning("blocks are missing; asking for them", extra=extra)
        self._ends[journal] = max(end, self._ends.get(journal, 0))

    async def _request_missing(self) -> None:
        """Ask the publishers for what is missing, again and again: one may be away."""
        now = asyncio.get_running_loop().time()
        for journal, position in self.missing.items():
            if now - self._asked_at.get(journal, -REQUEST_INTERVAL) >= REQUEST_INTERVAL:
                self._asked_at[journal] = now
                request = msgspec.json.encode(ResendRequest(self.lane, position))
                await self.bus.notify(RESEND, journal.hex, request)
