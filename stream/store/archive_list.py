"""The list of archived days, and their totals."""

from collections.abc import Collection, Sequence
from datetime import date, datetime

import msgspec

from stream.db import Executor

_ARCHIVES = """
SELECT day, part, state, tweets, bytes, verified_at, problem FROM archives
WHERE ($1::date IS NULL OR day < $1) ORDER BY day DESC, part LIMIT $2
"""
_TOTALS = """
SELECT count(*) AS parts, coalesce(sum(tweets), 0)::bigint AS tweets,
    coalesce(sum(bytes), 0)::bigint AS bytes, min(day) AS first, max(day) AS last,
    count(*) FILTER (WHERE problem IS NOT NULL) AS problems
FROM archives
"""
# As Archive.is_authoritative of monitor.archive.catalog.
_ARCHIVED = """
SELECT EXISTS (SELECT FROM archives WHERE day = ANY ($1) AND (
    state = 'dropped' OR state = 'verified' AND partially_expired_at IS NOT NULL)) AS found
"""


class ArchivedDay(msgspec.Struct, frozen=True):
    """The archive of a day, or one part of it."""

    day: date
    part: int
    state: str
    tweets: int
    bytes: int
    verified_at: datetime | None
    problem: str | None


class ArchiveTotals(msgspec.Struct, frozen=True):
    """All archives together."""

    parts: int
    tweets: int
    bytes: int
    first: date | None
    last: date | None
    problems: int


async def newest_days(
    connection: Executor, before: date | None, limit: int
) -> Sequence[ArchivedDay]:
    """The archives of the newest days, or of those before one."""
    rows = await connection.fetch(_ARCHIVES, before, limit)
    return [ArchivedDay(**row) for row in rows]


async def has_rows_of(connection: Executor, days: Collection[date]) -> bool:
    """Whether archives have rows of these days that Postgres does not have."""
    [row] = await connection.fetch(_ARCHIVED, list(days))
    found: bool = row["found"]
    return found


async def totals(connection: Executor) -> ArchiveTotals:
    [row] = await connection.fetch(_TOTALS)
    return ArchiveTotals(**row)
