"""A database that is filled as the writer fills it, and sinks that pass on what is stored there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.config import Settings
from stream.config.settings import SinkSettings
from stream.db import Database
from stream.sinks.runner import Sinks
from stream.store import sources
from stream.tweet import Frame, Match, SourceId, Tweet
from stream.vault import Vault
from x_tweets import store_frames, v1_tweet

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually

NOON = round(datetime(2026, 3, 14, 12, tzinfo=UTC).timestamp() * 1e6)


class SinkBench:
    """Tables that fill, and sinks on them; subclasses say to which tracks a tweet belongs."""

    def __init__(self, database: Database, folder: Path, eventually: Eventually) -> None:
        self.database = database
        self.vault = Vault(folder)
        self.eventually = eventually
        self.sinks: Sinks | None = None
        self.at = NOON  # when tweets are received, in microseconds; each one later than the former
        self._source: SourceId | None = None
        self._number = 0

    def match(self, found: Tweet) -> Sequence[Match]:
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def running(self, settings: SinkSettings) -> AsyncIterator[Sinks]:
        """Run the sinks with these settings."""
        self.sinks = Sinks(self.database, Settings(sinks=settings), self.vault)
        task = asyncio.create_task(self.sinks.run())
        try:
            yield self.sinks
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def store(self, *texts: str) -> list[str]:
        """One batch of tweets; their native ids."""
        first = self._number + 1
        bodies = [v1_tweet(number, text) for number, text in enumerate(texts, first)]
        await self._store(bodies)
        if self.sinks is not None:
            self.sinks.wake()
        return [str(number) for number in range(first, self._number + 1)]

    async def delete(self, *native_ids: str) -> None:
        """The network's messages that these are deleted."""
        bodies = []
        for native_id in native_ids:
            status = {"id": int(native_id), "id_str": native_id, "user_id": 5, "user_id_str": "5"}
            body = json.dumps({"delete": {"status": status, "timestamp_ms": "1773489600000"}})
            bodies.append(body.encode())
        await self._store(bodies)

    async def _store(self, bodies: Sequence[bytes]) -> None:
        if self._source is None:
            async with self.database.acquire() as connection:
                self._source = await sources.add(connection, "main", "x_v1")
        frames = []
        for body in bodies:
            self._number += 1
            frames.append(Frame(self.at + self._number, body, self._number))
        await store_frames(self.database, self._source, frames, self.match)

    async def value(self, query: str, *values: object) -> Any:
        [row] = await self.database.fetch(query, *values)
        return row[0]
