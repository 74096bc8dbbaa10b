"""Periodic jobs: the table jobs, with the last run of each and its last success."""

from datetime import datetime

import msgspec

from stream.db import Executor

_LAST_SUCCESS = "SELECT done_at FROM jobs WHERE name = $1"
_LAST_RUNS = "SELECT name, ran_at, done_at, took, failed FROM jobs ORDER BY failed IS NULL, name"
_RECORD_RUN = """
INSERT INTO jobs (name, ran_at, done_at, took, failed)
VALUES ($1, now(), CASE WHEN $3::text IS NULL THEN now() END, $2, $3)
ON CONFLICT (name) DO UPDATE SET ran_at = excluded.ran_at,
    done_at = coalesce(excluded.done_at, jobs.done_at), took = excluded.took,
    failed = excluded.failed
"""


class JobRun(msgspec.Struct, frozen=True):
    """The last run of a periodic job."""

    name: str
    ran_at: datetime
    done_at: datetime | None  # of its last success
    took: float  # seconds
    failed: str | None


async def last_success(connection: Executor, name: str) -> datetime | None:
    """When the job last succeeded; None: never, or not on record."""
    rows = await connection.fetch(_LAST_SUCCESS, name)
    return rows[0]["done_at"] if rows else None


async def record_run(
    connection: Executor, name: str, took: float, failed: str | None = None
) -> None:
    """Record that the job ran just now, how long it took, and why it failed, if it did."""
    await connection.execute(_RECORD_RUN, name, took, failed)


async def last_runs(connection: Executor) -> list[JobRun]:
    """The last run of every job; those that failed come first."""
    return [JobRun(**row) for row in await connection.fetch(_LAST_RUNS)]
