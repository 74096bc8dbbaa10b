"""The tables of what was collected: tweets, identities, matches, author_tombstones."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from stream.db import Executor, copy
from stream.tweet import Match, NativeId, NetworkName, SourceId, Tweet, TweetId

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEY_EPOCH = 1_577_836_800_000_000  # microseconds: 2020-01-01, as in tweet_key()
SOURCE_BITS = 12

_ENSURE_DAY = "SELECT ensure_day($1)"
# The rows in the order of the key, so that two writers never wait for each other in a ring.
_CLAIM = """
INSERT INTO identities (network, native_id, tweet_id)
SELECT $1, native_id, tweet_id FROM unnest($2::text[], $3::bigint[]) AS new (native_id, tweet_id)
ORDER BY native_id COLLATE "C"
ON CONFLICT (network, native_id) DO UPDATE SET tweet_id = excluded.tweet_id
    WHERE identities.tweet_id IS NULL AND identities.deleted_at IS NULL
RETURNING tweet_id, withheld
"""
_DELETED = """
SELECT native_id FROM identities
WHERE network = $1 AND native_id = ANY ($2::text[]) AND deleted_at IS NOT NULL
"""
_AUTHORS = """
SELECT author_id, deleted_at, scrubbed_to, withheld FROM author_tombstones
WHERE network = $1 AND author_id = ANY ($2::text[])
"""
_TOMBSTONE = """
INSERT INTO identities (network, native_id, deleted_at) VALUES ($1, $2, $3)
ON CONFLICT (network, native_id)
    DO UPDATE SET deleted_at = coalesce(identities.deleted_at, excluded.deleted_at)
RETURNING tweet_id
"""
_AUTHOR_TOMBSTONE = """
INSERT INTO author_tombstones (network, author_id, deleted_at, scrubbed_to, withheld)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (network, author_id) DO UPDATE SET
    deleted_at = greatest(author_tombstones.deleted_at, excluded.deleted_at),
    scrubbed_to = greatest(author_tombstones.scrubbed_to, excluded.scrubbed_to),
    withheld = coalesce(excluded.withheld, author_tombstones.withheld),
    changed_at = now()
"""
_UNCREDIT = """
WITH gone AS (
    DELETE FROM matches WHERE tweet_id = $1 AND received_at = $2 RETURNING track_id
), of_hour AS (
    UPDATE track_hours SET tweets = track_hours.tweets - 1
    FROM gone
    WHERE track_hours.track_id = gone.track_id AND hour = date_trunc('hour', $2, 'UTC')
), of_day AS (
    UPDATE track_days SET tweets = track_days.tweets - 1
    FROM gone
    WHERE track_days.track_id = gone.track_id AND day = ($2 AT TIME ZONE 'UTC')::date
)
UPDATE track_minutes SET tweets = track_minutes.tweets - 1
FROM gone
WHERE track_minutes.track_id = gone.track_id AND minute = date_trunc('minute', $2, 'UTC')
"""
_ERASE = "DELETE FROM tweets WHERE id = $1 AND received_at = $2"
_FLAG = (
    "UPDATE tweets SET deleted_at = $3 WHERE id = $1 AND received_at = $2 AND deleted_at IS NULL"
)
_OF_AUTHOR = """
SELECT id, native_id FROM tweets
WHERE network = $1 AND author_id = $2 AND (created_at IS NULL OR created_at <= $3)
"""
_SCRUB = """
UPDATE tweets
SET doc = doc - ARRAY['geo', 'coordinates', 'place'] #- '{data,geo}' #- '{includes,places}'
WHERE network = $1 AND author_id = $2 AND native_id ~ '^[0-9]+$' AND native_id::numeric <= $3
"""
_WITHHOLD = """
INSERT INTO identities (network, native_id, withheld) VALUES ($1, $2, $3)
ON CONFLICT (network, native_id) DO UPDATE SET withheld = excluded.withheld
RETURNING tweet_id
"""
_WITHHOLD_TWEET = "UPDATE tweets SET withheld = $3 WHERE id = $1 AND received_at = $2"
_WITHHOLD_AUTHOR = "UPDATE tweets SET withheld = $3 WHERE network = $1 AND author_id = $2"

_TWEET_COLUMNS = (
    "id",
    "received_at",
    "created_at",
    "network",
    "native_id",
    "kind",
    "lang",
    "author_id",
    "author",
    "url",
    "withheld",
    "text",
    "doc",
)
_MATCH_COLUMNS = ("tweet_id", "track_id", "received_at", "term", "field", "part")


class Arrival(msgspec.Struct, gc=False):
    """A tweet on its way into the tables, with what it is credited to."""

    id: TweetId
    received_at: datetime
    minute: datetime  # of received_at
    tweet: Tweet
    doc: bytes
    matches: Sequence[Match]
    repaired: bool
    withheld: Sequence[str] | None = None


class Lost(msgspec.Struct, frozen=True):
    """What an author's tweets have lost."""

    deleted_at: datetime | None
    scrubbed_to: int | None
    withheld: Sequence[str] | None


def tweet_key(received: int, source_id: SourceId) -> TweetId:
    """The key of a frame received at so many microseconds since 1970; SQL's tweet_key()."""
    return TweetId((received - KEY_EPOCH) << SOURCE_BITS | source_id)


def to_datetime(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def received_at(tweet_id: TweetId) -> datetime:
    return to_datetime((tweet_id >> SOURCE_BITS) + KEY_EPOCH)


async def ensure_days(
    connection: Executor, days: Iterable[date], *, timeout: float | None = None
) -> None:
    """Make the partitions of these days if they are missing; `timeout`: seconds for each."""
    for day in days:
        await connection.execute(_ENSURE_DAY, day, timeout=timeout)


async def claim(
    connection: Executor, network: NetworkName, arrivals: Sequence[Arrival]
) -> dict[TweetId, Sequence[str] | None]:
    """Take the native ids for these tweets; returns those that are new, with what withholds them.

    What is not returned is stored already, or has a tombstone.
    """
    rows = await connection.fetch(
        _CLAIM, network, [a.tweet.native_id for a in arrivals], [a.id for a in arrivals]
    )
    return {TweetId(row["tweet_id"]): row["withheld"] for row in rows}


async def deleted(
    connection: Executor, network: NetworkName, native_ids: Sequence[NativeId]
) -> set[NativeId]:
    """Which of these have a tombstone."""
    rows = await connection.fetch(_DELETED, network, native_ids)
    return {NativeId(row["native_id"]) for row in rows}


async def lost_authors(
    connection: Executor, network: NetworkName, author_ids: Iterable[str]
) -> Mapping[str, Lost]:
    """The tombstones of these authors."""
    rows = await connection.fetch(_AUTHORS, network, list(author_ids))
    return {
        row["author_id"]: Lost(
            row["deleted_at"],
            None if row["scrubbed_to"] is None else int(row["scrubbed_to"]),
            row["withheld"],
        )
        for row in rows
    }


async def insert(connection: Executor, network: NetworkName, arrivals: Sequence[Arrival]) -> None:
    """Store claimed tweets and their matches."""
    # Made while they are sent: so Postgres is at work before the last one is made.
    await copy(connection, "tweets", _TWEET_COLUMNS, (_tweet_row(network, a) for a in arrivals))
    if any(arrival.matches for arrival in arrivals):
        matches = (row for arrival in arrivals for row in _match_rows(arrival))
        await copy(connection, "matches", _MATCH_COLUMNS, matches)


def _tweet_row(network: NetworkName, arrival: Arrival) -> tuple[object, ...]:
    tweet = arrival.tweet
    return (
        arrival.id,
        arrival.received_at,
        tweet.created_at,
        network,
        tweet.native_id,
        tweet.kind,
        tweet.lang,
        tweet.own.author_id,
        tweet.own.author,
        tweet.url,
        arrival.withheld or tweet.withheld or None,
        tweet.text,
        arrival.doc,
    )


def _match_rows(arrival: Arrival) -> list[tuple[object, ...]]:
    return [
        (arrival.id, match.track_id, arrival.received_at, match.term, match.field, match.part)
        for match in arrival.matches
    ]


async def bury(
    connection: Executor, network: NetworkName, native_id: NativeId, at: datetime
) -> TweetId | None:
    """Leave a tombstone; returns the key of the tweet where there is, or was, one."""
    [row] = await connection.fetch(_TOMBSTONE, network, native_id, at)
    return None if row["tweet_id"] is None else TweetId(row["tweet_id"])


async def delete(
    connection: Executor, network: NetworkName, native_id: NativeId, at: datetime, *, erase: bool
) -> None:
    """Erase or flag one tweet and leave a tombstone, whether it is here or still to come."""
    tweet_id = await bury(connection, network, native_id, at)
    if tweet_id is not None:
        await _remove(connection, tweet_id, at, erase=erase)


async def delete_author(
    connection: Executor, network: NetworkName, author_id: str, at: datetime, *, erase: bool
) -> None:
    """Erase or flag all tweets of an author; older ones that come later stay out."""
    await connection.execute(_AUTHOR_TOMBSTONE, network, author_id, at, None, None)
    for row in await connection.fetch(_OF_AUTHOR, network, author_id, at):
        await bury(connection, network, NativeId(row["native_id"]), at)
        await _remove(connection, TweetId(row["id"]), at, erase=erase)


async def _remove(connection: Executor, tweet_id: TweetId, at: datetime, *, erase: bool) -> None:
    key = (tweet_id, received_at(tweet_id))
    if erase:
        await connection.execute(_UNCREDIT, *key)
        await connection.execute(_ERASE, *key)
    else:
        await connection.execute(_FLAG, *key, at)


async def scrub_geo(connection: Executor, network: NetworkName, author_id: str, up_to: int) -> None:
    """Remove the places from an author's tweets with ids up to this one."""
    await connection.execute(_AUTHOR_TOMBSTONE, network, author_id, None, up_to, None)
    await connection.execute(_SCRUB, network, author_id, up_to)


async def withhold(
    connection: Executor, network: NetworkName, native_id: NativeId, countries: Sequence[str]
) -> None:
    """Say in which countries a tweet is hidden."""
    [row] = await connection.fetch(_WITHHOLD, network, native_id, countries)
    if row["tweet_id"] is not None:
        tweet_id = TweetId(row["tweet_id"])
        await connection.execute(_WITHHOLD_TWEET, tweet_id, received_at(tweet_id), countries)


async def withhold_author(
    connection: Executor, network: NetworkName, author_id: str, countries: Sequence[str]
) -> None:
    """Say in which countries all tweets of an author are hidden."""
    await connection.execute(_AUTHOR_TOMBSTONE, network, author_id, None, None, countries)
    await connection.execute(_WITHHOLD_AUTHOR, network, author_id, countries)
