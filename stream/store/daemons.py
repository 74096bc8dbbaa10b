"""The daemons table: each running daemon, what it does, and what it reports of itself."""

import uuid
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

import msgspec

from stream import daemon_report
from stream.daemon_report import ROLES, DaemonReport
from stream.db import Executor, row_count
from stream.tweet import LaneId, SourceId

TIMEOUT = 15  # seconds; a daemon without a heartbeat for longer counts as dead
WRITER_TIMEOUT = 6  # seconds; then the others take over its lanes, and nothing is left to it
KEPT = 86_400  # seconds that the row of a dead one stays

_UPSERT = """
INSERT INTO daemons (id, host, pid, role, roles, lanes, report)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET role = excluded.role, seen_at = now(), lanes = excluded.lanes,
    report = excluded.report
"""
_COUNT_WRITERS = """
SELECT count(*)::integer AS number FROM daemons
WHERE 'write' = ANY (roles) AND seen_at > now() - make_interval(secs => $1)
  AND report ? 'bus'
  AND coalesce(report #>> '{bus,failing}', '') = ''
  AND ($2::text[] = '{}' OR report #>> '{bus,created}' = ANY ($2))
"""
_COLLECTED_STREAMS = """
SELECT DISTINCT report #>> '{bus,created}' AS created FROM daemons
WHERE role = 'collecting' AND 'collect' = ANY (roles)
  AND seen_at > now() - make_interval(secs => $1)
  AND report #>> '{bus,created}' <> '' AND coalesce(report #>> '{bus,failing}', '') = ''
"""
_IS_READY = """
SELECT EXISTS (
    SELECT FROM daemons
    WHERE seen_at > now() - make_interval(secs => $2) AND report -> 'ready' @> to_jsonb($1::integer)
) AS found
"""
_DELETE = "DELETE FROM daemons WHERE id = $1 OR seen_at < now() - make_interval(secs => $2)"
# Of a crowd of dead ones the newest: they are to be noticed, and each is a row of a crash.
_ALL = """
SELECT id, host, pid, role, started_at, seen_at, roles, lanes, report,
    seen_at > now() - make_interval(secs => $1) AS running,
    coalesce(lead(started_at) OVER alike <= seen_at
        OR max(seen_at) OVER (alike ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW) >= started_at,
        false) AS has_twin
FROM daemons WINDOW alike AS (PARTITION BY host, roles ORDER BY started_at, id)
ORDER BY seen_at > now() - make_interval(secs => $1) DESC, seen_at DESC LIMIT 500
"""
_CRASHED = """
SELECT host, roles, count(*)::integer AS number FROM daemons
WHERE started_at > now() - make_interval(secs => $1)
  AND seen_at < now() - make_interval(secs => $2)
GROUP BY host, roles ORDER BY host, roles
"""
_COLLECTORS_DIED = """
SELECT extract(epoch FROM seen_at)::float8 AS at FROM daemons
WHERE 'collect' = ANY (roles) AND seen_at > now() - make_interval(secs => $1)
  AND seen_at < now() - make_interval(secs => $2)
ORDER BY seen_at
"""
_PRUNE = "DELETE FROM daemons WHERE id IN (SELECT id FROM daemons WHERE seen_at < $1 LIMIT $2)"


class DaemonRow(msgspec.Struct, frozen=True):
    """A row of daemons."""

    id: uuid.UUID
    host: str
    pid: int
    role: str  # whether it collects: collecting, standby, other
    started_at: datetime
    seen_at: datetime
    roles: list[str]
    lanes: list[LaneId]
    report: DaemonReport
    running: bool  # False: it ended without a stop
    has_twin: bool = False  # another one with the same roles ran on its machine at the same time

    @property
    def name(self) -> str:
        """Its machine, with roles unless it has all of them, cell, and process if need be."""
        name = daemon_name(self.host, self.roles)
        name += f" of cell {self.report.cell}" if self.report.cell else ""
        return f"{name}, process {self.pid}" if self.has_twin else name


def daemon_name(host: str, roles: Sequence[str]) -> str:
    """The name of a daemon for people: several with different roles may run on one machine."""
    return host if {*roles} >= ROLES else f"{host} ({', '.join(sorted(roles))})"


async def upsert(
    connection: Executor,
    daemon: uuid.UUID,
    host: str,
    pid: int,
    role: str,
    *,
    roles: Iterable[str] = ROLES,
    lanes: Sequence[LaneId] = (),
    report: DaemonReport | None = None,
) -> None:
    """Record a heartbeat of this daemon, and what it does.

    `role`: whether it collects; `lanes`: those that it stores.
    """
    encoded = daemon_report.encode(report or DaemonReport())
    await connection.execute(_UPSERT, daemon, host, pid, role, sorted(roles), lanes, encoded)


async def count_writers(connection: Executor, streams: AbstractSet[str] = frozenset()) -> int:
    """How many running daemons store lanes; of those on one of these streams, if there are any."""
    [row] = await connection.fetch(_COUNT_WRITERS, WRITER_TIMEOUT, sorted(streams))
    return int(row["number"])


async def collected_streams(connection: Executor) -> set[str]:
    """When the streams were created to which running daemons send what they collect.

    Usually it is one. Those for which the bus does not work are left out.
    """
    return {row["created"] for row in await connection.fetch(_COLLECTED_STREAMS, TIMEOUT)}


async def is_ready(connection: Executor, source: SourceId) -> bool:
    """Whether a daemon on standby could collect this source at once."""
    [row] = await connection.fetch(_IS_READY, source, WRITER_TIMEOUT)
    return bool(row["found"])


async def delete(connection: Executor, daemon: uuid.UUID) -> None:
    """Delete a daemon that ends, and those without a heartbeat for a day."""
    await connection.execute(_DELETE, daemon, KEPT)


async def running(connection: Executor) -> list[DaemonRow]:
    """The running daemons, oldest first."""
    return [each for each in await get_all(connection) if each.running]


async def get_all(connection: Executor) -> list[DaemonRow]:
    """The running daemons and those of the last day that ended without a stop, oldest first."""
    rows = [
        DaemonRow(**{**row, "report": daemon_report.decode(row["report"])})
        for row in await connection.fetch(_ALL, TIMEOUT)
    ]
    return sorted(rows, key=lambda each: (each.started_at, each.id))


async def count_crashed(connection: Executor, seconds: float) -> dict[str, int]:
    """By name, how many daemons started in the last `seconds` and ended without a stop."""
    rows = await connection.fetch(_CRASHED, seconds, TIMEOUT)
    return {daemon_name(row["host"], row["roles"]): row["number"] for row in rows}


async def collectors_died(connection: Executor, seconds: float) -> tuple[float, ...]:
    """Of daemons that collected and ended without a stop in the last `seconds`: when last seen."""
    rows = await connection.fetch(_COLLECTORS_DIED, seconds, TIMEOUT)
    return tuple(row["at"] for row in rows)


async def prune(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some daemons that were last seen before a time; returns how many."""
    return row_count(await connection.execute(_PRUNE, before, limit))
