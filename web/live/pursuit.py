"""A program that reads on in what is stored, at its own pace: it misses nothing."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from stream import stored
from stream.db import Database, Executor
from stream.errors import DatabaseAway
from stream.query import Query
from stream.stored import Cursor, Page, StoredMatch, StoredTweet
from stream.tweet import TrackId, TweetId
from web.live.follower import Follower
from web.live.view import matcher_of, message_of
from web.person import Person
from web.reading import watched
from web.shown import ShownTweet, shown

PAGE = 200  # tweets read at a time
KEEP_ALIVE = 15.0  # seconds without a tweet after which something is said
RETRY = 1.0  # seconds between two attempts to reach the database
RENEW = 2.0  # seconds for which it is known which tracks somebody sees
FEW = 50  # tracks; of more, their tweets are picked out of all
SLICE = 20  # tweets that are looked at before others have their turn


class Wanted(msgspec.Struct, frozen=True):
    """Of these tracks, and what a query finds; without both, of all tracks that the person sees.

    As everywhere in the API: an admin sees whatever is stored, and so does a query of a user.
    """

    person: Person
    tracks: Sequence[TrackId] = ()
    query: Query | None = None

    @property
    def is_open(self) -> bool:
        """Whether it looks at all tweets, also those of no track."""
        role = self.person.role
        return not self.tracks and (role == "admin" or (role == "user" and self.query is not None))


class Event(NamedTuple):
    """A tweet, and the cursor of whoever has seen it."""

    cursor: Cursor
    tweet: ShownTweet


class Pursuit:
    """One reading, from a cursor on, for ever."""

    def __init__(self, database: Database, follower: Follower, wanted: Wanted) -> None:
        self._database = database
        self._follower = follower
        self._wanted = wanted
        self._matcher = None if wanted.query is None else matcher_of(wanted.query)
        self._seen: frozenset[TrackId] = frozenset(wanted.tracks)
        self._renewed = -RENEW

    async def events(self, cursor: Cursor) -> AsyncGenerator[tuple[Sequence[Event], Cursor], None]:
        """Tweets, some at a time, and how far it has come; none of them to say: still here."""
        self._follower.come()
        spoken = time.monotonic()
        try:
            while True:
                rung = self._follower.rung  # before it is read: so no ring is missed
                found, page = await self._next(cursor)
                cursor = page.cursor
                if found or time.monotonic() - spoken > KEEP_ALIVE:
                    yield found, cursor
                    spoken = time.monotonic()
                if not page.more:
                    await _rings(rung)
        finally:
            self._follower.go()

    async def _next(self, cursor: Cursor) -> tuple[list[Event], Page]:
        """Nothing new as long as the database is away."""
        try:
            # Who vanishes in the middle of it shall not cost a connection to the database.
            page, matches = await asyncio.shield(self._read(cursor))
        except DatabaseAway:
            await asyncio.sleep(RETRY)
            return [], Page((), cursor, more=False)
        return [event async for event in self._sift(page, matches)], page

    async def _read(self, cursor: Cursor) -> tuple[Page, Mapping[TweetId, Sequence[StoredMatch]]]:
        async with self._database.acquire() as connection:
            await self._renew(connection)
            few = not self._wanted.is_open and len(self._seen) <= FEW
            tracks = list(self._seen) if few else None
            page = await stored.after(connection, cursor, PAGE, tracks)
            return page, await stored.matches(connection, page.tweets)

    async def _renew(self, connection: Executor) -> None:
        """Which tracks the person sees; of those that were asked for, the seat takes care."""
        if self._is_limited and time.monotonic() - self._renewed > RENEW:
            self._seen = await watched.tracks_of(connection, self._wanted.person.id)
            self._renewed = time.monotonic()

    async def _sift(
        self, page: Page, matches: Mapping[TweetId, Sequence[StoredMatch]]
    ) -> AsyncIterator[Event]:
        for number, tweet in enumerate(page.tweets):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            mine = [match for match in matches.get(tweet.id, ()) if self._sees(match)]
            if (mine or self._wanted.is_open) and self._meets(tweet):
                yield Event(page.behind(tweet.id), shown(tweet, mine))

    @property
    def _is_limited(self) -> bool:
        """Whether it matters which tracks the person sees."""
        return not self._wanted.tracks and self._wanted.person.role != "admin"

    def _sees(self, match: StoredMatch) -> bool:
        if self._wanted.tracks or self._is_limited:
            return match.track_id in self._seen
        return True

    def _meets(self, tweet: StoredTweet) -> bool:
        if self._matcher is None:
            return True
        message = message_of(tweet)
        return message is not None and bool(self._matcher.match(message))


async def _rings(rung: asyncio.Event) -> None:
    """Wait for news, or until it is time to say something."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KEEP_ALIVE):
            await rung.wait()
