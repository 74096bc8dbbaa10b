"""The native ids of tweets (tweet_ids): they deduplicate, and remember deletions."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import msgspec

from stream.db import Executor
from stream.keys import NEXT_KEY, received_at
from stream.store.tweets import IncomingTweet
from stream.tweet import NativeId, NetworkName, TweetId

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
# A row that is there is locked, too. A tombstone stays as it is.
_LOCK_NAMES = """
WITH locked AS (
    INSERT INTO tweet_ids (network, native_id, tweet_id, deleted_at)
    SELECT $1, native_id, tweet_id, deleted_at
    FROM unnest($2::text[], $3::bigint[], $4::timestamptz[])
        AS new (native_id, tweet_id, deleted_at)
    ORDER BY native_id COLLATE "C"
    ON CONFLICT (network, native_id) DO UPDATE SET deleted_at = tweet_ids.deleted_at
        WHERE tweet_ids.deleted_at IS NOT NULL
    RETURNING native_id, deleted_at
)
SELECT native_id FROM locked WHERE deleted_at IS NOT NULL
"""
_CORRECT_NAMES = """
UPDATE tweet_ids SET tweet_id = given.stored
FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS given (name, tweet_id, stored)
WHERE network = $1 AND native_id = given.name AND tweet_ids.tweet_id = given.tweet_id
"""
_FORGET_NAMES = """
DELETE FROM tweet_ids USING unnest($2::text[], $3::bigint[]) AS given (name, tweet_id)
WHERE network = $1 AND native_id = given.name AND tweet_ids.tweet_id = given.tweet_id
  AND deleted_at IS NULL
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


async def lock_names(
    connection: Executor, network: NetworkName, names: Mapping[NativeId, IdRow]
) -> set[NativeId]:
    """Lock the names that single servers have for tweets: deletions say only these.

    Those that are not there are added. Returns which of them are deleted now.
    """
    rows = await connection.fetch(
        _LOCK_NAMES,
        network,
        list(names),
        [row.tweet_id for row in names.values()],
        [row.deleted_at for row in names.values()],
    )
    return {NativeId(row["native_id"]) for row in rows}


async def correct_names(
    connection: Executor,
    network: NetworkName,
    given: Mapping[NativeId, TweetId],
    stored: Mapping[NativeId, TweetId],
) -> None:
    """Let names that `lock_names` has added with `given` keys lead to what is stored, or delete."""
    wrong = {name: key for name, key in given.items() if stored.get(name, key) != key}
    if wrong:
        right = [stored[name] for name in wrong]
        await connection.execute(_CORRECT_NAMES, network, list(wrong), list(wrong.values()), right)
    if unused := {name: key for name, key in given.items() if name not in stored}:
        await connection.execute(_FORGET_NAMES, network, list(unused), list(unused.values()))


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
