"""What somebody missed who paused, or whose connection was cut."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from stream import stored
from stream.db import Database
from stream.stored import Cursor, Page, StoredMatch
from stream.tweet import TweetId
from web.live.channel import Channel, Found
from web.live.view import matcher_of, message_of
from web.live.wire import Writer

MOST_READ = 3000  # stored tweets that are looked through for one viewer
MOST_SHOWN = 100  # of those found, the newest
PAGE = 300
COUNTED = 1_000_000  # of those that are not looked at, so many are counted at most
SLICE = 20  # tweets that are matched before others have their turn


class Past(msgspec.Struct, frozen=True):
    """The newest of what was missed; `missed`: others of the view, `skipped`: never looked at."""

    tweets: list[bytes]
    missed: int
    skipped: int


async def look_back(database: Database, channel: Channel, cursor: Cursor) -> Past:
    """What a view would have shown since this cursor."""
    async with database.acquire() as connection:
        begin = await stored.newest(connection, cursor, MOST_READ)
        skipped = 0
        if begin != cursor:
            skipped = max(await stored.count(connection, cursor, COUNTED) - MOST_READ, 1)
    found: deque[Found] = deque(maxlen=MOST_SHOWN)
    number = 0
    async for each in _all(database, channel, begin):
        found.append(each)
        number += 1
    writer = Writer()
    tweets = []
    for each in found:
        tweets.append(writer.write(each.tweet, each.why))
        await asyncio.sleep(0)
    return Past(tweets, number - len(tweets), skipped)


async def not_looked_at(database: Database, cursor: Cursor) -> int:
    """How much is stored behind this cursor."""
    async with database.acquire() as connection:
        return await stored.count(connection, cursor, COUNTED)


async def _all(database: Database, channel: Channel, cursor: Cursor) -> AsyncIterator[Found]:
    track = channel.view.track
    more, left = True, MOST_READ
    while more and left > 0:
        async with database.acquire() as connection:
            page = await stored.after(connection, cursor, PAGE, None if track is None else [track])
            matches = await stored.matches(connection, page.tweets)
        async for each in _wanted(channel, page, matches):
            yield each
        cursor, more, left = page.cursor, page.more, left - PAGE


async def _wanted(
    channel: Channel, page: Page, matches: Mapping[TweetId, Sequence[StoredMatch]]
) -> AsyncIterator[Found]:
    matcher = None if channel.query is None else matcher_of(channel.query)
    for number, tweet in enumerate(page.tweets):
        if number % SLICE == 0:
            await asyncio.sleep(0)
        credited = matches.get(tweet.id, [])
        if not channel.admits([match.track_id for match in credited]):
            continue
        if channel.view.track is not None:
            why = next((m for m in credited if m.track_id == channel.view.track), None)
            yield Found(tweet, why)
        elif matcher is None:
            yield Found(tweet, None)
        elif (message := message_of(tweet)) is not None and (met := matcher.match(message)):
            yield Found(tweet, met[0])
