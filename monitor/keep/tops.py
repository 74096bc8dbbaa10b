"""Counts what the tweets of tracks are about, from where it had come to, a little at a time.

A tweet counts once: what is added up and the cursor behind it are one transaction. Long tails are
cut, which makes it a lossy count in the manner of Manku and Motwani: who is often there is kept
with a number that is at most a little too small, and who is seldom there comes and goes.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from monitor.chores import Chore
from monitor.keep.subjects import subjects
from monitor.leader import Leader
from stream import stored, tops
from stream.db import Database
from stream.stored import Cursor, StoredMatch, StoredTweet
from stream.tops import HOUR, HOURS, Aspect, Line, hour_of
from stream.tweet import TrackId, TweetId

EVERY = 10.0  # seconds
LIMIT = 300.0  # seconds
PAGE = 200  # tweets that are read at a time
FLUSH = 2000  # tweets in one transaction
MOST = 40_000  # tweets in one run; the next one goes on
SLICE = 10  # tweets between two pauses: a millisecond or two
ROWS = 300  # in one statement

TOP_BATCH = 200  # items of one track, hour and aspect that a transaction adds
TOP_RUNNING = 1000  # that stay of an hour which is not over
TOP_HOUR = 300  # and when it is over
TOP_ALL = 1000  # of what is older
CUT_EVERY = 300.0  # seconds
TRACKS = 20  # that are cut at a time
BREATH = 0.02  # seconds between two statements


class Tops:
    """Keeps track_tops, on the leader."""

    def __init__(self, database: Database, leader: Leader) -> None:
        self.database = database
        self.leader = leader
        self._closed: set[datetime] = set()  # hours that are over and cut
        self._cut_at = -CUT_EVERY

    def chores(self) -> list[Chore]:
        return [Chore("tops", EVERY, self.work, limit=LIMIT)]

    async def work(self) -> None:
        """Count what is new; now and then cut what is long. Safe to end at any moment."""
        if not self.leader.leads:
            return
        await self.count()
        now = asyncio.get_running_loop().time()
        if now - self._cut_at >= CUT_EVERY:
            await self.tidy(datetime.now(UTC))
            self._cut_at = now

    # -- counting ---------------------------------------------------------------------------------

    async def count(self) -> None:
        """From the cursor on; the first time from an hour ago."""
        cursor = await self._cursor()
        counted, more = 0, True
        while more and counted < MOST:
            batch = Batch(datetime.now(UTC))
            reached = cursor
            while more and batch.tweets < FLUSH:
                async with self.database.acquire() as connection:
                    page = await stored.after(connection, reached, PAGE)
                    why = await stored.matches(connection, page.tweets)
                await batch.add(page.tweets, why)
                reached, more = page.cursor, page.more
            if reached == cursor or not await self._flush(batch, cursor, reached):
                return
            cursor, counted = reached, counted + batch.tweets

    async def _cursor(self) -> Cursor:
        async with self.database.acquire() as connection:
            known = await tops.counted_to(connection)
            if known is None:
                begin = await stored.since(connection, datetime.now(UTC) - HOUR)
                await tops.begin_at(connection, str(begin))
                known = await tops.counted_to(connection)
        assert known is not None
        return Cursor.parse(known)

    async def _flush(self, batch: "Batch", cursor: Cursor, reached: Cursor) -> bool:
        async with self.database.transaction() as connection:
            if not await tops.move(connection, str(cursor), str(reached)):
                return False  # another leader has counted them
            async for lines in batch.lines():
                await tops.add(connection, lines)
        return True

    # -- cutting ----------------------------------------------------------------------------------

    async def tidy(self, now: datetime) -> None:
        """Cut the tails, add up old hours, and let go of tracks that are gone."""
        running, oldest = hour_of(now), hour_of(now) - HOURS * HOUR
        async with self.database.acquire() as connection:
            known = await tops.hours(connection)
        self._closed &= set(known)
        for hour in known:
            if hour < oldest:
                await self._fold(hour)
            elif hour >= running:
                await self._cut(hour, TOP_RUNNING)
            elif hour not in self._closed:
                await self._cut(hour, TOP_HOUR)
                self._closed.add(hour)
        async with self.database.acquire() as connection:
            await tops.forget_removed(connection)

    async def _fold(self, hour: datetime) -> None:
        for some in await self._tracks(hour):
            async with self.database.transaction() as connection:
                await tops.fold(connection, some, hour)
                await tops.cut(connection, some, None, TOP_ALL)
            await asyncio.sleep(BREATH)

    async def _cut(self, hour: datetime, most: int) -> None:
        for some in await self._tracks(hour):
            async with self.database.acquire() as connection:
                await tops.cut(connection, some, hour, most)
            await asyncio.sleep(BREATH)

    async def _tracks(self, hour: datetime) -> Iterable[Sequence[TrackId]]:
        async with self.database.acquire() as connection:
            found = await tops.tracks_of(connection, hour)
        return [found[at : at + TRACKS] for at in range(0, len(found), TRACKS)]


class Batch:
    """What some tweets add up to."""

    def __init__(self, now: datetime) -> None:
        self.tweets = 0
        self._oldest = hour_of(now) - HOURS * HOUR
        self._counts: defaultdict[tuple[TrackId, datetime | None, Aspect], Counter[str]]
        self._counts = defaultdict(Counter)

    async def add(
        self, tweets: Sequence[StoredTweet], why: Mapping[TweetId, Sequence[StoredMatch]]
    ) -> None:
        """Others have their turn every few tweets."""
        self.tweets += len(tweets)
        for at, tweet in enumerate(tweets):
            if at % SLICE == 0:
                await asyncio.sleep(0)
            matches = why.get(tweet.id, ())
            items = subjects(tweet) if matches else ()
            hour: datetime | None = hour_of(tweet.received_at)
            if hour is not None and hour < self._oldest:
                hour = None  # too old for an hour of its own, as after an import
            for match in matches:
                for aspect, item in items:
                    self._counts[match.track_id, hour, aspect][item] += 1

    async def lines(self) -> AsyncIterator[Mapping[Line, int]]:
        """As rows, so many at a time. Of what a track has too many of, the most frequent."""
        lines: dict[Line, int] = {}
        for (track_id, hour, aspect), counter in self._counts.items():
            for item, tweets in counter.most_common(TOP_BATCH):
                lines[Line(track_id, hour, aspect, item)] = tweets
            if len(lines) >= ROWS:
                yield lines
                lines = {}
                await asyncio.sleep(0)
        if lines:
            yield lines
