"""Tweets, their native ids (tweet_ids, which deduplicate them) and their matches."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import msgspec

from stream.db import Executor, copy, row_count
from stream.keys import NEXT_KEY, received_at
from stream.tweet import Match, NativeId, NetworkName, Tweet, TweetId

# In the order of the key, so that two writers never deadlock. A row that is there is locked.
_RESERVE_IDS = """
INSERT INTO tweet_ids (network, native_id, tweet_id)
SELECT $1, native_id, tweet_id FROM unnest($2::text[], $3::bigint[]) AS new (native_id, tweet_id)
ORDER BY native_id COLLATE "C"
ON CONFLICT (network, native_id) DO UPDATE SET tweet_id = excluded.tweet_id
    WHERE tweet_ids.tweet_id IS NULL AND tweet_ids.deleted_at IS NULL
RETURNING tweet_id, withheld
"""
# The same, and also locks or adds the rows of tweets that are not stored now, in one pass.
_RESERVE_AND_LOCK_IDS = """
INSERT INTO tweet_ids (network, native_id, tweet_id, deleted_at, withheld, noted_at)
SELECT $1, native_id, tweet_id, deleted_at, string_to_array(withheld, ','),
    CASE WHEN withheld IS NOT NULL THEN now() END
FROM unnest($2::text[], $3::bigint[], $4::timestamptz[], $5::text[])
    AS new (native_id, tweet_id, deleted_at, withheld)
ORDER BY native_id COLLATE "C"
ON CONFLICT (network, native_id) DO UPDATE SET tweet_id = excluded.tweet_id
    WHERE tweet_ids.tweet_id IS NULL AND tweet_ids.deleted_at IS NULL
      AND excluded.tweet_id IS NOT NULL
RETURNING tweet_id, withheld
"""
_STORED_AS = """
SELECT tweets.native_id, tweets.id FROM tweet_ids
JOIN tweets ON tweets.id = tweet_id AND received_at = tweet_received_at(tweet_id)
WHERE tweet_ids.network = $1 AND tweet_ids.native_id = ANY ($2::text[])
"""
_ADD_SERVER_IDS = """
INSERT INTO tweet_ids (network, native_id, tweet_id)
SELECT $1, native_id, tweet_id FROM unnest($2::text[], $3::bigint[]) AS new (native_id, tweet_id)
ORDER BY native_id COLLATE "C"
ON CONFLICT (network, native_id) DO NOTHING
"""
_DELETED = """
SELECT native_id FROM tweet_ids
WHERE network = $1 AND native_id = ANY ($2::text[]) AND deleted_at IS NOT NULL
"""
_TAKEN = "SELECT id FROM tweets WHERE id = ANY ($1::bigint[]) AND received_at BETWEEN $2 AND $3"
_REASSIGN = """
UPDATE tweet_ids SET tweet_id = moved.tweet_id
FROM unnest($2::text[], $3::bigint[]) AS moved (native_id, tweet_id)
WHERE network = $1 AND tweet_ids.native_id = moved.native_id
"""
_PAGES_OF_IDS = """
SELECT pg_relation_size('tweet_ids') / current_setting('block_size')::bigint AS pages
"""
# $1, $2: pages; $3 to $9: see ExpiredIds.
_PRUNE_IDS = """
DELETE FROM tweet_ids
WHERE ctid >= $1::tid AND ctid < $2::tid
  AND CASE
    WHEN tweet_id IS NULL THEN coalesce(deleted_at, noted_at)
        < CASE WHEN network = ANY ($8::text[]) THEN greatest($6, $9::timestamptz) ELSE $6 END
    WHEN deleted_at IS NOT NULL OR withheld IS NOT NULL THEN
        tweet_id < $3 AND coalesce(deleted_at, '-infinity') < $6
        AND (tweet_received_at(tweet_id) AT TIME ZONE 'UTC')::date <> ALL ($4::date[] || $7::date[])
    WHEN (tweet_received_at(tweet_id) AT TIME ZONE 'UTC')::date = ANY ($5::date[]) THEN
        NOT EXISTS (SELECT FROM tweets WHERE tweets.id = tweet_id
                      AND received_at = tweet_received_at(tweet_id))
    ELSE tweet_id < $3
        AND (tweet_received_at(tweet_id) AT TIME ZONE 'UTC')::date <> ALL ($4::date[])
    END
"""
_STORED = """
SELECT native_id, tweet_id FROM tweet_ids
WHERE network = $1 AND native_id = ANY ($2::text[]) AND tweet_id IS NOT NULL AND deleted_at IS NULL
"""
_SERVER_IDS = """
SELECT native_id FROM tweet_ids
WHERE network = $1 AND native_id > $2 AND native_id < $3
  AND tweet_id IS NOT NULL AND deleted_at IS NULL
ORDER BY native_id LIMIT $4
"""
_NAME_AUTHOR = """
UPDATE tweets SET author = $3
WHERE network = $1 AND author_id = $2 AND received_at >= $4 AND author IS DISTINCT FROM $3
"""
_OF_AUTHOR = """
SELECT native_id, coalesce(doc #>> '{payload,cid}', doc #>> '{commit,cid}') AS version FROM tweets
WHERE network = $1 AND author_id = $2 AND received_at >= $3 AND deleted_at IS NULL
"""
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
_MATCH_COLUMNS = ("tweet_id", "track_id", "received_at", "term", "field", "part", "look_back")


class IncomingTweet(msgspec.Struct, gc=False):
    """A tweet to be stored, and the tracks that it is credited to."""

    id: TweetId
    received_at: datetime
    minute: datetime  # of received_at
    tweet: Tweet
    doc: bytes
    matches: Sequence[Match]
    repaired: bool
    withheld: Sequence[str] | None = None


class IdRow(msgspec.Struct, frozen=True):
    """What the row of a native id says if it has to be added; one of them is not None."""

    tweet_id: TweetId | None = None
    deleted_at: datetime | None = None
    withheld: Sequence[str] | None = None


class ExpiredIds(msgspec.Struct, frozen=True):
    """Which native ids are not needed any more; in the order of the parameters of _PRUNE_IDS."""

    tweets_before: TweetId  # tweets of smaller keys are gone for long enough,
    kept_days: Sequence[date]  # but not those of these days
    partially_expired_days: Sequence[date]  # days whose tweets may have expired one by one
    deletions_before: datetime  # older deletions may be forgotten,
    archived_days: Sequence[date]  # but not of these days: their archives count them
    unfiltered_networks: Sequence[NetworkName]  # they send the deletions of all their posts,
    unseen_before: datetime  # of which those before this time are forgotten if never stored


async def reserve_ids(
    connection: Executor,
    network: NetworkName,
    arrivals: Sequence[IncomingTweet],
    others: Mapping[NativeId, IdRow],
) -> dict[TweetId, Sequence[str] | None]:
    """Reserve native ids; returns the new tweets, with the countries that they are withheld in.

    Those left out are duplicates, or have a tombstone. `others`: ids that the transaction changes,
    too; they are locked in the same pass, or added.
    """
    if not others:
        rows = await connection.fetch(
            _RESERVE_IDS, network, [a.tweet.native_id for a in arrivals], [a.id for a in arrivals]
        )
        return {TweetId(row["tweet_id"]): row["withheld"] for row in rows}
    every = {**others, **{a.tweet.native_id: IdRow(a.id) for a in arrivals}}
    rows = await connection.fetch(
        _RESERVE_AND_LOCK_IDS,
        network,
        list(every),
        [row.tweet_id for row in every.values()],
        [row.deleted_at for row in every.values()],
        [None if row.withheld is None else ",".join(row.withheld) for row in every.values()],
    )
    return {TweetId(row["tweet_id"]): row["withheld"] for row in rows if row["tweet_id"]}


async def deleted_ids(
    connection: Executor, network: NetworkName, native_ids: Sequence[NativeId]
) -> set[NativeId]:
    """Which of these native ids have a tombstone."""
    rows = await connection.fetch(_DELETED, network, native_ids)
    return {NativeId(row["native_id"]) for row in rows}


async def add_server_ids(
    connection: Executor, network: NetworkName, keys: Mapping[NativeId, TweetId]
) -> None:
    """Add the names that single servers have for stored tweets: deletions use only these."""
    await connection.execute(_ADD_SERVER_IDS, network, list(keys), list(keys.values()))


async def stored_as(
    connection: Executor, network: NetworkName, names: Sequence[NativeId]
) -> dict[NativeId, TweetId]:
    """The stored tweets that servers call by these names: their native ids and keys."""
    rows = await connection.fetch(_STORED_AS, network, names)
    return {NativeId(row["native_id"]): TweetId(row["id"]) for row in rows}


async def server_ids(
    connection: Executor, network: NetworkName, after: NativeId, before: NativeId, limit: int
) -> list[NativeId]:
    """Names that a server has for stored tweets, between two of them; deleted ones are left out."""
    rows = await connection.fetch(_SERVER_IDS, network, after, before, limit)
    return [NativeId(row["native_id"]) for row in rows]


async def reassign_taken_keys(
    connection: Executor, network: NetworkName, arrivals: Sequence[IncomingTweet]
) -> None:
    """Give tweets free keys where another daemon received one in the same microsecond.

    Their native ids are reserved, and they are not stored yet.
    """
    moved: set[NativeId] = set()
    while True:
        own = {arrival.id: arrival for arrival in arrivals}
        times = received_at(min(own)), received_at(max(own))
        rows = await connection.fetch(_TAKEN, list(own), *times)
        if not rows:
            break
        for row in rows:
            arrival = own.pop(row["id"])
            moved.add(arrival.tweet.native_id)
            while arrival.id in own or arrival.id == row["id"]:
                arrival.id = TweetId(arrival.id + NEXT_KEY)
            arrival.received_at = received_at(arrival.id)
            own[arrival.id] = arrival
    if moved:
        changed = [(a.tweet.native_id, a.id) for a in arrivals if a.tweet.native_id in moved]
        native_ids, keys = zip(*changed, strict=True)
        await connection.execute(_REASSIGN, network, native_ids, keys)


async def insert(
    connection: Executor,
    network: NetworkName,
    arrivals: Sequence[IncomingTweet],
    run: int | None,
    *,
    look_back: bool = False,
) -> None:
    """Store tweets with reserved ids, and their matches; `run`: None for the source's first."""
    columns, of_run = (_TWEET_COLUMNS, ()) if run is None else ((*_TWEET_COLUMNS, "run"), (run,))
    # Made while they are sent, so that Postgres works in parallel.
    rows = ((*_tweet_row(network, arrival), *of_run) for arrival in arrivals)
    await copy(connection, "tweets", columns, rows)
    if any(arrival.matches for arrival in arrivals):
        matches = ((*row, look_back) for arrival in arrivals for row in _match_rows(arrival))
        await copy(connection, "matches", _MATCH_COLUMNS, matches)


def _tweet_row(network: NetworkName, arrival: IncomingTweet) -> tuple[object, ...]:
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


def _match_rows(arrival: IncomingTweet) -> list[tuple[object, ...]]:
    return [
        (arrival.id, match.track_id, arrival.received_at, match.term, match.field, match.part)
        for match in arrival.matches
    ]


async def name_author(
    connection: Executor, network: NetworkName, author_id: str, handle: str, since: datetime
) -> int:
    """Write an author's handle into the tweets received since then; returns how many had none."""
    return row_count(await connection.execute(_NAME_AUTHOR, network, author_id, handle, since))


async def versions_of_author(
    connection: Executor, network: NetworkName, author_id: str, since: datetime
) -> dict[NativeId, str | None]:
    """The tweets of an author received since then, each with its version as Bluesky names it."""
    rows = await connection.fetch(_OF_AUTHOR, network, author_id, since)
    return {NativeId(row["native_id"]): row["version"] for row in rows}


async def stored_ids(
    connection: Executor, network: NetworkName, native_ids: Sequence[NativeId]
) -> dict[NativeId, TweetId]:
    """The keys of those tweets that are stored, or were once; deleted ones are left out."""
    rows = await connection.fetch(_STORED, network, native_ids)
    return {NativeId(row["native_id"]): TweetId(row["tweet_id"]) for row in rows}


async def pages_of_ids(connection: Executor) -> int:
    """How many pages the table of native ids has."""
    [row] = await connection.fetch(_PAGES_OF_IDS)
    return int(row["pages"])


async def prune_ids(connection: Executor, page: int, end: int, expired: ExpiredIds) -> None:
    """Delete expired native ids from these pages of the table."""
    values = msgspec.structs.astuple(expired)
    await connection.execute(_PRUNE_IDS, (page, 0), (end, 0), *values)


# -- deleting a day's tweets ----------------------------------------------------------------------

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
