"""Stored tweets as pages and API show them: filtered by track, query, time, language and kind.

Newest first goes by keys. Oldest first goes in commit order, so that a reader who comes back with a
cursor, after any time, misses nothing. No page reads without bounds: one that finds little says how
far it searched, and the next one goes on from there.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

import msgspec

from stream.cells import feed as merged
from stream.cells.databases import Cells
from stream.db import Executor
from stream.errors import DatabaseAway
from stream.keys import MAX_KEY, received_at
from stream.store import feed, search, sharing
from stream.store.feed import StoredTweet
from stream.tweet import Match, TrackId, TweetId
from stream.tweet_view import MatchView, TweetView, view_of
from web.accounts.credentials import require_unchanged
from web.limiters import AdmissionLimiter
from web.person import Person
from web.problem import Problem
from web.queries import cursors
from web.queries.cursors import Order, Position
from web.queries.tweet_filter import (
    SLICE_WITH_DOCS,
    PageBuilder,
    PostFilter,
    QueryText,
    TweetQuery,
    fingerprint,
    scope_of,
)

__all__ = ["QueryText", "TweetPage", "TweetQuery", "every", "one", "page", "without_rules"]

Scope = Sequence[TrackId] | None  # tracks whose tweets are searched; None: all tweets

BATCH = 1000  # tweets read at a time for a download
RECHECK_AFTER = 2.0  # seconds after which a running download checks again what its user may see
RETRY_AFTER = 5  # seconds after which a cell that was missing may have been asked again
SLICE = 100  # tweets yielded, or prepared, before other tasks run
MATCHING_RULES = "matching_rules"  # in which networks list our rules that matched


def without_rules(doc: bytes) -> bytes:
    """A message as received, without the rules it matched: those are of all users' tracks.

    Their tags would show what others track, too.
    """
    fields = msgspec.json.decode(doc, type=dict[str, msgspec.Raw])
    fields.pop(MATCHING_RULES, None)
    if "gnip" in fields:
        fields["gnip"] = msgspec.Raw(without_rules(bytes(fields["gnip"])))
    return msgspec.json.encode(fields)


class TweetPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """`next` is the cursor of the following page: null at the end, which only `newest` has.

    `more`: whether there are more at this moment; `looked_until`: the time of the last tweet that
    was examined, whether it passed the filters or not. `incomplete` is only there when databases
    did not answer, and names them: their tweets are missing. With `oldest`, `next` goes on in them
    where they were, and nothing is skipped.
    """

    tweets: Sequence[TweetView]
    next: str | None
    more: bool
    looked_until: datetime | None
    incomplete: tuple[str, ...] = ()


class _Found(msgspec.Struct, frozen=True):
    """A page whose cursor is not written yet."""

    tweets: Sequence[TweetView]
    position: Position | None  # where to go on; None: nowhere
    more: bool
    until: TweetId | None  # the last one that was examined
    missing: tuple[str, ...]  # cells that did not answer


async def page(
    cells: Cells,
    connection: Executor,
    query: TweetQuery,
    order: Order,
    cursor: str | None,
    limit: int,
) -> TweetPage:
    """At most `limit` tweets. Problem for tracks the user does not see, and invalid cursors.

    `connection` is to the home database.
    """
    filters = fingerprint(query)
    position = cursors.read(cursor, order, filters) if cursor else None
    async with cells.reading(connection, cursors.wal_of(cursor)) as own:
        found = await _page(own, connection, query, order, position, limit)
        wal = await own.position() if order == "newest" else 0
    following = None
    if found.position is not None:
        following = cursors.write(order, filters, found.position, wal)
    until = None if found.until is None else received_at(found.until)
    return TweetPage(found.tweets, following, found.more, until, found.missing)


async def every(
    cells: Cells, query: TweetQuery, reading: AdmissionLimiter, order: Order = "newest"
) -> AsyncGenerator[Sequence[TweetView], None]:
    """Yield all tweets in batches; no connection is held while the reader works.

    `reading` limits how many read at once. The next batch is read after the last one was consumed.
    Problem as soon as the user may not see them any more. DatabaseAway when a cell does not answer:
    a file cannot say that it lacks something.
    """
    database = cells.home
    position: Position | None = None
    scope: Scope = ()
    more, wal = True, 0
    while more:
        async with reading.admit(), database.acquire() as connection:
            scope = await _unrevoked_scope(connection, query, scope)
            async with cells.reading(connection, wal) as own:
                found = await _page(own, connection, query, order, position, BATCH)
                wal = await own.position() if order == "newest" else 0
        if found.missing:
            raise DatabaseAway(f"cells that cannot be used: {', '.join(found.missing)}")
        tweets, position, more = found.tweets, found.position, found.more
        checked = time.monotonic()
        for begin in range(0, len(tweets), SLICE):
            if time.monotonic() - checked > RECHECK_AFTER:  # the reader is slow
                async with database.acquire() as connection:
                    await _unrevoked_scope(connection, query, scope)
                checked = time.monotonic()
            yield tweets[begin : begin + SLICE]
            await asyncio.sleep(0)


async def _unrevoked_scope(connection: Executor, query: TweetQuery, before: Scope) -> Scope:
    """The tracks that are searched; Problem when the user has lost access, or one of `before`."""
    await require_unchanged(connection, query.person)
    scope = await scope_of(connection, query)
    if scope is not None and (lost := set(before or ()).difference(scope)):
        sentence = f"Track {min(lost)} was deleted, or you no longer see it."
        raise Problem("forbidden", sentence, field="track")
    return scope


async def one(
    cells: Cells, connection: Executor, person: Person, tweet_id: TweetId
) -> tuple[TweetView, bytes] | None:
    """A tweet and its message as received; None when there is none that this user sees.

    Problem when its cell cannot be used.
    """
    [name] = await cells.by_cell(connection, [tweet_id])
    answer = await cells.ask(connection, lambda own, _: search.by_key(own, tweet_id), [name])
    if answer.missing:
        words = f"This tweet is in cell {name}, which cannot be used: try again later."
        raise Problem("unavailable", words, retry_after=RETRY_AFTER)
    tweet = answer.by_cell.get(name)  # None: also when the cell is no longer in the settings
    if tweet is None:
        return None
    [found] = await _with_matches(cells, connection, person, [tweet], {})
    if person.role == "viewer" and not found.matches:
        return None
    return found, tweet.doc if person.is_admin else without_rules(tweet.doc)


async def _page(
    cells: Cells,
    connection: Executor,
    query: TweetQuery,
    order: Order,
    position: Position | None,
    limit: int,
) -> _Found:
    scope = await scope_of(connection, query)
    found = PageBuilder(limit)
    post_filter = PostFilter(query)
    after: Position | None
    if order == "newest":
        assert position is None or isinstance(position, int)
        after, missing = await _newest(cells, connection, scope, post_filter, position, found)
        more = after is not None
    else:
        assert position is None or isinstance(position, feed.Cursor)
        after, more, missing = await _fill_oldest(
            cells, connection, scope, post_filter, position, found
        )
    tweets = await _with_matches(cells, connection, query.person, found.tweets, found.why)
    return _Found(tweets, after, more, found.scanned_until, missing)


async def _newest(
    cells: Cells,
    connection: Executor,
    scope: Scope,
    post_filter: PostFilter,
    position: TweetId | None,
    found: PageBuilder,
) -> tuple[TweetId | None, tuple[str, ...]]:
    """Fill the page with the newest of all cells; where to go on, and the cells that are missing.

    Below the key that a cell has examined, it may have more than others have found there.
    """

    async def fill(own: Executor, _: str) -> tuple[PageBuilder, TweetId | None]:
        builder = PageBuilder(found.limit)
        return builder, await _fill_newest(own, scope, post_filter, position, builder)

    answers = await cells.ask(connection, fill)
    pages = [builder for builder, _ in answers.by_cell.values()]
    examined = [after for _, after in answers.by_cell.values() if after is not None]
    after = max(examined, default=None)
    tweets = [each for page in pages for each in page.tweets if each.id >= (after or 0)]
    tweets.sort(key=lambda tweet: -tweet.id)
    if len(tweets) > found.limit:
        after = tweets[found.limit - 1].id
    found.tweets = tweets[: found.limit]
    for page in pages:
        found.why |= page.why
    ends = [page.scanned_until for page in pages if page.scanned_until is not None]
    found.scanned_until = after if after is not None else min(ends, default=None)
    return after, answers.missing


async def _fill_newest(
    connection: Executor,
    scope: Scope,
    post_filter: PostFilter,
    position: TweetId | None,
    found: PageBuilder,
) -> TweetId | None:
    """Fill the page with the newest tweets below `position`; where to go on, None at the end."""
    query = post_filter.query
    low = TweetId(0) if query.begin is None else search.first_key_at(query.begin)
    below = TweetId(MAX_KEY) if query.end is None else search.first_key_at(query.end)
    below = TweetId(min(below, position)) if position is not None else below
    many = _many(scope)
    size, size_max = post_filter.slices(found.limit, all_pass=many is None)
    with_doc = post_filter.matcher is not None
    while True:
        keys = await search.newest_keys(connection, scope, low, below, size)
        passing = keys if many is None else await search.credited(connection, keys, many)
        tweets = await search.by_keys(
            connection, passing, query.lang, query.kind, with_doc=with_doc
        )
        async for tweet in post_filter.passing(tweets, found):
            found.tweets.append(tweet)
            if found.is_full:
                found.scanned_until = tweet.id
                return None if tweet.id == keys[-1] and len(keys) < size else tweet.id
        if keys:
            found.scanned_until = below = keys[-1]
        if len(keys) < size:
            return None
        found.scanned += len(keys)
        if found.is_late:
            return below
        size = min(size * 2, size_max)


async def _fill_oldest(
    cells: Cells,
    connection: Executor,
    scope: Scope,
    post_filter: PostFilter,
    position: feed.Cursor | None,
    found: PageBuilder,
) -> tuple[feed.Cursor, bool, tuple[str, ...]]:
    """Fill the page in commit order; where to go on, whether there are more, and missing cells."""
    query = post_filter.query
    if position is None and query.begin is not None:
        position = await merged.since(cells, connection, query.begin)
    position = position or feed.Cursor({})
    many = _many(scope)
    size = min(SLICE_WITH_DOCS, post_filter.slices(found.limit, all_pass=many is None)[0])

    async def pick(own: Executor, keys: Sequence[TweetId]) -> list[TweetId]:
        return await search.credited(own, keys, many or ())

    while True:
        room = found.limit - len(found.tweets)
        answer = await merged.after(
            cells, connection, position, size, None if many else scope, pick=pick if many else None
        )
        read = answer.page
        credited = read.tweets
        if many:
            credited = [tweet for tweet in credited if tweet.id in answer.picked]
        places = {tweet.id: place for place, tweet in enumerate(read.tweets)}
        fitting = [tweet for tweet in credited if _fits(tweet, query)]
        passed = [(places[t.id], t) async for t in post_filter.passing(fitting, found)]
        if len(passed) > room:
            # Read again just so far that the page is full: only then the cursor is right after it.
            size = passed[room - 1][0] + 1
            continue
        found.tweets += [tweet for _, tweet in passed]
        found.scanned += len(read.tweets)
        position = read.cursor
        if read.tweets:
            found.scanned_until = read.tweets[-1].id
        if not read.more or found.is_full or found.is_late:
            return position, read.more, answer.missing


def _many(scope: Scope) -> Scope:
    """The tracks, if there are too many to read the tweets of each by its own index."""
    return scope if scope is not None and len(scope) > search.MANY_TRACKS else None


def _fits(tweet: StoredTweet, query: TweetQuery) -> bool:
    lang = None if query.lang is None else query.lang.lower()
    return (
        (query.begin is None or tweet.received_at >= query.begin)
        and (query.end is None or tweet.received_at < query.end)
        and (lang is None or (tweet.lang or "").lower() == lang)
        and (query.kind is None or tweet.kind == query.kind)
    )


async def _with_matches(
    cells: Cells,
    connection: Executor,
    person: Person,
    tweets: Sequence[StoredTweet],
    why: dict[TweetId, Match],
) -> list[TweetView]:
    """The tweets with the matches whose tracks the user sees; the query's own has no track.

    DatabaseAway when a cell does not answer that has answered with its tweets.
    """
    found = await merged.matches(cells, connection, tweets)
    tracks = {match.track_id for matches in found.values() for match in matches}
    seen = await sharing.visible_among(connection, person.id, tracks)
    views: list[TweetView] = []
    for number, tweet in enumerate(tweets, 1):
        if number % SLICE == 0:
            await asyncio.sleep(0)
        matches = [m for m in found.get(tweet.id, ()) if m.track_id in seen]
        view = view_of(tweet, matches)
        if (match := why.get(tweet.id)) is not None:
            own = MatchView("", match.term, match.field, match.part)
            view = msgspec.structs.replace(view, matches=[own, *view.matches])
        views.append(view)
    return views
