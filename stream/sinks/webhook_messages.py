"""What webhooks are sent: the next tweets or deletions as one message; see docs/webhooks.md."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import NamedTuple

import msgspec

from stream.db import Executor
from stream.keys import KeyRange, passed_ranges
from stream.loop_budget import LoopBudget
from stream.sinks.messages import VERSION
from stream.sinks.reader import SinkPosition
from stream.store import deletion_log, feed, search
from stream.store.deletion_log import LoggedDeletion
from stream.store.feed import Cursor, Page, StoredMatch, StoredTweet
from stream.store.webhook_deliveries import Delivery, Event
from stream.tweet import TrackId, TweetId
from stream.tweet_view import view_of

BATCH_MAX = 100  # tweets, or deletions
PAGES_MAX = 20  # of BATCH_MAX tweets, that are looked through for those of many tracks
BATCH_BYTES = 256_000  # of a message; a larger tweet is sent alone
_NAMES: dict[Event, str] = {"tweets.matched": "tweets", "tweet.deleted": "deletions"}
_ENVELOPE_BYTES = 150  # at most

_encode = msgspec.json.Encoder().encode

Tracks = AbstractSet[TrackId]


class Batch(NamedTuple):
    """What comes next; the position after it, and whether there may be more now.

    `passed`: the keys of tweets from the position before to the one after it.
    """

    event: Event
    tweets: Sequence[TweetId]
    items: Sequence[bytes]
    position: SinkPosition
    more: bool
    passed: Sequence[KeyRange] = ()


class Deletion(msgspec.Struct, frozen=True):
    """A deletion as JSON, with the tracks that the tweet had."""

    id: str
    tracks: Sequence[str]
    deleted_at: datetime


def message(event: Event, created_at: datetime, items: Sequence[bytes]) -> bytes:
    """The body of a request."""
    data = {"v": VERSION, _NAMES[event]: [msgspec.Raw(each) for each in items]}
    return _encode({"type": event, "timestamp": created_at, "data": data})


def tweet_item(tweet: StoredTweet, matches: Sequence[StoredMatch]) -> bytes:
    """A tweet as in the API, with these of its matches."""
    return _encode(view_of(tweet, matches))


def test_message(created_at: datetime, name: str) -> bytes:
    data = {"v": VERSION, "webhook": name}
    return _encode({"type": "webhook.test", "timestamp": created_at, "data": data})


class MessageReader:
    """Reads what webhooks are sent, within a share of the event loop's time."""

    def __init__(self, budget: LoopBudget) -> None:
        self._budget = budget

    async def tweets_after(
        self, connection: Executor, position: SinkPosition, tracks: Tracks
    ) -> Batch:
        """The next tweets of these tracks; the batch may be empty."""
        cursor, more = Cursor.parse(position.cursor), True
        many = len(tracks) > search.MANY_TRACKS  # then all are read, and theirs picked
        found: list[tuple[Page, TweetId, bytes]] = []
        unread: Sequence[KeyRange] | None = None
        for _ in range(PAGES_MAX if many else 1):
            some = None if many else sorted(tracks)
            page = await feed.after(connection, cursor, BATCH_MAX, some, with_doc=False)
            items = await self._encoded(connection, page.tweets, tracks)
            found += [(page, key, item) for key, item in items]
            cursor, more = page.cursor, page.more
            unread = page.ranges if unread is None else unread
            if not more or len(found) >= BATCH_MAX:
                break
        number = min(fitting(item for _, _, item in found), BATCH_MAX)
        if number < len(found):
            page, last, _ = found[number - 1]
            cursor, more = page.cursor_after(last), True
        after = SinkPosition(str(cursor), position.deletion)
        passed = passed_ranges(unread or (), cursor)
        keys = [key for _, key, _ in found[:number]]
        bodies = [item for _, _, item in found[:number]]
        return Batch("tweets.matched", keys, bodies, after, more, passed)

    async def deletions_after(
        self, connection: Executor, position: SinkPosition, tracks: Tracks
    ) -> Batch:
        """The next deletions of tweets of these tracks; the batch may be empty."""
        found = await deletion_log.after(connection, position.deletion, BATCH_MAX)
        keys, items = _deletions(found, tracks)
        after = SinkPosition(position.cursor, found[-1].number if found else position.deletion)
        return Batch("tweet.deleted", keys, items, after, len(found) == BATCH_MAX)

    async def again(
        self, connection: Executor, delivery: Delivery, tracks: Tracks
    ) -> Sequence[bytes]:
        """What is left of a delivery: tweets may have been deleted, and tracks taken away."""
        if delivery.event == "tweet.deleted":
            found = await deletion_log.of_tweets(connection, delivery.tweets)
            return _deletions(found, tracks)[1]
        tweets = await search.by_keys(connection, delivery.tweets, with_doc=False)
        oldest_first = tweets[::-1]
        return [item for _, item in await self._encoded(connection, oldest_first, tracks)]

    async def _encoded(
        self, connection: Executor, tweets: Sequence[StoredTweet], tracks: Tracks
    ) -> list[tuple[TweetId, bytes]]:
        """The tweets as in the API, with those of their matches that the webhook follows."""
        matches = await feed.matches(connection, tweets)
        items = []
        for tweet in tweets:
            own = [each for each in matches.get(tweet.id, ()) if each.track_id in tracks]
            if own:
                await self._budget.wait_turn()
                with self._budget.spending():
                    items.append((tweet.id, tweet_item(tweet, own)))
        return items


def fitting(items: Iterable[bytes]) -> int:
    """How many of the items fit into one message; the first one always does."""
    size, number = _ENVELOPE_BYTES, 0
    for item in items:
        size += len(item) + 1
        if number and size > BATCH_BYTES:
            break
        number += 1
    return number


def _deletions(
    found: Iterable[LoggedDeletion], tracks: Tracks
) -> tuple[list[TweetId], list[bytes]]:
    keys, items = [], []
    for each in found:
        own = [str(track) for track in each.tracks if track in tracks]
        if own:
            keys.append(each.tweet_id)
            items.append(_encode(Deletion(str(each.tweet_id), own, each.deleted_at)))
    return keys, items
