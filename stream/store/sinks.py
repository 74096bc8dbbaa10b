"""Where tweets are passed on to, and whether that works: the table sinks."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from stream.db import Executor, row_count

_WRITE = """
INSERT INTO sinks (name, reason, late_since) VALUES ($1, $2, to_timestamp($3))
ON CONFLICT (name) DO UPDATE SET reason = excluded.reason, late_since = excluded.late_since,
    seen_at = now()
"""
_ALL = """
SELECT name, reason, late_since, seen_at, seen_at > now() - interval '1 minute' AS runs,
    of_users.failing, of_users.webhooks
FROM sinks CROSS JOIN (
    SELECT count(*) FILTER (WHERE state = 'disabled' OR reason <> '') AS failing,
        count(*) AS webhooks
    FROM webhooks) AS of_users
ORDER BY name
"""
_PRUNE = """
DELETE FROM sinks WHERE name IN (SELECT name FROM sinks WHERE seen_at < $1 ORDER BY name LIMIT $2)
"""
_KEEP_ONLY = "DELETE FROM sinks WHERE name <> ALL ($1)"
# One daemon of a database runs its sinks.
_LOCK = "hashtext('twitterstream sinks'), 0"
_TRY_LOCK = f"SELECT pg_try_advisory_lock({_LOCK}) AS ours"
_FORGET = f"DELETE FROM sinks WHERE (SELECT pg_try_advisory_xact_lock({_LOCK}))"  # noqa: S608 - a constant


class SinkRow(msgspec.Struct, frozen=True):
    """A sink, and whether it works."""

    name: str
    reason: str  # why it fails, and what to do; empty: it does not
    late_since: datetime | None  # since when tweets wait; None: none does
    seen_at: datetime
    runs: bool  # it was seen lately
    failing: int  # webhooks that fail or are disabled
    webhooks: int  # all

    @property
    def state(self) -> str:
        """How it is, in words."""
        if not self.runs:
            return f"no daemon has run it since {self.seen_at:%F %T %Z}"
        if self.reason:
            return f"fails: {self.reason}"
        return f"late since {self.late_since:%F %T %Z}" if self.late_since else self.works

    @property
    def works(self) -> str:
        """How it is when it has no trouble of its own: receivers of webhooks can have some."""
        if self.name != "webhooks" or not self.failing:
            return "ok"
        return f"ok, {self.failing:,} of {self.webhooks:,} fail{'s' if self.failing == 1 else ''}"


async def write(
    connection: Executor, name: str, reason: str = "", late_since: float | None = None
) -> None:
    """Write how a sink is now; `late_since`: in seconds since 1970."""
    await connection.execute(_WRITE, name, reason, late_since)


async def get_all(connection: Executor) -> list[SinkRow]:
    return [SinkRow(**row) for row in await connection.fetch(_ALL)]


async def keep_only(connection: Executor, names: Sequence[str]) -> None:
    """Delete the rows of all other sinks; for the daemon that runs the sinks."""
    await connection.execute(_KEEP_ONLY, names)


async def forget(connection: Executor) -> None:
    """Delete all of them, unless a daemon runs some."""
    await connection.execute(_FORGET)


async def try_lock(connection: Executor) -> bool:
    """Whether this session runs the sinks of the database."""
    [row] = await connection.fetch(_TRY_LOCK)
    ours: bool = row["ours"]
    return ours


async def prune(connection: Executor, before: datetime, limit: int) -> int:
    """Delete sinks that have not run since this time; returns how many."""
    return row_count(await connection.execute(_PRUNE, before, limit))
