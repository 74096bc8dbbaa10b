"""Deletions: of tweets, of authors, of places; and withheld countries. They win over later tweets.

The writer applies those of a batch in its own transaction. What concerns all tweets of an author is
only recorded there, in `author_tombstones`: readers no longer see these tweets, and
`apply_to_authors` changes the rows afterwards, a few at a time.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from stream.db import Database, Executor, Row
from stream.keys import is_server_id, received_at
from stream.store import author_tombstones, deletion_log, server
from stream.store.rollups import CountChanges
from stream.tweet import NativeId, NetworkName, TrackId, TweetId

TWEETS_PER_TRANSACTION = 300  # tweets of an author in one transaction
PAUSE_BETWEEN_BATCHES = 0.02  # seconds between two of them
AUTHORS_PER_ROUND = 100
OTHERS_WAIT, OTHERS_POLL = 2.0, 0.05  # seconds; most transactions take less than one

# -- the rules ------------------------------------------------------------------------------------
# SQL for every place that applies them: tables here, archives in archived_deletions and
# restored_days, and readers in feed. Arguments are names of rows in the statement.


def author_deleted(tweet: str, author: str) -> str:
    """SQL: whether a tweet was deleted with its author; the row of author_tombstones may be null.

    Tweets that were created later stay: the account has come back.
    """
    return (
        f"({author}.deleted_at IS NOT NULL"
        f" AND coalesce({tweet}.created_at <= {author}.deleted_at, true))"
    )


def author_scrubbed(tweet: str, author: str) -> str:
    """SQL: whether the author had the places removed from a tweet."""
    number = f"CASE WHEN {tweet}.native_id ~ '^[0-9]+$' THEN {tweet}.native_id::numeric END"
    return f"coalesce({number} <= {author}.scrubbed_to, false)"


def doc_without_places(tweet: str) -> str:
    """SQL: the document of a tweet without what says where it was written."""
    keys = "ARRAY['geo', 'coordinates', 'place']"
    return f"{tweet}.doc - {keys} #- '{{data,geo}}' #- '{{includes,places}}'"


def doc_has_places(tweet: str) -> str:
    """SQL: whether the document of a tweet says where it was written."""
    return (
        f"({tweet}.doc ?| ARRAY['geo', 'coordinates', 'place']"
        f" OR {tweet}.doc #> '{{data,geo}}' IS NOT NULL"
        f" OR {tweet}.doc #> '{{includes,places}}' IS NOT NULL)"
    )


def withheld_in(tweet: str, author: str) -> str:
    """SQL: the countries that hide a tweet; what concerns the tweet itself comes first.

    Both are rows, of tweet_ids and of author_tombstones, and may be null.
    """
    return f"coalesce({tweet}.withheld, {author}.withheld)"


# -- statements -----------------------------------------------------------------------------------

# In the order of the key, so that two writers never deadlock; and only what is new, so that it is
# idempotent.
_UNLESS_DELETED = """
ORDER BY native_id COLLATE "C"
ON CONFLICT (network, native_id) DO UPDATE SET deleted_at = excluded.deleted_at
    WHERE tweet_ids.deleted_at IS NULL
"""
_TOMBSTONES = f"""
INSERT INTO tweet_ids (network, native_id, deleted_at)
SELECT $1, * FROM unnest($2::text[], $3::timestamptz[]) AS new (native_id, deleted_at)
{_UNLESS_DELETED} RETURNING tweet_id, deleted_at
"""  # noqa: S608 - a constant
_TOMBSTONES_OF_STORED = f"""
INSERT INTO tweet_ids (network, native_id, tweet_id, deleted_at)
SELECT network, native_id, id, $4 FROM tweets
WHERE id = ANY ($1::bigint[]) AND received_at BETWEEN $2 AND $3 {_UNLESS_DELETED}
"""  # noqa: S608 - as above
# Of all days in one pass.
_TOMBSTONES_OF_AUTHOR = f"""
INSERT INTO tweet_ids (network, native_id, tweet_id, deleted_at)
SELECT $1, native_id, tweet_id, $4 FROM unnest($2::text[], $3::bigint[])
    AS gone (native_id, tweet_id) {_UNLESS_DELETED}
"""  # noqa: S608 - as above
_WITHHELD = """
INSERT INTO tweet_ids (network, native_id, withheld, noted_at)
SELECT $1, native_id, string_to_array(withheld, ','), now()
FROM unnest($2::text[], $3::text[]) AS new (native_id, withheld)
ORDER BY native_id COLLATE "C"
ON CONFLICT (network, native_id) DO UPDATE SET withheld = excluded.withheld
    WHERE tweet_ids.withheld IS DISTINCT FROM excluded.withheld
RETURNING tweet_id, withheld
"""
_UNCREDITED = """
WITH gone AS (
    DELETE FROM matches WHERE tweet_id = ANY ($1::bigint[]) AND received_at BETWEEN $2 AND $3
    RETURNING track_id, received_at
)
SELECT track_id, date_trunc('minute', received_at, 'UTC') AS minute, count(*)::integer AS tweets
FROM gone GROUP BY 1, 2
"""
_ERASE = "DELETE FROM tweets WHERE id = ANY ($1::bigint[]) AND received_at BETWEEN $2 AND $3"
_FLAG = """
UPDATE tweets SET deleted_at = given.deleted_at
FROM unnest($1::bigint[], $4::timestamptz[]) AS given (id, deleted_at)
WHERE tweets.id = given.id AND received_at BETWEEN $2 AND $3 AND tweets.deleted_at IS NULL
"""
_SCRUB = f"""
UPDATE tweets SET doc = {doc_without_places("tweets")} FROM author_tombstones AS author
WHERE tweets.id = ANY ($1::bigint[]) AND received_at BETWEEN $2 AND $3
  AND author.network = tweets.network AND author.author_id = tweets.author_id
  AND {author_scrubbed("tweets", "author")} AND {doc_has_places("tweets")}
"""  # noqa: S608 - all of it is in this file
_WITHHOLD = """
UPDATE tweets SET withheld = string_to_array(given.withheld, ',')
FROM unnest($1::bigint[], $4::text[]) AS given (id, withheld)
WHERE tweets.id = given.id AND received_at BETWEEN $2 AND $3
  AND tweets.withheld IS DISTINCT FROM string_to_array(given.withheld, ',')
"""
_OF_AUTHOR = f"""
SELECT id, native_id, {author_deleted("tweets", "given")} AS deleted
FROM tweets CROSS JOIN (SELECT $4::timestamptz AS deleted_at) AS given
WHERE network = $1 AND author_id = $2 AND id > $3 AND received_at >= tweet_received_at($3)
ORDER BY id LIMIT $5
"""  # noqa: S608 - all of it is in this file


async def delete(
    connection: Executor,
    network: NetworkName,
    times: Mapping[NativeId, datetime],
    track_counts: CountChanges,
    *,
    erase: bool,
) -> None:
    """Erase or flag tweets and add tombstones, whether they are stored or may still arrive.

    What their tracks lose is added to `track_counts`.
    """
    rows = await connection.fetch(_TOMBSTONES, network, list(times), list(times.values()))
    known = {TweetId(row["tweet_id"]): row["deleted_at"] for row in rows if row["tweet_id"]}
    if any(is_server_id(native_id) for native_id in times):
        # A server has deleted by its own name for them: no other server may bring them back.
        for keys, bounds in _by_day(known):
            await connection.execute(_TOMBSTONES_OF_STORED, keys, *bounds, known[keys[0]])
    await _remove(connection, known, track_counts, erase=erase)


async def withhold(
    connection: Executor, network: NetworkName, countries: Mapping[NativeId, Sequence[str]]
) -> None:
    """Record in which countries tweets are withheld."""
    joined = [",".join(each) for each in countries.values()]
    rows = await connection.fetch(_WITHHELD, network, list(countries), joined)
    known = {TweetId(row["tweet_id"]): row["withheld"] for row in rows if row["tweet_id"]}
    for keys, bounds in _by_day(known):
        changed = [",".join(known[key]) for key in keys]
        await connection.execute(_WITHHOLD, keys, *bounds, changed)


async def scrub(connection: Executor, keys: Sequence[TweetId]) -> None:
    """Remove the places of these tweets where their authors' tombstones require it."""
    for some, bounds in _by_day(dict.fromkeys(keys)):
        await connection.execute(_SCRUB, some, *bounds)


async def _remove(
    connection: Executor,
    times: Mapping[TweetId, datetime],
    track_counts: CountChanges,
    *,
    erase: bool,
) -> None:
    for keys, bounds in _by_day(times):
        if erase:
            # The tweets first, as new versions do: none adds a match afterwards.
            await connection.execute(_ERASE, keys, *bounds)
        else:
            await connection.execute(_FLAG, keys, *bounds, [times[key] for key in keys])
        await deletion_log.add(connection, {key: times[key] for key in keys}, bounds)
        if erase:
            for row in await connection.fetch(_UNCREDITED, keys, *bounds):
                track_counts.uncredit(TrackId(row["track_id"]), row["minute"], row["tweets"])


def _by_day(
    keys: Mapping[TweetId, object],
) -> list[tuple[list[TweetId], tuple[datetime, datetime]]]:
    """Keys with their times, one partition at a time."""
    days: defaultdict[date, list[TweetId]] = defaultdict(list)
    for key in sorted(keys):
        days[received_at(key).date()].append(key)
    return [(some, (received_at(some[0]), received_at(some[-1]))) for some in days.values()]


# -- all tweets of an author ----------------------------------------------------------------------


async def apply_to_authors(
    database: Database, *, erase: bool, chunk: int = TWEETS_PER_TRANSACTION
) -> int:
    """Apply pending author tombstones to stored tweets; returns how many authors were processed.

    Each transaction takes a few tweets, so that no writer waits long. After a kill an author is
    processed again, and also where a transaction has not ended that may have stored a tweet without
    seeing the tombstone.
    """
    number = 0
    again: set[str] = set()  # in the next run
    while True:
        async with database.acquire() as connection:
            authors = await author_tombstones.pending(connection, again, AUTHORS_PER_ROUND)
        if not authors:
            return number
        is_final = await _others_have_ended(database)
        for author in authors:
            last = 0
            while found := await _apply(database, author, last, chunk, erase=erase):
                last = found
                await asyncio.sleep(PAUSE_BETWEEN_BATCHES)
            if is_final:
                async with database.acquire() as connection:
                    await author_tombstones.mark_applied(connection, author)
            else:
                again.add(author["author_id"])
            number += 1


async def _others_have_ended(database: Database) -> bool:
    """Wait until all transactions have ended that write at the moment; False: some take long."""
    deadline = time.monotonic() + OTHERS_WAIT
    others = await _writing(database)
    while others and time.monotonic() < deadline:
        await asyncio.sleep(OTHERS_POLL)
        others &= await _writing(database)
    return not others


async def _writing(database: Database) -> set[str]:
    async with database.acquire() as connection:
        return await server.writing(connection)


async def _apply(
    database: Database, author: Row, last: int, chunk: int, *, erase: bool
) -> int | None:
    """Change the next few tweets of an author; returns the last one, None: no more."""
    network, author_id, deleted_at = author["network"], author["author_id"], author["deleted_at"]
    track_counts = CountChanges()
    async with database.transaction() as connection:
        rows = await connection.fetch(_OF_AUTHOR, network, author_id, last, deleted_at, chunk)
        if not rows:
            return None
        keys = [TweetId(row["id"]) for row in rows]
        if "deleted" in author["pending"]:
            gone = {TweetId(row["id"]): deleted_at for row in rows if row["deleted"]}
            native_ids = [row["native_id"] for row in rows if row["deleted"]]
            await connection.execute(
                _TOMBSTONES_OF_AUTHOR, network, native_ids, list(gone), deleted_at
            )
            await _remove(connection, gone, track_counts, erase=erase)
        if "scrubbed" in author["pending"]:
            await scrub(connection, keys)
        if "withheld" in author["pending"]:
            countries = ",".join(author["withheld"])
            for some, bounds in _by_day(dict.fromkeys(keys)):
                await connection.execute(_WITHHOLD, some, *bounds, [countries] * len(some))
        await track_counts.save(connection)
        return int(rows[-1]["id"])
