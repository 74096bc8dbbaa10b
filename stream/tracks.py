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

_COLUMNS = """id, owner, kind, value, networks, enabled, starts_at, ends_at, priority, state,
    reason, keep_days, created_at, state_at, looked_at"""
_ALL = f"SELECT {_COLUMNS} FROM tracks ORDER BY id"  # noqa: S608 - a constant
_SOME = f"SELECT {_COLUMNS} FROM tracks WHERE id = ANY ($1) ORDER BY id"  # noqa: S608 - a constant
_LOCK = f"{_SOME} FOR UPDATE"
_ADD = """
INSERT INTO tracks (value, kind, owner, networks, starts_at, ends_at, priority, keep_days)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id
"""
_PUT_BACK = """
INSERT INTO tracks (id, owner, kind, value, networks, enabled, starts_at, ends_at, priority,
    keep_days)
OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_ENABLE_SOME = """
UPDATE tracks SET enabled = $2 WHERE id = ANY ($1) AND enabled <> $2 RETURNING id
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
    keep_days: int | None = None
    created_at: datetime | None = None
    state_at: datetime | None = None
    looked_at: datetime | None = None


class Said(msgspec.Struct, frozen=True):
    """All that people say in a row of tracks: what its history keeps."""

    owner: str | None
    kind: TrackKind
    value: str
    networks: Sequence[NetworkName] | None
    enabled: bool
    starts_at: datetime | None
    ends_at: datetime | None
    priority: int
    keep_days: int | None


def said(track: Track) -> Said:
    return Said(**{name: getattr(track, name) for name in Said.__struct_fields__})


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


async def some(
    connection: Executor, track_ids: Sequence[int], *, lock: bool = False
) -> list[Track]:
    """Those of these tracks that exist; with `lock`, nobody else changes them meanwhile."""
    rows = await connection.fetch(_LOCK if lock else _SOME, list(track_ids))
    return [Track(**row) for row in rows]


async def change(connection: Executor, track_id: int, before: Said, after: Said) -> bool:
    """Write what differs, and no more: an untouched value keeps its state. False for nothing."""
    names = [
        name for name in Said.__struct_fields__ if getattr(before, name) != getattr(after, name)
    ]
    if not names:
        return False
    columns = ", ".join(f"{name} = ${place}" for place, name in enumerate(names, 2))
    await connection.execute(
        f"UPDATE tracks SET {columns} WHERE id = $1",  # noqa: S608 - the names of our fields
        track_id,
        *(getattr(after, name) for name in names),
    )
    return True


async def put_back(connection: Executor, track_id: int, said: Said) -> None:
    """A track that was removed, with the number that its tweets know."""
    await connection.execute(_PUT_BACK, track_id, *msgspec.structs.astuple(said))


async def enable_some(
    connection: Executor, track_ids: Sequence[int], *, enabled: bool
) -> list[TrackId]:
    """Pause or resume; those that were not so already. Lock them first."""
    rows = await connection.fetch(_ENABLE_SOME, list(track_ids), enabled)
    return [TrackId(row["id"]) for row in rows]


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
