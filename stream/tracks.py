"""The tracks table: every statement that touches it, and nothing else."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from stream.db import Executor, meaning
from stream.errors import RowRefused, TwitterstreamError
from stream.query import TrackKind
from stream.tweet import NetworkName, TrackId

TrackState = Literal["pending", "active", "partial", "refused", "paused", "scheduled", "ended"]

_COLUMNS = "id, owner, kind, value, networks, enabled, starts_at, ends_at, priority, state, reason"
_ALL = f"SELECT {_COLUMNS} FROM tracks ORDER BY id"  # noqa: S608 - a constant
_ADD = """
INSERT INTO tracks (value, kind, owner, networks, starts_at, ends_at, priority, keep_days)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id
"""
_ENABLE = "UPDATE tracks SET enabled = $2 WHERE id = $1 RETURNING id"
_REMOVE = "DELETE FROM tracks WHERE id = $1 RETURNING id"
_WRITE_STATES = """
UPDATE tracks SET state = new.state, reason = new.reason, state_at = now()
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS new (id, value, state, reason)
WHERE tracks.id = new.id AND tracks.value = new.value
  AND (tracks.state, tracks.reason) IS DISTINCT FROM (new.state, new.reason)
"""
_COUNTS = """
SELECT id, total, last_hour, last_day, usual_hour::double precision AS usual_hour, last_at
FROM stats_tracks
"""


class NewTrack(msgspec.Struct, frozen=True):
    """What somebody wants to follow."""

    value: str
    kind: TrackKind = "keyword"
    owner: str | None = None
    networks: Sequence[NetworkName] | None = None  # None: all
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    priority: int = 0
    keep_days: int | None = None  # None: retention.tweets_days


class Track(msgspec.Struct, frozen=True):
    """A row of tracks: what somebody follows, and what the daemon says about it."""

    id: TrackId
    owner: str | None
    kind: TrackKind
    value: str
    networks: Sequence[NetworkName] | None
    enabled: bool
    starts_at: datetime | None
    ends_at: datetime | None
    priority: int  # when room is short, the lowest pause first
    state: TrackState
    reason: str


class TrackCounts(msgspec.Struct, frozen=True):
    """What a track brought."""

    total: int
    last_hour: int
    last_day: int
    usual_hour: float  # mean of the last 7 whole days
    last_at: datetime | None


NOTHING = TrackCounts(0, 0, 0, 0.0, None)


class Verdict(msgspec.Struct, frozen=True):
    """What the daemon has to say about a track; `value` is the one it speaks of."""

    track_id: TrackId
    value: str
    state: TrackState
    reason: str


async def everything(connection: Executor) -> list[Track]:
    """All tracks, also those that are paused or ended."""
    return [Track(**row) for row in await connection.fetch(_ALL)]


async def add(connection: Executor, new: NewTrack) -> TrackId:
    try:
        with meaning():
            [row] = await connection.fetch(_ADD, *msgspec.structs.astuple(new))
    except RowRefused as error:
        raise TwitterstreamError(f"The table refuses this track: {error}.") from error
    return TrackId(row["id"])


async def enable(connection: Executor, track_id: int, *, enabled: bool) -> bool:
    """Pause or resume; False when there is no such track."""
    return bool(await connection.fetch(_ENABLE, track_id, enabled))


async def remove(connection: Executor, track_id: int) -> bool:
    """Stop following for good. What was collected stays, and stays credited."""
    return bool(await connection.fetch(_REMOVE, track_id))


async def write_states(connection: Executor, verdicts: Iterable[Verdict]) -> None:
    """Say in the rows how their tracks are; a row that was edited meanwhile is left alone."""
    ordered = sorted(verdicts, key=lambda verdict: verdict.track_id)
    await connection.execute(
        _WRITE_STATES,
        [verdict.track_id for verdict in ordered],
        [verdict.value for verdict in ordered],
        [verdict.state for verdict in ordered],
        [verdict.reason for verdict in ordered],
    )


async def counts(connection: Executor) -> dict[TrackId, TrackCounts]:
    """Tweets of each track."""
    rows = [dict(row) for row in await connection.fetch(_COUNTS)]
    return {TrackId(row.pop("id")): TrackCounts(**row) for row in rows}
