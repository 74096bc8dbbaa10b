"""Where the tweets of an export are: days in Postgres and days in archives, as one order of keys.

A day can be in both: late tweets of a dropped day, and days of which only a part has expired.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import date, datetime

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from monitor.archive import catalog
from monitor.archive.catalog import Archive
from monitor.archive.data_files import RowReader, records, with_added_columns
from monitor.archive.manifest import ArchiveError
from monitor.archive.store import Store
from stream.db import Database, Executor
from stream.errors import TwitterstreamError
from stream.keys import KEY_EPOCH, tweet_key
from stream.store import export_rows, partitions
from stream.store.day_snapshot import MATCHES
from stream.store.export_rows import Range, Selection
from stream.store.partitions import day_bounds
from stream.tweet import LaneId, TweetId

BATCH_ROWS = 5000  # of an archive, in memory and in the temporary tables


class Moved(TwitterstreamError):
    """A day was archived, dropped or restored while it was read: read it again."""


class Day(msgspec.Struct, frozen=True):
    """A day, and the archives that have rows of it which Postgres does not have."""

    day: date
    archives: Sequence[Archive]

    @property
    def state(self) -> list[tuple[int, int]]:
        """Changes whenever the rows move."""
        return [(each.part, each.generation) for each in self.archives]


def key_at(moment: datetime) -> TweetId:
    """The first key that a tweet received at this time can have."""
    return tweet_key(max(round(moment.timestamp() * 1e6), KEY_EPOCH), LaneId(0))


async def days(connection: Executor, after: TweetId, until: TweetId) -> list[Day]:
    """The days that may have tweets with keys above `after` and below `until`, oldest first."""
    found: dict[date, list[Archive]] = {day: [] for day in await partitions.days(connection)}
    for archive in await catalog.rows(connection):
        if archive.is_authoritative:
            found.setdefault(archive.day, []).append(archive)
    return [
        Day(day, tuple(found[day]))
        for day in sorted(found)
        if key_at(day_bounds(day)[0]) < until and key_at(day_bounds(day)[1]) > after
    ]


async def first_key(connection: Executor, begin: TweetId, until: TweetId) -> TweetId:
    """The key from which on there are tweets."""
    every = await days(connection, begin, until)
    return max(begin, key_at(day_bounds(every[0].day)[0])) if every else begin


class Source:
    """Reads the keys of an export in order, in ranges whose rows can be read by one statement."""

    def __init__(
        self, database: Database, connection: Executor, store: Store | None, selection: Selection
    ) -> None:
        self.database = database
        self.connection = connection  # has the temporary tables
        self.store = store
        self.selection = selection
        self._day: Day | None = None  # that is being read

    async def ranges(self, after: TweetId, until: TweetId) -> AsyncGenerator[Range, None]:
        """The ranges of keys above `after` and below `until`, in order.

        Each must be read completely, or left for good, before the next one is requested. Moved: a
        day has changed its place meanwhile.
        """
        async with self.database.acquire() as connection:
            every = await days(connection, after, until)
        for each in every:
            self._day = each
            first, end = day_bounds(each.day)
            keys = Range(
                max(after, TweetId(key_at(first) - 1)),
                TweetId(min(until, key_at(end)) - 1),
                (first, end),
            )
            if each.archives:
                async for staged in self._staged(each, keys):
                    yield staged
                    await self.check()
            else:
                yield keys
                await self.check()

    async def check(self) -> None:
        """Moved unless the rows of the day that is being read are still where they were."""
        before = self._day
        assert before is not None
        async with self.database.acquire() as connection:
            known = await catalog.rows(connection, before.day)
        now = Day(before.day, tuple(each for each in known if each.is_authoritative))
        if now.state != before.state:
            raise Moved(f"{before.day} was archived or restored while it was exported")

    async def _staged(self, day: Day, keys: Range) -> AsyncGenerator[Range, None]:
        """Ranges of a day whose archived rows are in the temporary tables."""
        if self.store is None:
            raise ArchiveError(
                f"{day.day} is only in an archive, and `archive.url` is not set: set it to where"
                " the archive is, or leave this day out."
            )
        reader = await asyncio.to_thread(_DayReader, self.store, day, self.selection, keys)
        after = keys.after
        while after < keys.last:
            batch = await asyncio.to_thread(reader.next)
            if batch is not None and not batch.tweets and batch.last < keys.last:
                continue  # the next range covers these keys, too
            last = keys.last if batch is None else min(batch.last, keys.last)
            tweets = [] if batch is None else batch.tweets
            matches = [] if batch is None else batch.matches
            await export_rows.stage(self.connection, tweets, matches)
            yield msgspec.structs.replace(keys, after=after, last=last, staged=True)
            after = last


class _Batch(msgspec.Struct, frozen=True):
    """The archived rows up to a key: tweets of the selection, and their matches."""

    last: TweetId
    tweets: Sequence[tuple[object, ...]]
    matches: Sequence[tuple[object, ...]]


class _DayReader:
    """Reads the tweets of some tracks from all parts of an archived day, in order of their keys.

    Both files are in the order of the key, so that neither is held in memory. Its methods block.
    """

    def __init__(self, store: Store, day: Day, selection: Selection, keys: Range) -> None:
        made = [each.verified_manifest for each in day.archives]
        self._tracks = pa.array(selection.tracks, pa.int64())
        self._tweets = [_Rows(store, each.path("tweets"), "id", keys) for each in made]
        self._matches = [_Rows(store, each.path("matches"), "tweet_id", keys) for each in made]

    def next(self) -> _Batch | None:
        """The next rows; None at the end."""
        last = min((each.last for each in self._tweets if each.fill()), default=None)
        if last is None:
            return None
        matches = pa.concat_tables([each.up_to(last) for each in self._matches])
        matches = matches.filter(pc.is_in(matches["track_id"], self._tracks))
        tweets = pa.concat_tables([each.up_to(last) for each in self._tweets])
        tweets = tweets.filter(pc.is_in(tweets["id"], matches["tweet_id"].combine_chunks()))
        return _Batch(last, records(tweets), records(matches))


class _Rows:
    """The rows of one file, from a key on."""

    def __init__(self, store: Store, path: str, key: str, keys: Range) -> None:
        self._reader = RowReader(store, path)
        self._key = key
        self._keys = keys
        self._rows = self._take()

    def _take(self) -> pa.Table:
        """The next rows in the range; none at the end."""
        while True:
            rows = self._reader.take(BATCH_ROWS)
            if self._key == "tweet_id":
                rows = with_added_columns(MATCHES, rows)
            if not rows.num_rows or rows[self._key][0].as_py() > self._keys.last:
                return rows.slice(0, 0)
            within = rows.filter(pc.greater(rows[self._key], self._keys.after))
            if within.num_rows:
                return within

    def fill(self) -> bool:
        """Have rows to look at. False: there are no more."""
        if not self._rows.num_rows:
            self._rows = self._take()
        return bool(self._rows.num_rows)

    @property
    def last(self) -> TweetId:
        """The key of the last row that is in memory."""
        return TweetId(self._rows[self._key][-1].as_py())

    def up_to(self, key: TweetId) -> pa.Table:
        """Take the rows up to this key."""
        found = [self._rows.slice(0, 0)]
        while self.fill():
            number = pc.sum(pc.less_equal(self._rows[self._key], key)).as_py()
            found.append(self._rows.slice(0, number))
            self._rows = self._rows.slice(number)
            if self._rows.num_rows:
                break
        return pa.concat_tables(found)
