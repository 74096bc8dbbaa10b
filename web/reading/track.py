"""What the page of one track shows of it beside its tweets."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from stream.db import Executor
from stream.query import TrackKind
from stream.tweet import TrackId
from web.person import Person

# The last minute: the running one, and of the one before it as much as is not past.
_TOTALS = """
SELECT
    (SELECT round(coalesce(sum(tweets * CASE WHEN minute = date_trunc('minute', now()) THEN 1
            ELSE 1 - extract(second FROM now()) / 60 END), 0))::bigint
        FROM track_minutes WHERE track_id = $1
        AND minute >= date_trunc('minute', now()) - interval '1 minute') AS last_minute,
    (SELECT coalesce(sum(tweets), 0)::bigint FROM track_minutes WHERE track_id = $1
        AND minute > now() - interval '1 hour') AS last_hour,
    (SELECT coalesce(sum(tweets), 0)::bigint FROM track_hours WHERE track_id = $1
        AND hour >= date_trunc('day', now(), 'UTC')) AS today,
    (SELECT coalesce(sum(tweets), 0)::bigint FROM track_days WHERE track_id = $1) AS total,
    (SELECT hour FROM track_hours WHERE track_id = $1 AND tweets > 0
        ORDER BY hour LIMIT 1) AS first_at
"""
_OTHERS = """
SELECT tracks.id, tracks.kind, tracks.value FROM tracks
JOIN tracks_seen_by($1) AS seen ON seen.track_id = tracks.id
WHERE tracks.id <> $2 ORDER BY tracks.id DESC LIMIT $3
"""
_CALLED = """
SELECT tracks.id FROM tracks
JOIN tracks_seen_by($1) AS seen ON seen.track_id = tracks.id
WHERE tracks.id <> $2 AND lower(tracks.value) = lower($3) ORDER BY tracks.id DESC LIMIT 1
"""


class Totals(msgspec.Struct, frozen=True):
    """What a track brings."""

    last_minute: int
    last_hour: int
    today: int  # since midnight UTC
    total: int
    first_at: datetime | None  # the hour of the first tweet


class Other(msgspec.Struct, frozen=True):
    """A track to compare with."""

    id: TrackId
    kind: TrackKind
    value: str


async def totals(connection: Executor, track_id: TrackId) -> Totals:
    [row] = await connection.fetch(_TOTALS, track_id)
    return Totals(**row)


async def others(
    connection: Executor, person: Person, track_id: TrackId, limit: int
) -> Sequence[Other]:
    """Some of the other tracks that the person sees, the newest first."""
    rows = await connection.fetch(_OTHERS, person.id, track_id, limit)
    return [Other(**row) for row in rows]


async def called(
    connection: Executor, person: Person, track_id: TrackId, value: str
) -> TrackId | None:
    """Another track with this value."""
    rows = await connection.fetch(_CALLED, person.id, track_id, value)
    return TrackId(rows[0]["id"]) if rows else None
