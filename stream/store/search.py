"""Search stored tweets: newest first by key, by track, language and kind; and sample them.

Everything goes by keys, from one slice to the one before it, so that no statement reads more than
its slice, however much is stored. Reading in commit order, with a cursor, is `stream.store.feed`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from stream.db import Executor
from stream.keys import LANE_BITS, MAX_KEY, received_at, to_datetime, tweet_key
from stream.store.feed import SHOWN, StoredTweet
from stream.tweet import LaneId, TrackId, TweetId, TweetKind

# From so many tracks on, reading all tweets and then picking those of the tracks is cheaper than
# reading each track's own.
MANY_TRACKS = 50
_DAY = 86_400_000_000 << LANE_BITS  # in keys

_NO_DOC = "''::bytea AS doc"
_WITHOUT_DOC = ", ".join(name for name in StoredTweet.__struct_fields__ if name != "doc")
_BY_KEY = """
SELECT {columns} FROM tweets
WHERE id = ANY ($1) AND received_at BETWEEN $2 AND $3
  AND ($4::text IS NULL OR lower(lang) = $4) AND ($5::text IS NULL OR kind = $5)
  AND {shown}
ORDER BY id DESC
"""
_TEXTS = _BY_KEY.format(columns=f"{_WITHOUT_DOC}, {_NO_DOC}", shown=SHOWN)
_DOCS = _BY_KEY.format(columns=f"{_WITHOUT_DOC}, doc", shown=SHOWN)
_KEYS = """
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
_STORED_KEYS = "SELECT min(first_id) AS first, max(last_id) AS last FROM ingest_runs"
_STRATA = """
SELECT floor(extract(epoch FROM minute - $1)::float8 / $2)::integer AS stratum,
    sum(frames)::bigint AS tweets
FROM (SELECT DISTINCT source_id FROM ingest_runs) AS sources JOIN source_minutes USING (source_id)
WHERE minute >= $1 AND minute < $3 AND outcome IN ('stored', 'unmatched')
GROUP BY 1 ORDER BY 1
"""
_COUNT_KEYS = """
SELECT stratum, counted.* FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::integer[])
    AS wanted (stratum, low, high, most)
CROSS JOIN LATERAL (
    SELECT count(*) AS tweets, max(id) AS last FROM (
        SELECT id FROM tweets
        WHERE id >= low AND id < high
          AND received_at >= tweet_received_at(low) AND received_at < tweet_received_at(high)
        ORDER BY id LIMIT most) AS first
) AS counted
WHERE tweets > 0
"""
_SAMPLE = f"""
SELECT stratum, tweets.* FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::integer[])
    AS wanted (stratum, low, high, most)
CROSS JOIN LATERAL (
    SELECT {", ".join(StoredTweet.__struct_fields__)} FROM tweets
    WHERE id >= low AND id < high
      AND received_at >= tweet_received_at(low) AND received_at < tweet_received_at(high)
      AND {SHOWN}
    ORDER BY id LIMIT most
) AS tweets
"""  # noqa: S608 - constants


class SampleRange(NamedTuple):
    """Read the first `limit` tweets from key `low` on and below `high`."""

    stratum: int
    low: TweetId
    high: TweetId
    limit: int


class RangeCount(NamedTuple):
    """How many tweets a range has, at most its limit, and the last of these."""

    tweets: int
    last: TweetId


def first_key_at(moment: datetime) -> TweetId:
    """The first key that a tweet received at this time can have; also for impossible times."""
    microseconds = round((moment - to_datetime(0)).total_seconds() * 1e6)
    return TweetId(max(0, min(MAX_KEY, tweet_key(microseconds, LaneId(0)))))


async def newest_keys(
    connection: Executor,
    tracks: Sequence[TrackId] | None,
    low: TweetId,
    below: TweetId,
    limit: int,
) -> list[TweetId]:
    """The newest keys from `low` on and below `below`; fewer than `limit` only at the end.

    Only those of these tracks, if they are not too many. It goes back day by day at first: planning
    for all partitions at once takes long, and a merge of them opens each.
    """
    reads_all = tracks is None or len(tracks) > MANY_TRACKS
    statement, arguments = (_KEYS, ()) if reads_all else (_KEYS_OF_TRACKS, (tracks,))
    [stored] = await connection.fetch(_STORED_KEYS)
    if tracks == [] or stored["first"] is None:
        return []
    low, below = TweetId(max(low, stored["first"])), TweetId(min(below, stored["last"] + 1))
    keys: list[TweetId] = []
    width = _DAY
    while below > low and len(keys) < limit:
        until = TweetId(max(low, below - width))
        rows = await connection.fetch(statement, until, below, limit - len(keys), *arguments)
        keys += [TweetId(row["id"]) for row in rows]
        below, width = until, width * 4
    return keys


async def credited(
    connection: Executor, keys: Sequence[TweetId], tracks: Sequence[TrackId]
) -> list[TweetId]:
    """Those of these tweets that match any of these tracks, the newest first."""
    if not keys:
        return []
    times = received_at(min(keys)), received_at(max(keys))
    rows = await connection.fetch(_CREDITED, keys, *times, tracks)
    return [TweetId(row["id"]) for row in rows]


async def by_keys(
    connection: Executor,
    keys: Sequence[TweetId],
    lang: str | None = None,
    kind: TweetKind | None = None,
    *,
    with_doc: bool = True,
) -> list[StoredTweet]:
    """The tweets with these keys, language and kind, the newest first; hidden ones left out."""
    if not keys:
        return []
    times = received_at(min(keys)), received_at(max(keys))
    lang = None if lang is None else lang.lower()
    rows = await connection.fetch(_DOCS if with_doc else _TEXTS, keys, *times, lang, kind)
    return [StoredTweet(**row) for row in rows]


async def by_key(connection: Executor, tweet_id: TweetId) -> StoredTweet | None:
    """One tweet with its message; None when there is none to show."""
    found = await by_keys(connection, [tweet_id])
    return found[0] if found else None


async def count_strata(
    connection: Executor, begin: datetime, seconds: float, end: datetime
) -> dict[int, int]:
    """Tweets stored in each `seconds` long stratum of a time, where there are any.

    These are the writers' counts: what look-backs have stored is not among them.
    """
    rows = await connection.fetch(_STRATA, begin, seconds, end)
    return {row["stratum"]: row["tweets"] for row in rows}


async def count_ranges(
    connection: Executor, ranges: Sequence[SampleRange]
) -> dict[int, RangeCount]:
    """Tweets in each of these ranges, by stratum, where there are any."""
    columns = [list(column) for column in zip(*ranges, strict=True)]
    rows = await connection.fetch(_COUNT_KEYS, *columns)
    return {row["stratum"]: RangeCount(row["tweets"], row["last"]) for row in rows}


async def sample(
    connection: Executor, ranges: Sequence[SampleRange]
) -> list[tuple[int, StoredTweet]]:
    """The tweets of these ranges, each with its stratum."""
    columns = [list(column) for column in zip(*ranges, strict=True)]
    rows = [dict(row) for row in await connection.fetch(_SAMPLE, *columns)]
    return [(row.pop("stratum"), StoredTweet(**row)) for row in rows]
