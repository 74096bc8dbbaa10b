"""The tracks table: reading, editing and deleting tracks, and the states that the daemon writes."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from stream.db import Executor, Row, translated_errors
from stream.errors import RowRefused, TwitterstreamError
from stream.query import TrackKind
from stream.store.track_reach import SourceReach, read_column, write_column
from stream.text import storable
from stream.tweet import NetworkName, TrackId

TrackState = Literal["pending", "active", "partial", "refused", "paused", "scheduled", "ended"]

COLUMNS = """id, owner, kind, value, networks, enabled, starts_at, ends_at, priority, state,
    reason, keep_days, created_at, state_at, last_viewed_at, reach"""
_ALL = f"SELECT {COLUMNS} FROM tracks ORDER BY id"  # noqa: S608 - a constant
_BY_IDS = f"SELECT {COLUMNS} FROM tracks WHERE id = ANY ($1) ORDER BY id"  # noqa: S608 - a constant
IDS = "SELECT id FROM tracks ORDER BY id"
_ADD = """
INSERT INTO tracks (value, kind, owner, networks, starts_at, ends_at, priority, keep_days)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id
"""
_REINSERT = """
INSERT INTO tracks (id, owner, kind, value, networks, enabled, starts_at, ends_at, priority,
    keep_days)
OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_ENABLE_BY_IDS = """
UPDATE tracks SET enabled = $2 WHERE id = ANY ($1) AND enabled <> $2 RETURNING id
"""
_ENABLE = "UPDATE tracks SET enabled = $2 WHERE id = $1 RETURNING id"
_REMOVE = "DELETE FROM tracks WHERE id = $1 RETURNING id"
_WRITE_STATES = """
UPDATE tracks SET state = new.state, reason = new.reason, reach = new.reach::jsonb,
    state_at = CASE WHEN (tracks.state, tracks.reason) IS DISTINCT FROM (new.state, new.reason)
        THEN now() ELSE state_at END
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[])
    AS new (id, value, state, reason, reach)
WHERE tracks.id = new.id AND tracks.value = new.value
  AND (tracks.state, tracks.reason, tracks.reach)
      IS DISTINCT FROM (new.state, new.reason, new.reach::jsonb)
"""
_REFUSE = """
UPDATE tracks SET state = 'refused', reason = new.reason, reach = NULL, state_at = now()
FROM unnest($1::bigint[], $2::text[]) AS new (id, reason)
WHERE tracks.id = new.id AND (tracks.state, tracks.reason) IS DISTINCT FROM ('refused', new.reason)
"""
_COUNT_OF_OWNER = "SELECT count(*) AS number FROM tracks WHERE owner = $1"
_COUNTS = """
SELECT id, total, last_hour, last_day, usual_hour::double precision AS usual_hour, last_at
FROM stats_tracks
"""

# At most once an hour: a page that stays open all day must not write all day.
_NOTE_VIEWED = """
UPDATE tracks SET last_viewed_at = now()
WHERE id = $1 AND (last_viewed_at IS NULL OR last_viewed_at < now() - interval '1 hour')
"""

WRITE_BATCH = 2000  # rows written at once
UNREADABLE = (ArithmeticError, ValueError, TypeError)  # what the driver raises for such a value


class NewTrack(msgspec.Struct, frozen=True):
    """A track to be added."""

    value: str
    kind: TrackKind = "keyword"
    owner: str | None = None
    networks: Sequence[NetworkName] | None = None  # None: all
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    priority: int = 0
    keep_days: int | None = None  # None: retention.tweets_days


class Track(msgspec.Struct, frozen=True):
    """A row of tracks: what is tracked, and the state that the daemon writes."""

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
    last_viewed_at: datetime | None = None
    reach: Sequence[SourceReach] = ()


class TrackSpec(msgspec.Struct, frozen=True):
    """The columns of a track that users edit; its history keeps them."""

    owner: str | None
    kind: TrackKind
    value: str
    networks: Sequence[NetworkName] | None
    enabled: bool
    starts_at: datetime | None
    ends_at: datetime | None
    priority: int
    keep_days: int | None


def spec_of(track: Track) -> TrackSpec:
    return TrackSpec(**{name: getattr(track, name) for name in TrackSpec.__struct_fields__})


class TrackCounts(msgspec.Struct, frozen=True):
    """How many tweets a track got."""

    total: int
    last_hour: int
    last_day: int
    usual_hour: float  # mean of the last 7 whole days
    last_at: datetime | None


NO_COUNTS = TrackCounts(0, 0, 0, 0.0, None)


class TrackStatus(msgspec.Struct, frozen=True):
    """The state of a track with this value, for the daemon to write into its row."""

    track_id: TrackId
    value: str
    state: TrackState
    reason: str
    reach: Sequence[SourceReach] = ()


async def get_all(connection: Executor) -> list[Track]:
    """All tracks that can be read, also those that are paused or ended.

    The table's constraints keep out what a program cannot read; where they are missing, a bad row
    must still harm only itself.
    """
    try:
        return [readable_track(row) for row in await connection.fetch(_ALL)]
    except UNREADABLE:
        ids = [row["id"] for row in await connection.fetch(IDS)]
        found, _ = await read_by_halving(connection, ids)
        return found


async def read_by_halving(
    connection: Executor, ids: Sequence[int]
) -> tuple[list[Track], dict[TrackId, str]]:
    """Read these rows, and find those that cannot be read by halving."""
    try:
        return [readable_track(row) for row in await connection.fetch(_BY_IDS, list(ids))], {}
    except UNREADABLE as error:
        if len(ids) == 1:
            return [], {TrackId(ids[0]): f"This row cannot be read ({error}). Correct its dates."}
    middle = len(ids) // 2
    first, bad = await read_by_halving(connection, ids[:middle])
    second, worse = await read_by_halving(connection, ids[middle:])
    return first + second, bad | worse


def readable_track(row: Row) -> Track:
    """The row as it is; ValueError for a date that cannot be compared with another one."""
    track = _made(row)
    for date in (track.starts_at, track.ends_at):
        if date is not None and date.tzinfo is None:  # what the driver makes of infinity
            raise ValueError("a date is infinite")
    return track


def _made(row: Row) -> Track:
    return Track(**{**row, "reach": read_column(row["reach"])})


async def add(connection: Executor, new: NewTrack) -> TrackId:
    try:
        with translated_errors():
            [row] = await connection.fetch(_ADD, *msgspec.structs.astuple(new))
    except RowRefused as error:
        raise TwitterstreamError(f"The table `tracks` refuses this row: {error}.") from error
    return TrackId(row["id"])


async def get_many(
    connection: Executor, track_ids: Sequence[int], *, lock: bool = False
) -> list[Track]:
    """Read the tracks with these ids that exist; `lock`: no other transaction can change them."""
    rows = await connection.fetch(f"{_BY_IDS} FOR UPDATE" if lock else _BY_IDS, list(track_ids))
    return [_made(row) for row in rows]


async def change(connection: Executor, track_id: int, before: TrackSpec, after: TrackSpec) -> bool:
    """Write only the columns that differ, so that others keep their state; False: none differ."""
    fields = TrackSpec.__struct_fields__
    names = [name for name in fields if getattr(before, name) != getattr(after, name)]
    if not names:
        return False
    columns = ", ".join(f"{name} = ${place}" for place, name in enumerate(names, 2))
    await connection.execute(
        f"UPDATE tracks SET {columns} WHERE id = $1",  # noqa: S608 - the names of our fields
        track_id,
        *(getattr(after, name) for name in names),
    )
    return True


async def reinsert(connection: Executor, track_id: int, spec: TrackSpec) -> None:
    """Insert a removed track again, under the id that its tweets are credited to."""
    await connection.execute(_REINSERT, track_id, *msgspec.structs.astuple(spec))


async def enable_some(
    connection: Executor, track_ids: Sequence[int], *, enabled: bool
) -> list[TrackId]:
    """Pause or resume tracks that are locked; returns those that changed."""
    rows = await connection.fetch(_ENABLE_BY_IDS, list(track_ids), enabled)
    return [TrackId(row["id"]) for row in rows]


async def enable(connection: Executor, track_id: int, *, enabled: bool) -> bool:
    """Pause or resume a track; False: there is none."""
    return bool(await connection.fetch(_ENABLE, track_id, enabled))


async def remove(connection: Executor, track_id: int) -> bool:
    """Delete a track; its tweets stay, and stay credited to its id. False: there is none."""
    return bool(await connection.fetch(_REMOVE, track_id))


async def write_states(connection: Executor, statuses: Iterable[TrackStatus]) -> None:
    """Write states and reasons into the rows; one that was edited meanwhile is skipped."""
    ordered = sorted(statuses, key=lambda status: status.track_id)
    await connection.execute(
        _WRITE_STATES,
        [status.track_id for status in ordered],
        [status.value for status in ordered],
        [status.state for status in ordered],
        [storable(status.reason) for status in ordered],
        [write_column(status.reach) for status in ordered],
    )


async def refuse(connection: Executor, reasons: Mapping[TrackId, str]) -> None:
    """Write into rows that cannot be read why they are refused."""
    texts = [storable(reason) for reason in reasons.values()]
    await connection.execute(_REFUSE, list(reasons), texts)


async def counts(connection: Executor) -> dict[TrackId, TrackCounts]:
    """The tweet counts of each track."""
    rows = [dict(row) for row in await connection.fetch(_COUNTS)]
    return {TrackId(row.pop("id")): TrackCounts(**row) for row in rows}


async def note_viewed(connection: Executor, track_id: TrackId) -> None:
    """Remember that the track was viewed or downloaded now: others count as unused."""
    await connection.execute(_NOTE_VIEWED, track_id)


async def count_of_owner(connection: Executor, owner: str) -> int:
    """How many tracks a user owns."""
    [row] = await connection.fetch(_COUNT_OF_OWNER, owner)
    return int(row["number"])


_OWN_RETENTION = """
SELECT id, keep_days, created_at FROM tracks WHERE keep_days IS NOT NULL ORDER BY id
"""


class OwnRetention(msgspec.Struct, frozen=True):
    """A track that sets how long its tweets are kept."""

    id: int
    keep_days: int
    created_at: datetime


async def own_retention(connection: Executor) -> list[OwnRetention]:
    """The tracks that set how long their tweets are kept."""
    return [OwnRetention(**row) for row in await connection.fetch(_OWN_RETENTION)]
