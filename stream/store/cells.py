"""What a cell has from the home database: who it is, and copies of what its writers need.

A cell is another database that stores lanes of the home's sources (`stream.store.lanes`).
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from stream.db import Executor
from stream.errors import TwitterstreamError
from stream.store.lanes import HOME
from stream.store.snapshot import changed_since

PAGE_ROWS = 1000

_IDENTITY = "SELECT installation, name FROM cell_identity"
_IDENTIFY = "INSERT INTO cell_identity (installation, name) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_IS_USED = """
SELECT EXISTS (SELECT FROM sources) OR EXISTS (SELECT FROM tracks) OR EXISTS (SELECT FROM users)
    OR EXISTS (SELECT FROM ingest_runs) AS used
"""
_NOTE_COPIED = "UPDATE cell_identity SET copied_at = $1"
_COPIED_AT = "SELECT copied_at FROM cell_identity"
# Tables that are no copies are as of now.
_READ_AT = """
SELECT extract(epoch FROM coalesce(
    (SELECT coalesce(copied_at, 'epoch') FROM cell_identity WHERE name <> ''), now()))::float8 AS at
"""


class Identity(msgspec.Struct, frozen=True):
    """To which installation a database belongs, and as which cell."""

    installation: uuid.UUID
    name: str


class Copied(NamedTuple):
    """A table that cells have copies of: its key, and the other columns that are copied."""

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    prunes_itself: bool = False  # the cell deletes what is no longer used

    @property
    def read(self) -> str:
        names = ", ".join(f"'{name}', {name}" for name in self.key + self.columns)
        changed = changed_since(self.table, "$1")
        return f"SELECT jsonb_build_object({names}) AS row FROM {self.table} WHERE {changed}"  # noqa: S608 - names of ours

    @property
    def keys(self) -> str:
        return f"SELECT jsonb_agg({self.key[0]}) AS keys FROM {self.table}"  # noqa: S608 - names of ours

    @property
    def rows(self) -> str:
        return f"SELECT count(*) AS number FROM {self.table}"  # noqa: S608 - names of ours

    @property
    def delete_others(self) -> str:
        return f"""
DELETE FROM {self.table} WHERE {self.key[0]} NOT IN (
    SELECT key::bigint FROM jsonb_array_elements_text($1) AS keys (key))
"""  # noqa: S608 - names of ours

    @property
    def upsert(self) -> str:
        """Only what differs is written, as each row that is written costs the writers."""
        table = self.table
        names = ", ".join(self.key + self.columns)
        same = " AND ".join(f"{table}.{name} = given.{name}" for name in self.key)
        old = ", ".join(f"{table}.{name}" for name in self.columns)
        new = ", ".join(f"given.{name}" for name in self.columns)
        changes = ", ".join(f"{name} = excluded.{name}" for name in self.columns)
        return f"""
INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE
SELECT {names} FROM jsonb_populate_recordset(NULL::{table}, $1) AS given
WHERE NOT EXISTS (
    SELECT FROM {table} WHERE {same} AND ROW ({old}) IS NOT DISTINCT FROM ROW ({new}))
ON CONFLICT ({", ".join(self.key)}) DO UPDATE SET {changes}
"""  # noqa: S608 - names of ours


# Credentials stay at home, and so does what home's daemons write into sources and tracks.
SOURCES = Copied("sources", ("id",), ("name", "network", "url", "enabled", "created_at", "lanes"))
COPIED = (
    SOURCES,
    Copied("lanes", ("id",), ("source_id", "cell", "number")),
    Copied(
        "tracks",
        ("id",),
        (
            *("owner", "kind", "value", "networks", "enabled", "starts_at", "ends_at"),
            *("created_at", "priority", "keep_days"),
        ),
    ),
    Copied(
        "tracked_accounts",
        ("network", "handle"),
        ("author_id", "wanted_at", "checked_at", "due_at", "failures"),
        prunes_itself=True,
    ),
)
# Names may have been exchanged: out of the way first, as they are unique.
_FREE_NAMES = """
UPDATE sources SET name = 'moved-' || sources.id
FROM jsonb_populate_recordset(NULL::sources, $1) AS given
WHERE sources.name = given.name AND sources.id <> given.id
"""


async def identity(connection: Executor) -> Identity | None:
    """Which cell this database is; None: it never was part of several."""
    rows = await connection.fetch(_IDENTITY)
    return Identity(**rows[0]) if rows else None


async def identify_home(connection: Executor) -> Identity:
    """The identity of the home database; it gets one if it has none."""
    await connection.execute(_IDENTIFY, uuid.uuid4(), HOME)
    found = await identity(connection)
    assert found is not None
    return found


async def adopt(connection: Executor, wanted: Identity) -> bool:
    """Make an empty database this cell; whether it was none before.

    TwitterstreamError for one that has another use.
    """
    is_new = await identity(connection) is None
    if is_new:
        await _require_unused(connection, wanted.name)
        await connection.execute(_IDENTIFY, wanted.installation, wanted.name)
    await require(connection, wanted)
    return is_new


async def _require_unused(connection: Executor, name: str) -> None:
    [row] = await connection.fetch(_IS_USED)
    if row["used"]:
        raise TwitterstreamError(
            f"The database of cell {name} has data of its own. A cell begins with an"
            " empty database: create one, and run `migrate` there."
        )


async def require_name(connection: Executor, name: str) -> None:
    """TwitterstreamError when this database is known not to be this cell."""
    found = await identity(connection)
    if found is None and name:
        await _require_unused(connection, name)
    if found is not None and found.name != name:
        what = f"is that of cell {found.name}" if found.name else "is the home database"
        given = f"`cell` is {name}" if name else "`cell` is empty"
        raise TwitterstreamError(f"{given}, but `database` {what}: correct the settings.")


async def require(connection: Executor, wanted: Identity) -> None:
    """TwitterstreamError when this database is not this cell."""
    found = await identity(connection)
    if found is None:
        await _require_unused(connection, wanted.name)
        raise TwitterstreamError(
            f"The database of cell {wanted.name} has not been set up yet: the daemons of the home"
            " database do that as soon as they reach it."
        )
    if found != wanted:
        what = f"cell {found.name}" if found.name else "the home database"
        other = "" if found.installation == wanted.installation else " of another installation"
        raise TwitterstreamError(
            f"The address of cell {wanted.name} leads to {what}{other}: correct `cells`."
        )


# -- copies ---------------------------------------------------------------------------------------


async def changed_rows(
    connection: Executor, copied: Copied, mark: str | None
) -> AsyncIterator[bytes]:
    """The rows written since the mark, or all, as lists in JSON of some at a time."""
    page: list[bytes] = []
    async for row in connection.cursor(copied.read, mark, prefetch=PAGE_ROWS):
        page.append(row["row"])
        if len(page) == PAGE_ROWS:
            yield _json_list(page)
            page.clear()
    if page:
        yield _json_list(page)


def _json_list(rows: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(rows) + b"]"


async def put(connection: Executor, copied: Copied, rows: bytes) -> None:
    """Write rows of the home database into a cell."""
    if copied is SOURCES:
        await connection.execute(_FREE_NAMES, rows)
    await connection.execute(copied.upsert, rows)


async def note_copied(cell: Executor, at: datetime) -> None:
    """All that was committed at home before this time is copied."""
    await cell.execute(_NOTE_COPIED, at)


async def copied_at(cell: Executor) -> datetime | None:
    """As of when a cell's copies are; None: it has none yet."""
    [row] = await cell.fetch(_COPIED_AT)
    at: datetime | None = row["copied_at"]
    return at


async def read_at(connection: Executor) -> float:
    """As of when what is read next is, at least: seconds since 1970 by home's clock."""
    [row] = await connection.fetch(_READ_AT)
    at: float = row["at"]
    return at


async def delete_gone(home: Executor, cell: Executor, copied: Copied) -> None:
    """Delete what the home database no longer has. The cell has all that it has."""
    if copied.prunes_itself:
        return
    [there], [here] = await home.fetch(copied.rows), await cell.fetch(copied.rows)
    if there["number"] != here["number"]:
        [row] = await home.fetch(copied.keys)
        await cell.execute(copied.delete_others, row["keys"] or b"[]")
