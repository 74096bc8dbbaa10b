"""The list of archived days, and their totals."""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime

import msgspec

from stream.db import Executor
from stream.keys import KeyRange, received_at
from stream.tweet import TrackId

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
# Only days on which the source of what was passed, and one of the tracks, had tweets, by their
# counts: one who has read all of a source that then was silent for long has missed nothing. Counts
# of the minute in which a range begins are left out, as they may be of what was read before.
_HAD_TWEETS = """
(EXISTS (SELECT FROM {0}_minutes WHERE {1} AND minute BETWEEN since AND until)
 OR EXISTS (SELECT FROM {0}_hours WHERE {1} AND hour BETWEEN since AND until))
"""
_OF_SOURCE = _HAD_TWEETS.format(
    "source", "source_id = source AND outcome IN ('stored', 'unmatched')"
)
_OF_TRACKS = _HAD_TWEETS.format("track", "track_id = ANY ($4) AND tweets > 0")
_SKIPPED = f"""
SELECT DISTINCT day
FROM unnest($1::integer[], $2::timestamptz[], $3::timestamptz[]) AS passed (source, low, high)
CROSS JOIN LATERAL (
    SELECT day, greatest(low, day) AS since,
        least(high, day + interval '1 day' - interval '1 microsecond') AS until
    FROM archives WHERE state = 'dropped' AND day BETWEEN $5 AND $6) AS dropped
WHERE {_OF_SOURCE} AND ($4::bigint[] IS NULL OR {_OF_TRACKS})
ORDER BY day
"""  # noqa: S608 - constants


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


async def skipped_days(
    connection: Executor, passed: Sequence[KeyRange], tracks: Collection[TrackId] | None
) -> list[date]:
    """Days on which a reader missed tweets, as they had left Postgres before.

    `tracks`: what it reads; None: all tweets. `passed`: what was read. Today's tweets are in
    Postgres, so nothing is asked about them.
    """
    first = min((received_at(each.low).date() for each in passed), default=date.max)
    today = datetime.now(UTC).date()
    if first >= today:
        return []
    lanes = [each.run.lane for each in passed]
    times = [received_at(each.low) for each in passed], [received_at(each.high) for each in passed]
    followed = None if tracks is None else list(tracks)
    found = await connection.fetch(_SKIPPED, lanes, *times, followed, first, today)
    return [row["day"] for row in found]


async def totals(connection: Executor) -> ArchiveTotals:
    [row] = await connection.fetch(_TOTALS)
    return ArchiveTotals(**row)
