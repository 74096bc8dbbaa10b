"""Stored tweets for people and programs: by track, query, time, language, kind, words.

Newest first goes by keys. Oldest first follows the order of storing, so that a reader who comes
back with a cursor, after however long, misses nothing. No page reads without bounds: one that finds
little says how far it looked, and goes on from there when it is asked for more.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import msgspec

from stream import stored
from stream.db import Database, Executor
from stream.stored import StoredTweet
from stream.tweet import Match, TrackId, TweetId
from stream.tweets import received_at
from web.person import Person
from web.reading import cursors, newest
from web.reading.cursors import Order, Position
from web.reading.wanted import (
    SLICE_OF_DOCS,
    Asked,
    Found,
    Sieve,
    Wanted,
    fingerprint,
    scope_of,
    seen_of,
)
from web.shown import ShownMatch, ShownTweet, shown

__all__ = ["Asked", "TweetPage", "Wanted", "every", "one", "page"]

BATCH = 1000  # tweets read at a time, of a download
SLICE = 100  # of these handed on, or put together, before others have their turn


class TweetPage(msgspec.Struct, frozen=True):
    """`next` is the cursor for what follows: null at the end, which only `newest` has.

    `more`: whether there is more at this moment; `looked_until`: the time of the last tweet that
    was looked at, whether it was wanted or not.
    """

    tweets: Sequence[ShownTweet]
    next: str | None
    more: bool
    looked_until: datetime | None


async def page(
    connection: Executor, wanted: Wanted, order: Order, cursor: str | None, limit: int
) -> TweetPage:
    """At most so many tweets. Problem for tracks that are not the person's, and strange cursors."""
    filters = fingerprint(wanted)
    position = cursors.read(cursor, order, filters) if cursor else None
    tweets, after, more, until = await _page(connection, wanted, order, position, limit)
    following = None if after is None else cursors.write(order, filters, after)
    return TweetPage(tweets, following, more, None if until is None else received_at(until))


async def every(
    database: Database, wanted: Wanted, turn: asyncio.Semaphore, order: Order = "newest"
) -> AsyncGenerator[Sequence[ShownTweet], None]:
    """All of them, some at a time; nothing is held open while the reader takes its time.

    `turn`: only so many read at once. The next ones are read when the last ones were taken.
    """
    position: Position | None = None
    more = True
    while more:
        async with turn, database.acquire() as connection:
            tweets, position, more, _ = await _page(connection, wanted, order, position, BATCH)
        for begin in range(0, len(tweets), SLICE):
            yield tweets[begin : begin + SLICE]
            await asyncio.sleep(0)


async def one(
    connection: Executor, person: Person, tweet_id: TweetId
) -> tuple[ShownTweet, bytes] | None:
    """A tweet, and its message as it came; None when there is none that this person sees."""
    tweet = await newest.one(connection, tweet_id)
    if tweet is None:
        return None
    [found] = await _show(connection, person, [tweet], {})
    return None if person.role == "viewer" and not found.matches else (found, tweet.doc)


async def _page(
    connection: Executor, wanted: Wanted, order: Order, position: Position | None, limit: int
) -> tuple[list[ShownTweet], Position | None, bool, TweetId | None]:
    scope = await scope_of(connection, wanted)
    found = Found(limit)
    sieve = Sieve(wanted)
    after: Position | None
    if order == "newest":
        assert position is None or isinstance(position, int)
        after = await newest.newest(connection, scope, wanted, sieve, position, found)
        more = after is not None
    else:
        assert position is None or isinstance(position, stored.Cursor)
        after, more = await _oldest(connection, scope, wanted, sieve, position, found)
    tweets = await _show(connection, wanted.person, found.tweets, found.why)
    return tweets, after, more, found.looked_until


async def _oldest(
    connection: Executor,
    scope: Sequence[TrackId] | None,
    wanted: Wanted,
    sieve: Sieve,
    position: stored.Cursor | None,
    found: Found,
) -> tuple[stored.Cursor, bool]:
    """Where to go on, and whether there is more now."""
    if position is None and wanted.begin is not None:
        position = await stored.since(connection, wanted.begin)
    position = position or stored.Cursor({})
    many = scope if scope is not None and len(scope) > newest.MANY else None
    size = min(SLICE_OF_DOCS, sieve.slices(wanted, found.limit, all_fit=many is None)[0])
    while True:
        room = found.limit - len(found.tweets)
        read = await stored.after(connection, position, size, None if many else scope)
        fitting = read.tweets
        if many:
            keys = set(await newest.credited(connection, [tweet.id for tweet in fitting], many))
            fitting = [tweet for tweet in fitting if tweet.id in keys]
        places = {tweet.id: place for place, tweet in enumerate(read.tweets)}
        asked = [tweet for tweet in fitting if _fits(tweet, wanted)]
        passed = [(places[each.id], each) async for each in sieve.through(asked, found)]
        if len(passed) > room:
            # Read again just so far that the page is full: only then the cursor stands behind it.
            size = passed[room - 1][0] + 1
            continue
        found.tweets += [tweet for _, tweet in passed]
        found.looked += len(read.tweets)
        position = read.cursor
        if read.tweets:
            found.looked_until = read.tweets[-1].id
        if not read.more or found.is_full or found.is_late:
            return position, read.more


def _fits(tweet: StoredTweet, wanted: Wanted) -> bool:
    lang = None if wanted.lang is None else wanted.lang.lower()
    return (
        (wanted.begin is None or tweet.received_at >= wanted.begin)
        and (wanted.end is None or tweet.received_at < wanted.end)
        and (lang is None or (tweet.lang or "").lower() == lang)
        and (wanted.kind is None or tweet.kind == wanted.kind)
    )


async def _show(
    connection: Executor,
    person: Person,
    tweets: Sequence[StoredTweet],
    why: dict[TweetId, Match],
) -> list[ShownTweet]:
    """With those matches whose tracks the person sees; the query's own has no track's number."""
    found = await stored.matches(connection, tweets)
    tracks = {match.track_id for matches in found.values() for match in matches}
    seen = await seen_of(connection, person, tracks)
    said: list[ShownTweet] = []
    for number, tweet in enumerate(tweets, 1):
        if number % SLICE == 0:
            await asyncio.sleep(0)
        matches = [m for m in found.get(tweet.id, ()) if m.track_id in seen]
        showing = shown(tweet, matches)
        if (match := why.get(tweet.id)) is not None:
            own = ShownMatch("", match.term, match.field, match.part)
            showing = msgspec.structs.replace(showing, matches=[own, *showing.matches])
        said.append(showing)
    return said
