"""What the networks are asked for, and how much of their limits that takes."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from stream.config import Settings
from stream.control import due, follow
from stream.networks.base import Usage
from stream.networks.table import NETWORKS
from stream.query import Query, TrackKind
from stream.tracks import Track
from stream.tweet import NetworkName

LONG = 1.0  # seconds; what takes longer is not done at every look
REST = 10  # times as long as it took


class Asked:
    """Counts what a daemon would ask for; again only when tracks or networks have changed.

    Thousands of tracks are planned in a thread, by one caller at a time; where that takes long, it
    is not done again before ten times as long has passed.
    """

    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self._wanted: tuple[object, ...] | None = None
        self._parsed: Mapping[tuple[TrackKind, str], Query | str] = {}
        self._usage: Mapping[NetworkName, list[Usage]] = {}
        self._rests_until = 0.0  # monotonic

    async def usage(
        self, rows: Sequence[Track], settings: Settings, networks: frozenset[NetworkName]
    ) -> Mapping[NetworkName, list[Usage]]:
        """By network, each of its limits."""
        current = [track for track in rows if due(track) is None]
        wanted = (networks, *((t.id, t.kind, t.value, t.networks) for t in current))
        async with self._one:
            began = time.monotonic()
            if wanted != self._wanted and began >= self._rests_until:
                self._usage = await asyncio.to_thread(self._count, current, settings, networks)
                self._wanted = wanted
                took = time.monotonic() - began
                self._rests_until = began + (REST * took if took > LONG else 0)
            return self._usage

    def _count(
        self, current: Sequence[Track], settings: Settings, networks: frozenset[NetworkName]
    ) -> Mapping[NetworkName, list[Usage]]:
        followings = follow(current, networks, settings, self._parsed)
        self._parsed = followings.parsed
        return {
            name: NETWORKS[name].usage(plan, settings) for name, plan in followings.plans.items()
        }
