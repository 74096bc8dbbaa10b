"""The look_backs table: searches of posts from before a track existed, as they are requested.

What runs them claims and advances them with look_back_queue.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from stream.db import Executor, Row, row_count, translated_errors
from stream.errors import InvalidField, RowRefused, TwitterstreamError
from stream.tweet import TrackId

# Where to look: tweets in our tables, the journals and the raw backup, what the network can replay,
# or all posts of one author.
Place = Literal["stored", "recorded", "network", "author"]
State = Literal["waiting", "running", "done", "failed", "cancelled"]

LISTED = 20  # of a track, the newest ones
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)  # as in the table's constraint
REASON_MAX = 1000  # characters
RETRYING = "Retrying."  # ends the reason while a network is retried

# One of a track, place and author is unfinished at a time.
_ADD = """
INSERT INTO look_backs (track_id, place, since, author, requested_by) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (track_id, place, author) WHERE state IN ('waiting', 'running') DO NOTHING
RETURNING id
"""
_UNFINISHED = """
SELECT id, since FROM look_backs
WHERE track_id = $1 AND place = $2 AND author IS NOT DISTINCT FROM $3
  AND state IN ('waiting', 'running')
FOR UPDATE
"""
# The counts of what was found stay: it is not found again.
_WIDEN = """
UPDATE look_backs SET since = $2, requested_at = now(), requested_by = $3, state = 'waiting',
    reason = '', resume_at = NULL, progress = NULL, looked = 0, worked = 0, started_at = NULL,
    updated_at = now()
WHERE id = $1
"""
# $1: a look-back, or $2: those of a track. What they were waiting for is over, but not the notes
# about what is missing; by psql, these may be anything.
_CANCEL = """
UPDATE look_backs SET state = 'cancelled', updated_at = now(), finished_at = now(),
    reason = left(coalesce((
        SELECT string_agg(note, ' ' ORDER BY number)
        FROM jsonb_array_elements_text(CASE jsonb_typeof(resume_at -> 'notes')
            WHEN 'array' THEN resume_at -> 'notes' ELSE '[]' END)
        WITH ORDINALITY AS noted (note, number)), ''), $3)
WHERE (id = $1 OR track_id = $2) AND state IN ('waiting', 'running')
"""
_UNFINISHED_OF = """
SELECT count(*) AS number FROM look_backs
WHERE requested_by = $1 AND state IN ('waiting', 'running')
"""
# Users take turns: the oldest of each, beginning with the user whose turn is longest ago; then the
# second of each, and so on. One that was interrupted comes first. Put in: which ones are left out.
QUEUE = """
SELECT id, row_number() OVER (
    ORDER BY state = 'running' DESC, of_user, turn_at NULLS FIRST, id) AS position
FROM (
    SELECT id, state, requested_by,
        row_number() OVER (PARTITION BY requested_by ORDER BY state = 'running' DESC, id) AS of_user
    FROM look_backs WHERE state IN ('waiting', 'running') AND {left_out}
) AS unfinished
LEFT JOIN (SELECT requested_by, max(turn_at) AS turn_at FROM look_backs GROUP BY 1) AS turns
    ON turns.requested_by IS NOT DISTINCT FROM unfinished.requested_by
"""
# Those that run are not counted, and those that wait for something else say so.
_POSITIONS = f"""
SELECT id, position FROM ({QUEUE.format(left_out="state = 'waiting' AND reason = ''")}) AS queue
WHERE id = ANY ($1::bigint[])
"""  # noqa: S608 - constants
_PRUNE = """
DELETE FROM look_backs WHERE id IN (
    SELECT id FROM look_backs WHERE state NOT IN ('waiting', 'running')
      AND coalesce(finished_at, updated_at, requested_at) < $1 ORDER BY id LIMIT $2)
"""


class NewLookBack(msgspec.Struct, frozen=True):
    """What to look through; `since` None: as far back as there is."""

    place: Place
    since: datetime | None = None
    author: str | None = None  # of the place `author`: handle or DID


class Requested(msgspec.Struct, frozen=True):
    """The look-back that does what was requested.

    `new`; `widened`: an unfinished one, which begins again and goes further back now; `covered`: an
    unfinished one, which goes as far back or further.
    """

    id: int
    how: Literal["new", "widened", "covered"]

    @property
    def explanation(self) -> str:
        """What a look-back from before does for the request, after its name; empty: it is new."""
        match self.how:
            case "widened":
                return (
                    "did not go so far back, and had not finished. It begins again, and goes"
                    " further."
                )
            case "covered":
                return "goes as far back or further, and has not finished. No other one was added."
            case "new":
                return ""


class LookBack(msgspec.Struct, frozen=True):
    """A row of the table, and its place in the queue."""

    id: int
    track_id: TrackId
    place: Place
    since: datetime | None
    author: str | None
    requested_at: datetime
    requested_by: str | None  # a user's name; None: psql or the command line
    state: State
    reason: str
    resume_at: bytes | None  # JSON, for the worker only
    progress: float | None  # from 0 to 1; None: not known
    looked: int  # posts looked through
    found: int  # of these, posts new to the track
    added: int  # of these, posts that were not stored before
    worked: float  # seconds in which it advanced
    started_at: datetime | None
    updated_at: datetime | None
    finished_at: datetime | None
    position: int | None = None  # while it waits for its turn only; the next has 1

    @property
    def unfinished(self) -> bool:
        """Whether it waits or runs, so that it can be cancelled."""
        return self.state in ("waiting", "running")

    @property
    def is_retrying(self) -> bool:
        """Whether a network does not answer at the moment, so that it does not advance."""
        return self.state == "running" and self.reason.endswith(RETRYING)


COLUMNS = ", ".join(name for name in LookBack.__struct_fields__ if name != "position")
_OF_TRACK = f"""
SELECT {COLUMNS} FROM look_backs WHERE track_id = $1
ORDER BY id DESC LIMIT $2
"""  # noqa: S608 - the names of our fields
_BY_IDS = f"""
SELECT {COLUMNS} FROM look_backs WHERE id = ANY ($1::bigint[]) ORDER BY id DESC
"""  # noqa: S608 - as above


def check_since(since: datetime | None) -> None:
    """InvalidField for a time at which no look-back can begin."""
    if since is not None and not EARLIEST <= since <= datetime.now(UTC):
        raise InvalidField("since", "`since` must be a time in the past, not before 1900.")


async def add(
    connection: Executor, track_id: TrackId, new: Sequence[NewLookBack], requested_by: str | None
) -> list[Requested]:
    """Request look-backs of a track; an unfinished one of the same place is widened if necessary.

    TwitterstreamError when the table refuses one.
    """
    for each in new:
        check_since(each.since)
    try:
        with translated_errors():
            return [await _add(connection, track_id, each, requested_by) for each in new]
    except RowRefused as error:
        text = f"The table `look_backs` refuses this row: {error}."
        raise TwitterstreamError(text) from error


async def _add(
    connection: Executor, track_id: TrackId, new: NewLookBack, requested_by: str | None
) -> Requested:
    while True:
        values = track_id, new.place, new.since, new.author, requested_by
        if rows := await connection.fetch(_ADD, *values):
            return Requested(rows[0]["id"], "new")
        # None when it has finished in this moment.
        if rows := await connection.fetch(_UNFINISHED, track_id, new.place, new.author):
            number, since = rows[0]["id"], rows[0]["since"]
            if since is None or (new.since is not None and new.since >= since):
                return Requested(number, "covered")
            await connection.execute(_WIDEN, number, new.since, requested_by)
            return Requested(number, "widened")


async def of_track(connection: Executor, track_id: TrackId, limit: int = LISTED) -> list[LookBack]:
    """The look-backs of a track, the newest first."""
    return await _in_queue(connection, await connection.fetch(_OF_TRACK, track_id, limit))


async def by_id(connection: Executor, look_back_id: int) -> LookBack | None:
    """One look-back; None when there is none with this id."""
    rows = await by_ids(connection, [look_back_id])
    return rows[0] if rows else None


async def by_ids(connection: Executor, ids: Sequence[int]) -> list[LookBack]:
    """Those of these look-backs that exist, the newest first."""
    return await _in_queue(connection, await connection.fetch(_BY_IDS, ids))


async def _in_queue(connection: Executor, rows: Sequence[Row]) -> list[LookBack]:
    """Look-backs with their places in the queue."""
    waiting = [row["id"] for row in rows if row["state"] == "waiting"]
    queue = await connection.fetch(_POSITIONS, waiting) if waiting else []
    positions = {row["id"]: row["position"] for row in queue}
    return [LookBack(**row, position=positions.get(row["id"])) for row in rows]


async def cancel(connection: Executor, look_back_id: int) -> bool:
    """End a look-back; what it has found stays. False: it was finished, or there is none."""
    return row_count(await connection.execute(_CANCEL, look_back_id, None, REASON_MAX)) > 0


async def cancel_all(connection: Executor, track_id: TrackId) -> int:
    """End all unfinished look-backs of a track, as `cancel` does; returns how many."""
    return row_count(await connection.execute(_CANCEL, None, track_id, REASON_MAX))


async def unfinished_of(connection: Executor, requested_by: str) -> int:
    """How many look-backs that a user requested wait or run."""
    [row] = await connection.fetch(_UNFINISHED_OF, requested_by)
    return int(row["number"])


async def prune(connection: Executor, before: datetime, limit: int) -> int:
    """Delete look-backs that finished before then; returns how many."""
    return row_count(await connection.execute(_PRUNE, before, limit))
