"""The sources table."""

from datetime import datetime

import msgspec

from stream.db import Executor, translated_errors
from stream.errors import RowRefused, TwitterstreamError
from stream.notes import StateNote
from stream.store.locks import SOURCE_LOCK_CLASS
from stream.text import storable
from stream.tweet import NetworkName, SourceId

LANES_MAX = 64  # of a source, in each database
LAST_DATE = 253_402_214_400.0  # 9999-12-31 UTC; the table takes no later date

_COLUMNS = (
    "id, name, network, url, proxy, secrets, enabled, state, reason, state_at, retry_at, last_at,"
    " source_state(sources) AS shown_state, lanes"
)
_ALL = f"SELECT {_COLUMNS} FROM sources ORDER BY id"  # noqa: S608 - a constant
_BY_ID = f"SELECT {_COLUMNS} FROM sources WHERE id = $1"  # noqa: S608 - a constant
_LOCKED = f"{_BY_ID} FOR UPDATE"
_ADD = """
INSERT INTO sources (name, network, url, proxy, secrets, enabled) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id
"""
_ENABLE = "UPDATE sources SET enabled = $2 WHERE name = $1 RETURNING id"
_SET_LANES = "UPDATE sources SET lanes = $2 WHERE name = $1 RETURNING id"
_SET_CREDENTIALS = "UPDATE sources SET secrets = $2 WHERE name = $1 RETURNING id"
_SET_URL = "UPDATE sources SET url = $2, secrets = $3, enabled = true WHERE id = $1"
_REBIND = """
UPDATE sources SET secrets = $5
WHERE id = $1 AND secrets = $2 AND url IS NOT DISTINCT FROM $3 AND proxy IS NOT DISTINCT FROM $4
"""
_CHANGE = """
UPDATE sources SET name = $2, url = $3, proxy = $4, secrets = coalesce($5, secrets)
WHERE id = $1 RETURNING id
"""
_REMOVE = "DELETE FROM sources WHERE name = $1 RETURNING id"
_STATE = """
UPDATE sources SET state = $2, reason = $3, state_at = to_timestamp($4), retry_at = to_timestamp($5)
WHERE id = $1 AND (state_at IS NULL OR state_at <= to_timestamp($4))
"""
_NOTE_FIRST_BYTE = "UPDATE sources SET last_at = to_timestamp($2) WHERE id = $1 AND last_at IS NULL"
_NOTE_LAST_BYTE = "UPDATE sources SET last_at = greatest(last_at, to_timestamp($2)) WHERE id = $1"
_LAST_BYTE_AT = """
SELECT extract(epoch FROM last_at)::double precision AS at FROM sources
WHERE id = $1 AND last_at IS NOT NULL
"""
_COLLECTED = """
SELECT objid::integer AS source_id FROM pg_locks
WHERE locktype = 'advisory' AND granted AND classid = $1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_ENABLED_NETWORKS = "SELECT DISTINCT network FROM sources WHERE enabled"


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
    shown_state: str = ""  # for people: `stopped` where no daemon collects it
    lanes: int = 1  # in each database that stores it

    def __repr__(self) -> str:
        return f"SourceRow(id={self.id}, name={self.name!r}, network={self.network!r})"


async def get_all(connection: Executor) -> list[SourceRow]:
    return [SourceRow(**row) for row in await connection.fetch(_ALL)]


async def by_name(connection: Executor, name: str) -> SourceRow | None:
    return next((row for row in await get_all(connection) if row.name == name), None)


async def by_id(connection: Executor, source_id: int, *, lock: bool = False) -> SourceRow | None:
    """A source; with `lock`, no other transaction can change it meanwhile."""
    rows = await connection.fetch(_LOCKED if lock else _BY_ID, source_id)
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
        with translated_errors():
            [row] = await connection.fetch(_ADD, name, network, url, proxy, secrets, enabled)
    except RowRefused as error:
        raise TwitterstreamError(_refusal(error, name)) from error
    return SourceId(row["id"])


def _refusal(error: RowRefused, name: str) -> str:
    match error.constraint:
        case "sources_name_unique":
            return f"There is already a source named {name}: remove it or choose another name."
        case "sources_name_plain":
            return (
                f"{name!r} is not a valid name for a source: use letters, digits, dots, dashes and "
                "underscores."
            )
        case "sources_url_http" | "sources_proxy_http":
            return "An address begins with http:// or https:// and has no spaces."
    return f"The table `sources` refuses this row: {error}."


async def enable(connection: Executor, name: str, *, enabled: bool) -> bool:
    """Enable or disable a source; False: there is none."""
    return bool(await connection.fetch(_ENABLE, name, enabled))


async def set_lanes(connection: Executor, name: str, lanes: int) -> bool:
    """Let this many writers of each database share a source's tweets; False: there is none."""
    return bool(await connection.fetch(_SET_LANES, name, lanes))


async def set_credentials(connection: Executor, name: str, secrets: bytes) -> bool:
    """Replace a source's sealed credentials; False: there is none."""
    return bool(await connection.fetch(_SET_CREDENTIALS, name, secrets))


async def change(
    connection: Executor,
    source_id: SourceId,
    name: str,
    url: str | None,
    proxy: str | None,
    secrets: bytes | None,
) -> bool:
    """Change a source's name, address and proxy; its credentials only if there are new ones.

    False: there is no such source.
    """
    try:
        with translated_errors():
            return bool(await connection.fetch(_CHANGE, source_id, name, url, proxy, secrets))
    except RowRefused as error:
        raise TwitterstreamError(_refusal(error, name)) from error


async def set_url(
    connection: Executor, source_id: SourceId, url: str, secrets: bytes | None
) -> None:
    """Set a source's address, with credentials sealed for it, and enable it."""
    await connection.execute(_SET_URL, source_id, url, secrets)


async def rebind(connection: Executor, row: SourceRow, secrets: bytes) -> None:
    """Replace credentials that an older version sealed, unless the row has changed meanwhile."""
    await connection.execute(_REBIND, row.id, row.secrets, row.url, row.proxy, secrets)


async def remove(connection: Executor, name: str) -> bool:
    """Delete a source and its credentials; its tweets stay. False: there is none."""
    return bool(await connection.fetch(_REMOVE, name))


async def write_state(connection: Executor, source_id: SourceId, note: StateNote) -> None:
    until = None if note.until is None else min(note.until, LAST_DATE)
    reason = storable(note.reason)
    await connection.execute(_STATE, source_id, note.state, reason, note.at, until)


async def note_last_byte(connection: Executor, source_id: SourceId, at: float) -> None:
    """Record when a byte was received, in seconds since 1970."""
    await connection.execute(_NOTE_LAST_BYTE, source_id, at)


async def note_first_byte(connection: Executor, source_id: SourceId, at: float) -> None:
    """Record when the first byte was received, if none is known; in seconds since 1970."""
    await connection.execute(_NOTE_FIRST_BYTE, source_id, at)


async def last_byte_at(connection: Executor, source_id: SourceId) -> float | None:
    """When the last byte was received, in seconds since 1970; None: never."""
    rows = await connection.fetch(_LAST_BYTE_AT, source_id)
    return rows[0]["at"] if rows else None


async def collected_ids(connection: Executor) -> set[SourceId]:
    """The sources that some daemon collects now."""
    rows = await connection.fetch(_COLLECTED, SOURCE_LOCK_CLASS)
    return {SourceId(row["source_id"]) for row in rows}


async def enabled_networks(connection: Executor) -> set[NetworkName]:
    """The networks that have an enabled source."""
    return {row["network"] for row in await connection.fetch(_ENABLED_NETWORKS)}
