"""The tables archives and archive_touches: every statement that touches them."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, datetime
from typing import Literal, TypeVar

import msgspec

from monitor.archive import manifest as manifests
from monitor.archive.manifest import ArchiveError, Manifest
from stream.db import Database, Executor, Row, meaning
from stream.errors import DatabaseAway

T = TypeVar("T")
State = Literal["writing", "verified", "dropped", "restored"]

LOCK_CLASS = 0x7479  # first key of the advisory locks of archivers; the second is the day
# A server's deadlock_timeout is a second or more: so we give way before it ends a writer for us.
LOCK_WITHIN = "500ms"
LOCK_ATTEMPTS = 20

# No more than one process of the server, and none for a client that is dead.
_MODEST = {
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "client_connection_check_interval": "1s",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}

_ROWS = """
SELECT day, part, state, generation, tweets, matches, bytes, tombstones, manifest::text AS manifest,
       started_at, verified_at, dropped_at, restored_at, authors_at, thinned_at, problem
FROM archives WHERE $1::date IS NULL OR day = $1 ORDER BY day, part
"""
_LOCK = "SELECT pg_try_advisory_lock($1, $2) AS ours"
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
    manifest = $8::text::jsonb, authors_at = $9, verified_at = now(), thinned_at = NULL,
    problem = NULL
WHERE day = $1 AND part = $2 AND generation = $3 AND state = 'writing'
"""
_REWRITTEN = """
UPDATE archives SET
    generation = $4, tweets = $5, matches = $6, bytes = $7, tombstones = $8,
    manifest = $9::text::jsonb, authors_at = $10, verified_at = now(), problem = NULL
WHERE day = $1 AND part = $2 AND generation = $3 AND state <> 'writing'
"""
_LOOKED = """
UPDATE archives SET tombstones = $3, authors_at = $4, problem = NULL WHERE day = $1 AND part = $2
"""
_ADOPT = """
INSERT INTO archives (day, part, state, generation, path, tweets, matches, bytes, tombstones,
                      manifest, authors_at, verified_at)
VALUES ($1, $2, $10, $3, $11, $4, $5, $6, $7, $8::text::jsonb, $9, now())
ON CONFLICT (day, part) DO NOTHING
"""
_VANISHED = """
UPDATE archives SET state = 'dropped', generation = $3, dropped_at = now()
WHERE day = $1 AND part = $2
"""
_MERGED = "DELETE FROM archives WHERE day = $1 AND part <> $2 AND state <> 'dropped'"
_GONE = "DELETE FROM archives WHERE day = $1 AND part = $2"
_DROPPED = """
UPDATE archives SET state = 'dropped', dropped_at = now(), problem = NULL
WHERE day = $1 AND state <> 'dropped'
"""
_RESTORED = """
UPDATE archives SET state = 'restored', restored_at = now(), problem = NULL
WHERE day = $1 AND state = 'dropped'
"""
_PROBLEM = "UPDATE archives SET problem = $2 WHERE day = $1"
_INSPECTED = """
UPDATE archives SET problem = $4
WHERE day = $1 AND part = $2 AND generation = $3 AND state <> 'writing'
"""
_WATCH = "SELECT archive_watch($1)"
_TOUCHED = "SELECT count(*) AS number FROM archive_touches WHERE day = $1"
_FORGET_OWN = "DELETE FROM archive_touches WHERE day = $1 AND xid = pg_current_xact_id()"
_THINNED = "UPDATE archives SET thinned_at = now() WHERE day = $1 AND state = 'verified'"
_TOUCH = "INSERT INTO archive_touches (day) VALUES ($1)"
_DROP = "SELECT archive_drop($1)"
# Not while another one waits for rows of it: the parents first, as writers do.
_LOCK_DAY = "SELECT archive_lock($1) AS watched"
_LOCK_TIMEOUT = f"SET LOCAL lock_timeout = '{LOCK_WITHIN}'"
_PENDING = """
SELECT day, part FROM archives
WHERE (state = 'dropped' OR thinned_at IS NOT NULL AND state = 'verified')
  AND manifest IS NOT NULL AND (
    (SELECT count(*) FROM identities
     WHERE deleted_at IS NOT NULL
       AND tweet_id >= tweet_key(day::timestamp AT TIME ZONE 'UTC', 0)
       AND tweet_id < tweet_key((day + 1)::timestamp AT TIME ZONE 'UTC', 0)) <> tombstones
    OR EXISTS (SELECT FROM author_tombstones
               WHERE changed_at > coalesce(authors_at, '-infinity')))
ORDER BY day, part
"""


class Archive(msgspec.Struct, frozen=True):
    """A row of archives: one part of a day."""

    day: date
    part: int
    state: State
    generation: int
    tweets: int
    matches: int
    bytes: int
    tombstones: int
    manifest: Manifest | None  # the last one that was verified
    started_at: datetime
    verified_at: datetime | None
    dropped_at: datetime | None
    restored_at: datetime | None
    authors_at: datetime | None
    thinned_at: datetime | None
    problem: str | None

    @property
    def in_database(self) -> bool:
        """Whether the day's rows in Postgres are (also) this part's."""
        return self.state != "dropped"

    @property
    def is_truth(self) -> bool:
        """Whether its files, and not Postgres, are what there is of the day."""
        return not self.in_database or (self.thinned_at is not None and self.state == "verified")

    @property
    def known(self) -> Manifest:
        """Its manifest; ArchiveError when it was never finished."""
        if self.manifest is None:
            raise ArchiveError(f"The archive of {self.day} was never finished: `archive run`.")
        return self.manifest


def _archive(row: Row) -> Archive:
    found = row["manifest"]
    where = f"The manifest of {row['day']} in the table archives"
    return Archive(
        **{key: value for key, value in row.items() if key != "manifest"},
        manifest=None if found is None else manifests.decode(found.encode(), where),
    )


@contextlib.asynccontextmanager
async def locked(database: Database, day: date) -> "AsyncIterator[Executor | None]":
    """A connection that holds the lock of this day; None when another archiver is at it.

    The lock is gone when the connection is, so that nothing can be done without it.
    """
    async with database.patient(**_MODEST) as connection:
        [row] = await connection.fetch(_LOCK, LOCK_CLASS, day.toordinal())
        yield connection if row["ours"] else None
        # Whoever wants it next shall not have to wait until the server sees that we are gone.
        await connection.fetch(_UNLOCK)


async def rows(connection: Executor, day: date | None = None) -> list[Archive]:
    """All archives, or those of one day, in order."""
    return [_archive(row) for row in await connection.fetch(_ROWS, day)]


async def pending(connection: Executor) -> list[tuple[date, int]]:
    """Archives of days that are not, or not as a whole, in Postgres, and that deletions have not
    reached yet, or may not have."""
    return [(row["day"], row["part"]) for row in await connection.fetch(_PENDING)]


async def begin(connection: Executor, day: date, part: int, generation: int) -> None:
    """Say that it is being written, and note from now on what changes in the day."""

    async def attempt() -> None:
        async with short_lock(connection):
            await connection.execute(_WATCH, day)
            await connection.execute(_BEGIN, day, part, generation, manifests.folder(day, part))

    await patiently(attempt)


async def verified(connection: Executor, made: Manifest) -> None:
    """It is complete. All of the day that is in Postgres is in it: other parts of that are gone."""
    async with connection.transaction():
        done = await connection.execute(_VERIFIED, made.day, made.part, *_facts(made))
        if done != "UPDATE 1":
            raise ArchiveError(f"Another archiver works on {made.day}; it goes on alone.")
        await connection.execute(_MERGED, made.day, made.part)


def _facts(made: Manifest) -> tuple[object, ...]:
    return (
        made.generation,
        made.tweets,
        made.matches,
        made.bytes,
        made.tombstones,
        manifests.encode(made).decode(),
        made.authors_at,
    )


async def rewritten(connection: Executor, before: int, made: Manifest) -> None:
    """The files of a day are exchanged for others; inside the transaction of what that entails."""
    done = await connection.execute(_REWRITTEN, made.day, made.part, before, *_facts(made))
    if done != "UPDATE 1":
        raise ArchiveError(f"Another archiver works on {made.day}; it goes on alone.")


async def looked(
    connection: Executor, day: date, part: int, tombstones: int, authors_at: datetime
) -> None:
    """Deletions up to here do not concern this archive."""
    await connection.execute(_LOOKED, day, part, tombstones, authors_at)


async def adopt(connection: Executor, found: Manifest, *, ours: bool) -> None:
    """Take up an archive that lies in the store, and that this database does not know.

    `ours`: its rows are in Postgres; so it is written anew, which makes it a verified one.
    """
    state: State = "writing" if ours else "dropped"
    values = (*_facts(found), state, found.folder)
    await connection.execute(_ADOPT, found.day, found.part, *values)


async def vanished(connection: Executor, archive: Archive) -> None:
    """Somebody else took the partitions away: what was archived last is what there is."""
    if archive.manifest is None:
        await connection.execute(_GONE, archive.day, archive.part)
    else:
        generation = archive.manifest.generation
        await connection.execute(_VANISHED, archive.day, archive.part, generation)


async def gone(connection: Executor, day: date, part: int) -> None:
    await connection.execute(_GONE, day, part)


async def dropped(connection: Executor, day: date) -> None:
    """Take the day's partitions away, inside a transaction that holds them."""
    await connection.execute(_DROP, day)
    await connection.execute(_DROPPED, day)


async def restored(connection: Executor, day: date) -> None:
    """The day's rows are back, and watched, inside the transaction that brought them."""
    await connection.execute(_WATCH, day)
    await connection.execute(_RESTORED, day)


async def note_problem(connection: Executor, day: date, problem: str | None) -> None:
    await connection.execute(_PROBLEM, day, problem)


async def inspected(connection: Executor, archive: Archive, problem: str | None) -> bool:
    """Note what is wrong with the files of one archive; False when it was written anew since."""
    place = (archive.day, archive.part, archive.generation)
    return await connection.execute(_INSPECTED, *place, problem) == "UPDATE 1"


async def touched(connection: Executor, day: date) -> bool:
    """Whether the day has changed since it was archived."""
    [row] = await connection.fetch(_TOUCHED, day)
    return bool(row["number"])


async def touch(connection: Executor, day: date) -> None:
    """Let the day be archived again."""
    await connection.execute(_TOUCH, day)


async def thinned(connection: Executor, day: date) -> None:
    """Rows of a verified, unchanged day were deleted, in this transaction: the archive keeps them.

    From now on the files are the truth of that day.
    """
    await connection.execute(_FORGET_OWN, day)
    await connection.execute(_THINNED, day)


async def hold_day(connection: Executor, day: date) -> bool:
    """Keep everybody out of a day's partitions, inside a transaction; whether it is watched."""
    [row] = await connection.fetch(_LOCK_DAY, day)
    return bool(row["watched"])


@contextlib.asynccontextmanager
async def short_lock(connection: Executor) -> AsyncIterator[None]:
    """A transaction whose locks are waited for so briefly that nobody notices."""
    async with connection.transaction():
        await connection.execute(_LOCK_TIMEOUT)
        yield


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try something with short locks, again and again; DatabaseAway when there was no moment."""
    for _ in range(LOCK_ATTEMPTS):
        with contextlib.suppress(DatabaseAway), meaning():
            return await attempt()
        await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - no secret
    with meaning():
        return await attempt()
