"""What goes out of Postgres when its time is up: whole days, and of days that stay, single tweets.

`monitor.archive.dues` says what is due. With an archive nothing goes that is not in a verified one,
unchanged since, and single tweets by the numbers that the files hold: so a tweet that came later
stays until it is archived, too.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import date
from functools import partial

import pyarrow.parquet as pq

from monitor.archive import book, days, drop_due
from monitor.archive.book import Archive
from monitor.archive.checking import agree, check_bytes, check_published
from monitor.archive.dues import Due, dues, may_go
from monitor.archive.manifest import day_bounds
from monitor.archive.store import Store
from monitor.aside import Aside
from monitor.leader import Leader
from stream.config import Settings
from stream.db import Database, Executor

logger = logging.getLogger(__name__)

EVERY = 3600.0  # seconds
LIMIT = 3500.0  # seconds; what is not done by then goes on an hour later
BATCH = 5000  # tweets in one transaction
BREATH = 0.05  # seconds between two of them

_DONE = "SELECT day, rule FROM thinned_days"
_NOTE = """
INSERT INTO thinned_days (day, rule) VALUES ($1, $2)
ON CONFLICT (day) DO UPDATE SET rule = excluded.rule, thinned_at = now()
"""
_FORGET = "DELETE FROM thinned_days WHERE day <> ALL ($1::date[])"
_NEXT = """
SELECT id FROM tweets WHERE id > $1 AND received_at >= $2 AND received_at < $3 ORDER BY id LIMIT $4
"""
# $1: the tweets; $2, $3: their day; $4: retention.tweets_days, null for ever; $5: whole days since
# the day was over; $6: whether tweets without any match go. Matches of removed tracks go by $4.
_THIN = """
WITH credited AS (
    SELECT matches.tweet_id, matches.track_id,
        coalesce(coalesce(tracks.keep_days, $4::integer) <= $5::integer, false) AS over
    FROM matches LEFT JOIN tracks ON tracks.id = matches.track_id
    WHERE matches.tweet_id = ANY ($1::bigint[])
      AND matches.received_at >= $2 AND matches.received_at < $3
), uncredited AS (
    DELETE FROM matches USING credited
    WHERE credited.over
      AND matches.tweet_id = credited.tweet_id AND matches.track_id = credited.track_id
      AND matches.received_at >= $2 AND matches.received_at < $3
    RETURNING 1
), gone AS (
    DELETE FROM tweets
    WHERE id = ANY ($1::bigint[]) AND received_at >= $2 AND received_at < $3
      AND NOT EXISTS (
        SELECT FROM credited WHERE credited.tweet_id = tweets.id AND NOT credited.over)
      AND ($6 OR EXISTS (SELECT FROM credited WHERE credited.tweet_id = tweets.id))
    RETURNING 1
)
SELECT (SELECT count(*) FROM uncredited) AS matches, (SELECT count(*) FROM gone) AS tweets
"""
_CLEAR = """
WITH uncredited AS (
    DELETE FROM matches
    WHERE tweet_id = ANY ($1::bigint[]) AND received_at >= $2 AND received_at < $3
    RETURNING 1
), gone AS (
    DELETE FROM tweets WHERE id = ANY ($1::bigint[]) AND received_at >= $2 AND received_at < $3
    RETURNING 1
)
SELECT (SELECT count(*) FROM uncredited) AS matches, (SELECT count(*) FROM gone) AS tweets
"""


class Retention:
    """Lets go of what is due, on the leader."""

    def __init__(self, database: Database, settings: Settings, leader: Leader) -> None:
        self.database = database
        self.settings = settings
        self.leader = leader
        self._aside = Aside("retention")

    async def work(self) -> None:
        """Drop days that are due as a whole, and thin the others; safe to repeat and to end."""
        if not self.leader.leads:
            return
        async with self.database.acquire() as connection:
            await connection.execute(_FORGET, await days.present(connection))
            found = await dues(connection, self.settings.retention)
            whole = [each.day for each in found if await may_go(connection, each)]
            done = {row["day"]: row["rule"] for row in await connection.fetch(_DONE)}
        await self._drop(whole)
        for each in found:
            if each.day in whole:
                await self._clear_changed(each.day)
            elif not each.nothing and done.get(each.day) != each.rule:
                await self._thin(each)

    # -- whole days -------------------------------------------------------------------------------

    async def _drop(self, whole: Sequence[date]) -> None:
        if self.settings.archive.url:
            gone = await drop_due(self.database, self.settings, days=whole)
        else:
            gone = [day for day in whole if await self._drop_day(day)]
        for day in gone:
            logger.info("the tweets of a day have gone: their time is up", extra={"day": str(day)})

    async def _drop_day(self, day: date) -> bool:
        """Without an archive: both partitions at once, and nobody waits long for the locks."""
        async with book.locked(self.database, day) as connection:
            if connection is None:
                return False

            async def attempt(held: Executor = connection) -> None:
                async with book.short_lock(held):
                    await book.hold_day(held, day)
                    await book.dropped(held, day)

            await book.patiently(attempt)
        return True

    async def _clear_changed(self, day: date) -> None:
        """End a day that was thinned and has changed since, which so cannot go by comparing.

        All goes that the archive has. What is left came later, and becomes another part of it.
        """
        async with book.locked(self.database, day) as connection:
            if connection is None or not self.settings.archive.url:
                return
            live = [each for each in await book.rows(connection, day) if each.in_database]
            if not live or not all(each.thinned_at and each.state == "verified" for each in live):
                return
            async for ids in self._archived(live):
                await self._delete(connection, day, _CLEAR, ids)
            for each in live:
                await book.vanished(connection, each)

    # -- single tweets ----------------------------------------------------------------------------

    async def _thin(self, each: Due) -> None:
        """Walk over the tweets of a day once, and note that it is done."""
        arguments = (each.limit, each.age, each.unmatched)
        async with book.locked(self.database, each.day) as connection:
            if connection is None:
                return  # an archiver is at it; an hour later it will be done
            number = 0
            if self.settings.archive.url:
                live = await self._verified(connection, each.day)
                if live is None:
                    return
                async for ids in self._archived(live):
                    number += await self._delete(connection, each.day, _THIN, ids, *arguments)
            else:
                async for ids in _present(connection, each.day):
                    number += await self._delete(connection, each.day, _THIN, ids, *arguments)
            await connection.execute(_NOTE, each.day, each.rule)
        if number:
            told = {"day": str(each.day), "tweets": number}
            logger.info("tweets of a day have gone: their time is up", extra=told)

    async def _delete(
        self, connection: Executor, day: date, statement: str, ids: list[int], *arguments: object
    ) -> int:
        """One batch; how many tweets went."""
        async with connection.transaction():
            [went] = await connection.fetch(statement, ids, *day_bounds(day), *arguments)
            if self.settings.archive.url and (went["matches"] or went["tweets"]):
                await book.thinned(connection, day)
        await asyncio.sleep(BREATH)
        return int(went["tweets"])

    # -- with an archive --------------------------------------------------------------------------

    async def _verified(self, connection: Executor, day: date) -> list[Archive] | None:
        """The archives that hold all of the day, whole and unchanged; None when that is not so.

        Of a day that was thinned before, the files are the truth already.
        """
        live = [each for each in await book.rows(connection, day) if each.in_database]
        if not live or any(each.state != "verified" for each in live):
            return None
        if not all(each.thinned_at for each in live):
            if await book.touched(connection, day):
                return None
            made = [each.known for each in live]
            if not agree(await days.digests(connection, day), made):
                await book.touch(connection, day)
                return None
        store = await self._store()
        for each in live:
            await self._aside.do(partial(check_published, store, each.known))
            await self._aside.do(partial(check_bytes, store, each.known))
        return live

    async def _archived(self, live: Sequence[Archive]) -> AsyncIterator[list[int]]:
        """The numbers of the tweets in these archives."""
        store = await self._store()
        for each in live:
            batches = _numbers(store, each.known.path("tweets"))
            while ids := await self._aside.do(partial(next, batches, None)):
                yield ids

    async def _store(self) -> Store:
        return await self._aside.do(partial(Store, self.settings.archive.url))


def _numbers(store: Store, path: str) -> Iterator[list[int]]:
    file = pq.ParquetFile(store.open(path), pre_buffer=False)
    for batch in file.iter_batches(BATCH, columns=["id"], use_threads=False):
        yield batch.column(0).to_pylist()


async def _present(connection: Executor, day: date) -> AsyncIterator[list[int]]:
    """The numbers of the tweets in Postgres."""
    last = 0
    while rows := await connection.fetch(_NEXT, last, *day_bounds(day), BATCH):
        last = rows[-1]["id"]
        yield [row["id"] for row in rows]
