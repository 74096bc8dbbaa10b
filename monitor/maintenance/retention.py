"""Deletes from Postgres what is past its retention: whole days, and single tweets of other days.

`monitor.archive.due_days` decides what has expired. With an archive, nothing is deleted that is not
in a verified one, unchanged since. Single tweets are deleted by the keys in the files: so a tweet
that arrived later stays until it is archived, too.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import date
from functools import partial

from monitor.archive import catalog
from monitor.archive.catalog import Archive
from monitor.archive.drop import drop_due
from monitor.archive.due_days import ExpiredTweets, expired_by_day, is_due_as_a_whole
from monitor.archive.store import Store
from monitor.archive.verify import check_bytes, check_published, digests_match
from monitor.jobs import DetachedCall, Leader, PeriodicJob
from stream.config import Settings
from stream.db import Database, Executor, transaction
from stream.store import archives, day_deletion, day_snapshot, partitions
from stream.store.day_deletion import Deleted
from stream.store.partitions import day_bounds

logger = logging.getLogger(__name__)

INTERVAL = 3600.0  # seconds
RUN_TIMEOUT = 3500.0  # seconds; the next run continues
BATCH_TWEETS = 5000  # in one transaction
PAUSE_BETWEEN_BATCHES = 0.05  # seconds


class Retention:
    """The periodic job that deletes expired tweets, on the leader."""

    def __init__(self, database: Database, settings: Settings, leader: Leader) -> None:
        self.database = database
        self.settings = settings
        self.leader = leader
        self._detached = DetachedCall("retention")
        self.job = PeriodicJob("retention", INTERVAL, self.work, limit=RUN_TIMEOUT)

    async def work(self) -> None:
        """Drop days that have expired as a whole, and delete single tweets of the others."""
        if not self.leader.leads:
            return
        async with self.database.acquire() as connection:
            await archives.delete_expiry_except(connection, await partitions.days(connection))
            found = await expired_by_day(connection, self.settings.retention)
            whole = [each.day for each in found if await is_due_as_a_whole(connection, each)]
            done = await archives.expiry_rules(connection)
        await self._drop(whole)
        for each in found:
            if each.day in whole:
                await self._clear_changed(each.day)
            elif not each.nothing and done.get(each.day) != each.rule:
                await self._delete_expired(each)

    # -- whole days -------------------------------------------------------------------------------

    async def _drop(self, whole: Sequence[date]) -> None:
        if self.settings.archive.url:
            dropped = await drop_due(self.database, self.settings, days=whole)
        else:
            dropped = [day for day in whole if await self._drop_day(day)]
        for day in dropped:
            logger.info("expired day dropped", extra={"day": str(day)})

    async def _drop_day(self, day: date) -> bool:
        """Drop a day that is not archived; False when another process works on it."""
        async with archives.day_lock(self.database, day) as connection:
            if connection is None:
                return False

            async def attempt(locked: Executor = connection) -> None:
                async with partitions.short_lock_waits(locked):
                    await partitions.lock_day(locked, day)
                    await partitions.drop_day(locked, day)
                    await archives.mark_dropped(locked, day)

            await partitions.with_lock_retries(attempt)
        return True

    async def _clear_changed(self, day: date) -> None:
        """Empty a day that is partially expired and has changed since, so that it is not dropped.

        All that the archive has is deleted. The rest arrived later, and becomes another part.
        """
        async with archives.day_lock(self.database, day) as connection:
            if connection is None or not self.settings.archive.url:
                return
            live = [each for each in await catalog.rows(connection, day) if each.in_database]
            if not live or not all(
                each.partially_expired_at and each.state == "verified" for each in live
            ):
                return
            bounds = day_bounds(day)
            async for keys in self._archived_keys(live):
                await self._delete(
                    connection, day, partial(day_deletion.delete_stored, connection, keys, bounds)
                )
            for each in live:
                await catalog.mark_lost_partitions(connection, each)

    # -- single tweets ----------------------------------------------------------------------------

    async def _delete_expired(self, expired: ExpiredTweets) -> None:
        """Delete the expired tweets of a day, and note that it is done."""
        day = expired.day
        async with archives.day_lock(self.database, day) as connection:
            if connection is None:
                return  # it is being archived; the next run does it
            if self.settings.archive.url:
                live = await self._verified(connection, day)
                if live is None:
                    return
                batches = self._archived_keys(live)
            else:
                batches = _stored_keys(connection, day)
            number = 0
            async for keys in batches:
                number += await self._delete(
                    connection,
                    day,
                    partial(
                        day_deletion.delete_expired,
                        connection,
                        keys,
                        day_bounds(day),
                        keep_days=expired.limit,
                        age=expired.age,
                        unmatched=expired.unmatched,
                    ),
                )
            await archives.note_expiry(connection, day, expired.rule)
        if number:
            logger.info("expired tweets deleted", extra={"day": str(day), "tweets": number})

    async def _delete(
        self, connection: Executor, day: date, delete: Callable[[], Awaitable[Deleted]]
    ) -> int:
        """Delete one batch; returns the number of deleted tweets."""
        async with transaction(connection):
            deleted = await delete()
            if self.settings.archive.url and (deleted.matches or deleted.tweets):
                await archives.mark_partially_expired(connection, day)
        await asyncio.sleep(PAUSE_BETWEEN_BATCHES)
        return deleted.tweets

    # -- with an archive --------------------------------------------------------------------------

    async def _verified(self, connection: Executor, day: date) -> list[Archive] | None:
        """The archives that hold all of the day, complete and unchanged; None without such.

        A day that is partially expired is not compared: its archive has more than Postgres.
        """
        live = [each for each in await catalog.rows(connection, day) if each.in_database]
        if not live or any(each.state != "verified" for each in live):
            return None
        if not all(each.partially_expired_at for each in live):
            if await archives.changed(connection, day):
                return None
            made = [each.verified_manifest for each in live]
            if not digests_match(await day_snapshot.digests(connection, day), made):
                await archives.mark_changed(connection, day)
                return None
        store = await self._store()
        for each in live:
            await self._detached.run(partial(check_published, store, each.verified_manifest))
            await self._detached.run(partial(check_bytes, store, each.verified_manifest))
        return live

    async def _archived_keys(self, live: Sequence[Archive]) -> AsyncIterator[list[int]]:
        """The keys of the tweets in these archives."""
        store = await self._store()
        for each in live:
            batches = _keys_in_file(store, each.verified_manifest.path("tweets"))
            while keys := await self._detached.run(partial(next, batches, None)):
                yield keys

    async def _store(self) -> Store:
        return await self._detached.run(partial(Store, self.settings.archive.url))


def _keys_in_file(store: Store, path: str) -> Iterator[list[int]]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - 30 MB, for archives that single tweets go from

    file = pq.ParquetFile(store.open(path), pre_buffer=False)
    for batch in file.iter_batches(BATCH_TWEETS, columns=["id"], use_threads=False):
        yield batch.column(0).to_pylist()


async def _stored_keys(connection: Executor, day: date) -> AsyncIterator[list[int]]:
    """The keys of the tweets in Postgres."""
    last = 0
    while keys := await day_deletion.next_keys(connection, last, *day_bounds(day), BATCH_TWEETS):
        last = keys[-1]
        yield keys
