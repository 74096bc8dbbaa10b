"""Sources as pages and API show them, and how much of the networks' limits is used."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec

from stream.cells import counts
from stream.cells.counts import Sum
from stream.cells.databases import Cells
from stream.config import Settings
from stream.db import Executor
from stream.networks.base import Usage
from stream.networks.registry import NETWORKS
from stream.store import events
from stream.store.source_list import SourceSummary
from stream.store.tracks import Track
from stream.tracking_plan import build_plan, inactive_reason
from stream.tweet import NetworkName, SourceId

SLOW_COUNT = 1.0  # seconds; counting that takes longer is not repeated at every request
REST_FACTOR = 10  # then it rests for so many times as long as it took


class ConnectionAttempts(msgspec.Struct, frozen=True):
    """How many connections the network still allows: `left` of `most` in `window` seconds."""

    left: int
    most: int
    window: float


class SourceView(SourceSummary, frozen=True, kw_only=True):
    """A source with its connection attempts."""

    attempts: ConnectionAttempts


async def overview(cells: Cells, connection: Executor, settings: Settings) -> Sum[list[SourceView]]:
    """All sources, by name."""
    found = await counts.source_overview(cells, connection)
    views = [
        SourceView(
            **msgspec.structs.asdict(source),
            attempts=await attempts_left(connection, settings, source.network, source.id),
        )
        for source in found.value
    ]
    return Sum(views, found.missing)


async def attempts_left(
    connection: Executor, settings: Settings, network: NetworkName, source_id: SourceId
) -> ConnectionAttempts:
    """How many connection attempts the network still allows this source."""
    limits = NETWORKS[network].connection_limits(settings)
    used = len(await events.connection_attempts(connection, source_id, limits.window))
    return ConnectionAttempts(max(limits.attempts - used, 0), limits.attempts, limits.window)


# -- limits of the networks -----------------------------------------------------------------------


class NetworkUsage:
    """Counts how much of each network's limits all tracks together take.

    It counts again only when tracks or networks have changed, in a thread and for one caller at a
    time. Where that takes long, it does not count again before ten times as long has passed.
    """

    def __init__(self) -> None:
        self._counting = asyncio.Lock()
        self._counted: tuple[object, ...] | None = None
        self._usage: Mapping[NetworkName, list[Usage]] = {}
        self._rests_until = 0.0  # monotonic

    async def usage(
        self, rows: Sequence[Track], settings: Settings, networks: frozenset[NetworkName]
    ) -> Mapping[NetworkName, list[Usage]]:
        """Each limit of each network, and how much of it these tracks take."""
        current = [track for track in rows if inactive_reason(track) is None]
        current_key = (networks, *((t.id, t.kind, t.value, t.networks) for t in current))
        async with self._counting:
            began = time.monotonic()
            if current_key != self._counted and began >= self._rests_until:
                self._usage = await asyncio.to_thread(self._count, current, settings, networks)
                self._counted = current_key
                took = time.monotonic() - began
                self._rests_until = began + (REST_FACTOR * took if took > SLOW_COUNT else 0)
            return self._usage

    def _count(
        self, current: Sequence[Track], settings: Settings, networks: frozenset[NetworkName]
    ) -> Mapping[NetworkName, list[Usage]]:
        plan = build_plan(current, networks, settings)
        return {name: NETWORKS[name].usage(each, settings) for name, each in plan.plans.items()}
