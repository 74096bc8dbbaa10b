"""Send the journal of a source to the bus, and free it as Postgres stores it.

The journal stays the only copy that counts: a segment is kept until the position in Postgres has
passed it. What the bus loses, repeats or refuses is sent again from there. Only what is safe on
this disk is sent: after a power loss the bus must not have frames at positions that the journal
gives to others.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from stream.bus.lane_sender import LaneSender, Routes
from stream.bus.messages import RESEND, ResendRequest
from stream.bus.routing import LaneRouter
from stream.db import Database
from stream.errors import BusAway, DatabaseAway
from stream.frame_readers import find_journal, resume
from stream.journal import Journal
from stream.store import ingest_log
from stream.store.ingest_log import LanePosition
from stream.store.lanes import HOME, Lane
from stream.tweet import Source, SourceId

if TYPE_CHECKING:
    from stream.bus.connection import Bus

RETRY = 1.0  # seconds between two attempts while Postgres is away
POSITION_INTERVAL = 0.5  # seconds between two looks at what is stored
CHECK_INTERVAL = 5.0  # seconds between two looks at the stream
LOST_AFTER = 30.0  # seconds without a stored frame, until the bus is searched for what was sent

logger = logging.getLogger(__name__)


class Publisher:
    """Sends one journal to the bus; the only one that does."""

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
        self.started = asyncio.Event()  # the journal may be appended to
        routes = Routes(router)
        self.lanes = routes.lanes
        self.senders = {
            lane.id: LaneSender(bus, journal, routes, index, source.name)
            for index, lane in enumerate(router.lanes)
        }
        self._by_cell: dict[str, list[Lane]] = {}
        for lane in router.lanes:
            self._by_cell.setdefault(lane.cell, []).append(lane)
        for sender in self.senders.values():
            sender.note_stored(journal.start)

    @property
    def failing(self) -> str | None:
        """Why the bus does not take blocks at the moment."""
        reasons = (each.sender.failing for each in self.senders.values())
        return self.bus.away_because or next(filter(None, reasons), None)

    @property
    def sent(self) -> int:
        """Position up to which the bus has acknowledged everything."""
        return min(each.sent for each in self.senders.values())

    async def run(self) -> None:
        """Send until cancelled, or after `drain()` until all is sent."""
        await self._open()
        self.started.set()
        await self.bus.until_connected()
        created = await self._until_stream()
        async with asyncio.TaskGroup() as group:
            helping = [
                group.create_task(self._follow_stored(), name=f"positions {self.source.name}"),
                group.create_task(self._answer_requests(), name=f"resend {self.source.name}"),
                group.create_task(self._watch_stream(created), name=f"stream {self.source.name}"),
            ]
            async with asyncio.TaskGroup() as sending:
                for lane_id, sender in self.senders.items():
                    sending.create_task(sender.run(), name=f"lane {lane_id}")
            for task in helping:
                task.cancel()

    def drain(self) -> None:
        """Send what is in the journal without waiting, then end."""
        for sender in self.senders.values():
            sender.drain()

    # -- what is stored ---------------------------------------------------------------------------

    async def _open(self) -> None:
        """Find what is stored, and allow appending."""
        last = ""
        while True:
            try:
                await self._open_positions()
            except DatabaseAway as error:
                if str(error) != last:
                    last = str(error)
                    extra = {"source": self.source.name, "why": last}
                    logger.warning("waiting for the positions of the journal", extra=extra)
                await asyncio.sleep(RETRY)
            else:
                break
        newest = max(each.stored for each in self.senders.values())
        await resume(self.journal, newest, self.source.name)
        self._free()

    async def _open_positions(self) -> None:
        """Read or add the positions of all lanes, which share this journal from now on.

        Of a cell that is away nothing is known: its lanes begin with all that is still there.
        """
        journal = self.journal
        if journal.id_lost:
            async with self.databases[HOME].transaction() as connection:
                await find_journal(connection, journal, self.source.id)
        known, away = await self._known_positions()
        wanted = {lane_id for lane_id in self.senders if lane_id not in away}
        if known.keys() == wanted and all(each.lanes == self.lanes for each in known.values()):
            for lane_id, each in known.items():
                self.senders[lane_id].note_stored(each.position)
            return
        # All begin where the slowest one was: what another lane had is recognized.
        position = min((each.position for each in known.values()), default=journal.start)
        position = journal.start if away else position
        for cell, lanes in self._by_cell.items():
            here = [each.id for each in lanes if each.id in wanted]
            if here:
                async with self.databases[cell].transaction() as connection:
                    await ingest_log.share_journal(
                        connection, journal.id, here, self.lanes, position
                    )
        for lane_id in wanted:
            self.senders[lane_id].note_stored(position)

    async def _known_positions(self) -> tuple[dict[SourceId, LanePosition], set[SourceId]]:
        """Positions of this journal, and the lanes of cells that are away: the others go on."""
        known: dict[SourceId, LanePosition] = {}
        away: set[SourceId] = set()
        for cell, database in self.databases.items():
            try:
                async with database.acquire() as connection:
                    found = await ingest_log.lane_positions(connection, self.journal.id)
            except DatabaseAway:
                if cell == HOME:
                    raise
                away.update(each.id for each in self._by_cell.get(cell, ()))
            else:
                known |= {each.lane: each for each in found}
        return known, away

    def _free(self) -> None:
        """Free the journal up to what all lanes have stored."""
        self.journal.stored = min(each.stored for each in self.senders.values())

    async def _follow_stored(self) -> None:
        """Look at what the lanes have stored, also when their rows have changed or are gone."""
        while True:
            for cell, lanes in self._by_cell.items():
                try:
                    await self._read_positions(self.databases[cell], lanes)
                except DatabaseAway as error:
                    logger.debug("positions cannot be read", extra={"why": str(error)})
            self._free()
            await asyncio.sleep(POSITION_INTERVAL)

    async def _read_positions(self, database: Database, lanes: list[Lane]) -> None:
        async with database.acquire() as connection:
            found = await ingest_log.lane_positions(connection, self.journal.id)
        known = {each.lane: each for each in found}
        for lane in lanes:
            if lane.id not in known or known[lane.id].lanes != self.lanes:
                await self._open_positions()
                self._send_again("the positions were changed")
                return
            self.senders[lane.id].note_stored(known[lane.id].position)

    # -- what the bus has lost --------------------------------------------------------------------

    def _send_again(self, why: str) -> None:
        for sender in self.senders.values():
            sender.send_again(sender.stored, why)

    async def _answer_requests(self) -> None:
        async with self.bus.listening(RESEND, self.journal.id.hex, self._hear_request):
            await asyncio.Event().wait()

    def _hear_request(self, data: bytes) -> None:
        try:
            request = msgspec.json.decode(data, type=ResendRequest)
        except msgspec.MsgspecError:
            return
        sender = self.senders.get(request.lane)
        if sender is None or sender.has_just_restarted:
            return  # it is repeated if need be
        if sender.has_sent(request.position):
            sender.send_again(request.position, "its writer misses it")

    async def _until_stream(self) -> datetime:
        """Create the stream, or adapt it to the settings; returns when it was created."""
        last = ""
        while True:
            try:
                created = (await self.bus.ensure_stream()).created
                await self._adapt_stream()
            except BusAway as error:
                if str(error) != last:
                    last = str(error)
                    extra = {"source": self.source.name, "why": last}
                    logger.warning("waiting for the stream", extra=extra)
                await asyncio.sleep(RETRY)
            else:
                return created

    async def _watch_stream(self, created: datetime) -> None:
        """Notice when the stream has lost everything; create it again if there is none."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                found = (await self.bus.ensure_stream()).created
                if created != found:
                    created = found
                    self._send_again("the stream is a new one")
                await self._search_lost(created)
            except BusAway as error:
                logger.debug("the stream cannot be checked", extra={"why": str(error)})

    async def _adapt_stream(self) -> None:
        """Let the stream be as the settings want; the bus works without it, too."""
        try:
            await self.bus.adapt_stream()
        except BusAway as error:
            extra = {"why": str(error)}
            logger.warning("the stream is not as the settings `bus_…` want it", extra=extra)

    async def _search_lost(self, created: datetime) -> None:
        """Send again what a lane does not store although it waits for nothing else.

        Usually its writer sees in the next block that others are missing. But there may be no next
        one: of a quiet source, or of a machine that does not collect any more.
        """
        now = asyncio.get_running_loop().time()
        for sender in self.senders.values():
            quiet = sender.waits_for_writer and now - sender.moved_at >= LOST_AFTER
            with contextlib.suppress(DatabaseAway):
                if quiet and not await self._will_be_read(sender, created):
                    sender.send_again(sender.stored, "the bus has lost its end")

    async def _will_be_read(self, sender: LaneSender, created: datetime) -> bool:
        """Whether the newest block is on the bus, and its writer has not gone past it."""
        lane = sender.lane
        async with self.databases[lane.cell].acquire() as connection:
            read = await ingest_log.bus_position(connection, lane.id)
        newest = sender.sender.newest
        if read is not None and read.created == created and read.sequence > newest:
            return False
        return await self.bus.has(newest)
