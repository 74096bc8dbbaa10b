"""Send the journal of a source to the bus, and free it as Postgres stores it.

The journal stays the only copy that counts: a segment is kept until the position in Postgres has
passed it. What the bus loses, repeats or refuses is sent again from there. Only what is safe on
this disk is sent: after a power loss the bus must not have frames at positions that the journal
gives to others.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from stream.bus import blocks
from stream.bus.blocks import Block
from stream.bus.messages import PART
from stream.bus.ordered import OrderedPublisher, Outgoing
from stream.bus.routing import LaneRouter
from stream.db import Database
from stream.errors import BusAway, DatabaseAway
from stream.frame_readers import find_journal, resume
from stream.journal import Journal, JournalReader
from stream.notes import Passed
from stream.store import ingest_log
from stream.store.ingest_log import LanePosition
from stream.store.lanes import HOME, Lane
from stream.tweet import Frame, Source, SourceId

if TYPE_CHECKING:
    from stream.bus.connection import Bus

RETRY = 1.0  # seconds between two attempts while Postgres or the bus is away
POSITION_INTERVAL = 0.5  # seconds between two looks at what is stored
CHECK_INTERVAL = 5.0  # seconds between two looks at the stream
LOST_AFTER = 30.0  # seconds without a stored frame, until the stream is searched for what was sent
RESEND_INTERVAL = 5.0  # seconds between two times that blocks are sent again, at least
PASSED_INTERVAL = 1.0  # seconds between two blocks of a lane that has no frames

RESEND = "resend"  # topic, by journal: a writer misses frames
WAKE = "wake"  # topic, by lane: there is a new block

_PASSED = msgspec.json.encode(Passed())

logger = logging.getLogger(__name__)


class ResendRequest(msgspec.Struct, frozen=True):
    """A writer has all frames of this lane before `position`, and not those after it."""

    lane: SourceId
    position: int


class Publisher:
    """Sends one journal to the bus; the only task that does."""

    def __init__(
        self,
        bus: "Bus",
        databases: Mapping[str, Database],
        source: Source,
        journal: Journal,
        router: LaneRouter,
    ) -> None:
        self.bus = bus
        self.databases = databases  # by cell
        self.source = source
        self.journal = journal
        self.router = router
        self._lanes = [each.id for each in router.lanes]
        self.started = asyncio.Event()  # the journal may be appended to
        self.sent = 0  # position up to which the bus has acknowledged everything
        self.resent = 0  # how often blocks were sent again because they were missing
        self._stored: dict[SourceId, int] = {}  # position, by lane
        self._moved_at = 0.0  # loop time when anything was stored last
        self._ends: dict[SourceId, int] = {}  # position after the newest block of each lane
        self._sent_at: dict[SourceId, float] = {}  # loop time of that block
        self._restart_at: int | None = None  # send again from this position
        self._restarted = -RESEND_INTERVAL  # loop time of the last time
        self._interrupt = asyncio.Event()
        self._generation = 0
        self._sender = OrderedPublisher(bus.publish, source.name)
        self._draining = False

    @property
    def failing(self) -> str | None:
        """Why the bus does not take blocks at the moment."""
        return self.bus.away_because or self._sender.failing

    async def run(self) -> None:
        """Send until cancelled, or after `drain()` until all is sent."""
        position = await self._open()
        self.started.set()
        await self.bus.until_connected()
        async with asyncio.TaskGroup() as group:
            helping = [
                group.create_task(self._follow_stored(), name=f"positions {self.source.name}"),
                group.create_task(self._answer_requests(), name=f"resend {self.source.name}"),
                group.create_task(self._watch_stream(), name=f"stream {self.source.name}"),
            ]
            await self._send_all(position)
            for task in helping:
                task.cancel()

    def drain(self) -> None:
        """Send what is in the journal without waiting, then end."""
        self._draining = True
        self.journal.notify()

    # -- opening ----------------------------------------------------------------------------------

    async def _open(self) -> int:
        """Find what is stored, and allow appending; returns where to begin."""
        while True:
            try:
                await self._open_positions()
            except DatabaseAway as error:
                extra = {"source": self.source.name, "why": str(error)}
                logger.info("waiting for positions", extra=extra)
                await asyncio.sleep(RETRY)
            else:
                break
        await resume(self.journal, max(self._stored.values()), self.source.name)
        return self._note_stored()

    async def _open_positions(self) -> None:
        journal = self.journal
        if journal.id_lost:
            async with self.databases[HOME].transaction() as connection:
                await find_journal(connection, journal, self.source.id)
        known: dict[SourceId, LanePosition] = {}
        for cell in self.databases:
            async with self.databases[cell].acquire() as connection:
                found = await ingest_log.lane_positions(connection, journal.id)
                known |= {each.lane: each for each in found}
        lanes = self._lanes
        if known.keys() != set(lanes) or any(each.lanes != lanes for each in known.values()):
            # All begin where the slowest one was: what another lane had is recognized.
            position = min((each.position for each in known.values()), default=journal.start)
            for cell, here in self._lanes_by_cell():
                async with self.databases[cell].transaction() as connection:
                    await ingest_log.share_journal(
                        connection, journal.id, [each.id for each in here], lanes, position
                    )
            self._stored = dict.fromkeys(lanes, position)
        else:
            self._stored = {each.lane: each.position for each in known.values()}

    def _lanes_by_cell(self) -> list[tuple[str, list[Lane]]]:
        cells = dict.fromkeys(each.cell for each in self.router.lanes)
        return [(cell, [each for each in self.router.lanes if each.cell == cell]) for cell in cells]

    # -- sending ----------------------------------------------------------------------------------

    async def _send_all(self, position: int) -> None:
        """Send from a position on; begin again elsewhere when that is asked for."""
        while True:
            self._restart_at = None
            self._interrupt.clear()
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(
                    self._send_from(position), name=f"send {self.source.name}"
                )
                waiting = group.create_task(self._interrupt.wait(), name="interrupt")
                await asyncio.wait([sending, waiting], return_when=asyncio.FIRST_COMPLETED)
                sending.cancel()
                waiting.cancel()
            self._sender.abandon()
            if self._restart_at is None:
                return
            position = self._restart_at
            self._generation += 1

    async def _send_from(self, position: int) -> None:
        """Send the frames from this position on; ends only while draining."""
        after_hole = position < self.journal.start
        self._ends = {each.id: position for each in self.router.lanes}
        with contextlib.closing(JournalReader(self.journal, position)) as reader:
            await reader.find_start()
            limit = blocks.FRAMES_MAX * len(self.router.lanes)
            while True:
                frames = await self._read(reader, limit)
                if frames:
                    await self._send(frames, after_hole=after_hole)
                    after_hole = False
                    continue
                await self._sender.settle()
                self.sent = reader.position
                if self._draining:
                    return
                await self.journal.wait_changed()

    async def _read(self, reader: JournalReader, limit: int) -> list[Frame]:
        """The next frames that are safe on the disk, as many as fit into one block of each lane."""
        frames: list[Frame] = []
        size = 0
        while len(frames) < limit and size < blocks.BYTES_MAX:
            found = await reader.read(limit - len(frames), blocks.BYTES_MAX - size)
            if not found:
                break
            frames += found
            size += sum(len(each.body) for each in found)
        if frames:
            while self.journal.synced < frames[-1].after:
                await self.journal.wait_changed()
        return frames

    async def _send(self, frames: Sequence[Frame], *, after_hole: bool) -> None:
        """Send frames as one block of each lane."""
        by_lane: list[list[Frame]] = [[] for _ in self.router.lanes]
        for frame in frames:
            for index in self.router.route(frame):
                by_lane[index].append(frame)
        now = asyncio.get_running_loop().time()
        end = frames[-1].after
        for lane, own in zip(self.router.lanes, by_lane, strict=True):
            if (
                not own
                and not after_hole
                and now - self._sent_at.get(lane.id, 0.0) < PASSED_INTERVAL
            ):
                continue
            last = own.pop() if own else Frame(frames[-1].received, _PASSED, end, is_note=True)
            own.append(msgspec.structs.replace(last, after=end))
            start = self._ends[lane.id]
            self._ends[lane.id], self._sent_at[lane.id] = end, now
            await self._publish(
                Block(self.journal.id, lane.id, self._lanes, start, end, own, after_hole)
            )

    async def _publish(self, block: Block) -> None:
        parts = blocks.encode(block)
        for number, data in enumerate(parts):
            headers = {"Nats-Msg-Id": f"{block.id(self._generation)}:{number}"}
            if len(parts) > 1:
                headers[PART] = f"{number}/{len(parts)}"
            await self._sender.send(Outgoing(block.lane, data, headers))
        await asyncio.sleep(0)
        with contextlib.suppress(BusAway):
            await self.bus.notify(WAKE, str(block.lane))

    # -- what is stored ---------------------------------------------------------------------------

    def _note_stored(self) -> int:
        """Free the journal up to what all lanes have stored; returns that position."""
        position = min(self._stored.values())
        self.journal.stored = position
        return position

    async def _follow_stored(self) -> None:
        """Look at what the lanes have stored, also when their rows have changed or are gone."""
        clock = asyncio.get_running_loop().time
        self._moved_at = clock()
        while True:
            before = dict(self._stored)
            try:
                if not await self._read_positions():
                    self._send_again(self._note_stored(), "the positions were changed")
            except DatabaseAway as error:
                logger.debug("positions cannot be read", extra={"why": str(error)})
            if before != self._stored:
                self._moved_at = clock()
                self._note_stored()
            await asyncio.sleep(POSITION_INTERVAL)

    async def _read_positions(self) -> bool:
        """Read what is stored, of all cells that answer; False: the lanes begin anew."""
        for cell, lanes in self._lanes_by_cell():
            async with self.databases[cell].acquire() as connection:
                found = await ingest_log.lane_positions(connection, self.journal.id)
            known = {each.lane: each for each in found}
            for lane in lanes:
                if lane.id not in known or known[lane.id].lanes != self._lanes:
                    await self._open_positions()
                    return False
                self._stored[lane.id] = known[lane.id].position
        return True

    # -- what the bus has lost --------------------------------------------------------------------

    async def _answer_requests(self) -> None:
        async with self.bus.listening(RESEND, self.journal.id.hex, self._hear_request):
            await asyncio.Event().wait()

    def _hear_request(self, data: bytes) -> None:
        try:
            request = msgspec.json.decode(data, type=ResendRequest)
        except msgspec.MsgspecError:
            return
        if request.position < self._ends.get(request.lane, 0):
            self._send_again(request.position, "a writer misses it")

    def _send_again(self, position: int, why: str) -> None:
        """Send blocks again from this position on, but not too often."""
        now = asyncio.get_running_loop().time()
        if now - self._restarted < RESEND_INTERVAL:
            return
        self._restarted = now
        self.resent += 1
        extra = {"source": self.source.name, "position": position, "why": why}
        logger.warning("sending again what the bus does not have", extra=extra)
        self._restart_at = position
        self._interrupt.set()

    async def _watch_stream(self) -> None:
        """Keep the stream as the settings want it, and notice when it has lost everything."""
        created = None
        while True:
            try:
                state = await self.bus.ensure_stream()
                if created not in (None, state.created):
                    self._send_again(self._note_stored(), "the stream is a new one")
                created = state.created
                await self._search_lost()
            except BusAway as error:
                logger.debug("the stream cannot be checked", extra={"why": str(error)})
            await asyncio.sleep(CHECK_INTERVAL)

    async def _search_lost(self) -> None:
        """Whether the stream has nothing of a lane, although not all of it is stored."""
        if asyncio.get_running_loop().time() - self._moved_at < LOST_AFTER:
            return
        for lane, stored in self._stored.items():
            if stored < self._ends.get(lane, 0) and not await self.bus.has_any(lane):
                self._send_again(self._note_stored(), "the stream has nothing of the lane")
                return
