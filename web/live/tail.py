"""A program that reads stored tweets from a cursor on, at its own pace, and misses none.

While it keeps up it takes what the follower has read and matched for all. One that is further
behind reads and matches for itself, a few at a time, until it has caught up.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from stream.cells import feed as merged
from stream.errors import DatabaseAway
from stream.matcher import Matcher
from stream.query import Query
from stream.store.feed import Cursor, Page, StoredMatch, StoredTweet
from stream.tweet import TrackId
from stream.tweet_view import TweetView, view_of
from web.live.broadcaster import Matches
from web.live.follower import FeedBatch, later, with_matches
from web.live.viewers import Live
from web.person import Person
from web.queries.tweet_filter import first_match, matcher_of

PAGE = 200  # tweets read at a time
KEEP_ALIVE = 15.0  # seconds without a tweet after which an empty part is yielded
RETRY_DELAY = 1.0  # seconds between two attempts to reach the database
SLICE = 25  # tweets encoded before other tasks run
TRACKS_BY_INDEX_MAX = 50  # of more, their tweets are picked out of all


class TailFilter(msgspec.Struct, frozen=True):
    """Tweets of these tracks that a query finds; without both, of all tracks that the user sees.

    As everywhere in the API: an admin sees everything that is stored, and so does a user's query.
    """

    person: Person
    tracks: Sequence[TrackId] = ()
    query: Query | None = None

    @property
    def is_open(self) -> bool:
        """Whether all tweets pass, also those of no track."""
        role = self.person.role
        return not self.tracks and (role == "admin" or (role == "user" and self.query is not None))


class Event(NamedTuple):
    """A tweet, as JSON or to be encoded, and the cursor of a reader who has read it."""

    cursor: Cursor
    tweet: TweetView | msgspec.Raw


Events: TypeAlias = list[Event]


class Tail:
    """A reader of tweets from a cursor on, without an end."""

    def __init__(self, live: Live, wanted: TailFilter) -> None:
        self._live = live
        self._follower = live.follower
        self._wanted = wanted
        self._is_known = False  # its cursor is one that Postgres gave
        self._number: TrackId | None = None  # of its query, among those the broadcaster matches
        self._visible: frozenset[TrackId] = frozenset(wanted.tracks)

    async def events(self, cursor: Cursor) -> AsyncGenerator[tuple[Sequence[Event], Cursor], None]:
        """Tweets, some at a time, and how far it has read; now and then none, to keep alive."""
        self._follower.add_reader()
        if self._wanted.query is not None:
            self._number = self._follower.broadcaster.add_query(self._wanted.query)
        try:
            async with contextlib.aclosing(self._from(cursor)) as parts:
                async for part in parts:
                    yield part
        finally:
            if self._wanted.query is not None:
                self._follower.broadcaster.remove_query(self._wanted.query)
            self._follower.remove_reader()

    async def _from(self, cursor: Cursor) -> AsyncGenerator[tuple[Sequence[Event], Cursor], None]:
        yielded_at = time.monotonic()
        while True:
            new_data = self._follower.new_data  # before reading: so no wake-up is missed
            try:
                found, cursor, more = await self._next(cursor)
            except DatabaseAway:
                await asyncio.sleep(RETRY_DELAY)
                found, more = [], True
            if found or time.monotonic() - yielded_at > KEEP_ALIVE:
                yield found, cursor
                yielded_at = time.monotonic()
            if not more:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(KEEP_ALIVE):
                        await new_data.wait()

    async def _next(self, cursor: Cursor) -> tuple[Events, Cursor, bool]:
        """The next tweets that pass, the cursor after them, and whether there are more now."""
        # A cursor from outside may be of a database that was restored since: Postgres knows.
        if self._is_known and (batch := self._follower.batches.after(cursor)) is not None:
            return await self._from_batch(batch, cursor), later(cursor, batch.end), True
        if self._is_known and self._follower.is_caught_up(cursor):
            return [], cursor, False
        found, page = await self._catch_up(cursor)
        self._is_known = True
        return found, page.cursor, page.more

    # -- what the follower has read ---------------------------------------------------------------

    async def _from_batch(self, batch: FeedBatch, cursor: Cursor) -> Events:
        """The tweets of the batch that pass, after the cursor."""
        budget = self._follower.budget
        await self._refresh_visible()
        passing = self._passing(batch, cursor)
        found: Events = []
        while True:
            await budget.wait_turn()
            with budget.spending():
                some = list(itertools.islice(passing, SLICE))
            found += some
            if len(some) < SLICE:
                return found

    def _passing(self, batch: FeedBatch, cursor: Cursor) -> Iterator[Event]:
        for tweet_id, tweet in batch.unread(cursor):
            mine = [match for match in batch.matches.get(tweet_id, ()) if self._sees(match)]
            if not (mine or self._wanted.is_open):
                continue
            if self._number is not None and self._number not in batch.matched.get(tweet_id, ()):
                continue
            after = later(cursor, batch.cursor_after(tweet_id))
            yield Event(after, batch.encoded(tweet_id, tweet, mine))

    # -- what it reads for itself -----------------------------------------------------------------

    async def _catch_up(self, cursor: Cursor) -> tuple[Events, Page]:
        """Read one page from the database."""
        async with self._follower.catching_up.admit():
            await self._refresh_visible()
            # A reader that disconnects meanwhile must not cost a connection to the database.
            page, matches = await asyncio.shield(self._read(cursor))
            return await self._filter(page, matches), page

    async def _read(self, cursor: Cursor) -> tuple[Page, Matches]:
        home = self._live.cells.home
        async with home.acquire() as connection, self._live.cells.reading(connection) as cells:
            is_few = not self._wanted.is_open and len(self._visible) <= TRACKS_BY_INDEX_MAX
            tracks = list(self._visible) if is_few else None
            found = await merged.after(cells, connection, cursor, PAGE, tracks, with_matches=True)
            return found.page, found.matches

    async def _filter(self, page: Page, matches: Matches) -> Events:
        budget = self._follower.budget
        matcher = None
        if page.tweets and self._wanted.query is not None:
            matcher = await asyncio.to_thread(matcher_of, self._wanted.query)
        found: Events = []
        for tweet in page.tweets:
            await budget.wait_turn()
            with budget.spending():
                mine = [match for match in matches.get(tweet.id, ()) if self._sees(match)]
                if (mine or self._wanted.is_open) and _matches(matcher, tweet):
                    view = with_matches(view_of(tweet, ()), mine)
                    found.append(Event(page.cursor_after(tweet.id), view))
        return found

    # -- what its user sees -----------------------------------------------------------------------

    async def _refresh_visible(self) -> None:
        """Read which tracks the user sees; tracks that were named are checked for the slot."""
        if not self._is_limited:
            return
        user, cache = self._wanted.person.id, self._live.visible
        if (known := cache.known(user)) is not None:
            self._visible = known
            return
        async with self._live.database.acquire() as connection:
            self._visible = await cache.tracks_of(connection, user)

    @property
    def _is_limited(self) -> bool:
        """Whether it matters which tracks the user sees."""
        return not self._wanted.tracks and self._wanted.person.role != "admin"

    def _sees(self, match: StoredMatch) -> bool:
        if self._wanted.tracks or self._is_limited:
            return match.track_id in self._visible
        return True


def _matches(matcher: Matcher | None, tweet: StoredTweet) -> bool:
    return matcher is None or first_match(matcher, tweet) is not None
