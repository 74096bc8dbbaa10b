"""Stored tweets for people and programs: by track, query, time, language, kind, words.

Newest first goes by keys. Oldest first follows the order of storing, so that a reader who comes
back with a cursor, after however long, misses nothing. No page reads without bounds: one that finds
little says how far it looked, and goes on from there when it is asked for more.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime

import msgspec

from stream import stored
from stream.db import Database, Executor
from stream.errors import InvalidQuery, Reject
from stream.matcher import Matcher
from stream.networks.table import NETWORKS
from stream.query import TrackKind, parse
from stream.stored import StoredMatch, StoredTweet
from stream.tweet import Match, SourceId, TrackId, Tweet, TweetId, TweetKind
from stream.tweets import SOURCE_BITS, received_at, to_datetime, tweet_key
from web.person import Person
from web.problem import Problem
from web.reading import cursors
from web.reading.cursors import Order, Position
from web.shown import ShownMatch, ShownTweet, shown

PATIENCE = 0.15  # seconds after which a page answers with what it has
MOST_LOOKED = 20_000  # tweets that one page looks at
BATCH = 1000  # tweets at a time, of a download
_SLICE, _SLICE_OF_DOCS = 4000, 400  # rows at a time, when not every one is wanted
_BREATH = 25  # messages decoded before others have their turn
_MANY = 50  # tracks; from there on walking through the tweets is cheaper than through each track
_DAY = 86_400_000_000 << SOURCE_BITS  # in keys
_LARGEST_KEY = 2**63 - 1

_NO_DOC = "''::bytea AS doc"
_PLAIN = ", ".join(name for name in StoredTweet.__struct_fields__ if name != "doc")
_ROWS = """
SELECT {columns} FROM tweets
WHERE id = ANY ($1) AND received_at BETWEEN $2 AND $3
  AND ($4::text IS NULL OR lower(lang) = $4) AND ($5::text IS NULL OR kind = $5)
  AND deleted_at IS NULL AND NOT ('XX' = ANY (coalesce(withheld, '{{}}')))
ORDER BY id DESC
"""
_TEXTS = _ROWS.format(columns=f"{_PLAIN}, {_NO_DOC}")
_DOCS = _ROWS.format(columns=f"{_PLAIN}, doc")
_ALL_KEYS = """
SELECT id FROM tweets
WHERE id >= $1 AND id < $2 AND received_at BETWEEN tweet_received_at($1) AND tweet_received_at($2)
ORDER BY id DESC LIMIT $3
"""
# A few index entries of each track, the newest days first.
_KEYS_OF_TRACKS = """
SELECT DISTINCT tweet_id AS id FROM unnest($4::bigint[]) AS track (id)
CROSS JOIN LATERAL (
    SELECT tweet_id FROM matches
    WHERE track_id = track.id AND tweet_id >= $1 AND tweet_id < $2
      AND received_at BETWEEN tweet_received_at($1) AND tweet_received_at($2)
    ORDER BY received_at DESC, tweet_id DESC LIMIT $3
) AS found
ORDER BY tweet_id DESC LIMIT $3
"""
_CREDITED = """
SELECT DISTINCT tweet_id AS id FROM matches
WHERE tweet_id = ANY ($1) AND received_at BETWEEN $2 AND $3 AND track_id = ANY ($4)
ORDER BY tweet_id DESC
"""
_ENDS = "SELECT min(first_id) AS first, max(last_id) AS last FROM runs"
_SEEN = "SELECT track_id FROM tracks_seen_by($1)"
_SEEN_OF = f"{_SEEN} WHERE track_id = ANY ($2)"


class Asked(msgspec.Struct, frozen=True):
    """A query as somebody wrote it."""

    kind: TrackKind
    value: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which tweets, and for whose eyes.

    Without `tracks` and without a query: the tweets of all tracks that the person sees; of an
    admin, everything. A query looks at everything that is stored; for a viewer, who sees only what
    is shared with him, at the tweets of his tracks.
    """

    person: Person
    tracks: Sequence[TrackId] | None = None
    query: Asked | None = None
    begin: datetime | None = None  # of received_at
    end: datetime | None = None  # exclusive
    lang: str | None = None
    kind: TweetKind | None = None
    words: str = ""  # each of them stands in the text


class TweetPage(msgspec.Struct, frozen=True):
    """`next` is the cursor for what follows: null at the end, which only `newest` has.

    `more`: whether there is more at this moment; `looked_until`: the time of the last tweet that
    was looked at, whether it was wanted or not.
    """

    tweets: Sequence[ShownTweet]
    next: str | None
    more: bool
    looked_until: datetime | None


class _Found(msgspec.Struct):
    """A page in the making."""

    limit: int
    deadline: float
    tweets: list[StoredTweet]
    why: dict[TweetId, Match]  # what of the query was met
    looked: int = 0
    looked_until: TweetId | None = None

    @property
    def is_full(self) -> bool:
        return len(self.tweets) >= self.limit

    @property
    def is_late(self) -> bool:
        return self.looked >= MOST_LOOKED or time.monotonic() > self.deadline


async def page(
    connection: Executor, wanted: Wanted, order: Order, cursor: str | None, limit: int
) -> TweetPage:
    """At most so many tweets. Problem for tracks that are not the person's, and strange cursors."""
    filters = _fingerprint(wanted)
    position = cursors.read(cursor, order, filters) if cursor else None
    tweets, after, more, until = await _page(connection, wanted, order, position, limit)
    following = None if after is None else cursors.write(order, filters, after)
    return TweetPage(tweets, following, more, None if until is None else received_at(until))


async def every(
    database: Database, wanted: Wanted, order: Order = "newest"
) -> AsyncIterator[Sequence[ShownTweet]]:
    """All of them, some at a time; nothing is held open while the reader takes its time."""
    position: Position | None = None
    more = True
    while more:
        async with database.acquire() as connection:
            tweets, position, more, _ = await _page(connection, wanted, order, position, BATCH)
        if tweets:
            yield tweets


async def one(
    connection: Executor, person: Person, tweet_id: TweetId
) -> tuple[ShownTweet, bytes] | None:
    """A tweet, and its message as it came; None when there is none that this person sees."""
    at = received_at(tweet_id)
    rows = await connection.fetch(_DOCS, [tweet_id], at, at, None, None)
    if not rows:
        return None
    tweet = StoredTweet(**rows[0])
    [found] = await _show(connection, person, [tweet], {})
    return None if person.role == "viewer" and not found.matches else (found, tweet.doc)


def _fingerprint(wanted: Wanted) -> bytes:
    # Written down field by field: cursors of today must fit in the years to come.
    query = None if wanted.query is None else [wanted.query.kind, wanted.query.value]
    tracks = None if wanted.tracks is None else sorted(wanted.tracks)
    times = [wanted.begin, wanted.end]
    return cursors.fingerprint([tracks, query, times, wanted.lang, wanted.kind, wanted.words])


async def _page(
    connection: Executor, wanted: Wanted, order: Order, position: Position | None, limit: int
) -> tuple[list[ShownTweet], Position | None, bool, TweetId | None]:
    scope = await _scope(connection, wanted)
    found = _Found(limit, time.monotonic() + PATIENCE, [], {})
    sieve = _Sieve(wanted)
    after: Position | None
    if order == "newest":
        assert position is None or isinstance(position, int)
        after = await _newest(connection, scope, wanted, sieve, position, found)
        more = after is not None
    else:
        assert position is None or isinstance(position, stored.Cursor)
        after, more = await _oldest(connection, scope, wanted, sieve, position, found)
    tweets = await _show(connection, wanted.person, found.tweets, found.why)
    return tweets, after, more, found.looked_until


async def _scope(connection: Executor, wanted: Wanted) -> list[TrackId] | None:
    """Among the tweets of which tracks to look; None: among all."""
    if wanted.tracks is not None:
        asked = set(wanted.tracks)
        rows = await connection.fetch(_SEEN_OF, wanted.person.id, list(asked))
        seen = {TrackId(row["track_id"]) for row in rows}
        if hidden := asked - seen:
            sentence = f"There is no track {min(hidden)}, or you do not see it."
            raise Problem("not_found", sentence, field="track")
        return sorted(seen)
    role = wanted.person.role
    if role == "admin" or (role == "user" and wanted.query is not None):
        return None
    return [TrackId(row["track_id"]) for row in await connection.fetch(_SEEN, wanted.person.id)]


class _Sieve:
    """What Postgres is not asked: words of the text, and the query."""

    def __init__(self, wanted: Wanted) -> None:
        self.words = wanted.words.casefold().split()
        self.matcher: Matcher | None = None
        if wanted.query is not None:
            try:
                query = parse(wanted.query.kind, wanted.query.value)
            except InvalidQuery as error:
                raise Problem("invalid", str(error), field="query") from error
            self.matcher = Matcher([(TrackId(0), query)])
        self.is_open = not self.words and self.matcher is None

    async def through(
        self, tweets: Iterable[StoredTweet], found: _Found
    ) -> AsyncIterator[StoredTweet]:
        """Those that pass; why is noted in `found`."""
        for number, tweet in enumerate(tweets):
            text = tweet.text.casefold() if self.words else ""
            if not all(word in text for word in self.words):
                continue
            if self.matcher is not None:
                if number % _BREATH == 0:
                    await asyncio.sleep(0)
                match = _matched(self.matcher, tweet)
                if match is None:
                    continue
                found.why[tweet.id] = match
            yield tweet


def _matched(matcher: Matcher, tweet: StoredTweet) -> Match | None:
    try:
        message = NETWORKS[tweet.network].decode(tweet.doc)
    except Reject:
        return None
    matches = matcher.match(message) if isinstance(message, Tweet) else []
    return matches[0] if matches else None


async def _newest(
    connection: Executor,
    scope: Sequence[TrackId] | None,
    wanted: Wanted,
    sieve: _Sieve,
    position: TweetId | None,
    found: _Found,
) -> TweetId | None:
    """Where to go on, None at the end."""
    low, below = _key_at(wanted.begin, 0), _key_at(wanted.end, _LARGEST_KEY)
    below = TweetId(min(below, position)) if position is not None else below
    many = scope if scope is not None and len(scope) > _MANY else None
    size = _slice(wanted, sieve, found.limit) if many is None else _SLICE
    while True:
        keys = await _keys(connection, scope, low, below, size)
        fitting = keys if many is None else await _credited(connection, keys, many)
        async for tweet in sieve.through(await _rows(connection, wanted, sieve, fitting), found):
            found.tweets.append(tweet)
            if found.is_full:
                found.looked_until = tweet.id
                return None if tweet.id == keys[-1] and len(keys) < size else tweet.id
        if keys:
            found.looked_until = below = keys[-1]
        if len(keys) < size:
            return None
        found.looked += len(keys)
        if found.is_late:
            return below


def _slice(wanted: Wanted, sieve: _Sieve, limit: int) -> int:
    """How many rows to look at, at a time."""
    if sieve.matcher is not None:
        return _SLICE_OF_DOCS
    is_open = sieve.is_open and wanted.lang is None and wanted.kind is None
    return limit + 1 if is_open else _SLICE


def _key_at(at: datetime | None, default: int) -> TweetId:
    """The first key of a time; also of times that no tweet can have."""
    if at is None:
        return TweetId(default)
    microseconds = round((at - to_datetime(0)).total_seconds() * 1e6)
    return TweetId(max(0, min(_LARGEST_KEY, tweet_key(microseconds, SourceId(0)))))


async def _keys(
    connection: Executor, scope: Sequence[TrackId] | None, low: TweetId, below: TweetId, size: int
) -> list[TweetId]:
    """The newest keys below; fewer than `size` only when there are no more.

    Day by day at first: all partitions at once take long to plan, and a merge of them opens each.
    """
    is_walk = scope is None or len(scope) > _MANY
    statement, tracks = (_ALL_KEYS, ()) if is_walk else (_KEYS_OF_TRACKS, (scope,))
    [ends] = await connection.fetch(_ENDS)
    if scope == [] or ends["first"] is None:
        return []
    low, below = TweetId(max(low, ends["first"])), TweetId(min(below, ends["last"] + 1))
    keys: list[TweetId] = []
    width = _DAY
    while below > low and len(keys) < size:
        until = TweetId(max(low, below - width))
        rows = await connection.fetch(statement, until, below, size - len(keys), *tracks)
        keys += [TweetId(row["id"]) for row in rows]
        below, width = until, width * 4
    return keys


async def _credited(
    connection: Executor, keys: Sequence[TweetId], tracks: Sequence[TrackId]
) -> list[TweetId]:
    """Those that belong to any of these tracks."""
    if not keys:
        return []
    times = received_at(keys[-1]), received_at(keys[0])
    rows = await connection.fetch(_CREDITED, keys, *times, tracks)
    return [TweetId(row["id"]) for row in rows]


async def _rows(
    connection: Executor, wanted: Wanted, sieve: _Sieve, keys: Sequence[TweetId]
) -> list[StoredTweet]:
    if not keys:
        return []
    times = received_at(keys[-1]), received_at(keys[0])
    statement = _TEXTS if sieve.matcher is None else _DOCS
    lang = None if wanted.lang is None else wanted.lang.lower()
    rows = await connection.fetch(statement, keys, *times, lang, wanted.kind)
    return [StoredTweet(**row) for row in rows]


async def _oldest(
    connection: Executor,
    scope: Sequence[TrackId] | None,
    wanted: Wanted,
    sieve: _Sieve,
    position: stored.Cursor | None,
    found: _Found,
) -> tuple[stored.Cursor, bool]:
    """Where to go on, and whether there is more now."""
    if position is None and wanted.begin is not None:
        position = await stored.since(connection, wanted.begin)
    position = position or stored.Cursor({})
    size = min(_SLICE_OF_DOCS, _slice(wanted, sieve, found.limit))
    while True:
        room = found.limit - len(found.tweets)
        read = await stored.after(connection, position, size, scope)
        passed = [
            (place, tweet) async for place, tweet in _numbered(read.tweets, wanted, sieve, found)
        ]
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


async def _numbered(
    tweets: Sequence[StoredTweet], wanted: Wanted, sieve: _Sieve, found: _Found
) -> AsyncIterator[tuple[int, StoredTweet]]:
    """Those that are wanted, with their places among the others."""
    places = {tweet.id: place for place, tweet in enumerate(tweets)}
    lang = None if wanted.lang is None else wanted.lang.lower()
    fitting = [
        tweet
        for tweet in tweets
        if (wanted.begin is None or tweet.received_at >= wanted.begin)
        and (wanted.end is None or tweet.received_at < wanted.end)
        and (lang is None or (tweet.lang or "").lower() == lang)
        and (wanted.kind is None or tweet.kind == wanted.kind)
    ]
    async for tweet in sieve.through(fitting, found):
        yield places[tweet.id], tweet


async def _show(
    connection: Executor,
    person: Person,
    tweets: Sequence[StoredTweet],
    why: dict[TweetId, Match],
) -> list[ShownTweet]:
    """With those matches whose tracks the person sees; the query's own has no track's number."""
    found = await stored.matches(connection, tweets)
    tracks = {match.track_id for matches in found.values() for match in matches}
    rows = await connection.fetch(_SEEN_OF, person.id, list(tracks)) if tracks else []
    seen = {row["track_id"] for row in rows}
    said: list[ShownTweet] = []
    for tweet in tweets:
        matches: list[StoredMatch] = [m for m in found.get(tweet.id, ()) if m.track_id in seen]
        showing = shown(tweet, matches)
        if (match := why.get(tweet.id)) is not None:
            own = ShownMatch("", match.term, match.field, match.part)
            showing = msgspec.structs.replace(showing, matches=[own, *showing.matches])
        said.append(showing)
    return said
