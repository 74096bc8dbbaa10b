"""Applies deletions to tweets that are only in an archive, by the rules of `deletions`.

The rows that are concerned go through temporary tables of this connection, a batch at a time.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, datetime

import msgspec

from stream.db import Executor, copy, row_count
from stream.store import day_snapshot
from stream.store.day_snapshot import Digest, Table, finite_times
from stream.store.deletions import (
    author_deleted,
    author_scrubbed,
    doc_has_places,
    doc_without_places,
)
from stream.store.partitions import day_bounds
from stream.tweet import TrackId

TWEETS = Table(
    "archived_tweets", day_snapshot.TWEETS.key, day_snapshot.TWEETS.columns, by_day=False
)
MATCHES = Table(
    "archived_matches", day_snapshot.MATCHES.key, day_snapshot.MATCHES.columns, by_day=False
)

_DELETED_TWEETS = """
SELECT tweet_id FROM tweet_ids
WHERE deleted_at IS NOT NULL AND tweet_id >= tweet_key($1, 0) AND tweet_id < tweet_key($2, 0)
"""
_CHANGED_AUTHORS = """
SELECT DISTINCT author_id FROM author_tombstones
WHERE changed_at > coalesce($1::timestamptz, '-infinity') AND held
"""
# `counted`: it was stored here, so the roll-ups have it.
_CLASSIFY = f"""
SELECT given.id,
    coalesce(own.deleted_at, CASE WHEN {author_deleted("given", "author")}
                                  THEN author.deleted_at END) AS deleted_at,
    coalesce(own.tweet_id = given.id, false) AS counted,
    {author_scrubbed("given", "author")} AS scrubbed
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    AS given (id, network, native_id, author_id, created_at)
LEFT JOIN tweet_ids AS own
    ON own.network = given.network AND own.native_id = given.native_id
LEFT JOIN author_tombstones AS author
    ON author.network = given.network AND author.author_id = given.author_id
"""  # noqa: S608 - constants
_CREATE = (
    "CREATE TEMP TABLE IF NOT EXISTS archived_tweets (LIKE tweets)",
    "CREATE TEMP TABLE IF NOT EXISTS archived_matches (LIKE matches)",
    # The deleted tweets of the whole day.
    """CREATE TEMP TABLE IF NOT EXISTS archived_tombstones
       (network text, native_id text, id bigint, deleted_at timestamptz, counted boolean)""",
)
_EMPTY = "TRUNCATE archived_tweets, archived_matches, archived_tombstones"
_NEXT_BATCH = "TRUNCATE archived_tweets, archived_matches"
_FINITE_TIMES = finite_times("archived_tweets")
_ADD_TOMBSTONES = """
INSERT INTO archived_tombstones (network, native_id, id, deleted_at, counted)
SELECT network, native_id, archived_tweets.id, given.deleted_at, given.counted
FROM archived_tweets JOIN unnest($1::bigint[], $2::timestamptz[], $3::boolean[])
    AS given (id, deleted_at, counted) USING (id)
"""
_ERASE = "DELETE FROM archived_tweets WHERE id = ANY ($1::bigint[])"
_FLAG = """
UPDATE archived_tweets SET deleted_at = archived_tombstones.deleted_at FROM archived_tombstones
WHERE archived_tweets.id = archived_tombstones.id AND archived_tweets.deleted_at IS NULL
"""
_SCRUB = f"""
UPDATE archived_tweets SET doc = {doc_without_places("archived_tweets")}
WHERE id = ANY ($1::bigint[]) AND {doc_has_places("archived_tweets")}
"""  # noqa: S608 - constants
_UNCREDITED = """
SELECT track_id, date_trunc('minute', received_at, 'UTC') AS minute, count(*)::integer AS tweets
FROM archived_matches JOIN archived_tombstones ON archived_tombstones.id = tweet_id
WHERE counted GROUP BY 1, 2
"""
_SAVE_TOMBSTONES = """
INSERT INTO tweet_ids (network, native_id, tweet_id, deleted_at)
SELECT network, native_id, id, deleted_at FROM archived_tombstones
ORDER BY network, native_id COLLATE "C"
ON CONFLICT (network, native_id)
    DO UPDATE SET deleted_at = coalesce(tweet_ids.deleted_at, excluded.deleted_at)
"""


class Deletions(msgspec.Struct, frozen=True):
    """What may concern a day: its tweets with a tombstone, and authors with a new one."""

    tweet_ids: Sequence[int]
    author_ids: Sequence[str]


class Outcome(msgspec.Struct, frozen=True):
    """What deletions mean for one tweet of an archive."""

    id: int
    deleted_at: datetime | None
    counted: bool  # it was stored here, so the roll-ups have it
    scrubbed: bool  # it loses its places, if it has any


class Applied(msgspec.Struct, frozen=True):
    """What deletions did to a batch of tweets."""

    before: Digest
    after: Digest
    scrubbed: int  # tweets


async def candidates(connection: Executor, day: date, authors_since: datetime | None) -> Deletions:
    """The tombstones of a day's tweets, and the authors whose tombstones changed since then."""
    tweets = await connection.fetch(_DELETED_TWEETS, *day_bounds(day))
    authors = await connection.fetch(_CHANGED_AUTHORS, authors_since)
    return Deletions([row["tweet_id"] for row in tweets], [row["author_id"] for row in authors])


async def classify(connection: Executor, columns: Mapping[str, Sequence[object]]) -> list[Outcome]:
    """What deletions mean for tweets, given by the columns that decide it."""
    names = ("id", "network", "native_id", "author_id", "created_at")
    rows = await connection.fetch(_CLASSIFY, *(columns[name] for name in names))
    return [Outcome(**row) for row in rows]


@contextlib.asynccontextmanager
async def temporary_tables(connection: Executor) -> AsyncIterator[None]:
    """The tables that batches go through, empty."""
    for statement in (*_CREATE, _EMPTY):
        await connection.execute(statement)
    yield
    await connection.execute(_EMPTY)


async def apply(
    connection: Executor,
    rows: Sequence[tuple[object, ...]],
    outcomes: Sequence[Outcome],
    *,
    erase: bool,
) -> Applied:
    """Apply these outcomes to tweets of an archive; TWEETS has what is left of them."""
    await connection.execute(_NEXT_BATCH)
    await copy(connection, TWEETS.name, TWEETS.column_names, rows)
    await connection.execute(_FINITE_TIMES)
    before = await day_snapshot.digest(connection, TWEETS)
    deleted = [each for each in outcomes if each.deleted_at is not None]
    await connection.execute(
        _ADD_TOMBSTONES,
        [each.id for each in deleted],
        [each.deleted_at for each in deleted],
        [each.counted for each in deleted],
    )
    if erase:
        await connection.execute(_ERASE, [each.id for each in deleted])
    else:
        await connection.execute(_FLAG)
    done = await connection.execute(_SCRUB, [each.id for each in outcomes if each.scrubbed])
    after = await day_snapshot.digest(connection, TWEETS)
    return Applied(before, after, row_count(done))


async def remove_matches(
    connection: Executor, rows: Sequence[tuple[object, ...]]
) -> tuple[Digest, Counter[tuple[TrackId, datetime]]]:
    """The digest of matches whose tweets were erased, and what the roll-ups lose by them."""
    await connection.execute(_NEXT_BATCH)
    await copy(connection, MATCHES.name, MATCHES.column_names, rows)
    lost: Counter[tuple[TrackId, datetime]] = Counter()
    for row in await connection.fetch(_UNCREDITED):
        lost[TrackId(row["track_id"]), row["minute"]] = row["tweets"]
    return await day_snapshot.digest(connection, MATCHES), lost


async def save_tombstones(connection: Executor) -> None:
    """Keep the deleted tweets from being stored again."""
    await connection.execute(_SAVE_TOMBSTONES)
