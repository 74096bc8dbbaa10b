"""The writers of lanes: what a machine with the role `write` runs.

Each lane has one writer at a time, by an advisory lock. The machines share the lanes of a database
evenly; when one is gone, the others take over what it had.
"""

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from stream.backoff import RESTART_AFTER
from stream.batch import Batch
from stream.bus.collected_stream import CollectedStream
from stream.bus.lane_reader import LaneReader, UntilTracks
from stream.bus.unused_lanes import UnusedLanes
from stream.config import Settings
from stream.db import Database
from stream.errors import BusAway, DatabaseAway, PositionMoved, is_broken
from stream.reconciler import TrackReconciler
from stream.source_writer import source_writer
from stream.store import daemons, lanes
from stream.store.lanes import Lane
from stream.store.locks import LANE_LOCK_CLASS, Locks
from stream.store.sources import SourceRow
from stream.tweet import LaneId, Source
from stream.writer import Writer

if TYPE_CHECKING:
    from stream.bus.connection import Bus

CHECK_INTERVAL = 2.0  # seconds between two looks at which lanes there are, and who stores them
CUT_OFF_AFTER = 6.0  # seconds without the bus, until other machines get the lanes
FREE_INTERVAL = 10.0  # seconds between two times that the bus deletes what is stored
DRAIN_TIMEOUT = 2.5  # seconds for a writer to store what it has read, at its end

logger = logging.getLogger(__name__)


class LaneWriter:
    """Stores one lane while this process holds its lock, until `stop` is set."""

    def __init__(
        self,
        lane: Lane,
        source: Source,
        make: Callable[[LaneReader], Writer],
        bus: "Bus",
        until_tracks: UntilTracks,
    ) -> None:
        self.lane = lane
        self.source = source
        self.stop = asyncio.Event()
        self.reader = LaneReader(bus, source, lane.id, until_tracks)
        self.writer = make(self.reader)
        self.is_in_use = True  # False: it is emptied, and that is all

    @property
    def late_since(self) -> float | None:
        """Since when frames wait, in seconds since 1970; None: all that came is stored."""
        unread = self.reader.whole_at if self.reader.cannot_go_on else None
        return min(filter(None, (unread, self.writer.waiting_since)), default=None)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(self.writer.run(), name=f"writer of lane {self.lane.id}")
            freeing = group.create_task(self._free(), name=f"free lane {self.lane.id}")
            await self.stop.wait()
            self.writer.drain()
            await asyncio.wait([writing], timeout=DRAIN_TIMEOUT)
            writing.cancel()
            freeing.cancel()

    async def _free(self) -> None:
        while True:
            await asyncio.sleep(FREE_INTERVAL)
            with contextlib.suppress(BusAway):
                await self.reader.free()
                if not self.is_in_use and self.writer.waiting_since is None:
                    await self.reader.free_read()


class LaneWriters:
    """Runs the writers of as many lanes as are this process's share."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        bus: "Bus",
        reconciler: TrackReconciler,
        on_stored: Callable[[Batch], None],
        cell: str = lanes.HOME,
    ) -> None:
        self.database = database
        self.settings = settings
        self.bus = bus
        self.reconciler = reconciler
        self.on_stored = on_stored
        self.cell = cell
        self.locks = Locks(database, LANE_LOCK_CLASS)
        self.unused = UnusedLanes(database, bus, cell)
        self.stream = CollectedStream(bus)
        self.writers: dict[LaneId, LaneWriter] = {}
        self._runs: dict[LaneId, asyncio.Task[None]] = {}
        self._reached_at = -math.inf  # loop time when the bus was seen last
        self._stored_before: Counter[str] = Counter()  # by writers that have ended

    def stored(self) -> Counter[str]:
        """Outcomes since the start, of all lanes."""
        found = Counter(self._stored_before)
        for each in self.writers.values():
            found.update(each.writer.stored)
        return found

    async def run(self, stop: asyncio.Event) -> None:
        """Store until `stop` is set, and then what was read."""
        async with asyncio.TaskGroup() as group:
            helping = [
                group.create_task(self.locks.run(), name="locks of lanes"),
                group.create_task(self.unused.run(), name="unused lanes"),
            ]
            while not stop.is_set():
                with contextlib.suppress(DatabaseAway):
                    await self._adjust(group)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_INTERVAL):
                        await stop.wait()
            for lane_id in self._runs:
                self._end(lane_id)
            if self._runs:
                await asyncio.wait(self._runs.values())
            for task in helping:
                task.cancel()

    async def _adjust(self, group: asyncio.TaskGroup) -> None:
        """Begin, end or hand over writers, as lanes and machines come and go."""
        async with self.database.acquire() as connection:
            found = await lanes.get_all(connection)
            streams = await daemons.collected_streams(connection)
            machines = await daemons.count_writers(connection, streams)
        self.stream.compare(streams)
        rows = {row.id: row for row in self.reconciler.matched_sources}
        wanted = {each.id: each for each in self._own_lanes(list(rows.values()), found)}
        self.locks.limit = self._limit(len(wanted), machines)
        for lane_id in self._runs.keys() - wanted.keys():
            self._end(lane_id)
        surplus = len(self.writers) - self.locks.limit
        for lane_id in sorted(self.writers, reverse=True)[: max(surplus, 0)]:
            self._end(lane_id)
        for lane_id, writer in self.writers.items():
            writer.is_in_use = lane_id not in self.unused.lanes
        for lane_id, lane in wanted.items():
            if lane_id not in self._runs:
                row = rows[lane.source_id]
                self._runs[lane_id] = group.create_task(
                    self._keep(lane, row), name=f"lane {lane_id}"
                )

    def _limit(self, lanes_wanted: int, machines: int) -> int:
        """How many lanes this process may have: on another stream it would read none of them."""
        if self.stream.lasting or (machines and self._is_cut_off()):
            return 0
        share = -(-lanes_wanted // max(machines, 1))
        return share if self.stream.is_ours else min(share, len(self.writers))

    def _is_cut_off(self) -> bool:
        """Whether this machine does not reach the bus: another one may."""
        now = asyncio.get_running_loop().time()
        if self.bus.away_because is None:
            self._reached_at = now
        return now - self._reached_at > CUT_OFF_AFTER

    def _own_lanes(self, rows: Sequence[SourceRow], found: Sequence[Lane]) -> list[Lane]:
        """The lanes that this database stores, also of sources that are not collected now."""
        used = [lane for row in rows for lane in lanes.in_use(row.id, row.lanes, found)]
        known = {row.id for row in rows}
        unused = (each for each in found if each.id in self.unused.lanes)
        return [
            lane for lane in (*used, *unused) if lane.cell == self.cell and lane.source_id in known
        ]

    def _end(self, lane_id: LaneId) -> None:
        if lane_id in self.writers:
            self.writers[lane_id].stop.set()
        else:
            self._runs[lane_id].cancel()

    async def _keep(self, lane: Lane, row: SourceRow) -> None:
        """Store a lane once its lock is ours, until it is to end."""
        source = Source(row.id, row.name, row.network, row.url, None, {}, enabled=row.enabled)
        lock = self.locks.want(lane.id)
        try:
            await lock.until(ours=True)
            writer = self.writers[lane.id] = LaneWriter(
                lane, source, self._make(source), self.bus, self.reconciler.until_read
            )
            async with asyncio.TaskGroup() as group:
                running = group.create_task(self._run(writer), name=f"store lane {lane.id}")
                losing = group.create_task(lock.until(ours=False), name="lock")
                await asyncio.wait([running, losing], return_when=asyncio.FIRST_COMPLETED)
                running.cancel()
                losing.cancel()
        finally:
            if (ended := self.writers.pop(lane.id, None)) is not None:
                self._stored_before.update(ended.writer.stored)
            self.locks.release(lane.id)
            self._runs.pop(lane.id, None)

    async def _run(self, writer: LaneWriter) -> None:
        """Run a writer. An unexpected error ends this lane for a while, and no other."""
        extra = {"source": writer.source.name, "lane": writer.lane.id}
        try:
            await writer.run()
        except* PositionMoved:
            # Another machine has the lane, or its journal was divided into other lanes.
            logger.warning("the lane's position was moved; reading it again", extra=extra)
        except* Exception as group:
            if is_broken(group):
                raise
            logger.exception("the writer of a lane failed", extra=extra)
            await asyncio.sleep(RESTART_AFTER)

    def _make(self, source: Source) -> Callable[[LaneReader], Writer]:
        owners = self.reconciler.rule_owners

        def make(reader: LaneReader) -> Writer:
            return source_writer(
                self.database,
                self.settings,
                source,
                reader,
                self.reconciler,
                lambda rule: owners(source.network, rule),
                self.on_stored,
            )

        return make
