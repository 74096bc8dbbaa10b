"""One day as an archive reads it: its rows in order, their digests, and the gaps of that day.

It also defines the columns of an archive, in Postgres and in files.
"""

import contextlib
from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Literal

import msgspec

from stream.db import Executor
from stream.errors import TwitterstreamError
from stream.store.partitions import day_bounds

Kind = Literal["bigint", "integer", "smallint", "boolean", "time", "text", "texts"]


class Column(msgspec.Struct, frozen=True):
    """One column: `wide` ones hold long values, `repetitive` ones the same few values.

    `added` ones are missing in older files, where they are false, and are not part of digests, so
    that those of older files stay valid.
    """

    name: str
    kind: Kind
    wide: bool = False
    repetitive: bool = False
    added: bool = False

    @property
    def for_copy(self) -> str:
        """What COPY writes: lists as JSON."""
        return f"to_json({self.name})" if self.kind == "texts" else self.name


class Table(msgspec.Struct, frozen=True):
    """A table of an archive, and the queries for its rows in the order of `key`."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    by_day: bool = True  # one day of it ($1 to $2), or all rows

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def _select(self, what: str) -> str:
        where = " WHERE received_at >= $1 AND received_at < $2" if self.by_day else ""
        return f"SELECT {what} FROM {self.name}{where}"  # noqa: S608 - all of it is in this file

    @property
    def copy_query(self) -> str:
        """The rows for COPY, in order."""
        what = ", ".join(column.for_copy for column in self.columns)
        return f"{self._select(what)} ORDER BY {', '.join(self.key)}"

    @property
    def fetch_query(self) -> str:
        """The rows for the driver, in order."""
        return f"{self._select(', '.join(self.column_names))} ORDER BY {', '.join(self.key)}"

    @property
    def digest_query(self) -> str:
        """Number and digest of the rows: a sum, so that parts add up to the whole."""
        names = ", ".join(column.name for column in self.columns if not column.added)
        row = f"hash_record_extended(ROW({names}), 0)"
        return self._select(f"count(*) AS rows, coalesce(sum({row}), 0)::text AS digest")


TWEETS = Table(
    "tweets",
    ("id",),
    (
        Column("id", "bigint"),
        Column("received_at", "time"),
        Column("created_at", "time"),
        Column("deleted_at", "time"),
        Column("network", "text", repetitive=True),
        Column("native_id", "text", wide=True),
        Column("kind", "text", repetitive=True),
        Column("lang", "text", repetitive=True),
        Column("author_id", "text", wide=True),
        Column("author", "text", wide=True),
        Column("url", "text", wide=True),
        Column("withheld", "texts", wide=True),
        Column("text", "text", wide=True),
        Column("doc", "text", wide=True),
    ),
)
MATCHES = Table(
    "matches",
    ("tweet_id", "track_id"),
    (
        Column("tweet_id", "bigint"),
        Column("track_id", "bigint", repetitive=True),
        Column("received_at", "time"),
        Column("term", "text", repetitive=True),
        Column("field", "text", repetitive=True),
        Column("part", "text", repetitive=True),
        Column("look_back", "boolean", added=True),
    ),
)
TRACKS = Table(
    "tracks",
    ("id",),
    (
        Column("id", "bigint"),
        Column("owner", "text", repetitive=True),
        Column("kind", "text", repetitive=True),
        Column("value", "text", wide=True),
        Column("networks", "texts", wide=True),
        Column("enabled", "boolean"),
        Column("starts_at", "time"),
        Column("ends_at", "time"),
        Column("created_at", "time"),
        Column("state", "text", repetitive=True),
        Column("reason", "text", wide=True),
        Column("state_at", "time"),
        Column("priority", "smallint"),
        Column("keep_days", "integer"),
    ),
    by_day=False,
)

_TIMES = """
SELECT min(received_at) AS first, max(received_at) AS last FROM tweets
WHERE received_at >= $1 AND received_at < $2
"""
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
SELECT count(*) AS number FROM tweet_ids
WHERE deleted_at IS NOT NULL AND tweet_id >= tweet_key($1, 0) AND tweet_id < tweet_key($2, 0)
"""
# A writer's transaction may have begun a while before its time is read; and a day may be archived
# before a deletion has reached all tweets of an author (stream/store/deletions.py).
_MOMENT = """
SELECT now() AS now,
       least(now() - interval '15 minutes',
             (SELECT min(changed_at) - interval '1 microsecond' FROM author_tombstones
              WHERE pending <> '{}')) AS authors_at,
       (SELECT name FROM schema_migrations ORDER BY number DESC LIMIT 1) AS migration
"""
# Rows are read in the order of the key: a sort would need a temporary file.
_NO_SORT = "SET LOCAL enable_sort = off"


class Digest(msgspec.Struct, frozen=True):
    """The number of rows of a table, and the sum of their hashes in Postgres."""

    rows: int
    digest: str

    def __add__(self, other: "Digest") -> "Digest":
        return Digest(self.rows + other.rows, str(int(self.digest) + int(other.digest)))

    def __sub__(self, other: "Digest") -> "Digest":
        return Digest(self.rows - other.rows, str(int(self.digest) - int(other.digest)))


Digests = dict[str, Digest]


class Gap(msgspec.Struct, frozen=True):
    """A time in which a source could not deliver."""

    source_id: int
    source: str | None  # its name; none when it has been removed
    began_at: datetime
    ended_at: datetime | None
    cause: str
    detail: str


class Moment(msgspec.Struct, frozen=True):
    """When a snapshot was taken."""

    now: datetime
    authors_at: datetime  # it has all tombstones of authors up to this time
    migration: str  # the newest one


class DayFacts(msgspec.Struct, frozen=True):
    """What a manifest says about a day besides its files."""

    moment: Moment
    first: datetime | None
    last: datetime | None
    digests: Digests
    tracks: dict[str, int]  # tweets by the id of the track
    gaps: list[Gap]
    tombstones: int


@contextlib.asynccontextmanager
async def snapshot(connection: Executor) -> AsyncIterator[None]:
    """Everything inside sees the database at one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_NO_SORT)
        yield


async def digest(connection: Executor, table: Table, *arguments: object) -> Digest:
    [row] = await connection.fetch(table.digest_query, *arguments)
    return Digest(row["rows"], row["digest"])


async def digests(connection: Executor, day: date) -> Digests:
    """The digests of what is stored of a day now."""
    bounds = day_bounds(day)
    return {table.name: await digest(connection, table, *bounds) for table in (TWEETS, MATCHES)}


async def moment(connection: Executor) -> Moment:
    [row] = await connection.fetch(_MOMENT)
    if row["migration"] is None:
        raise TwitterstreamError("The database has no schema; run `twitterstream.py migrate`.")
    return Moment(**row)


async def facts(connection: Executor, day: date) -> DayFacts:
    """What a manifest says about a day, inside a snapshot."""
    bounds = day_bounds(day)
    taken = await moment(connection)
    [times] = await connection.fetch(_TIMES, *bounds)
    tracks = await connection.fetch(_TRACKS, *bounds)
    [tombstones] = await connection.fetch(_TOMBSTONES, *bounds)
    return DayFacts(
        moment=taken,
        first=times["first"],
        last=times["last"],
        digests=await digests(connection, day),
        tracks={str(row["track_id"]): row["tweets"] for row in tracks},
        gaps=[Gap(**row) for row in await connection.fetch(_GAPS, *bounds)],
        tombstones=tombstones["number"],
    )


def finite_times(table: str) -> str:
    """SQL that corrects the times of rows loaded into a table from files.

    The driver writes the first and the last moment that Python knows as infinities, of which there
    are none in files.
    """
    finite = """
    CASE {0} WHEN '-infinity' THEN timestamptz '0001-01-01 00:00+00'
             WHEN 'infinity' THEN timestamptz '9999-12-31 23:59:59.999999+00' ELSE {0} END"""
    return f"""
UPDATE {table} SET created_at = {finite.format("created_at")},
                   deleted_at = {finite.format("deleted_at")}
WHERE created_at IN ('infinity', '-infinity') OR deleted_at IN ('infinity', '-infinity')
"""  # noqa: S608 - all of it is in this file
