"""Send the journal of a source to the bus, and free it as Postgres stores it.

The journal stays the only copy that counts: a segment is kept until the position in Postgres has
passed it. What the bus loses, repeats or refuses is sent again from there. Only what is safe on
this disk is sent: after a power loss the bus must not have frames at positions that the journal
gives to others.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from stream.bus.divisions import note_stored
from stream.bus.lane_sender import LaneSender, Routes
from stream.bus.messages import RESEND, ResendRequest
from stream.bus.routing import LaneRouter
from stream.cells.databases import Cells
from stream.errors import BusAway, DatabaseAway
from stream.frame_readers import find_journal, resume
from stream.journal import Journal
from stream.store import ingest_log
from stream.store.ingest_log import LanePosition
from stream.store.lanes import HOME, Lane
from stream.tweet import LaneId, Source

if TYPE_CHECKING:
    from stream.bus.connection import Bus

RETRY = 1.0  # seconds between two attempts while Postgres is away
OPEN_WITHIN = 2.0  # seconds for each other cell, before collecting begins without it
POSITION_INTERVAL = 0.5  # seconds between two looks at what is stored
NOTE_INTERVAL = 60.0  # seconds between two notes of what each cell has stored
CHECK_INTERVAL = 5.0  # seconds between two looks at the stream
LOST_AFTER = 30.0  # seconds without a stored frame, until the bus is searched for what was sent

logger = logging.getLogger(__name__)


class Publisher:
    """Sends one journal to the bus; the only one that does."""

    def __init__(
        self,
        bus: "Bus",
        cells: Cells,
        source: Source,
        journal: Journal,
        router: LaneRouter,
    ) -> None:
        self.bus = bus
        self.cells = cells
        self.divisions = router.divisions
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
            sender.note_stored(self._first_of(sender.lane.cell))

    @property
    def failing(self) -> str | None:
        """Why the bus does not take blocks at the moment."""
        reasons = (each.sender.failing for each in self.senders.values())
        return self.bus.away_because or next(filter(None, reasons), None)

    @property
    def sent(self) -> int:
        """Position up to which nothing has to be sent to the bus any more."""
        return min(each.sent for each in self.senders.values())

    async def run(self) -> None:
        """Send until cancelled, or after `drain()` until all is sent."""
        await self._open()
        self.started.set()
        async with asyncio.TaskGroup() as group:
            # Also without the bus: writers store what an earlier process has sent.
            following = group.create_task(
                self._follow_stored(), name=f"positions {self.source.name}"
            )
            await self.bus.until_connected()
            created = await self._until_stream()
            helping = [
                following,
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
        """Find what is stored, and allow appending, also while other cells than home are away."""
        await self._open_home()
        for cell in self._by_cell:
            if cell != HOME:
                with contextlib.suppress(DatabaseAway, TimeoutError):  # it is opened later
                    async with asyncio.timeout(OPEN_WITHIN):
                        await self._open_cell(cell)
        newest = max(self.journal.given, *(each.stored for each in self.senders.values()))
        await resume(self.journal, newest, self.source.name)
        self._free()

    async def _open_home(self) -> None:
        last = ""
        while True:
            try:
                await self._find_journal()
                await self._open_cell(HOME)
            except DatabaseAway as error:
                if str(error) != last:
                    last = str(error)
                    extra = {"source": self.source.name, "why": last}
                    logger.warning("waiting for the positions of the journal", extra=extra)
                await asyncio.sleep(RETRY)
            else:
                return

    async def _find_journal(self) -> None:
        if self.journal.id_lost:
            async with self.cells.transaction(HOME) as connection:
                await find_journal(connection, self.journal, self.source.id)

    async def _open_cell(self, cell: str) -> None:
        """Read or add the positions of a cell's lanes, which share this journal from now on.

        Lanes that were others before begin where the slowest of them was: what one of them had is
        recognized. A cell that has no positions, as it is new, was away until now or has lost its
        data, begins with the first frame that can be its own.
        """
        own = {each.id for each in self._by_cell[cell]}
        async with self.cells.transaction(cell) as connection:
            found = await ingest_log.lane_positions(connection, self.journal.id)
            if not self._are_current(found, own):
                position = min((each.position for each in found), default=self._first_of(cell))
                if (lost_from := self.divisions.lost_from) is not None:
                    position = max(self.journal.start, min(position, lost_from))
                await ingest_log.share_journal(
                    connection, self.journal.id, sorted(own), self.lanes, position
                )
                found = [LanePosition(lane, position, self.lanes) for lane in own]
        for each in found:
            self.senders[each.lane].note_stored(each.position)

    def _are_current(self, found: Sequence[LanePosition], own: AbstractSet[LaneId]) -> bool:
        return {each.lane for each in found} == own and all(
            each.lanes == self.lanes for each in found
        )

    def _first_of(self, cell: str) -> int:
        """Position of the first frame in the journal that can belong to a cell."""
        return max(self.journal.start, self.divisions.since(cell))

    def _free(self) -> None:
        """Free the journal up to what all lanes have stored."""
        self.journal.stored = min(each.stored for each in self.senders.values())

    async def _follow_stored(self) -> None:
        """Look at what the lanes have stored, also when their rows have changed or are gone."""
        clock, noted_at = asyncio.get_running_loop().time, -NOTE_INTERVAL
        while True:
            for cell in self._by_cell:
                try:
                    await self._read_positions(cell)
                except DatabaseAway as error:
                    logger.debug("positions cannot be read", extra={"why": str(error)})
            self._free()
            needs_note = len(self._by_cell) > 1 or self.divisions.lost_from is not None
            if needs_note and clock() - noted_at >= NOTE_INTERVAL:
                await self._note_stored()
                noted_at = clock()
            await asyncio.sleep(POSITION_INTERVAL)

    async def _note_stored(self) -> None:
        """Note what each cell has stored: one that is removed cannot be asked any more."""
        stored = {
            cell: min(self.senders[lane.id].stored for lane in lanes)
            for cell, lanes in self._by_cell.items()
        }
        with contextlib.suppress(OSError):  # on a full disk the note before that remains
            await asyncio.to_thread(note_stored, self.journal.folder, stored)

    async def _read_positions(self, cell: str) -> None:
        async with self.cells.acquire(cell) as connection:
            found = await ingest_log.lane_positions(connection, self.journal.id)
        own = {each.id for each in self._by_cell[cell]}
        if self._are_current(found, own):
            for each in found:
                self.senders[each.lane].note_stored(each.position)
        else:
            await self._open_cell(cell)
            for lane in own:
                self.senders[lane].send_again(
                    self.senders[lane].stored, "the positions were changed"
                )

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
        async with self.cells.acquire(lane.cell) as connection:
            read = await ingest_log.bus_position(connection, lane.id)
        newest = sender.sender.newest
        if read is not None and read.created == created and read.sequence > newest:
            return False
        return await self.bus.has(newest)
