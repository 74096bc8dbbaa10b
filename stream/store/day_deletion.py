"""Delete the tweets of a day with their matches, a few at a time: retention and archiving."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from stream.db import Executor

_NEXT_KEYS = """
SELECT id FROM tweets WHERE id > $1 AND received_at >= $2 AND received_at < $3 ORDER BY id LIMIT $4
"""
# $1: the tweets; $2, $3: their day; $4: retention.tweets_days, null for ever; $5: whole days since
# the end of the day; $6: whether tweets without a match expire. Matches of removed tracks expire
# by $4. The tweets go first, as row_locks.py says: counting them makes `uncredited` wait for that.
_DELETE_EXPIRED = """
WITH credited AS (
    SELECT matches.tweet_id, matches.track_id,
        coalesce(coalesce(tracks.keep_days, $4::integer) <= $5::integer, false) AS expired
    FROM matches LEFT JOIN tracks ON tracks.id = matches.track_id
    WHERE matches.tweet_id = ANY ($1::bigint[])
      AND matches.received_at >= $2 AND matches.received_at < $3
), gone AS (
    DELETE FROM tweets
    WHERE id = ANY ($1::bigint[]) AND received_at >= $2 AND received_at < $3
      AND NOT EXISTS (
        SELECT FROM credited WHERE credited.tweet_id = tweets.id AND NOT credited.expired)
      AND ($6 OR EXISTS (SELECT FROM credited WHERE credited.tweet_id = tweets.id))
    RETURNING 1
), uncredited AS (
    DELETE FROM matches USING credited
    WHERE credited.expired AND (SELECT count(*) FROM gone) >= 0
      AND matches.tweet_id = credited.tweet_id AND matches.track_id = credited.track_id
      AND matches.received_at >= $2 AND matches.received_at < $3
    RETURNING 1
)
SELECT (SELECT count(*) FROM uncredited) AS matches, (SELECT count(*) FROM gone) AS tweets
"""
_DELETE_STORED = """
WITH gone AS (
    DELETE FROM tweets WHERE id = ANY ($1::bigint[]) AND received_at >= $2 AND received_at < $3
    RETURNING 1
), uncredited AS (
    DELETE FROM matches
    WHERE tweet_id = ANY ($1::bigint[]) AND received_at >= $2 AND received_at < $3
      AND (SELECT count(*) FROM gone) >= 0
    RETURNING 1
)
SELECT (SELECT count(*) FROM uncredited) AS matches, (SELECT count(*) FROM gone) AS tweets
"""


class Deleted(msgspec.Struct, frozen=True):
    """How many rows were deleted."""

    matches: int
    tweets: int


async def next_keys(
    connection: Executor, after: int, since: datetime, until: datetime, limit: int
) -> list[int]:
    """The keys of the next stored tweets of a day."""
    rows = await connection.fetch(_NEXT_KEYS, after, since, until, limit)
    return [row["id"] for row in rows]


async def delete_expired(
    connection: Executor,
    keys: Sequence[int],
    bounds: tuple[datetime, datetime],
    *,
    keep_days: int | None,
    age: int,
    unmatched: bool,
) -> Deleted:
    """Delete matches that their tracks do not keep any longer, and tweets without any other.

    `keep_days`: of tracks without a time of their own; `age`: whole days since the end of the day;
    `unmatched`: whether tweets that match no track expire.
    """
    [row] = await connection.fetch(_DELETE_EXPIRED, keys, *bounds, keep_days, age, unmatched)
    return Deleted(**row)


async def delete_stored(
    connection: Executor, keys: Sequence[int], bounds: tuple[datetime, datetime]
) -> Deleted:
    """Delete tweets of a day with their matches; their native ids and counts stay."""
    [row] = await connection.fetch(_DELETE_STORED, keys, *bounds)
    return Deleted(**row)
