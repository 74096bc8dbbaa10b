"""The tables `exports` and `export_parts`: what is to be exported, and how far that is."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from stream.db import Executor, row_count
from stream.text import counted, storable
from stream.tweet import TrackId, TweetId, UserId

Format = Literal[
    "csv", "excel", "xlsx", "ndjson", "received", "parquet", "ids", "relations", "gexf"
]
Graph = Literal["co-hashtag", "mention", "reply", "author-hashtag", "host-hashtag"]
ColumnSet = Literal["simple", "twarc", "4cat", "everything"]
State = Literal["waiting", "running", "done", "failed", "cancelled", "expired"]

REASON_MAX = 1000  # characters
LISTED = 50  # the newest ones
COUNTED = ("tweets", "edges")  # the files of a part whose rows are counted
MAX_NODES = 10_000  # of a graph: as many as programs draw without trouble

_ADD = """
INSERT INTO exports (user_id, tracks, format, columns, since, until, words, time_zone,
                     part_rows, pseudonym_key, graph, min_weight, max_nodes)
VALUES ($1, $2, $3, $4, $5, coalesce($6, now()), $7, $8, $9, $10, $11, $12, $13)
RETURNING id
"""
# A lease that has run out was that of a process that was killed; or it waits until then.
_DUE = "state IN ('waiting', 'running') AND coalesce(leased_until < now(), true)"
# One of a user who has none running first; else the oldest.
_CLAIM = """
UPDATE exports SET state = 'running', worker = $1, leased_until = now() + $2, host = $3,
    started_at = coalesce(started_at, now()), updated_at = now(), reason = ''
WHERE id = (
    SELECT id FROM exports AS mine
    WHERE {due} AND ($4::bigint IS NULL OR id = $4)
    ORDER BY EXISTS (
        SELECT FROM exports AS other
        WHERE other.state = 'running' AND other.leased_until >= now()
          AND other.user_id IS NOT DISTINCT FROM mine.user_id), id
    LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING {columns}
"""
_ARE_WAITING = "SELECT EXISTS (SELECT FROM exports WHERE {due}) AS found"
_RENEW = """
UPDATE exports SET leased_until = now() + $3, updated_at = now(),
    progress = greatest(progress, $4), rows = greatest(rows, $5)
WHERE id = $1 AND worker = $2 AND state = 'running'
"""
_POSTPONE = """
UPDATE exports SET state = 'waiting', leased_until = now() + $4, worker = NULL, reason = $3,
    updated_at = now()
WHERE id = $1 AND worker = $2 AND state = 'running'
"""
_NOTE_DELETIONS = """
UPDATE exports SET deletions = $3, valid_until = $4
WHERE id = $1 AND worker = $2 AND state = 'running'
"""
_ADVANCE = """
UPDATE exports SET progress = greatest(progress, $3), complete = $4, updated_at = now(),
    rows = (SELECT coalesce(sum(rows), 0) FROM export_parts
            WHERE export_id = $1 AND name = ANY ($5::text[])),
    size = (SELECT coalesce(sum(size), 0) FROM export_parts WHERE export_id = $1)
WHERE id = $1 AND worker = $2 AND state = 'running'
"""
_SAVE_PART = """
INSERT INTO export_parts (export_id, number, name, after_id, last_id, rows, size, sha256, archived)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (export_id, number, name) DO UPDATE SET rows = excluded.rows, size = excluded.size,
    sha256 = excluded.sha256, archived = excluded.archived
"""
_PARTS = """
SELECT number, name, after_id, last_id, rows, size, sha256, archived FROM export_parts
WHERE export_id = $1 ORDER BY number, name
"""
_FINISH = """
UPDATE exports SET state = 'done', progress = 1, size = $3, sha256 = $4, updated_at = now(),
    finished_at = coalesce(finished_at, now()), expires_at = coalesce(expires_at, now() + $5),
    worker = NULL, leased_until = NULL, reason = '', nodes = $6, edges = $7
WHERE id = $1 AND worker = $2 AND state = 'running'
"""
_FAIL = """
UPDATE exports SET state = 'failed', reason = $3, updated_at = now(), finished_at = now(),
    worker = NULL, leased_until = NULL
WHERE id = $1 AND worker = $2 AND state = 'running'
"""
_CANCEL = """
UPDATE exports SET state = 'cancelled', updated_at = now(), finished_at = now(), worker = NULL,
    leased_until = NULL
WHERE id = $1 AND state IN ('waiting', 'running')
"""
_COUNT_UNFINISHED = """
SELECT count(*) AS number FROM exports
WHERE user_id = $1 AND state IN ('waiting', 'running') AND NOT complete
"""
# Parts without a deleted tweet stay: it continues with the others.
_RENEW_FILE = """
UPDATE exports SET state = 'waiting', leased_until = NULL, updated_at = now()
WHERE id = $1 AND state = 'done'
"""
_EXPIRE = """
UPDATE exports SET state = 'expired', pseudonym_key = NULL, updated_at = now()
WHERE id = $1 AND state = 'done'
RETURNING id
"""
# By age, by number of a user's files, and by the bytes of all; the oldest first.
_TOO_MANY = """
SELECT id FROM (
    SELECT id, expires_at, row_number() OVER (PARTITION BY user_id ORDER BY id DESC) AS place,
        sum(size) OVER (ORDER BY id DESC) AS bytes
    FROM exports WHERE state = 'done') AS files
WHERE expires_at < now() OR place > $1 OR bytes > $2
"""
_WITH_FILES = "SELECT id FROM exports WHERE state IN ('waiting', 'running', 'done')"
_DONE = "SELECT id FROM exports WHERE state = 'done' AND valid_until < now() - $1::interval"
_NOTE_CHECKED = "UPDATE exports SET valid_until = now() WHERE id = $1 AND state = 'done'"
_NEWS = """
UPDATE exports SET notified_at = now()
WHERE id IN (SELECT id FROM exports WHERE state IN ('done', 'failed') AND notified_at IS NULL
             ORDER BY id LIMIT $1)
RETURNING {columns}
"""
_PRUNE = """
DELETE FROM exports WHERE id IN (
    SELECT id FROM exports
    WHERE state NOT IN ('waiting', 'running', 'done') AND requested_at < $1 ORDER BY id LIMIT $2)
"""


class NewExport(msgspec.Struct, frozen=True, kw_only=True):
    """What to export; in the order of the parameters of _ADD."""

    user_id: UserId | None
    tracks: Sequence[TrackId]
    format: Format
    columns: ColumnSet = "everything"
    since: datetime | None = None
    until: datetime | None = None  # None: now
    words: str = ""
    time_zone: str = "UTC"
    part_rows: int
    pseudonym_key: bytes | None = None
    graph: Graph = "co-hashtag"
    min_weight: int = 1
    max_nodes: int = MAX_NODES


class Export(msgspec.Struct, frozen=True):
    """A row of exports."""

    id: int
    user_id: UserId | None
    tracks: Sequence[TrackId]
    format: Format
    columns: ColumnSet
    since: datetime | None
    until: datetime
    words: str
    time_zone: str
    part_rows: int
    pseudonym_key: bytes | None  # pseudonyms are used
    requested_at: datetime
    state: State
    reason: str
    progress: float | None
    rows: int
    size: int
    complete: bool
    deletions: int | None
    valid_until: datetime | None
    host: str
    sha256: str | None
    started_at: datetime | None
    updated_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    notified_at: datetime | None
    graph: Graph
    min_weight: int
    max_nodes: int
    nodes: int | None  # these two: of a finished graph
    edges: int | None
    owner: str | None  # name of the user; None: the command line

    @property
    def contents(self) -> str:
        """What the finished file has, in words. A graph of an older version has no counts."""
        if self.format != "gexf":
            return counted(self.rows, "tweet")
        if self.nodes is None or self.edges is None:
            return "a graph"
        return f"{counted(self.nodes, 'node')} and {counted(self.edges, 'edge')}"

    @property
    def unfinished(self) -> bool:
        """Whether it waits or runs, so that it can be cancelled."""
        return self.state in ("waiting", "running")


class Package(msgspec.Struct, frozen=True):
    """The finished file of an export; `nodes` and `edges`: of its graph."""

    size: int
    sha256: str
    nodes: int | None = None
    edges: int | None = None


class Part(msgspec.Struct, frozen=True):
    """A finished file of an export: of the tweets with keys above `after_id`, up to `last_id`.

    Files with the same `number` are of the same tweets.
    """

    number: int
    name: str
    after_id: TweetId
    last_id: TweetId
    rows: int
    size: int
    sha256: str
    archived: bool


_OWNER = "(SELECT name FROM users WHERE users.id = exports.user_id) AS owner"
_COLUMNS = ", ".join([*(each for each in Export.__struct_fields__ if each != "owner"), _OWNER])
_CLAIM = _CLAIM.format(columns=_COLUMNS, due=_DUE)
_ARE_WAITING = _ARE_WAITING.format(due=_DUE)
_NEWS = _NEWS.format(columns=_COLUMNS)
_BY_ID = f"SELECT {_COLUMNS} FROM exports WHERE id = $1"  # noqa: S608 - the names of our fields
_NEWEST = f"""
SELECT {_COLUMNS} FROM exports WHERE $1::bigint IS NULL OR user_id = $1 ORDER BY id DESC LIMIT $2
"""  # noqa: S608 - as above


async def add(connection: Executor, new: NewExport) -> int:
    """Request an export; returns its id."""
    [row] = await connection.fetch(_ADD, *msgspec.structs.astuple(new))
    return int(row["id"])


async def by_id(connection: Executor, export_id: int) -> Export | None:
    rows = await connection.fetch(_BY_ID, export_id)
    return Export(**rows[0]) if rows else None


async def newest(
    connection: Executor, user_id: UserId | None = None, limit: int = LISTED
) -> list[Export]:
    """The newest exports of a user, or of all."""
    return [Export(**row) for row in await connection.fetch(_NEWEST, user_id, limit)]


async def cancel(connection: Executor, export_id: int) -> bool:
    """End an export that has not finished. False: it had finished, or there is none."""
    return row_count(await connection.execute(_CANCEL, export_id)) > 0


async def are_waiting(connection: Executor) -> bool:
    """Whether there is one to do."""
    [row] = await connection.fetch(_ARE_WAITING)
    return bool(row["found"])


async def count_unfinished(connection: Executor, user_id: UserId) -> int:
    """How many exports of a user wait or run; not those that are written again."""
    [row] = await connection.fetch(_COUNT_UNFINISHED, user_id)
    return int(row["number"])


async def renew(connection: Executor, export_id: int) -> None:
    """Have a finished export written again without what was deleted since."""
    await connection.execute(_RENEW_FILE, export_id)


async def expire(connection: Executor, export_id: int) -> bool:
    """Give up the file of a finished export."""
    return bool(await connection.fetch(_EXPIRE, export_id))


async def too_many(connection: Executor, per_user: int, size: int) -> list[int]:
    """Finished exports whose files are too old, too many or too large."""
    return [row["id"] for row in await connection.fetch(_TOO_MANY, per_user, size)]


async def with_files(connection: Executor) -> set[int]:
    """Those that may have files."""
    return {row["id"] for row in await connection.fetch(_WITH_FILES)}


async def note_checked(connection: Executor, export_id: int) -> None:
    """Note that no tweet of a finished export was deleted so far."""
    await connection.execute(_NOTE_CHECKED, export_id)


async def checked_before(connection: Executor, ago: timedelta) -> list[int]:
    """Finished exports of which no deletion was looked for since then."""
    return [row["id"] for row in await connection.fetch(_DONE, ago)]


async def take_news(connection: Executor, limit: int = LISTED) -> list[Export]:
    """Exports that have ended, each once."""
    return [Export(**row) for row in await connection.fetch(_NEWS, limit)]


async def prune(connection: Executor, before: datetime, limit: int) -> int:
    """Delete rows of exports without files that were requested before then; returns how many."""
    return row_count(await connection.execute(_PRUNE, before, limit))


# -- for the process that does them ---------------------------------------------------------------


class Worker(msgspec.Struct, frozen=True):
    """One that does exports; what it has claimed is its own while it renews its lease."""

    id: uuid.UUID
    host: str
    lease: timedelta

    async def claim(self, connection: Executor, only: int | None = None) -> Export | None:
        """The next export, or this one, which is this worker's from now on; None: there is none."""
        rows = await connection.fetch(_CLAIM, self.id, self.lease, self.host, only)
        return Export(**rows[0]) if rows else None

    async def renew(self, connection: Executor, export_id: int, progress: float, rows: int) -> bool:
        """Extend the lease. False: it was cancelled, or another worker has it."""
        return await self._mine(connection, _RENEW, export_id, self.lease, progress, rows)

    async def postpone(
        self, connection: Executor, export_id: int, reason: str, delay: timedelta
    ) -> None:
        """Let it wait for some time, with the reason."""
        await self._mine(connection, _POSTPONE, export_id, storable(reason, REASON_MAX), delay)

    async def note_deletions(
        self, connection: Executor, export_id: int, number: int, valid_until: datetime
    ) -> bool:
        """Note that parts written from now on lack what was deleted until then."""
        return await self._mine(connection, _NOTE_DELETIONS, export_id, number, valid_until)

    async def save_parts(
        self,
        connection: Executor,
        export_id: int,
        parts: Sequence[Part],
        progress: float,
        *,
        complete: bool,
    ) -> bool:
        """Note finished files, inside a transaction. False as for `renew`."""
        for part in parts:
            await connection.execute(_SAVE_PART, export_id, *msgspec.structs.astuple(part))
        return await self._mine(connection, _ADVANCE, export_id, progress, complete, COUNTED)

    async def complete(self, connection: Executor, export_id: int) -> bool:
        """Note that there are no more tweets."""
        return await self._mine(connection, _ADVANCE, export_id, 1.0, True, COUNTED)

    async def finish(
        self,
        connection: Executor,
        export_id: int,
        package: Package,
        keep: timedelta,
    ) -> bool:
        """Note the finished file, which is kept for some time. False as for `renew`."""
        values = package.size, package.sha256, keep, package.nodes, package.edges
        return await self._mine(connection, _FINISH, export_id, *values)

    async def fail(self, connection: Executor, export_id: int, reason: str) -> None:
        await self._mine(connection, _FAIL, export_id, storable(reason, REASON_MAX))

    async def _mine(
        self, connection: Executor, statement: str, export_id: int, *values: object
    ) -> bool:
        return row_count(await connection.execute(statement, export_id, self.id, *values)) > 0


async def parts(connection: Executor, export_id: int) -> list[Part]:
    """The finished files, in order."""
    return [Part(**row) for row in await connection.fetch(_PARTS, export_id)]
