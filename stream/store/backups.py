"""The tables of a backup: reading their rows out, and putting them back."""

from collections.abc import AsyncIterator

import msgspec

from stream.db import Executor

READ_BATCH = 5000  # rows fetched at once


class BackupTable(msgspec.Struct, frozen=True):
    """A table whose rows are in a backup. One that is merged keeps the rows that it has."""

    name: str
    numbered: bool = False  # `id` counts up, and no number is given twice, elsewhere either
    merged: bool = False
    where: str = "true"


# In this order they are written and restored. A new table needs one line here.
TABLES = (
    BackupTable("sources", numbered=True),
    BackupTable("lanes"),
    BackupTable("cell_identity"),
    BackupTable("tracks", numbered=True),
    BackupTable("look_backs", numbered=True),
    BackupTable("users", numbered=True),
    BackupTable("tokens", numbered=True),
    BackupTable("track_shares"),
    BackupTable("webhooks", numbered=True),
    BackupTable("track_history", numbered=True),
    BackupTable("author_tombstones", merged=True),
    BackupTable("accounts", merged=True),  # without it deletions of accounts miss archived tweets
    BackupTable("tweet_ids", merged=True, where="deleted_at IS NOT NULL"),
    BackupTable("track_hours"),
    BackupTable("track_days"),
    BackupTable("source_hours"),
    BackupTable("gaps", numbered=True),
    BackupTable("track_gaps", numbered=True),
    BackupTable("events", numbered=True),
    BackupTable("alerts", numbered=True),
    BackupTable("alert_mutes", numbered=True),
    BackupTable("archives"),
    BackupTable("raw_archives"),
)

WITH_SECRETS = ("sources", "webhooks")  # their column `secrets` is encrypted with the server's key

# Older schemas that differ from this one in names, or lack columns: their backups are readable.
SCHEMA = "0021_joined_cells.sql"
READABLE_SCHEMAS = {
    "0004_faults.sql",
    "0005_health.sql",
    "0006_names.sql",
    "0007_terms.sql",
    "0008_open_networks.sql",
    "0009_flat_views.sql",
    "0010_sinks.sql",
    "0011_webhooks.sql",
    "0012_exports.sql",
    "0013_relations.sql",
    "0014_webhook_changes.sql",
    "0015_restrict_logins.sql",
    "0016_message_columns.sql",
    "0017_look_back_turns.sql",
    "0018_graph_counts.sql",
    "0019_lanes.sql",
    "0020_cell_copies.sql",
}
_OLD_TABLES = {"identities": "tweet_ids"}
_OLD_VALUES = {  # by column, as JSON
    "rule": {b'"chore_failed"': b'"job_failed"'},
    "state": {b'"proving"': b'"connected"'},
    "outcome": {b'"withheld"': b'"undelivered"'},
}
_OLD_COLUMNS = {
    "tracks": {"looked_at": "last_viewed_at"},
    "alerts": {
        "told_at": "notified_at",
        "told": "notified_count",
        "told_severity": "notified_severity",
        "missed": "undelivered",
    },
    "archives": {"thinned_at": "partially_expired_at"},
}
_NEW_COLUMNS = {  # that must not be null, as JSON
    "author_tombstones": {"held": msgspec.Raw(b"true")},
    "sources": {"lanes": msgspec.Raw(b"1")},
}

_NEWEST_MIGRATION = "SELECT name FROM schema_migrations ORDER BY number DESC LIMIT 1"
_WITH_CREDENTIALS = "SELECT name FROM sources WHERE secrets IS NOT NULL ORDER BY id"
_LAST_ID = "SELECT pg_sequence_last_value(pg_get_serial_sequence($1, 'id')) AS last"
_SET_LAST_ID = "SELECT setval(pg_get_serial_sequence($1, 'id'), $2)"
_IN_USE = """
SELECT EXISTS (SELECT FROM sources) AS sources, EXISTS (SELECT FROM tracks) AS tracks,
    EXISTS (SELECT FROM users) AS users
"""
# The restored history already contains these rows: the triggers must not add them again.
_RESTORING = "SELECT set_config('twitterstream.restoring', 'on', true)"
# No daemon of the new server would close an alert about the old machine.
_CLOSE_MACHINE_ALERTS = """
UPDATE alerts SET closed_at = greatest(now(), opened_at), all_clear_at = now()
WHERE closed_at IS NULL AND host <> ''
"""


async def newest_migration(connection: Executor) -> str:
    """The schema of this database, by the name of its newest migration."""
    [row] = await connection.fetch(_NEWEST_MIGRATION)
    name: str = row["name"]
    return name


def table_named(name: str) -> BackupTable | None:
    """A table of a backup, also by the name that it had in a readable older schema."""
    name = _OLD_TABLES.get(name, name)
    return next((table for table in TABLES if table.name == name), None)


def with_new_names(table: BackupTable, lines: list[bytes]) -> list[bytes]:
    """Rows of a readable older schema with the columns, and the names, that they have now."""
    renamed, added = _OLD_COLUMNS.get(table.name, {}), _NEW_COLUMNS.get(table.name, {})
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    encode = msgspec.json.Encoder().encode
    return [
        encode(
            added
            | {
                renamed.get(column, column): _new_value(column, value)
                for column, value in decode(line).items()
            }
        )
        for line in lines
    ]


def _new_value(column: str, value: msgspec.Raw) -> msgspec.Raw:
    changed = _OLD_VALUES.get(column, {}).get(bytes(value))
    return value if changed is None else msgspec.Raw(changed)


async def sources_with_credentials(connection: Executor) -> list[str]:
    """Their names."""
    return [row["name"] for row in await connection.fetch(_WITH_CREDENTIALS)]


async def last_id(connection: Executor, table: BackupTable) -> int | None:
    """The highest number given in this table so far."""
    if not table.numbered:
        return None
    [row] = await connection.fetch(_LAST_ID, table.name)
    last: int | None = row["last"]
    return last


async def rows(connection: Executor, table: BackupTable) -> AsyncIterator[list[bytes]]:
    """All rows as JSON, in batches. Inside a transaction."""
    cursor = await connection.cursor(
        f"SELECT row_to_json(kept)::text AS line FROM {table.name} AS kept WHERE {table.where}"  # noqa: S608 - constants of this file
    )
    while found := await cursor.fetch(READ_BATCH):
        yield [row["line"].encode() for row in found]


async def tables_in_use(connection: Executor) -> list[str]:
    """Which of tracks, sources and users have rows already."""
    [row] = await connection.fetch(_IN_USE)
    return [name for name in ("tracks", "sources", "users") if row[name]]


async def begin_restore(connection: Executor) -> None:
    """Empty the tables, except those that are merged, and stop the triggers of the history."""
    await connection.execute(_RESTORING)
    for table in TABLES:
        if not table.merged:
            await connection.execute(f"DELETE FROM {table.name}")  # noqa: S608 - as above


async def set_last_id(connection: Executor, table: BackupTable, last: int) -> None:
    """Continue numbering after this one."""
    await connection.fetch(_SET_LAST_ID, table.name, last)


async def insert(connection: Executor, table: BackupTable, lines: list[bytes]) -> None:
    """Add these rows, each a JSON object."""
    conflict = " ON CONFLICT DO NOTHING" if table.merged else ""
    await connection.execute(
        f"INSERT INTO {table.name} OVERRIDING SYSTEM VALUE"  # noqa: S608 - as above
        f" SELECT * FROM jsonb_populate_recordset(NULL::{table.name}, $1){conflict}",
        b"[" + b",".join(lines) + b"]",
    )


async def end_restore(connection: Executor) -> None:
    """Close the alerts about the machine that the backup was made on."""
    await connection.execute(_CLOSE_MACHINE_ALERTS)
