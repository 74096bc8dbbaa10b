"""What Postgres says about rows that are only in archives: who is deleted, and what is left then.

The rows that are concerned go into temporary tables of this connection, a batch at a time.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime

import msgspec
import pyarrow as pa

from monitor.archive.days import Digest
from monitor.archive.files import copied, schema
from monitor.archive.manifest import day_bounds
from monitor.archive.tables import MATCHES, TWEETS, Table
from stream.db import Executor, copy


def limits(table: str) -> str:
    """The driver takes the first and the last moment that Python knows for the infinities, of which
    there are none in files: what sets the times of loaded tweets right."""
    right = """
    CASE {0} WHEN '-infinity' THEN timestamptz '0001-01-01 00:00+00'
             WHEN 'infinity' THEN timestamptz '9999-12-31 23:59:59.999999+00' ELSE {0} END"""
    return f"""
UPDATE {table} SET created_at = {right.format("created_at")},
                   deleted_at = {right.format("deleted_at")}
WHERE created_at IN ('infinity', '-infinity') OR deleted_at IN ('infinity', '-infinity')
"""  # noqa: S608 - all of it is in this file


_DEAD = """
SELECT tweet_id FROM identities
WHERE deleted_at IS NOT NULL AND tweet_id >= tweet_key($1, 0) AND tweet_id < tweet_key($2, 0)
"""
_AUTHORS = """
SELECT DISTINCT author_id FROM author_tombstones
WHERE changed_at > coalesce($1::timestamptz, '-infinity')
"""
# `counted`: it was stored here, so the roll-ups have it.
_JUDGED = """
SELECT given.id,
    coalesce(own.deleted_at, author.deleted_at) AS deleted_at,
    coalesce(own.tweet_id = given.id, false) AS counted,
    given.native_id ~ '^[0-9]+$' AND author.scrubbed_to IS NOT NULL
        AND given.native_id::numeric <= author.scrubbed_to AS scrubbed
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    AS given (id, network, native_id, author_id, created_at)
LEFT JOIN identities AS own
    ON own.network = given.network AND own.native_id = given.native_id
LEFT JOIN LATERAL (
    SELECT scrubbed_to,
        CASE WHEN given.created_at IS NULL OR given.created_at <= deleted_at
             THEN deleted_at END AS deleted_at
    FROM author_tombstones
    WHERE network = given.network AND author_id = given.author_id) AS author ON true
"""
_MAKE = (
    "CREATE TEMP TABLE IF NOT EXISTS treated_tweets (LIKE tweets)",
    "CREATE TEMP TABLE IF NOT EXISTS treated_matches (LIKE matches)",
    # Tweets that were deleted, and matches that are credited to nobody any more, of the whole day.
    """CREATE TEMP TABLE IF NOT EXISTS treated_dead
       (network text, native_id text, id bigint, deleted_at timestamptz, counted boolean)""",
    "CREATE TEMP TABLE IF NOT EXISTS treated_lost (track_id bigint, received_at timestamptz)",
)
_EMPTY = "TRUNCATE treated_tweets, treated_matches, treated_dead, treated_lost"
_CLEAR = "TRUNCATE treated_tweets, treated_matches"
_BURY = """
INSERT INTO treated_dead (network, native_id, id, deleted_at, counted)
SELECT network, native_id, treated_tweets.id, given.deleted_at, given.counted
FROM treated_tweets JOIN unnest($1::bigint[], $2::timestamptz[], $3::boolean[])
    AS given (id, deleted_at, counted) USING (id)
"""
_ERASE = "DELETE FROM treated_tweets WHERE id = ANY ($1::bigint[])"
_FLAG = """
UPDATE treated_tweets SET deleted_at = treated_dead.deleted_at FROM treated_dead
WHERE treated_tweets.id = treated_dead.id AND treated_tweets.deleted_at IS NULL
"""
_LIMITS = limits("treated_tweets")
# As in stream/tweets.py.
_SCRUB = """
UPDATE treated_tweets
SET doc = doc - ARRAY['geo', 'coordinates', 'place'] #- '{data,geo}' #- '{includes,places}'
WHERE id = ANY ($1::bigint[])
  AND doc <> doc - ARRAY['geo', 'coordinates', 'place'] #- '{data,geo}' #- '{includes,places}'
"""
_UNCREDIT = """
INSERT INTO treated_lost
SELECT treated_matches.track_id, treated_matches.received_at
FROM treated_matches JOIN treated_dead ON treated_dead.id = treated_matches.tweet_id
WHERE treated_dead.counted
"""
_SETTLE = (
    """
    INSERT INTO identities (network, native_id, tweet_id, deleted_at)
    SELECT network, native_id, id, deleted_at FROM treated_dead ORDER BY native_id COLLATE "C"
    ON CONFLICT (network, native_id)
        DO UPDATE SET deleted_at = coalesce(identities.deleted_at, excluded.deleted_at)
    """,
    """
    UPDATE track_minutes SET tweets = greatest(track_minutes.tweets - lost.tweets, 0)
    FROM (SELECT track_id, date_trunc('minute', received_at, 'UTC') AS minute, count(*) AS tweets
          FROM treated_lost GROUP BY 1, 2) AS lost
    WHERE track_minutes.track_id = lost.track_id AND track_minutes.minute = lost.minute
    """,
    """
    UPDATE track_hours SET tweets = greatest(track_hours.tweets - lost.tweets, 0)
    FROM (SELECT track_id, date_trunc('hour', received_at, 'UTC') AS hour, count(*) AS tweets
          FROM treated_lost GROUP BY 1, 2) AS lost
    WHERE track_hours.track_id = lost.track_id AND track_hours.hour = lost.hour
    """,
    """
    UPDATE track_days SET tweets = greatest(track_days.tweets - lost.tweets, 0)
    FROM (SELECT track_id, (received_at AT TIME ZONE 'UTC')::date AS day, count(*) AS tweets
          FROM treated_lost GROUP BY 1, 2) AS lost
    WHERE track_days.track_id = lost.track_id AND track_days.day = lost.day
    """,
)

TREATED_TWEETS = Table("treated_tweets", TWEETS.key, TWEETS.columns, daily=False)
TREATED_MATCHES = Table("treated_matches", MATCHES.key, MATCHES.columns, daily=False)


class Dead(msgspec.Struct, frozen=True):
    """Who may be concerned: tweets of a day with a tombstone, and authors with a new one."""

    ids: pa.Array
    authors: pa.Array
    tombstones: int


class Verdicts:
    """What becomes of which rows."""

    def __init__(self, *, erase: bool) -> None:
        self.erase = erase
        self.erased: set[int] = set()
        self.flagged: set[int] = set()
        self.scrubbed: set[int] = set()  # if there is anything to scrub
        self.deleted_at: dict[int, datetime] = {}
        self.counted: set[int] = set()

    @property
    def any(self) -> bool:
        return bool(self.erased or self.flagged or self.scrubbed)

    @property
    def ids(self) -> pa.Array:
        """All rows that are concerned."""
        return pa.array(sorted(self.erased | self.flagged | self.scrubbed), pa.int64())


async def candidates(connection: Executor, day: date, authors_since: datetime | None) -> Dead:
    """Tombstones of a day's tweets, and authors that lost something since then."""
    ids = [row["tweet_id"] for row in await connection.fetch(_DEAD, *day_bounds(day))]
    authors = [row["author_id"] for row in await connection.fetch(_AUTHORS, authors_since)]
    return Dead(pa.array(ids, pa.int64()), pa.array(authors, pa.string()), len(ids))


async def judge(connection: Executor, some: pa.Table, found: Verdicts) -> None:
    """Add what becomes of these rows."""
    flagged_already = {row["id"] for row in some.to_pylist() if row["deleted_at"] is not None}
    columns = ("id", "network", "native_id", "author_id", "created_at")
    given = [some[name].to_pylist() for name in columns]
    for row in await connection.fetch(_JUDGED, *given):
        id_ = row["id"]
        if row["counted"]:
            found.counted.add(id_)
        if row["deleted_at"] is not None:
            if found.erase:
                found.erased.add(id_)
                found.deleted_at[id_] = row["deleted_at"]
                continue
            if id_ not in flagged_already:
                found.flagged.add(id_)
                found.deleted_at[id_] = row["deleted_at"]
        if row["scrubbed"]:
            found.scrubbed.add(id_)


@contextlib.asynccontextmanager
async def tables(connection: Executor) -> AsyncIterator[None]:
    """The temporary tables, empty."""
    for statement in (*_MAKE, _EMPTY):
        await connection.execute(statement)
    yield
    await connection.execute(_EMPTY)


async def treat(
    connection: Executor, some: pa.Table, verdicts: Verdicts
) -> tuple[Digest, Digest, pa.Table, int]:
    """Do with these tweets what is due: their digests before and after, what is left of them, and
    how many of them lost a place."""
    await connection.execute(_CLEAR)
    await _load(connection, TREATED_TWEETS, some)
    before = await _digest(connection, TREATED_TWEETS)
    ids = some["id"].to_pylist()
    buried = [id_ for id_ in ids if id_ in verdicts.deleted_at]
    times = [verdicts.deleted_at[id_] for id_ in buried]
    counted = [id_ in verdicts.counted for id_ in buried]
    await connection.execute(_BURY, buried, times, counted)
    await connection.execute(_ERASE, [id_ for id_ in ids if id_ in verdicts.erased])
    await connection.execute(_FLAG)
    done = await connection.execute(_SCRUB, [id_ for id_ in ids if id_ in verdicts.scrubbed])
    after = await _digest(connection, TREATED_TWEETS)
    left = [schema(TWEETS).empty_table()]
    await copied(connection, TREATED_TWEETS, (), left.append)
    return before, after, pa.concat_tables(left), int(done.removeprefix("UPDATE "))


async def uncredit(connection: Executor, lost: pa.Table) -> Digest:
    """Remember whom these matches were credited to; their digest."""
    await connection.execute(_CLEAR)
    await _load(connection, TREATED_MATCHES, lost)
    await connection.execute(_UNCREDIT)
    return await _digest(connection, TREATED_MATCHES)


async def settle(connection: Executor) -> None:
    """Tombstones and roll-ups, inside the transaction that exchanges the files."""
    for statement in _SETTLE:
        await connection.execute(statement)


async def _load(connection: Executor, table: Table, some: pa.Table) -> None:
    await copy(connection, table.name, table.names, records(some))
    if table is TREATED_TWEETS:
        await connection.execute(_LIMITS)


def records(some: pa.Table) -> Sequence[tuple[object, ...]]:
    """Rows for the driver; JSON goes in as bytes."""
    columns = [
        [value.encode() for value in some[name].to_pylist()]
        if name == "doc"
        else some[name].to_pylist()
        for name in some.column_names
    ]
    return list(zip(*columns, strict=True))


async def _digest(connection: Executor, table: Table) -> Digest:
    [row] = await connection.fetch(table.digested)
    return Digest(row["rows"], row["digest"])
