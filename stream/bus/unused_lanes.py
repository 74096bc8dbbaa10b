"""Lanes that are not in use any more, but whose blocks would fill the bus for ever.

When a source is divided into fewer lanes, its collectors send the rest again on the remaining ones.
Until they do, and where a machine and its journal are gone, these blocks are still to be stored: so
such a lane keeps a writer until it has no blocks. Those of removed sources are deleted.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from stream.db import Database, Executor
from stream.errors import BusAway, DatabaseAway
from stream.store import ingest_log, lanes, sources
from stream.store.lanes import HOME, Lane, first_lane
from stream.tweet import LaneId, SourceId

if TYPE_CHECKING:
    from stream.bus.connection import Bus

INTERVAL = 30.0  # seconds between two looks
POSITION_MAX = 2**63 - 1  # of bigint


class UnusedLanes:
    """Looks for them now and then; `lanes` are those of this cell that still have blocks."""

    def __init__(self, database: Database, bus: "Bus", cell: str) -> None:
        self.database = database
        self.bus = bus
        self.cell = cell
        self.lanes: frozenset[LaneId] = frozenset()

    async def run(self) -> None:
        """Look until cancelled."""
        await self.bus.until_connected()
        while True:
            with contextlib.suppress(BusAway, DatabaseAway):
                await self._look()
            await asyncio.sleep(INTERVAL)

    async def _look(self) -> None:
        # Before the rows: a lane has its row before its first block.
        waiting = await self.bus.lanes_with_blocks()
        async with self.database.acquire() as connection:
            added = {each.id: each for each in await lanes.get_all(connection)}
            rows = {row.id: row.lanes for row in await sources.get_all(connection)}
            removed = await self._removed(connection, waiting, added, rows)
        self.lanes = frozenset(
            each.id
            for each in added.values()
            if each.id in waiting
            and each.cell == self.cell
            and each.number >= rows.get(each.source_id, each.number + 1)
        )
        for lane in removed:
            await self.bus.free(lane)

    async def _removed(
        self,
        connection: Executor,
        waiting: AbstractSet[LaneId],
        added: Mapping[LaneId, Lane],
        rows: Mapping[SourceId, int],
    ) -> list[LaneId]:
        """Lanes of sources that this database had. A cell may not know them yet: home does."""
        if self.cell != HOME:
            return []
        gone = [each for each in waiting if each in added and added[each].source_id not in rows]
        unknown = waiting - added.keys() - set(map(first_lane, rows))
        ours = [
            each
            for each in unknown
            if await ingest_log.find_positions(connection, each, 0, POSITION_MAX)
        ]
        return gone + ours
