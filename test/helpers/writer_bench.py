"""A journal, a database, and writers between them."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from stream.config import JournalSettings
from stream.db import Database
from stream.frame_readers import DirectReader
from stream.incoming_tweets import StorePolicy
from stream.journal import Journal
from stream.networks.registry import NETWORKS
from stream.tweet import (
    Match,
    Source,
    TrackId,
    Tweet,
)
from stream.writer import Writer

ROOMY = JournalSettings(min_free_bytes=0, min_free_percent=0)
MAX_FRAME_BYTES = 2 << 20  # bytes of a frame
DAY = 86_400_000_000  # microseconds


def snow(found: Tweet) -> Sequence[Match]:
    """Stands for the matcher: track 1 follows snow."""
    return [Match(TrackId(1), "snow", "text")] if "snow" in found.text else []


class WriterBench:
    """A journal, a database, and writers between them."""

    def __init__(self, database: Database, journal: Journal, source: Source) -> None:
        self.database = database
        self.journal = journal
        self.source = source
        self.erase = True
        self.keep_unmatched = True
        self.respect_opt_out = True

    async def store(self) -> Counter[str]:
        """Let a new writer store what is in the journal; what became of it."""
        writer = self._writer()
        writer.drain()
        await writer.run()
        return writer.stored

    @contextlib.asynccontextmanager
    async def storing(self) -> AsyncIterator[None]:
        """Let a writer store what is appended to the journal meanwhile."""
        async with asyncio.TaskGroup() as group:
            writer = self._writer()
            group.create_task(writer.run())
            yield
            writer.drain()

    def _writer(self) -> Writer:
        network = NETWORKS[self.source.network]
        policy = StorePolicy(
            network=self.source.network,
            keep_unmatched=self.keep_unmatched,
            erase=self.erase,
            event_position=network.event_position,
            respect_opt_out=self.respect_opt_out,
            names_authors=network.looks_up_handle is not None,
        )
        return Writer(
            self.database,
            self.source,
            DirectReader(self.journal, self.source),
            network.decode,
            snow,
            flush_interval=0.01,
            max_frame_bytes=MAX_FRAME_BYTES,
            policy=policy,
        )

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.database.fetch(query)]

    async def one(self, query: str) -> Any:
        [[value]] = await self.rows(query)
        return value

    async def counts_agree(self) -> bool:
        """Whether the roll-ups are what a count from scratch gives."""
        wrong = [
            await self.rows(
                f"SELECT track_id, date_trunc('{cut}', received_at, 'UTC'), count(*) FROM matches"
                f" GROUP BY 1, 2 EXCEPT SELECT track_id, {cut}, tweets FROM track_{cut}s"
            )
            for cut in ("minute", "hour", "day")
        ]
        return not any(wrong)

    async def bytes_agree(self) -> bool:
        """Whether hours and days have the same bytes."""
        return bool(
            await self.one(
                "SELECT (SELECT sum(bytes) FROM track_hours) = (SELECT sum(bytes) FROM track_days)"
            )
        )
