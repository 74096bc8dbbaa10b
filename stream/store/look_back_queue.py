"""The queue of look-backs: whose turn it is, and how far the one that runs has come."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from stream.db import Executor, row_count
from stream.query import TrackKind
from stream.store.look_backs import COLUMNS, QUEUE, REASON_MAX, LookBack
from stream.text import storable
from stream.tweet import NetworkName, TrackId

_WAITING = "SELECT EXISTS (SELECT FROM look_backs WHERE state IN ('waiting', 'running')) AS found"
_UNFINISHED = QUEUE.format(left_out="id <> ALL ($1::bigint[])")
_CLAIM = f"""
UPDATE look_backs SET state = 'running', started_at = coalesce(started_at, now()),
    reason = CASE state WHEN 'running' THEN reason ELSE '' END, updated_at = now(), turn_at = now()
WHERE id = (SELECT id FROM ({_UNFINISHED}) AS queue ORDER BY position LIMIT 1)
  AND state IN ('waiting', 'running')
RETURNING {COLUMNS}
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
