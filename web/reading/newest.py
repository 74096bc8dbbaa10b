"""The newest tweets first: by their keys, from one slice to the one before it."""

from collections.abc import Sequence
from datetime import datetime

from stream.db import Executor
from stream.stored import SHOWN, StoredTweet
from stream.tweet import SourceId, TrackId, TweetId
from stream.tweets import SOURCE_BITS, received_at, to_datetime, tweet_key
from web.reading.wanted import Found, Sieve, Wanted

MANY = 50  # tracks; from there on walking through the tweets is cheaper than through each track
_DAY = 86_400_000_000 << SOURCE_BITS  # in keys
_LARGEST_KEY = 2**63 - 1

_NO_DOC = "''::bytea AS doc"
_PLAIN = ", ".join(name for name in StoredTweet.__struct_fields__ if name != "doc")
_ROWS = """
SELECT {columns} FROM tweets
WHERE id = ANY ($1) AND received_at BETWEEN $2 AND $3
  AND ($4::text IS NULL OR lower(lang) = $4) AND ($5::text IS NULL OR kind = $5)
  AND {shown}
ORDER BY id DESC
"""
_TEXTS = _ROWS.format(columns=f"{_PLAIN}, {_NO_DOC}", shown=SHOWN)
_DOCS = _ROWS.format(columns=f"{_PLAIN}, doc", shown=SHOWN)
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


async def newest(
    connection: Executor,
    scope: Sequence[TrackId] | None,
    wanted: Wanted,
    sieve: Sieve,
    position: TweetId | None,
    found: Found,
) -> TweetId | None:
    """Where to go on, None at the end."""
    low, below = _key_at(wanted.begin, 0), _key_at(wanted.end, _LARGEST_KEY)
    below = TweetId(min(below, position)) if position is not None else below
    many = scope if scope is not None and len(scope) > MANY else None
    size, most = sieve.slices(wanted, found.limit, all_fit=many is None)
    while True:
        keys = await _keys(connection, scope, low, below, size)
        fitting = keys if many is None else await credited(connection, keys, many)
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
        size = min(size * 2, most)


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
    is_walk = scope is None or len(scope) > MANY
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


async def credited(
    connection: Executor, keys: Sequence[TweetId], tracks: Sequence[TrackId]
) -> list[TweetId]:
    """Those that belong to any of these tracks, the newest first."""
    if not keys:
        return []
    times = received_at(min(keys)), received_at(max(keys))
    rows = await connection.fetch(_CREDITED, keys, *times, tracks)
    return [TweetId(row["id"]) for row in rows]


async def _rows(
    connection: Executor, wanted: Wanted, sieve: Sieve, keys: Sequence[TweetId]
) -> list[StoredTweet]:
    if not keys:
        return []
    times = received_at(keys[-1]), received_at(keys[0])
    statement = _TEXTS if sieve.matcher is None else _DOCS
    lang = None if wanted.lang is None else wanted.lang.lower()
    rows = await connection.fetch(statement, keys, *times, lang, wanted.kind)
    return [StoredTweet(**row) for row in rows]


async def one(connection: Executor, tweet_id: TweetId) -> StoredTweet | None:
    """With its message."""
    at = received_at(tweet_id)
    rows = await connection.fetch(_DOCS, [tweet_id], at, at, None, None)
    return StoredTweet(**rows[0]) if rows else None
