"""The look_backs table: searches of posts from before a track existed, and how far they are."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from stream.db import Executor, Row, row_count, translated_errors
from stream.errors import InvalidField, RowRefused, TwitterstreamError
from stream.query import TrackKind
from stream.text import storable
from stream.tweet import NetworkName, TrackId

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
_WAITING = "SELECT EXISTS (SELECT FROM look_backs WHERE state IN ('waiting', 'running')) AS found"
# Users take turns: the oldest of each, beginning with the user whose turn is longest ago; then the
# second of each, and so on. One that was interrupted comes first. Put in: which ones are left out.
_QUEUE = """
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
_CLAIM = """
UPDATE look_backs SET state = 'running', started_at = coalesce(started_at, now()),
    reason = CASE state WHEN 'running' THEN reason ELSE '' END, updated_at = now(), turn_at = now()
WHERE id = (SELECT id FROM ({queue}) AS queue ORDER BY position LIMIT 1)
  AND state IN ('waiting', 'running')
RETURNING {columns}
"""
# Those that run are not counted, and those that wait for something else say so.
_POSITIONS = f"""
SELECT id, position FROM ({_QUEUE.format(left_out="state = 'waiting' AND reason = ''")}) AS queue
WHERE id = ANY ($1::bigint[])
"""  # noqa: S608 - constants
_OTHERS_WAIT = """
SELECT EXISTS (
    SELECT FROM look_backs WHERE state = 'waiting' AND id <> ALL ($2::bigint[])
      AND requested_by IS DISTINCT FROM (SELECT requested_by FROM look_backs WHERE id = $1)
) AS found
"""
_POSTPONE = """
UPDATE look_backs SET state = 'waiting', reason = $2, updated_at = now()
WHERE id = $1 AND state = 'running'
"""
_POSTPONE_RUNNING = """
UPDATE look_backs SET state = 'waiting', reason = $1, updated_at = now() WHERE state = 'running'
"""
_IS_RUNNING = "SELECT FROM look_backs WHERE id = $1 AND state = 'running'"
_NOTE_REASON = "UPDATE look_backs SET reason = $2 WHERE id = $1 AND state = 'running'"
# An edit of the track waits for the end of the transaction.
_LOCK_TRACK = """
SELECT kind, value, networks, starts_at, ends_at, keep_days FROM tracks WHERE id = $1 FOR SHARE
"""
_ADVANCE = """
UPDATE look_backs SET resume_at = $3, progress = $4, looked = looked + $5, worked = worked + $6,
    reason = $7, updated_at = now()
WHERE id = $1 AND state = 'running' AND resume_at IS NOT DISTINCT FROM $2
  AND since IS NOT DISTINCT FROM $8
"""
_ADD_RESULT = """
UPDATE look_backs SET found = greatest(found + $2, 0), added = greatest(added + $3, 0)
WHERE id = $1
"""
_BEGIN_AGAIN = """
UPDATE look_backs SET resume_at = $2, progress = NULL, looked = 0, worked = 0,
    found = CASE WHEN resume_at IS NULL THEN found ELSE 0 END,
    added = CASE WHEN resume_at IS NULL THEN added ELSE 0 END,
    reason = '', updated_at = now()
WHERE id = $1 AND state = 'running'
"""
_FORGET_POSITION = (
    "UPDATE look_backs SET resume_at = NULL, updated_at = now() WHERE id = $1 AND state = 'running'"
)
_FINISH = """
UPDATE look_backs SET state = $2, reason = $3,
    progress = CASE WHEN $2 = 'done' THEN 1 ELSE progress END,
    updated_at = now(), finished_at = now()
WHERE id = $1 AND state = 'running'
"""
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


_COLUMNS = ", ".join(name for name in LookBack.__struct_fields__ if name != "position")
_CLAIM = _CLAIM.format(columns=_COLUMNS, queue=_QUEUE.format(left_out="id <> ALL ($1::bigint[])"))
_OF_TRACK = f"""
SELECT {_COLUMNS} FROM look_backs WHERE track_id = $1
ORDER BY id DESC LIMIT $2
"""  # noqa: S608 - the names of our fields
_BY_IDS = f"""
SELECT {_COLUMNS} FROM look_backs WHERE id = ANY ($1::bigint[]) ORDER BY id DESC
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


# -- for the worker -------------------------------------------------------------------------------


class LookedTrack(msgspec.Struct, frozen=True):
    """What of a track decides which posts a look-back finds, and how long they are kept."""

    kind: TrackKind
    value: str
    networks: Sequence[NetworkName] | None  # None: all
    starts_at: datetime | None
    ends_at: datetime | None
    keep_days: int | None  # None: retention.tweets_days


class Step(msgspec.Struct, frozen=True):
    """How far a look-back has come with one transaction, and what that adds to its counts."""

    resume_at: bytes  # JSON
    progress: float | None
    looked: int
    worked: float  # seconds
    reason: str


async def are_waiting(connection: Executor) -> bool:
    """Whether there is a look-back that is not finished."""
    [row] = await connection.fetch(_WAITING)
    return bool(row["found"])


async def claim(connection: Executor, postponed: Collection[int] = ()) -> LookBack | None:
    """The next look-back but for these, which is running from now on; users take turns."""
    rows = await connection.fetch(_CLAIM, sorted(postponed))
    return LookBack(**rows[0]) if rows else None


async def others_wait(connection: Executor, look_back_id: int, postponed: Collection[int]) -> bool:
    """Whether other users have look-backs that wait, besides the postponed ones."""
    [row] = await connection.fetch(_OTHERS_WAIT, look_back_id, sorted(postponed))
    return bool(row["found"])


async def postpone(connection: Executor, look_back_id: int, reason: str) -> None:
    """Let it wait, unless it was cancelled meanwhile."""
    await connection.execute(_POSTPONE, look_back_id, storable(reason, REASON_MAX))


async def postpone_running(connection: Executor, reason: str) -> None:
    """Let those wait that were running when their process ended."""
    await connection.execute(_POSTPONE_RUNNING, storable(reason, REASON_MAX))


async def is_running(connection: Executor, look_back_id: int) -> bool:
    """Whether it was neither cancelled nor removed with its track."""
    return bool(await connection.fetch(_IS_RUNNING, look_back_id))


async def note_reason(connection: Executor, look_back_id: int, reason: str) -> None:
    """Show what a look-back that runs is waiting for."""
    await connection.execute(_NOTE_REASON, look_back_id, storable(reason, REASON_MAX))


async def lock_track(connection: Executor, track_id: TrackId) -> LookedTrack | None:
    """The track as it is until the end of this transaction; None: it was removed."""
    rows = await connection.fetch(_LOCK_TRACK, track_id)
    return LookedTrack(**rows[0]) if rows else None


async def advance(connection: Executor, row: LookBack, before: bytes | None, step: Step) -> bool:
    """Note how far it has come, in the transaction of the rows.

    False: it was cancelled or widened, or another process has advanced it.
    """
    reason = storable(step.reason, REASON_MAX)
    values = step.resume_at, step.progress, step.looked, step.worked, reason, row.since
    return row_count(await connection.execute(_ADVANCE, row.id, before, *values)) > 0


async def add_result(connection: Executor, look_back_id: int, found: int, added: int) -> None:
    """Add to the counts what the transaction has stored, less what it has deleted."""
    await connection.execute(_ADD_RESULT, look_back_id, found, added)


async def begin_again(connection: Executor, look_back_id: int, resume_at: bytes) -> None:
    """Start from the beginning: it is new or was widened, or the track was edited."""
    await connection.execute(_BEGIN_AGAIN, look_back_id, resume_at)


async def forget_position(connection: Executor, look_back_id: int) -> None:
    """Let it begin from the start when it is claimed again."""
    await connection.execute(_FORGET_POSITION, look_back_id)


async def finish(
    connection: Executor, look_back_id: int, state: Literal["done", "failed"], reason: str
) -> None:
    """End it, unless it was cancelled meanwhile."""
    await connection.execute(_FINISH, look_back_id, state, storable(reason, REASON_MAX))


async def prune(connection: Executor, before: datetime, limit: int) -> int:
    """Delete look-backs that finished before then; returns how many."""
    return row_count(await connection.execute(_PRUNE, before, limit))
