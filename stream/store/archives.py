"""What is archived and expired: archives, archive_changes, raw_archives, partially_expired_days."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from typing import Literal

import msgspec

from stream.db import Database, Executor, Row, row_count, transaction
from stream.store import partitions

State = Literal["writing", "verified", "dropped", "restored"]

LOCK_CLASS = 0x7479  # first key of the advisory locks of archivers; the second is the day

# No more than one process of the server, and none for a client that is dead.
_LOCKED_SESSION = {
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "client_connection_check_interval": "1s",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}

_ROWS = """
SELECT day, part, state, generation, tweets, matches, bytes, tombstones, manifest::text AS manifest,
       started_at, verified_at, dropped_at, restored_at, authors_at, partially_expired_at, problem
FROM archives WHERE $1::date IS NULL OR day = $1 ORDER BY day, part
"""
_TRY_LOCK = "SELECT pg_try_advisory_lock($1, $2) AS ours"
_UNLOCK = "SELECT pg_advisory_unlock_all()"
_BEGIN = """
INSERT INTO archives (day, part, state, generation, path)
VALUES ($1, $2, 'writing', $3, $4)
ON CONFLICT (day, part) DO UPDATE SET
    state = 'writing', generation = excluded.generation, path = excluded.path, started_at = now(),
    problem = NULL
"""
_VERIFIED = """
UPDATE archives SET
    state = 'verified', tweets = $4, matches = $5, bytes = $6, tombstones = $7,
    manifest = $8::text::jsonb, authors_at = $9, verified_at = now(), partially_expired_at = NULL,
    problem = NULL
WHERE day = $1 AND part = $2 AND generation = $3 AND state = 'writing'
"""
_DELETE_OTHER_PARTS = "DELETE FROM archives WHERE day = $1 AND part <> $2 AND state <> 'dropped'"
_REWRITTEN = """
UPDATE archives SET
    generation = $3, tweets = $4, matches = $5, bytes = $6, tombstones = $7,
    manifest = $8::text::jsonb, authors_at = $9, verified_at = now(), problem = NULL
WHERE day = $1 AND part = $2 AND generation = $10 AND state <> 'writing'
"""
_DELETIONS_CHECKED = """
UPDATE archives SET tombstones = $3, authors_at = $4, problem = NULL WHERE day = $1 AND part = $2
"""
_ADOPT = """
INSERT INTO archives (day, part, generation, tweets, matches, bytes, tombstones, manifest,
                      authors_at, verified_at, state, path)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9, now(), $10, $11)
ON CONFLICT (day, part) DO NOTHING
"""
_LOST_PARTITIONS = """
UPDATE archives SET state = 'dropped', generation = $3, dropped_at = now()
WHERE day = $1 AND part = $2
"""
_DELETE = "DELETE FROM archives WHERE day = $1 AND part = $2"
_DROPPED = """
UPDATE archives SET state = 'dropped', dropped_at = now(), problem = NULL
WHERE day = $1 AND state <> 'dropped'
"""
_RESTORED = """
UPDATE archives SET state = 'restored', restored_at = now(), problem = NULL
WHERE day = $1 AND state = 'dropped'
"""
_PROBLEM = "UPDATE archives SET problem = $2 WHERE day = $1"
_CHECKED = """
UPDATE archives SET problem = $4
WHERE day = $1 AND part = $2 AND generation = $3 AND state <> 'writing'
"""
_PARTIALLY_EXPIRED = """
UPDATE archives SET partially_expired_at = now() WHERE day = $1 AND state = 'verified'
"""
_UNREACHED = """
SELECT day, part FROM archives
WHERE (state = 'dropped' OR partially_expired_at IS NOT NULL AND state = 'verified')
  AND manifest IS NOT NULL AND ($1::date IS NULL OR day = $1) AND (
    (SELECT count(*) FROM tweet_ids
     WHERE deleted_at IS NOT NULL
       AND tweet_id >= tweet_key(day::timestamp AT TIME ZONE 'UTC', 0)
       AND tweet_id < tweet_key((day + 1)::timestamp AT TIME ZONE 'UTC', 0)) <> tombstones
    OR EXISTS (SELECT FROM author_tombstones
               WHERE changed_at > coalesce(authors_at, '-infinity') AND held))
ORDER BY day, part
"""
_DAYS = """
SELECT DISTINCT day FROM archives
WHERE $1::integer IS NULL OR dropped_at > now() - make_interval(days => $1)
"""

# -- archive_changes
_WATCH = "SELECT archive_watch($1)"
_CHANGED = "SELECT EXISTS (SELECT FROM archive_changes WHERE day = $1) AS found"
_MARK_CHANGED = "INSERT INTO archive_changes (day) VALUES ($1)"
_FORGET_OWN_CHANGE = """
DELETE FROM archive_changes WHERE day = $1 AND xid = pg_current_xact_id()
"""
# One row says as much as many: that the day has changed.
_PRUNE_CHANGES = """
DELETE FROM archive_changes WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM (
        SELECT ctid, row_number() OVER (PARTITION BY day) AS number FROM archive_changes) AS each
    WHERE number > 1 LIMIT $1))
"""

# -- partially_expired_days
_EXPIRY_RULES = "SELECT day, rule FROM partially_expired_days"
_NOTE_EXPIRY = """
INSERT INTO partially_expired_days (day, rule) VALUES ($1, $2)
ON CONFLICT (day) DO UPDATE SET rule = excluded.rule, partially_expired_at = now()
"""
_DELETE_EXPIRY = "DELETE FROM partially_expired_days WHERE day <> ALL ($1::date[])"
_EXPIRED_LONG_AGO = """
SELECT day FROM partially_expired_days
WHERE partially_expired_at < now() - make_interval(days => $1)
"""

# -- raw_archives
_RAW_COPIES = "SELECT journal, position, until FROM raw_archives WHERE journal = ANY ($1::uuid[])"
_ADD_RAW_COPY = """
INSERT INTO raw_archives (path, source_id, journal, position, until, bytes, sha256, began_at)
VALUES ($1, $2, $3, $4, $5, $6, decode($7, 'hex'), to_timestamp($8))
ON CONFLICT DO NOTHING
"""
_OLD_RAW_COPIES = "SELECT path FROM raw_archives WHERE began_at < $1 ORDER BY began_at LIMIT $2"
_DELETE_RAW_COPIES = "DELETE FROM raw_archives WHERE path = ANY ($1::text[])"


class ArchiveFiles(msgspec.Struct, frozen=True):
    """What a row of `archives` repeats of the manifest; in the order of the parameters."""

    day: date
    part: int
    generation: int
    tweets: int
    matches: int
    bytes: int
    tombstones: int
    manifest: str  # as JSON
    authors_at: datetime


class RawCopy(msgspec.Struct, frozen=True):
    """A sealed segment of a journal, as it was copied; in the order of the parameters."""

    path: str
    source_id: int
    journal: uuid.UUID
    position: int
    until: int  # the position after its last byte
    bytes: int
    sha256: str  # hexadecimal
    began_at: float  # seconds since 1970


@contextlib.asynccontextmanager
async def day_lock(database: Database, day: date) -> "AsyncIterator[Executor | None]":
    """A connection that holds the lock of a day; None when another process holds it.

    The lock ends with the connection, so that nothing can be done without it.
    """
    async with database.long_running(**_LOCKED_SESSION) as connection:
        [row] = await connection.fetch(_TRY_LOCK, LOCK_CLASS, day.toordinal())
        yield connection if row["ours"] else None
        # The next one does not wait until the server notices that this connection has ended.
        await connection.fetch(_UNLOCK)


async def rows(connection: Executor, day: date | None = None) -> list[Row]:
    """Read the catalog: all archives, or those of one day, ordered by day and part."""
    return await connection.fetch(_ROWS, day)


async def awaiting_deletions(
    connection: Executor, day: date | None = None
) -> list[tuple[date, int]]:
    """Day and part of archives that recent deletions may concern, for all days or for one.

    Only archives whose rows are not in Postgres, or not all of them.
    """
    return [(row["day"], row["part"]) for row in await connection.fetch(_UNREACHED, day)]


async def days(connection: Executor, dropped_within: int | None = None) -> list[date]:
    """The archived days; with a number of days, those that were dropped within that time."""
    return [row["day"] for row in await connection.fetch(_DAYS, dropped_within)]


# -- the life of an archive -----------------------------------------------------------------------


async def begin(connection: Executor, day: date, part: int, generation: int, path: str) -> None:
    """Note that it is being written, and record all changes of the day from now on."""

    async def attempt() -> None:
        async with partitions.short_lock_waits(connection):
            await connection.execute(_WATCH, day)
            await connection.execute(_BEGIN, day, part, generation, path)

    await partitions.with_lock_retries(attempt)


async def mark_verified(connection: Executor, files: ArchiveFiles) -> bool:
    """Note that the files are complete; False when another process has begun to write them.

    They hold all of the day that is stored, so other parts of that are removed.
    """
    async with transaction(connection):
        values = msgspec.structs.astuple(files)
        if await connection.execute(_VERIFIED, *values) != "UPDATE 1":
            return False
        await connection.execute(_DELETE_OTHER_PARTS, files.day, files.part)
        return True


async def mark_rewritten(connection: Executor, before: int, files: ArchiveFiles) -> bool:
    """Replace the files of generation `before`; False when that is not the current one."""
    values = msgspec.structs.astuple(files)
    return await connection.execute(_REWRITTEN, *values, before) == "UPDATE 1"


async def mark_deletions_checked(
    connection: Executor, day: date, part: int, tombstones: int, authors_at: datetime
) -> None:
    """Note that deletions up to here do not concern this archive."""
    await connection.execute(_DELETIONS_CHECKED, day, part, tombstones, authors_at)


async def adopt(connection: Executor, files: ArchiveFiles, state: State, path: str) -> None:
    """Add an archive that was found in the store."""
    await connection.execute(_ADOPT, *msgspec.structs.astuple(files), state, path)


async def mark_lost_partitions(connection: Executor, day: date, part: int, generation: int) -> None:
    """Note that the day is no longer in Postgres, and this generation is what is left of it."""
    await connection.execute(_LOST_PARTITIONS, day, part, generation)


async def delete_row(connection: Executor, day: date, part: int) -> None:
    await connection.execute(_DELETE, day, part)


async def mark_dropped(connection: Executor, day: date) -> None:
    await connection.execute(_DROPPED, day)


async def mark_restored(connection: Executor, day: date) -> None:
    """Note that the day is stored again, and record its changes from now on."""
    await connection.execute(_WATCH, day)
    await connection.execute(_RESTORED, day)


async def note_problem(connection: Executor, day: date, problem: str) -> None:
    await connection.execute(_PROBLEM, day, problem)


async def mark_checked(
    connection: Executor, day: date, part: int, generation: int, problem: str | None
) -> bool:
    """Note what is wrong with the files; False when they were written again since."""
    done = await connection.execute(_CHECKED, day, part, generation, problem)
    return done == "UPDATE 1"


# -- changes of archived days ---------------------------------------------------------------------


async def changed(connection: Executor, day: date) -> bool:
    """Whether the day has changed since it was archived."""
    [row] = await connection.fetch(_CHANGED, day)
    return bool(row["found"])


async def mark_changed(connection: Executor, day: date) -> None:
    """Have the day archived again."""
    await connection.execute(_MARK_CHANGED, day)


async def mark_partially_expired(connection: Executor, day: date) -> None:
    """Note that this transaction deleted rows of a verified day, which its archive keeps."""
    await connection.execute(_FORGET_OWN_CHANGE, day)
    await connection.execute(_PARTIALLY_EXPIRED, day)


async def prune_changes(connection: Executor, _before: datetime, limit: int) -> int:
    """Delete some rows of archive_changes that repeat another one, of any age; returns how many."""
    return row_count(await connection.execute(_PRUNE_CHANGES, limit))


# -- days of which single tweets have expired -----------------------------------------------------


async def expiry_rules(connection: Executor) -> dict[date, str]:
    """By which rule single tweets of a day were deleted the last time."""
    return {row["day"]: row["rule"] for row in await connection.fetch(_EXPIRY_RULES)}


async def note_expiry(connection: Executor, day: date, rule: str) -> None:
    await connection.execute(_NOTE_EXPIRY, day, rule)


async def delete_expiry_except(connection: Executor, days: Sequence[date]) -> None:
    """Delete what is noted about days that are not stored any more."""
    await connection.execute(_DELETE_EXPIRY, days)


async def partially_expired_before(connection: Executor, days: int) -> list[date]:
    """Days of which single tweets were deleted more than `days` ago."""
    return [row["day"] for row in await connection.fetch(_EXPIRED_LONG_AGO, days)]


# -- copies of journal segments -------------------------------------------------------------------


async def raw_copies(
    connection: Executor, journals: Sequence[uuid.UUID]
) -> dict[uuid.UUID, dict[int, int]]:
    """The end of each copied segment by its journal and start."""
    found: dict[uuid.UUID, dict[int, int]] = {}
    for row in await connection.fetch(_RAW_COPIES, journals):
        found.setdefault(row["journal"], {})[row["position"]] = row["until"]
    return found


async def add_raw_copy(connection: Executor, copy: RawCopy) -> None:
    await connection.execute(_ADD_RAW_COPY, *msgspec.structs.astuple(copy))


async def old_raw_copies(connection: Executor, before: datetime, limit: int) -> list[str]:
    """Paths of copies whose first frame is older than that, oldest first."""
    return [row["path"] for row in await connection.fetch(_OLD_RAW_COPIES, before, limit)]


async def delete_raw_copies(connection: Executor, paths: Sequence[str]) -> None:
    await connection.execute(_DELETE_RAW_COPIES, paths)
