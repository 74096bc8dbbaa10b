"""The sources and daemons tables, and the locks that make one daemon the collector of a source."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import msgspec

from stream.db import Executor, Row, meaning
from stream.errors import RowRefused, TwitterstreamError
from stream.tweet import NetworkName, SourceId, StateNote

LOCK_CLASS = 0x7477  # first key of our advisory locks; the second is the source's id
DAEMON_SILENT = 15  # seconds after which a daemon that was not seen counts as gone

_COLUMNS = (
    "id, name, network, url, proxy, secrets, enabled, state, reason, state_at, retry_at, last_at"
)
_ALL = f"SELECT {_COLUMNS} FROM sources ORDER BY id"  # noqa: S608 - a constant
_NUMBERED = f"SELECT {_COLUMNS} FROM sources WHERE id = $1"  # noqa: S608 - a constant
_ADD = """
INSERT INTO sources (name, network, url, proxy, secrets, enabled) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id
"""
_ENABLE = "UPDATE sources SET enabled = $2 WHERE name = $1 RETURNING id"
_SECRETS = "UPDATE sources SET secrets = $2 WHERE name = $1 RETURNING id"
_MOVE = "UPDATE sources SET url = $2, enabled = true WHERE id = $1 AND url IS DISTINCT FROM $2"
_CHANGE = """
UPDATE sources SET name = $2, url = $3, proxy = $4, secrets = coalesce($5, secrets)
WHERE id = $1 RETURNING id
"""
_REMOVE = "DELETE FROM sources WHERE name = $1 RETURNING id"
_STATE = """
UPDATE sources SET state = $2, reason = $3, state_at = to_timestamp($4), retry_at = to_timestamp($5)
WHERE id = $1 AND (state_at IS NULL OR state_at <= to_timestamp($4))
"""
_HEARD = "UPDATE sources SET last_at = greatest(last_at, to_timestamp($2)) WHERE id = $1"
_LAST = """
SELECT extract(epoch FROM last_at)::double precision AS at FROM sources
WHERE id = $1 AND last_at IS NOT NULL
"""
_LOCK = "SELECT pg_try_advisory_lock($1, $2) AS ours"
_UNLOCK = "SELECT pg_advisory_unlock($1, $2)"
_COLLECTED = """
SELECT objid::integer AS source_id FROM pg_locks
WHERE locktype = 'advisory' AND granted AND classid = $1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_SEEN = """
INSERT INTO daemons (id, host, pid, role) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET role = excluded.role, seen_at = now()
"""
_GONE = "DELETE FROM daemons WHERE id = $1 OR seen_at < now() - make_interval(secs => $2)"
_DAEMONS = """
SELECT id, host, pid, role, started_at, seen_at FROM daemons
WHERE seen_at > now() - make_interval(secs => $1) ORDER BY started_at
"""

_DIED = """
SELECT count(*)::integer AS number FROM daemons
WHERE host = $1 AND started_at > now() - make_interval(secs => $2)
  AND seen_at < now() - make_interval(secs => $3)
"""


class SourceRow(msgspec.Struct, frozen=True):
    """A row of sources; `secrets` still sealed."""

    id: SourceId
    name: str
    network: NetworkName
    url: str | None
    proxy: str | None
    secrets: bytes | None
    enabled: bool
    state: str
    reason: str
    state_at: datetime | None
    retry_at: datetime | None
    last_at: datetime | None

    def __repr__(self) -> str:
        return f"SourceRow(id={self.id}, name={self.name!r}, network={self.network!r})"


async def everything(connection: Executor) -> list[SourceRow]:
    return [SourceRow(**row) for row in await connection.fetch(_ALL)]


async def named(connection: Executor, name: str) -> SourceRow | None:
    return next((row for row in await everything(connection) if row.name == name), None)


async def numbered(connection: Executor, source_id: int) -> SourceRow | None:
    rows = await connection.fetch(_NUMBERED, source_id)
    return SourceRow(**rows[0]) if rows else None


async def add(
    connection: Executor,
    name: str,
    network: NetworkName,
    url: str | None = None,
    proxy: str | None = None,
    secrets: bytes | None = None,
    *,
    enabled: bool = True,
) -> SourceId:
    try:
        with meaning():
            [row] = await connection.fetch(_ADD, name, network, url, proxy, secrets, enabled)
    except RowRefused as error:
        raise TwitterstreamError(_refusal(str(error), name)) from error
    return SourceId(row["id"])


def _refusal(error: str, name: str) -> str:
    if "sources_name_unique" in error:
        return f"There is a source named {name} already; remove it first or choose another name."
    if "sources_name_plain" in error:
        return f"A source's name is letters, digits, dots, dashes and underscores, not {name!r}."
    if "_http" in error:
        return "An address begins with http:// or https:// and has no spaces."
    return f"The table refuses this source: {error}."


async def enable(connection: Executor, name: str, *, enabled: bool) -> bool:
    """False when there is no such source."""
    return bool(await connection.fetch(_ENABLE, name, enabled))


async def give_secrets(connection: Executor, name: str, secrets: bytes) -> bool:
    """Exchange a source's sealed credentials; False when there is no such source."""
    return bool(await connection.fetch(_SECRETS, name, secrets))


async def change(
    connection: Executor,
    source_id: SourceId,
    name: str,
    url: str | None,
    proxy: str | None,
    secrets: bytes | None,
) -> bool:
    """Another name, address or proxy; sealed credentials only when there are new ones.

    False when there is no such source.
    """
    try:
        with meaning():
            return bool(await connection.fetch(_CHANGE, source_id, name, url, proxy, secrets))
    except RowRefused as error:
        raise TwitterstreamError(_refusal(str(error), name)) from error


async def move(connection: Executor, source_id: SourceId, url: str) -> None:
    """Give a source another address."""
    await connection.execute(_MOVE, source_id, url)


async def remove(connection: Executor, name: str) -> bool:
    """Forget a source and its credentials. What it brought stays."""
    return bool(await connection.fetch(_REMOVE, name))


async def write_state(connection: Executor, source_id: SourceId, note: StateNote) -> None:
    await connection.execute(_STATE, source_id, note.state, note.reason, note.at, note.until)


async def heard(connection: Executor, source_id: SourceId, at: float) -> None:
    """A byte came at this time, in seconds since 1970."""
    await connection.execute(_HEARD, source_id, at)


async def last_heard(connection: Executor, source_id: SourceId) -> float | None:
    """When the newest byte came that is known here, in seconds since 1970."""
    rows = await connection.fetch(_LAST, source_id)
    return rows[0]["at"] if rows else None


async def try_lock(connection: Executor, source_id: SourceId) -> bool:
    """Become the one collector of this source, for as long as the connection lives."""
    [row] = await connection.fetch(_LOCK, LOCK_CLASS, source_id)
    return bool(row["ours"])


async def unlock(connection: Executor, source_id: SourceId) -> None:
    """Let somebody else collect this source."""
    await connection.execute(_UNLOCK, LOCK_CLASS, source_id)


async def collected(connection: Executor) -> set[SourceId]:
    """The sources that some daemon collects at this moment."""
    rows = await connection.fetch(_COLLECTED, LOCK_CLASS)
    return {SourceId(row["source_id"]) for row in rows}


async def daemon_seen(
    connection: Executor, daemon: uuid.UUID, host: str, pid: int, role: str
) -> None:
    """This daemon lives, and does this."""
    await connection.execute(_SEEN, daemon, host, pid, role)


async def daemon_gone(connection: Executor, daemon: uuid.UUID) -> None:
    """Take a daemon off the list, and with it those that have not been seen for a day."""
    await connection.execute(_GONE, daemon, 86_400)


async def daemons(connection: Executor) -> Sequence[Row]:
    """The daemons that live, oldest first."""
    return await connection.fetch(_DAEMONS, DAEMON_SILENT)


async def daemons_died(connection: Executor, host: str, seconds: float) -> int:
    """Daemons of this machine that began in the last so many seconds and ended without a stop."""
    [row] = await connection.fetch(_DIED, host, seconds, DAEMON_SILENT)
    return int(row["number"])
