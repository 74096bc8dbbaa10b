"""Gaps: times in which a source, or the network for single tracks, delivered nothing."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from stream.db import Executor, Row, row_count
from stream.notes import (
    GapCause,
    GapClosed,
    GapOpened,
    GapRefilled,
    MissedGap,
    TracksCovered,
    TracksLapsed,
)
from stream.text import storable
from stream.tweet import NetworkName, SourceId, TrackId

GAPS_MAX = 2000  # on a chart: the longest ones

# An open gap keeps its beginning and cause. A source that was removed meanwhile has no gaps.
# When another machine takes a source over, its journal may be stored first. Then the same gap is
# known, with the cause that a collector assumes who finds no other one; or at least its end is. It
# begins a moment later then: with the frame that was stored last, not with the byte read before it.
# A later gap of that machine may be open: what ends before it is added by _CLOSE_GAP, and the last
# word of the first machine ends with it at the latest.
_OPEN_GAP = """
WITH known AS (
    UPDATE gaps SET began_at = least(began_at, to_timestamp($2)),
        cause = CASE WHEN cause = 'killed' THEN $3 ELSE cause END,
        detail = CASE WHEN cause = 'killed' THEN $4 ELSE detail END
    WHERE source_id = $1 AND began_at <= to_timestamp($2 + 1.0)
      AND (ended_at IS NULL OR ended_at > to_timestamp($2))
    RETURNING id
)
INSERT INTO gaps (source_id, began_at, ended_at, cause, detail)
SELECT id, to_timestamp($2),
    CASE WHEN state = 'streaming' AND state_at > to_timestamp($2) THEN state_at
        WHEN $3 = 'stopped' THEN (
            SELECT began_at FROM gaps WHERE source_id = $1 AND ended_at IS NULL) END,
    $3, $4
FROM sources WHERE id = $1 AND NOT EXISTS (SELECT FROM known)
ON CONFLICT (source_id) WHERE ended_at IS NULL DO NOTHING
"""
# The end of a gap that is not known, or known in part, brings the whole of it: another machine's
# notes came in between. What is replayed may be said once it is known. A clock may have been set
# back meanwhile: so an end may precede its gap.
_CLOSE_GAP = """
WITH closed AS (
    UPDATE gaps SET ended_at = greatest(to_timestamp($2), began_at),
        recovered_from = to_timestamp($3)
    WHERE source_id = $1 AND (
        (ended_at IS NULL AND began_at <= greatest(to_timestamp($2), to_timestamp($4)))
        OR (began_at = to_timestamp($4) AND ended_at < to_timestamp($2))
        OR (ended_at = to_timestamp($2) AND recovered_from IS NULL))
    RETURNING id
)
INSERT INTO gaps (source_id, began_at, ended_at, cause, detail, recovered_from)
SELECT id, to_timestamp($4), greatest(to_timestamp($2), to_timestamp($4)), $5, $6, to_timestamp($3)
FROM sources WHERE id = $1 AND $4 IS NOT NULL AND NOT EXISTS (SELECT FROM closed)
  AND NOT EXISTS (SELECT FROM gaps WHERE source_id = $1 AND began_at <= to_timestamp($4)
                    AND ended_at >= to_timestamp($2))
"""
# Gaps wholly between two times, which pass through floats: a millisecond is no difference.
_NOTE_REFILLED = """
UPDATE gaps SET recovered_from = CASE WHEN $4::jsonb IS NULL THEN began_at END, read_to = $4
WHERE source_id = $1 AND cause <> 'idle' AND recovered_from IS NULL
  AND began_at >= to_timestamp($2 - 0.001) AND ended_at <= to_timestamp($3 + 0.001)
"""
_UNREFILLED = """
SELECT extract(epoch FROM began_at)::double precision AS began,
    extract(epoch FROM ended_at)::double precision AS ended, read_to
FROM gaps
WHERE source_id = $1 AND cause <> 'idle' AND recovered_from IS NULL
  AND ended_at > now() - make_interval(secs => $2)
ORDER BY began_at
"""
# A check in progress ends before one begins that also covers newer gaps.
_DUE_CHECK = """
SELECT extract(epoch FROM coalesce(max(ended_at) FILTER (WHERE checked_to IS NOT NULL),
                                   max(ended_at)))::double precision AS until,
    extract(epoch FROM max(checked_to))::double precision AS checked_to
FROM gaps
WHERE source_id = $1 AND ended_at > now() - make_interval(secs => $2)
  AND (checked_to IS NULL OR checked_to < ended_at)
"""
_NOTE_CHECKED = """
UPDATE gaps SET checked_to = to_timestamp($3)
WHERE source_id = $1 AND ended_at <= to_timestamp($2 + 0.001)
  AND (checked_to IS NULL OR checked_to < ended_at)
"""
# The network does not look for a track, while the source delivers for others. What another machine
# recorded later may be stored already: then this ended before.
_OPEN_TRACK_GAPS = """
INSERT INTO track_gaps (source_id, track_id, began_at, ended_at, detail)
SELECT sources.id, track, to_timestamp($3), later.began_at, $4
FROM sources CROSS JOIN unnest($2::bigint[]) AS track
LEFT JOIN track_gaps AS later ON later.source_id = $1 AND later.track_id = track
    AND later.ended_at IS NULL AND later.began_at > to_timestamp($3)
WHERE sources.id = $1
ON CONFLICT (source_id, track_id) WHERE ended_at IS NULL DO NOTHING
"""
_CLOSE_TRACK_GAPS = """
UPDATE track_gaps SET ended_at = greatest(to_timestamp($3), began_at)
WHERE source_id = $1 AND ended_at IS NULL AND ($2::bigint[] IS NULL OR track_id = ANY ($2))
  AND began_at <= greatest(to_timestamp($3), to_timestamp($4))
"""
_GAPS_LAST_DAY = """
SELECT count(*) AS gaps, coalesce(sum(extract(epoch FROM
    least(ended_at, now()) - greatest(began_at, now() - interval '1 day'))), 0)::bigint
    AS seconds
FROM gaps
WHERE source_id = $1 AND began_at < now() AND least(ended_at, now()) > now() - interval '1 day'
"""
_GAPS_OF_DAY = """
SELECT source_id,
       coalesce(sum(extract(epoch FROM ended_at - greatest(began_at, to_timestamp($1)))), 0)
           ::double precision AS closed,
       extract(epoch FROM min(began_at) FILTER (WHERE ended_at IS NULL))::double precision
           AS open_since
FROM gaps WHERE ended_at IS NULL OR ended_at > to_timestamp($1) GROUP BY source_id
"""
_GAPS_WITHIN = """
SELECT source_id, source, network, expected, began_at, ended_at, cause FROM (
    SELECT gaps.source_id, sources.name AS source, sources.network, gaps.cause,
        coalesce(sources.enabled, false) OR NOT EXISTS (SELECT FROM sources WHERE enabled)
            AS expected,
        greatest(gaps.began_at, $1) AS began_at,
        least(coalesce(gaps.ended_at, now()), $2) AS ended_at
    FROM gaps LEFT JOIN sources ON sources.id = gaps.source_id
    WHERE gaps.began_at < $2 AND coalesce(gaps.ended_at, now()) > $1
    ORDER BY least(coalesce(gaps.ended_at, now()), $2) - greatest(gaps.began_at, $1) DESC
    LIMIT $3
) AS longest
ORDER BY began_at, source_id
"""
_TRACK_GAPS_WITHIN = """
SELECT sources.name AS source, track_gaps.detail, greatest(track_gaps.began_at, $2) AS began_at,
    least(coalesce(track_gaps.ended_at, now()), $3) AS ended_at
FROM track_gaps LEFT JOIN sources ON sources.id = track_gaps.source_id
WHERE track_id = $1 AND track_gaps.began_at < $3 AND coalesce(track_gaps.ended_at, now()) > $2
ORDER BY began_at DESC LIMIT $4
"""
_GAPS = """
SELECT gaps.id, sources.name AS source, gaps.began_at, gaps.ended_at, gaps.cause, gaps.detail
FROM gaps LEFT JOIN sources ON sources.id = gaps.source_id
WHERE ($1::bigint IS NULL OR gaps.id < $1)
  AND ($2::text IS NULL OR sources.name = $2)
  AND ($3::timestamptz IS NULL OR coalesce(gaps.ended_at, now()) > $3)
  AND ($4::timestamptz IS NULL OR gaps.began_at < $4)
ORDER BY gaps.id DESC LIMIT $5
"""
_NEWEST_GAPS = """
SELECT newest.id, sources.name AS source, began_at, ended_at, cause, detail
FROM sources
CROSS JOIN LATERAL (
    SELECT * FROM gaps WHERE source_id = sources.id ORDER BY began_at DESC LIMIT $1
) AS newest
ORDER BY began_at DESC LIMIT $1
"""
# Ids are given in order of time, nearly: only the oldest rows are looked at.
_PRUNE_TRACK_GAPS = """
WITH oldest AS (SELECT id, ended_at FROM track_gaps ORDER BY id LIMIT $2)
DELETE FROM track_gaps USING oldest WHERE track_gaps.id = oldest.id AND oldest.ended_at < $1
"""
_PRUNE_GAPS = """
DELETE FROM gaps WHERE id IN (SELECT id FROM gaps WHERE ended_at < $1 LIMIT $2)
"""


class DeletionCheck(msgspec.Struct, frozen=True):
    """A check whether stored posts were deleted during gaps; times in seconds since 1970."""

    until: float  # end of the last gap
    checked_to: float | None  # posts until then are checked; None: it has not begun


class GapsOfDay(msgspec.Struct, frozen=True):
    """The gaps of one source since a midnight."""

    closed: float  # seconds of those that are over
    open_since: float | None  # seconds since 1970; may be before that midnight


class GapWithin(msgspec.Struct, frozen=True):
    """The part of a gap that lies within a time."""

    source_id: SourceId
    source: str | None  # its name; None: it was removed
    network: NetworkName | None
    expected: bool  # should have delivered: it is enabled, or no source is
    began_at: datetime
    ended_at: datetime
    cause: GapCause


class TrackGapWithin(msgspec.Struct, frozen=True):
    """When a network did not filter for a track, or not for all of it, within a time."""

    source: str | None  # its name; None: it was removed
    began_at: datetime
    ended_at: datetime
    detail: str


class GapRecord(msgspec.Struct, frozen=True):
    """A gap as recorded; `source` null: it was removed, `ended_at` null: it is still open."""

    id: int
    source: str | None
    began_at: datetime
    ended_at: datetime | None
    cause: GapCause
    detail: str | None  # for admins


async def open_gap(connection: Executor, source_id: SourceId, gap: GapOpened) -> None:
    detail = storable(gap.detail)
    await connection.execute(_OPEN_GAP, source_id, gap.began, gap.cause, detail)


async def close_gap(connection: Executor, source_id: SourceId, gap: GapClosed) -> None:
    opened: tuple[float | None, str | None, str | None] = (None, None, None)
    if (known := gap.opened) is not None:
        opened = (known.began, known.cause, storable(known.detail))
    await connection.execute(_CLOSE_GAP, source_id, gap.ended, gap.recovered_from, *opened)


async def note_refilled(connection: Executor, source_id: SourceId, note: GapRefilled) -> None:
    read_to = None if note.read_to is None else msgspec.json.encode(note.read_to)
    await connection.execute(_NOTE_REFILLED, source_id, note.began, note.ended, read_to)


async def unrefilled_gaps(
    connection: Executor, source_id: SourceId, seconds: float
) -> list[MissedGap]:
    """Gaps that ended in the last `seconds` and are not refilled, the oldest first."""
    rows = await connection.fetch(_UNREFILLED, source_id, seconds)
    return [
        MissedGap(row["began"], row["ended"], msgspec.json.decode(row["read_to"] or b"{}"))
        for row in rows
    ]


async def due_check(
    connection: Executor, source_id: SourceId, seconds: float
) -> DeletionCheck | None:
    """The check for deletions during gaps that ended in the last `seconds`; None: all are done."""
    [row] = await connection.fetch(_DUE_CHECK, source_id, seconds)
    return None if row["until"] is None else DeletionCheck(row["until"], row["checked_to"])


async def note_checked(
    connection: Executor, source_id: SourceId, until: float, checked_to: float
) -> None:
    """Record how far a check has come, for all gaps that ended until then; idempotent."""
    await connection.execute(_NOTE_CHECKED, source_id, until, checked_to)


async def open_track_gaps(connection: Executor, source_id: SourceId, lapsed: TracksLapsed) -> None:
    await connection.execute(
        _OPEN_TRACK_GAPS, source_id, lapsed.tracks, lapsed.began, lapsed.detail
    )


async def close_track_gaps(
    connection: Executor, source_id: SourceId, covered: TracksCovered
) -> None:
    await connection.execute(
        _CLOSE_TRACK_GAPS, source_id, covered.tracks, covered.ended, covered.lapsed
    )


async def gaps_last_day(connection: Executor, source_id: SourceId) -> Row:
    """Number and seconds of the gaps of the last 24 hours."""
    rows: Sequence[Row] = await connection.fetch(_GAPS_LAST_DAY, source_id)
    return rows[0]


async def gaps_of_day(connection: Executor, midnight: float) -> dict[SourceId, GapsOfDay]:
    """The gaps of each source since a midnight, in seconds since 1970; only sources with gaps."""
    rows = await connection.fetch(_GAPS_OF_DAY, midnight)
    return {SourceId(row["source_id"]): GapsOfDay(row["closed"], row["open_since"]) for row in rows}


# -- lists ----------------------------------------------------------------------------------------


async def gaps_within(connection: Executor, begin: datetime, end: datetime) -> list[GapWithin]:
    """When a source did not deliver, cut to this time, in order of beginning."""
    rows = await connection.fetch(_GAPS_WITHIN, begin, end, GAPS_MAX)
    return [GapWithin(**row) for row in rows]


async def track_gaps_within(
    connection: Executor, track_id: TrackId, begin: datetime, end: datetime
) -> list[TrackGapWithin]:
    """When a network did not filter for this track, cut to this time; the newest first."""
    rows = await connection.fetch(_TRACK_GAPS_WITHIN, track_id, begin, end, GAPS_MAX)
    return [TrackGapWithin(**row) for row in rows]


async def list_gaps(
    connection: Executor,
    *,
    below: int | None,
    source: str | None,
    begin: datetime | None,
    end: datetime | None,
    limit: int,
) -> Sequence[GapRecord]:
    """The newest gaps that touch this time; `below`: only those before this one."""
    rows = await connection.fetch(_GAPS, below, source, begin, end, limit)
    return [GapRecord(**row) for row in rows]


async def newest_gaps(connection: Executor, limit: int) -> list[GapRecord]:
    """The newest gaps of all sources that there are."""
    return [GapRecord(**row) for row in await connection.fetch(_NEWEST_GAPS, limit)]


# -- pruning --------------------------------------------------------------------------------------


async def prune_track_gaps(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some track gaps that ended before a time; returns how many."""
    return row_count(await connection.execute(_PRUNE_TRACK_GAPS, before, limit))


async def prune_gaps(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some gaps that ended before a time; returns how many."""
    return row_count(await connection.execute(_PRUNE_GAPS, before, limit))
