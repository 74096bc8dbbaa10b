"""Counts the top items of each track: authors, hashtags, mentions, links, languages, kinds.

A tweet counts once: counts and cursor are saved in one transaction. Rare items are pruned, which
makes it a lossy count as by Manku and Motwani: the count of a frequent item is at most a little too
small, and rare items are replaced.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from monitor.item_counts import ItemCounts
from monitor.jobs import Leader, PeriodicJob
from stream.db import Database
from stream.decoded_tweets import DecodedTweets
from stream.keys import hour_of
from stream.store import consumer_cursors, feed, search, top_items
from stream.store.consumer_cursors import TOP_ITEMS
from stream.store.feed import Cursor
from stream.store.top_items import HOUR, HOURS_KEPT
from stream.tweet import TrackId, TweetId

INTERVAL = 10.0  # seconds
RUN_TIMEOUT = 300.0  # seconds
PAGE_TWEETS = 1000  # read at a time
PAGE_DOCS = 200  # of those, fetched and decoded at a time
TRANSACTION_TWEETS = 4000
RUN_TWEETS_MAX = 40_000  # the next run continues

# Items of one track, hour and aspect:
KEPT_CURRENT_HOUR = 1000
KEPT_CLOSED_HOUR = 300
KEPT_OLDER = 1000
PRUNE_INTERVAL = 300.0  # seconds
PRUNE_TRACKS = 20  # at a time
PAUSE_BETWEEN_BATCHES = 0.02  # seconds


class TopItemsJob:
    """The periodic job that keeps the top items, on the leader."""

    def __init__(
        self, database: Database, leader: Leader, decoded: DecodedTweets | None = None
    ) -> None:
        self.database = database
        self.leader = leader
        self.decoded = decoded or DecodedTweets()
        self.job = PeriodicJob("top items", INTERVAL, self.work, limit=RUN_TIMEOUT)
        self._pruned: set[datetime] = set()  # closed hours
        self._pruned_at = -PRUNE_INTERVAL

    async def work(self) -> None:
        """Count new tweets, and prune now and then. It can be cancelled at any time."""
        if not self.leader.leads:
            return
        await self.count()
        now = asyncio.get_running_loop().time()
        if now - self._pruned_at >= PRUNE_INTERVAL:
            await self.prune(datetime.now(UTC))
            self._pruned_at = now

    # -- counting ---------------------------------------------------------------------------------

    async def count(self) -> None:
        """Count the tweets after the cursor; the first time, those of the last hour."""
        cursor = await self._cursor()
        counted, more = 0, True
        while more and counted < RUN_TWEETS_MAX:
            batch = ItemCounts(datetime.now(UTC))
            reached, read = cursor, 0
            while more and read < TRANSACTION_TWEETS:
                async with self.database.acquire() as connection:
                    page = await feed.keys_after(connection, reached, PAGE_TWEETS)
                    tracks = await feed.tracks_of(connection, page.keys)
                await self._count_page(batch, tracks)
                reached, more, read = page.cursor, page.more, read + len(page.keys)
            if reached == cursor or not await self._save(batch, cursor, reached):
                return
            cursor, counted = reached, counted + read

    async def _count_page(
        self, batch: ItemCounts, tracks: Mapping[TweetId, Sequence[TrackId]]
    ) -> None:
        """Count matched tweets; those that are not decoded here are read from the table."""
        decoded = {key: self.decoded.take(key) for key in tracks}
        await batch.add((tweet for tweet in decoded.values() if tweet is not None), tracks)
        missing = [key for key, tweet in decoded.items() if tweet is None]
        for at in range(0, len(missing), PAGE_DOCS):
            keys = missing[at : at + PAGE_DOCS]
            async with self.database.acquire() as connection:
                stored = await search.by_keys(connection, keys)
            await batch.add(stored, tracks)

    async def _cursor(self) -> Cursor:
        async with self.database.acquire() as connection:
            known = await consumer_cursors.read(connection, TOP_ITEMS)
            if known is None:
                begin = await feed.since(connection, datetime.now(UTC) - HOUR)
                await consumer_cursors.start_at(connection, TOP_ITEMS, str(begin))
                known = await consumer_cursors.read(connection, TOP_ITEMS)
        assert known is not None
        return Cursor.parse(known)

    async def _save(self, batch: ItemCounts, cursor: Cursor, reached: Cursor) -> bool:
        async with self.database.transaction() as connection:
            if not await consumer_cursors.advance(connection, TOP_ITEMS, str(cursor), str(reached)):
                return False  # another leader has counted them
            async for lines in batch.rows():
                await top_items.add(connection, lines)
        return True

    # -- pruning ----------------------------------------------------------------------------------

    async def prune(self, now: datetime) -> None:
        """Delete rare items, roll up old hours, and delete the items of removed tracks."""
        current, oldest = hour_of(now), hour_of(now) - HOURS_KEPT * HOUR
        async with self.database.acquire() as connection:
            known = await top_items.hours(connection)
        self._pruned &= set(known)
        for hour in known:
            if hour < oldest:
                await self._roll_up(hour)
            elif hour >= current:
                await self._prune_hour(hour, KEPT_CURRENT_HOUR)
            elif hour not in self._pruned:
                await self._prune_hour(hour, KEPT_CLOSED_HOUR)
                self._pruned.add(hour)
        async with self.database.acquire() as connection:
            await top_items.delete_removed_tracks(connection)

    async def _roll_up(self, hour: datetime) -> None:
        for batch in await self._track_batches(hour):
            async with self.database.transaction() as connection:
                await top_items.roll_up(connection, batch, hour)
                await top_items.prune(connection, batch, None, KEPT_OLDER)
            await asyncio.sleep(PAUSE_BETWEEN_BATCHES)

    async def _prune_hour(self, hour: datetime, keep: int) -> None:
        for batch in await self._track_batches(hour):
            async with self.database.acquire() as connection:
                await top_items.prune(connection, batch, hour, keep)
            await asyncio.sleep(PAUSE_BETWEEN_BATCHES)

    async def _track_batches(self, hour: datetime) -> Iterable[Sequence[TrackId]]:
        async with self.database.acquire() as connection:
            found = await top_items.tracks_of(connection, hour)
        return [found[at : at + PRUNE_TRACKS] for at in range(0, len(found), PRUNE_TRACKS)]
