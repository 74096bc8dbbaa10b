"""Reads newly stored tweets once, for all viewers and programs of this process.

The newest batches are kept for a moment, so that programs that keep up need no reads of their own.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from stream.cells import feed as merged
from stream.cells.databases import Cells
from stream.errors import DatabaseAway
from stream.keys import KeyRange, lane_of
from stream.loop_budget import LoopBudget
from stream.store import feed
from stream.store.feed import Cursor, Page, StoredMatch
from stream.tweet import LaneId, TrackId, TweetId
from stream.tweet_view import TweetView, match_views, view_of
from web.limiters import AdmissionLimiter
from web.live.broadcaster import Broadcaster, Matches
from web.live.pacing import RateMeter

logger = logging.getLogger(__name__)

POLL_INTERVAL = 0.15  # seconds between two reads
STATUS_INTERVAL = 2.0  # seconds after which viewers get rates, also without a tweet
RETRY_DELAY = 1.0  # seconds between two attempts to reach the database
PAGE = 500  # tweets read at a time
PAGES_MAX = 20  # in a row; when more wait, viewers continue with the newest
CATCHING_UP_MAX = 2  # programs that catch up at the same time
COUNT_MAX = 1_000_000  # skipped tweets are counted up to this number
BATCHES_KEPT = 8  # a reader further behind reads for itself until it has caught up
_NOWHERE = TweetId(-1)
_encode = msgspec.json.Encoder().encode


def covers(one: Cursor, other: Cursor) -> bool:
    """Whether a reader at `one` has seen everything that one at `other` has."""
    positions = one.positions
    return all(positions.get(run, _NOWHERE) >= key for run, key in other.positions.items())


def later(one: Cursor, other: Cursor) -> Cursor:
    """The cursor of a reader who has seen what both have."""
    positions = dict(one.positions)
    for run, key in other.positions.items():
        positions[run] = max(positions.get(run, _NOWHERE), key)
    return Cursor(positions)


def with_matches(tweet: TweetView, matches: Sequence[StoredMatch]) -> TweetView:
    if not matches:
        return tweet
    return msgspec.structs.replace(tweet, matches=match_views(matches))


class FeedBatch:
    """Tweets between two cursors, with the tracks and queries that each matches."""

    def __init__(
        self,
        begin: Cursor,
        end: Cursor,
        page: Page,
        matches: Matches,
        matched: Mapping[TweetId, AbstractSet[TrackId]],
    ) -> None:
        self.begin = begin
        self.end = end
        # Without the messages as received, which may be long.
        self.tweets = [(tweet.id, view_of(tweet, ())) for tweet in page.tweets]
        self.matches = matches
        self.matched = matched  # by tweet: the numbers of queries
        self._ranges = page.ranges
        self._ranges_of: dict[LaneId, list[KeyRange]] = {}
        for each in page.ranges:
            self._ranges_of.setdefault(each.run.lane, []).append(each)
        self._encoded: dict[tuple[TweetId, tuple[TrackId, ...]], msgspec.Raw] = {}

    def unread(self, cursor: Cursor) -> Iterator[tuple[TweetId, TweetView]]:
        """The tweets that a reader at this cursor has not read, who may have read some."""
        is_whole = cursor == self.begin
        for tweet_id, tweet in self.tweets:
            if is_whole or not self._has_read(cursor, tweet_id):
                yield tweet_id, tweet

    def _has_read(self, cursor: Cursor, tweet_id: TweetId) -> bool:
        """Whether the runs of its lane that may have this tweet are read as far as it."""
        read = [
            cursor.positions.get(run, _NOWHERE) >= tweet_id
            for run, low, high, _ in self._ranges_of[lane_of(tweet_id)]
            if low < tweet_id <= high
        ]
        return bool(read) and all(read)

    def cursor_after(self, tweet: TweetId) -> Cursor:
        """The cursor of a reader who has read as far as this tweet."""
        return Page((), self.end, more=False, ranges=self._ranges).cursor_after(tweet)

    def encoded(
        self, tweet_id: TweetId, tweet: TweetView, matches: Sequence[StoredMatch]
    ) -> msgspec.Raw:
        """The tweet with these matches as JSON; encoded once for all who see the same."""
        key = tweet_id, tuple(match.track_id for match in matches)
        if key not in self._encoded:
            self._encoded[key] = msgspec.Raw(_encode(with_matches(tweet, matches)))
        return self._encoded[key]


class RecentBatches:
    """The newest batches, in their order."""

    def __init__(self) -> None:
        self._kept: deque[FeedBatch] = deque(maxlen=BATCHES_KEPT)

    def add(self, batch: FeedBatch) -> None:
        self._kept.append(batch)

    def clear(self) -> None:
        self._kept.clear()

    def after(self, cursor: Cursor) -> FeedBatch | None:
        """The batch with which a reader continues; None when none follows its cursor."""
        for batch in self._kept:
            if not covers(cursor, batch.end):
                return batch if covers(cursor, batch.begin) else None
        return None


class Follower:
    """Reads while there are viewers or programs: `broadcaster` serves people, `batches` programs.

    Each cell is read on its own, so that one that does not answer delays no other.
    Programs wait for `new_data` and take it out of `batches`. One that is further behind reads for
    itself until it has caught up.
    """

    def __init__(self, cells: Cells) -> None:
        self.budget = LoopBudget()
        self.broadcaster = Broadcaster(self.budget)
        self.batches = RecentBatches()
        self.catching_up = AdmissionLimiter(CATCHING_UP_MAX, waiting=None)
        self.cursor: Cursor | None = None  # None: there were no viewers for a while
        self.delivered: Cursor | None = None  # everything before it was given to the viewers
        self.rate = RateMeter()
        self.away: set[str] = set()  # cells that cannot be reached
        self.new_data = asyncio.Event()  # replaced each time that it is set
        self._cells = cells
        self._delivering = asyncio.Lock()
        self._readers = 0
        self._is_needed = asyncio.Event()

    def start(self) -> None:
        """Begin to read: there is a viewer or a program now."""
        self._is_needed.set()

    def add_reader(self) -> None:
        """Count a program that uses `new_data` and `batches`."""
        self._readers += 1
        self.start()

    def remove_reader(self) -> None:
        self._readers -= 1

    def is_caught_up(self, cursor: Cursor) -> bool:
        """Whether a reader at this cursor has seen all that was read."""
        return self.delivered is not None and covers(cursor, self.delivered)

    async def start_cursor(self) -> Cursor:
        """How far it has read, as soon as that is known. DatabaseAway when it cannot be."""
        if self.cursor is None:
            async with (
                self._cells.home.acquire() as connection,
                self._cells.reading(connection) as cells,
            ):
                head = await merged.head(cells, connection)
            if self.cursor is None:
                self.cursor = self.delivered = head
        return self.cursor

    async def run(self) -> None:
        """Until cancelled."""
        status_at = 0.0
        polls: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                if not self.broadcaster.channels and not self._readers:
                    self.cursor = self.delivered = None
                    self.batches.clear()
                    self._is_needed.clear()
                    await self._is_needed.wait()
                    self.rate = RateMeter()
                for name in self._cells.names:
                    if name not in polls or polls[name].done():
                        polls[name] = group.create_task(self._poll(name), name="follow")
                await asyncio.wait(polls.values(), timeout=POLL_INTERVAL)
                now = asyncio.get_running_loop().time()
                if now - status_at > STATUS_INTERVAL:
                    status_at = now
                    self.broadcaster.wake()
                await asyncio.sleep(POLL_INTERVAL)

    async def _poll(self, name: str) -> None:
        """Read what is new in a cell; an error with it is shown to viewers, and retried."""
        try:
            await self._read_new(name)
        except DatabaseAway:
            self._set_away(name, is_away=True)
            await asyncio.sleep(RETRY_DELAY)
        except Exception:
            logger.exception("newly stored tweets cannot be read for live viewers")
            await asyncio.sleep(RETRY_DELAY)
        else:
            self._set_away(name, is_away=False)

    def _set_away(self, name: str, *, is_away: bool) -> None:
        if is_away != (name in self.away):
            self.away ^= {name}
            self.broadcaster.wake()

    async def _read_new(self, name: str) -> None:
        await self.start_cursor()
        pages = 0
        while await self._read_page(name, is_late=pages > PAGES_MAX):
            pages += 1
            if pages > PAGES_MAX and not self._readers:
                await self._skip_to_newest(name)
                return

    def _position(self, name: str) -> Cursor | None:
        """How far a cell is read; None: there were no viewers for a while."""
        return None if self.cursor is None else self._cells.part(self.cursor, name)

    async def _read_page(self, name: str, *, is_late: bool) -> bool:
        """Deliver one page; whether there are more. `is_late`: only to programs."""
        position = self._position(name)
        if position is None:
            return False
        async with self._cells.acquire(name) as connection:
            page = await feed.after(connection, position, PAGE)
            is_needed = self._readers or self.broadcaster.needs_matches
            matches = await feed.matches(connection, page.tweets if is_needed else ())
        async with self._delivering:
            if self._position(name) != position:  # all viewers went, and others came
                return True
            assert self.cursor is not None
            begin = self.cursor
            end = self.cursor = self._cells.moved(begin, name, page.cursor)
            self.rate.add(len(page.tweets))
            if page.tweets:
                matched = await self.broadcaster.broadcast(page.tweets, matches, is_late=is_late)
                if self._readers:
                    self.batches.add(FeedBatch(begin, end, page, matches, matched))
            self.delivered = end
        if page.tweets:
            self.new_data.set()
            self.new_data = asyncio.Event()
        return page.more

    async def _skip_to_newest(self, name: str) -> None:
        """Too many are stored to be examined, as after an outage: continue with the newest."""
        position = self._position(name)
        if position is None:
            return
        async with self._cells.acquire(name) as connection:
            newest = await feed.newest(connection, position, PAGE)
            left = await feed.count(connection, position, COUNT_MAX) - PAGE
        async with self._delivering:
            if newest != position and self._position(name) == position:
                assert self.cursor is not None
                self.cursor = self.delivered = self._cells.moved(self.cursor, name, newest)
                self.broadcaster.note_skipped(max(left, 1))
