"""Loads an archived day into staging tables and attaches these as the day's partitions.

All of it happens in one transaction: a kill at any moment leaves nothing.
"""

from collections.abc import Sequence
from datetime import date

from stream.db import Executor, copy, row_count
from stream.store import day_snapshot, partitions
from stream.store.archives import mark_restored
from stream.store.day_snapshot import Digests, Table, finite_times
from stream.store.deletions import author_deleted, withheld_in

TWEETS = Table(
    "restoring_tweets", day_snapshot.TWEETS.key, day_snapshot.TWEETS.columns, by_day=False
)
MATCHES = Table(
    "restoring_matches", day_snapshot.MATCHES.key, day_snapshot.MATCHES.columns, by_day=False
)

_STAGE = "SELECT archive_stage()"
_FINITE_TIMES = finite_times("restoring_tweets")
_FINISH = "SELECT archive_finish($1)"
_ATTACH = "SELECT archive_attach($1) AS late"
# Deleted here since the archive was checked: the deletion has to reach the archive first.
_DELETED_SINCE = """
SELECT EXISTS (
    SELECT FROM restoring_tweets JOIN tweet_ids ON tweet_id = id
        AND tweet_ids.network = restoring_tweets.network
        AND tweet_ids.native_id = restoring_tweets.native_id
    WHERE tweet_ids.deleted_at IS NOT NULL AND restoring_tweets.deleted_at IS NULL) AS found
"""
# On another server: what it has under another key, or has a tombstone for.
_LEAVE_OUT = (
    """
    DELETE FROM restoring_tweets USING tweet_ids
    WHERE tweet_ids.network = restoring_tweets.network
      AND tweet_ids.native_id = restoring_tweets.native_id
      AND (tweet_ids.tweet_id <> id
           OR tweet_ids.deleted_at IS NOT NULL AND restoring_tweets.deleted_at IS NULL)
    """,
    f"""
    DELETE FROM restoring_tweets USING author_tombstones AS author
    WHERE author.network = restoring_tweets.network
      AND author.author_id = restoring_tweets.author_id
      AND restoring_tweets.deleted_at IS NULL AND {author_deleted("restoring_tweets", "author")}
    """,  # noqa: S608 - constants
)
_LEAVE_OUT_MATCHES = """
DELETE FROM restoring_matches
WHERE NOT EXISTS (SELECT FROM restoring_tweets WHERE id = restoring_matches.tweet_id)
"""
_WITHHOLD = f"""
WITH marks AS (
    SELECT tweet.id, {withheld_in("own", "author")} AS withheld
    FROM restoring_tweets AS tweet
    LEFT JOIN tweet_ids AS own
        ON own.network = tweet.network AND own.native_id = tweet.native_id
    LEFT JOIN author_tombstones AS author
        ON author.network = tweet.network AND author.author_id = tweet.author_id
)
UPDATE restoring_tweets SET withheld = marks.withheld FROM marks
WHERE marks.id = restoring_tweets.id AND marks.withheld IS NOT NULL
  AND marks.withheld IS DISTINCT FROM restoring_tweets.withheld
"""  # noqa: S608 - constants
_ADD_IDS = """
INSERT INTO tweet_ids (network, native_id, tweet_id, deleted_at)
SELECT network, native_id, id, deleted_at FROM restoring_tweets
ORDER BY network, native_id COLLATE "C"
ON CONFLICT (network, native_id) DO UPDATE SET tweet_id = excluded.tweet_id
    WHERE tweet_ids.tweet_id IS NULL AND tweet_ids.deleted_at IS NULL
"""
# Where the bytes received were not counted here, they are those of the documents in Postgres.
_ADD_COUNTS = (
    """
    INSERT INTO track_minutes (track_id, minute, tweets)
    SELECT track_id, date_trunc('minute', received_at, 'UTC'), count(*)
    FROM restoring_matches GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO track_hours (track_id, hour, tweets, bytes)
    SELECT track_id, date_trunc('hour', found.received_at, 'UTC'), count(*),
           sum(octet_length(doc::text))
    FROM restoring_matches AS found JOIN restoring_tweets ON id = tweet_id
    WHERE NOT EXISTS (
        SELECT FROM track_hours WHERE track_hours.track_id = found.track_id
            AND hour = date_trunc('hour', found.received_at, 'UTC'))
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO track_days (track_id, day, tweets, bytes)
    SELECT track_id, (found.received_at AT TIME ZONE 'UTC')::date, count(*),
           sum(octet_length(doc::text))
    FROM restoring_matches AS found JOIN restoring_tweets ON id = tweet_id
    WHERE NOT EXISTS (
        SELECT FROM track_days WHERE track_days.track_id = found.track_id
            AND day = (found.received_at AT TIME ZONE 'UTC')::date)
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT DO NOTHING
    """,
)


async def stage(connection: Executor) -> None:
    """Create the staging tables."""
    await connection.execute(_STAGE)


async def load(connection: Executor, table: Table, rows: Sequence[tuple[object, ...]]) -> None:
    """Add rows of a file to a staging table."""
    await copy(connection, table.name, table.column_names, rows)


async def loaded(connection: Executor) -> Digests:
    """The digests of the staging tables, once all files are loaded."""
    await connection.execute(_FINITE_TIMES)
    return {
        "tweets": await day_snapshot.digest(connection, TWEETS),
        "matches": await day_snapshot.digest(connection, MATCHES),
    }


async def deleted_since(connection: Executor) -> bool:
    """Whether a tweet got its tombstone after the archive was checked for deletions."""
    [row] = await connection.fetch(_DELETED_SINCE)
    return bool(row["found"])


async def leave_out(connection: Executor) -> int:
    """Remove tweets that were deleted here, or are stored under another key; returns how many."""
    number = 0
    for statement in _LEAVE_OUT:
        number += row_count(await connection.execute(statement))
    if number:
        await connection.execute(_LEAVE_OUT_MATCHES)
    return number


async def withhold(connection: Executor) -> bool:
    """Note in which countries the tweets are hidden by now; whether any of them changed."""
    return row_count(await connection.execute(_WITHHOLD)) > 0


async def add_ids_and_counts(connection: Executor) -> None:
    """Add the native ids and the roll-ups of the day where this database has none."""
    for statement in (_ADD_IDS, *_ADD_COUNTS):
        await connection.execute(statement)


async def attach(connection: Executor, day: date) -> bool:
    """Make the staging tables the day's partitions; returns whether the day got rows meanwhile."""
    await connection.execute(_FINISH, day)

    async def attempt() -> bool:
        async with partitions.short_lock_waits(connection):
            [row] = await connection.fetch(_ATTACH, day)
            await mark_restored(connection, day)
            return bool(row["late"])

    return await partitions.with_lock_retries(attempt)
