"""Applies schema migrations: numbered SQL files, forward only, with checksums."""

import hashlib
import re
from datetime import datetime
from pathlib import Path

import msgspec

from stream.db import Database, Executor, transaction
from stream.errors import TwitterstreamError

FOLDER = Path(__file__).resolve().parents[2] / "sql" / "migrations"
NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

_CREATE_LOG = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
_CREATED_AT = "SELECT min(applied_at) AS at FROM schema_migrations"
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('twitterstream migrate'))"
_APPLIED = "SELECT number, name, checksum FROM schema_migrations ORDER BY number"
# Other programs have a table of this name, with other columns.
_EXISTS = """
SELECT to_regclass('schema_migrations') IS NOT NULL AS exists, EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = to_regclass('schema_migrations') AND attname = 'checksum') AS ours
"""
_TAKEN = """
SELECT relname AS name FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = current_schema() AND relname = ANY($1) ORDER BY relname LIMIT 1
"""
# What migrations create beside each other: relations of a schema have different names.
_CREATED = re.compile(
    r"\b(?:CREATE (?:OR REPLACE )?(?:UNIQUE )?(?:TABLE|VIEW|INDEX)|RENAME TO) (\w+)"
)
_RECORD = "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)"


class Migration(msgspec.Struct, frozen=True):
    """One file of sql/migrations."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def available(folder: Path = FOLDER) -> list[Migration]:
    """The migrations of this program, in order; their numbers have no gaps."""
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        name = NAME.fullmatch(path.name)
        if name is None or int(name[1]) != len(found) + 1:
            raise TwitterstreamError(
                f"{path.name} in {folder} is not named as the next migration, NNNN_words.sql."
            )
        found.append(Migration(int(name[1]), path.name, path.read_text(encoding="utf-8")))
    return found


def _check(applied: list[tuple[int, str, str]], known: list[Migration]) -> list[Migration]:
    """The migrations still to run; an edited or unknown one among the applied is an error."""
    for (number, name, checksum), migration in zip(applied, known, strict=False):
        if checksum != migration.checksum or number != migration.number:
            raise TwitterstreamError(
                f"Migration {name} was changed after it had been applied. Restore the file."
            )
    if len(applied) > len(known):
        raise TwitterstreamError(
            f"The database has migration {applied[-1][1]}, which this program does not have: "
            "it was written by a newer version. Upgrade this program."
        )
    return known[len(applied) :]


async def _applied(connection: Executor) -> list[tuple[int, str, str]]:
    [row] = await connection.fetch(_EXISTS)
    if not row["exists"]:
        return []
    if not row["ours"]:
        raise _foreign("schema_migrations")
    return [
        (row["number"], row["name"], row["checksum"]) for row in await connection.fetch(_APPLIED)
    ]


async def _require_no_foreign(connection: Executor) -> None:
    """TwitterstreamError if there are tables with our names before the first migration."""
    names = {name for each in available() for name in _CREATED.findall(each.sql)}
    for row in await connection.fetch(_TAKEN, sorted(names)):
        raise _foreign(row["name"])


def _foreign(name: str) -> TwitterstreamError:
    return TwitterstreamError(
        f"The database has tables of another program, among them {name}. Use an empty database:"
        " create one, and set `database` to its address."
    )


async def pending(database: Database) -> list[Migration]:
    """The migrations that `migrate` would run now."""
    async with database.acquire() as connection:
        return await _pending_on(connection)


async def _pending_on(connection: Executor) -> list[Migration]:
    return _check(await _applied(connection), available())


async def migrate(database: Database) -> list[Migration]:
    """Run the missing migrations, each in one transaction; returns those that ran."""
    done = []
    for _ in available():
        # It may have to repair, or to index, everything that is stored.
        async with database.long_running() as connection, transaction(connection):
            await connection.execute(_LOCK)
            applied = await _applied(connection)
            if not (missing := _check(applied, available())):
                break
            if not applied:
                await _require_no_foreign(connection)
            await connection.execute(_CREATE_LOG)
            await connection.execute(missing[0].sql)
            await connection.execute(
                _RECORD, missing[0].number, missing[0].name, missing[0].checksum
            )
            done.append(missing[0])
    return done


async def created_at(connection: Executor) -> datetime | None:
    """When the tables were created: the same on a primary and its standbys, and nowhere else."""
    [row] = await connection.fetch(_CREATED_AT)
    at: datetime | None = row["at"]
    return at


async def require_current(database: Database) -> None:
    """Raise TwitterstreamError when the schema is older than this program."""
    async with database.acquire() as connection:
        await require_current_on(connection)


async def require_current_on(connection: Executor, cell: str = "") -> None:
    """As `require_current`, for the database of this connection, and of this cell."""
    if missing := await _pending_on(connection):
        raise TwitterstreamError(
            f"The database lacks {missing[0].name}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + ". Run `twitterstream.py migrate`"
            + (f" with the settings of cell {cell}" if cell else "")
            + " first."
        )
