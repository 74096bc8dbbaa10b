"""Deletions of tweets that were stored, in an order in which readers miss none: deletion_log."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from stream.db import Executor, row_count, transaction
from stream.tweet import TrackId, TweetId

# $3, $4: the day of the tweets. Before their matches are erased.
_ADD = """
INSERT INTO deletion_log (tweet_id, deleted_at, tracks)
SELECT given.id, given.deleted_at, ARRAY(
    SELECT track_id FROM matches
    WHERE tweet_id = given.id AND received_at BETWEEN $3 AND $4 ORDER BY track_id)
FROM unnest($1::bigint[], $2::timestamptz[]) AS given (id, deleted_at)
ORDER BY given.id
ON CONFLICT (tweet_id) DO NOTHING
"""
# A deletion whose tracks were not known has come to readers without them: it comes once more.
_ADD_ARCHIVED = """
INSERT INTO deletion_log (tweet_id, deleted_at, tracks)
SELECT id, deleted_at, string_to_array(tracks, ',')::bigint[]
FROM unnest($1::bigint[], $2::timestamptz[], $3::text[]) AS given (id, deleted_at, tracks)
ORDER BY id
ON CONFLICT (tweet_id) DO UPDATE SET tracks = excluded.tracks, number = NULL
    WHERE deletion_log.tracks = '{}'
"""
_HAS_NEW = "SELECT EXISTS (SELECT FROM deletion_log WHERE number IS NULL) AS found"
# One reader numbers at a time; the next one sees what it has numbered.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('twitterstream deletions'), 0)"
_NUMBER = """
WITH last AS (
    SELECT greatest(coalesce(max(number), 0), (extract(epoch FROM now()) * 1000000)::bigint)
        AS number
    FROM deletion_log
), unnumbered AS (
    SELECT tweet_id, row_number() OVER (ORDER BY tweet_id) AS place
    FROM deletion_log WHERE number IS NULL
)
UPDATE deletion_log SET number = last.number + unnumbered.place FROM last, unnumbered
WHERE deletion_log.tweet_id = unnumbered.tweet_id
"""
_HEAD = "SELECT coalesce(max(number), 0) AS number FROM deletion_log"
_AFTER = """
SELECT number, tweet_id, deleted_at, tracks FROM deletion_log
WHERE number > $1 ORDER BY number LIMIT $2
"""
_OF_TWEETS = """
SELECT number, tweet_id, deleted_at, tracks FROM deletion_log
WHERE tweet_id = ANY ($1::bigint[]) AND number IS NOT NULL ORDER BY number
"""
_PRUNE = """
DELETE FROM deletion_log WHERE number IN (
    SELECT number FROM deletion_log WHERE number < extract(epoch FROM $1::timestamptz) * 1000000
    ORDER BY number LIMIT $2)
"""


class LoggedDeletion(msgspec.Struct, frozen=True):
    """A deletion of a tweet that was stored."""

    number: int
    tweet_id: TweetId
    deleted_at: datetime
    tracks: Sequence[TrackId]


class ArchivedDeletion(msgspec.Struct, frozen=True):
    """A deletion of a tweet of an archive, and the tracks that the tweet has there."""

    tweet_id: TweetId
    deleted_at: datetime
    tracks: Sequence[TrackId]


async def add(
    connection: Executor, times: Mapping[TweetId, datetime], bounds: tuple[datetime, datetime]
) -> None:
    """Note that these tweets are being deleted; `bounds`: their times, within one day."""
    await connection.execute(_ADD, list(times), list(times.values()), *bounds)


async def add_archived(connection: Executor, deletions: Sequence[ArchivedDeletion]) -> None:
    """Note deletions of tweets that are only in an archive, where their tracks were read."""
    ids = [each.tweet_id for each in deletions]
    times = [each.deleted_at for each in deletions]
    tracks = [",".join(map(str, each.tracks)) for each in deletions]
    await connection.execute(_ADD_ARCHIVED, ids, times, tracks)


async def head(connection: Executor) -> int:
    """The number of the newest deletion; 0: there was none."""
    await number_new(connection)
    [row] = await connection.fetch(_HEAD)
    number: int = row["number"]
    return number


async def after(connection: Executor, number: int, limit: int) -> list[LoggedDeletion]:
    """The next deletions after this number."""
    await number_new(connection)
    return [LoggedDeletion(**row) for row in await connection.fetch(_AFTER, number, limit)]


async def of_tweets(connection: Executor, tweets: Sequence[TweetId]) -> list[LoggedDeletion]:
    """The deletions of these tweets."""
    return [LoggedDeletion(**row) for row in await connection.fetch(_OF_TWEETS, list(tweets))]


async def number_new(connection: Executor) -> None:
    """Number the deletions that have no number yet."""
    [row] = await connection.fetch(_HAS_NEW)
    if row["found"]:
        async with transaction(connection):
            await connection.execute(_LOCK)
            await connection.execute(_NUMBER)


async def prune(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some deletions that were numbered before this time; returns how many."""
    await number_new(connection)
    return row_count(await connection.execute(_PRUNE, before, limit))
