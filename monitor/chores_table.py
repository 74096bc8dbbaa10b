"""The table chores: what the daemon does now and then, and how it went the last time."""

from datetime import datetime

from stream.db import Executor

_DONE_AT = "SELECT done_at FROM chores WHERE name = $1"
_RAN = """
INSERT INTO chores (name, ran_at, done_at, took, failed)
VALUES ($1, now(), CASE WHEN $3::text IS NULL THEN now() END, $2, $3)
ON CONFLICT (name) DO UPDATE SET ran_at = excluded.ran_at,
    done_at = coalesce(excluded.done_at, chores.done_at), took = excluded.took,
    failed = excluded.failed
"""


async def done_at(connection: Executor, name: str) -> datetime | None:
    """When it last went well; None: never, or not on record."""
    rows = await connection.fetch(_DONE_AT, name)
    return rows[0]["done_at"] if rows else None


async def ran(connection: Executor, name: str, took: float, failed: str | None = None) -> None:
    """It ran just now, for so many seconds; why it did not go well, if so."""
    await connection.execute(_RAN, name, took, failed)
