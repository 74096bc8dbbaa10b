"""One day as it is in Postgres: every query over its rows, and its surroundings."""

import contextlib
from collections.abc import AsyncIterator
from datetime import date, datetime

import msgspec

from monitor.archive.manifest import ArchiveError, Gap, day_bounds
from monitor.archive.tables import MATCHES, TWEETS, Table
from stream.db import Executor

# Every one of these names is made by ensure_day().
_DAYS = """
SELECT to_date(right(child.relname, 8), 'YYYYMMDD') AS day
FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = 'tweets'::regclass AND child.relname ~ '^tweets_[0-9]{8}$'
ORDER BY 1
"""
_EXIST = "SELECT to_regclass('tweets' || to_char($1::date, '_YYYYMMDD')) IS NOT NULL AS some"
_TIMES = """
SELECT min(received_at) AS first, max(received_at) AS last FROM tweets
WHERE received_at >= $1 AND received_at < $2
"""
_SOME = "SELECT EXISTS (SELECT FROM tweets WHERE received_at >= $1 AND received_at < $2) AS some"
_TRACKS = """
SELECT track_id, count(*) AS tweets FROM matches WHERE received_at >= $1 AND received_at < $2
GROUP BY track_id ORDER BY track_id
"""
_GAPS = """
SELECT source_id, name AS source, began_at, ended_at, cause, detail
FROM gaps LEFT JOIN sources ON sources.id = source_id
WHERE began_at < $2 AND coalesce(ended_at, 'infinity') > $1
ORDER BY began_at, gaps.id
"""
_TOMBSTONES = """
SELECT count(*) AS number FROM identities
WHERE deleted_at IS NOT NULL AND tweet_id >= tweet_key($1, 0) AND tweet_id < tweet_key($2, 0)
"""
# A writer's transaction may be a while under way when its time is taken.
_MOMENT = """
SELECT now() AS now, now() - interval '15 minutes' AS authors_at,
       (SELECT name FROM schema_migrations ORDER BY number DESC LIMIT 1) AS migration
"""
# Each row in the order of its key and never sorted, which would take a temporary file.
_SNAPSHOT = "SET LOCAL enable_sort = off"


class Digest(msgspec.Struct, frozen=True):
    """Rows of one table, and the sum of what Postgres makes of each."""

    rows: int
    digest: str

    def __add__(self, other: "Digest") -> "Digest":
        return Digest(self.rows + other.rows, str(int(self.digest) + int(other.digest)))

    def __sub__(self, other: "Digest") -> "Digest":
        return Digest(self.rows - other.rows, str(int(self.digest) - int(other.digest)))


Digests = dict[str, Digest]


class Facts(msgspec.Struct, frozen=True):
    """What a manifest says about a day beside its files."""

    now: datetime
    authors_at: datetime
    migration: str
    first: datetime | None
    last: datetime | None
    digests: Digests
    tracks: dict[str, int]
    gaps: list[Gap]
    tombstones: int


@contextlib.asynccontextmanager
async def snapshot(connection: Executor) -> AsyncIterator[None]:
    """Everything inside sees the database at one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_SNAPSHOT)
        yield


async def present(connection: Executor) -> list[date]:
    """The days that have a partition, oldest first."""
    return [row["day"] for row in await connection.fetch(_DAYS)]


async def exist(connection: Executor, day: date) -> bool:
    """Whether the day's partition is there, attached or not."""
    [row] = await connection.fetch(_EXIST, day)
    return bool(row["some"])


async def some(connection: Executor, day: date) -> bool:
    """Whether Postgres has any tweet of this day."""
    [row] = await connection.fetch(_SOME, *day_bounds(day))
    return bool(row["some"])


async def digest(connection: Executor, table: Table, day: date) -> Digest:
    [row] = await connection.fetch(table.digested, *day_bounds(day))
    return Digest(row["rows"], row["digest"])


async def digests(connection: Executor, day: date) -> Digests:
    """What the day's rows are at this moment."""
    return {table.name: await digest(connection, table, day) for table in (TWEETS, MATCHES)}


async def tombstones(connection: Executor, day: date) -> int:
    """Tweets of that day that were deleted, wherever their rows are."""
    [row] = await connection.fetch(_TOMBSTONES, *day_bounds(day))
    return int(row["number"])


async def moment(connection: Executor) -> tuple[datetime, datetime, str]:
    """Now; until when tombstones of authors are surely seen; the newest migration."""
    [row] = await connection.fetch(_MOMENT)
    if row["migration"] is None:
        raise ArchiveError("The database has no schema; `twitterstream.py migrate` makes it.")
    return row["now"], row["authors_at"], row["migration"]


async def facts(connection: Executor, day: date) -> Facts:
    """All of it, inside a snapshot."""
    bounds = day_bounds(day)
    now, authors_at, migration = await moment(connection)
    [times] = await connection.fetch(_TIMES, *bounds)
    tracks = await connection.fetch(_TRACKS, *bounds)
    return Facts(
        now=now,
        authors_at=authors_at,
        migration=migration,
        first=times["first"],
        last=times["last"],
        digests=await digests(connection, day),
        tracks={str(row["track_id"]): row["tweets"] for row in tracks},
        gaps=[Gap(**row) for row in await connection.fetch(_GAPS, *bounds)],
        tombstones=await tombstones(connection, day),
    )
