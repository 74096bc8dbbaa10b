"""The machine_minutes table: every statement that touches it, and the rows that wait for it."""

from collections import deque

import msgspec

from monitor.measure.minute import MachineMinute
from stream.db import Database, Executor, meaning
from stream.errors import RowRefused

WAITING = 24 * 60  # minutes that wait while Postgres is away; the oldest go first

# Two daemons on one machine share its row: each tells of the sources that it collects.
_ADD = """
INSERT INTO machine_minutes AS known (
    host, at, cpu_percent, cpu_percent_max, load, memory_used, memory_total, network_received,
    network_sent, process_memory, process_files, loop_lag_max, journal_lag_bytes,
    journal_lag_seconds, commit_p50, commit_p99, batch_frames, database_up, database_size,
    database_connections, oldest_transaction, partitions, volumes, sources, tables)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
    $21, $22, $23, $24, $25)
ON CONFLICT (host, at) DO UPDATE SET
    cpu_percent_max = greatest(known.cpu_percent_max, excluded.cpu_percent_max),
    network_received = greatest(known.network_received, excluded.network_received),
    network_sent = greatest(known.network_sent, excluded.network_sent),
    process_memory = greatest(known.process_memory, excluded.process_memory),
    process_files = greatest(known.process_files, excluded.process_files),
    loop_lag_max = greatest(known.loop_lag_max, excluded.loop_lag_max),
    journal_lag_bytes = greatest(known.journal_lag_bytes, excluded.journal_lag_bytes),
    journal_lag_seconds = greatest(known.journal_lag_seconds, excluded.journal_lag_seconds),
    commit_p50 = greatest(known.commit_p50, excluded.commit_p50),
    commit_p99 = greatest(known.commit_p99, excluded.commit_p99),
    batch_frames = greatest(known.batch_frames, excluded.batch_frames),
    database_up = least(known.database_up, excluded.database_up),
    volumes = known.volumes || excluded.volumes,
    sources = known.sources || excluded.sources,
    tables = known.tables || excluded.tables
WHERE known.minutes = 1
"""

# The deleted rows make the new ones, whole hours only; a minute that comes after its hour was made
# is too late. In `sources` numbers are added up, but for those that are levels.
_ROLL_UP = r"""
WITH gone AS (
    DELETE FROM machine_minutes
    WHERE minutes = 1 AND at < date_trunc('hour', now() - make_interval(days => $1), 'UTC')
    RETURNING *, date_trunc('hour', at, 'UTC') AS hour
), field AS (
    SELECT host, hour, at, source.key AS source, field.key AS field, field.value
    FROM gone, jsonb_each(sources) AS source, jsonb_each(source.value) AS field
), leaf AS (
    SELECT host, hour, at, source, field, '' AS part, value FROM field
    UNION ALL
    SELECT host, hour, at, source, field, part.key, part.value
    FROM field,
        jsonb_each(CASE jsonb_typeof(field.value) WHEN 'object' THEN field.value END) AS part
), number AS (
    SELECT host, hour, source, field, part,
        (array_agg(value ORDER BY at DESC))[1] AS newest,
        sum(value::numeric) FILTER (WHERE jsonb_typeof(value) = 'number') AS sum,
        avg(value::numeric) FILTER (WHERE jsonb_typeof(value) = 'number') AS mean,
        max(value::numeric) FILTER (WHERE jsonb_typeof(value) = 'number') AS most,
        min(value::numeric) FILTER (WHERE jsonb_typeof(value) = 'number') AS least
    FROM leaf GROUP BY host, hour, source, field, part
), whole AS (
    SELECT host, hour, source, field, part,
        CASE
            WHEN field IN ('lag_bytes', 'lag_seconds', 'gap_seconds_today') THEN to_jsonb(most)
            WHEN field = 'attempts_left' THEN to_jsonb(least)
            WHEN field LIKE '%\_per\_s' THEN to_jsonb(round(mean, 3))
            WHEN sum IS NOT NULL THEN to_jsonb(sum)
            ELSE newest
        END AS value
    FROM number
), of_field AS (
    SELECT host, hour, source, field,
        CASE jsonb_typeof((array_agg(value ORDER BY part))[1])
            WHEN 'object'
                THEN coalesce(jsonb_object_agg(part, value) FILTER (WHERE part <> ''), '{}')
            ELSE (array_agg(value ORDER BY part))[1]
        END AS value
    FROM whole GROUP BY host, hour, source, field
), of_source AS (
    SELECT host, hour, source, jsonb_object_agg(field, value) AS value
    FROM of_field GROUP BY host, hour, source
), of_hour AS (
    SELECT host, hour, jsonb_object_agg(source, value) AS sources
    FROM of_source GROUP BY host, hour
)
INSERT INTO machine_minutes (
    host, at, minutes, cpu_percent, cpu_percent_max, load, memory_used, memory_total,
    network_received, network_sent, process_memory, process_files, loop_lag_max, journal_lag_bytes,
    journal_lag_seconds, commit_p50, commit_p99, batch_frames, database_up, database_size,
    database_connections, oldest_transaction, partitions, volumes, sources, tables)
SELECT host, hour, 60, avg(cpu_percent), max(cpu_percent_max), avg(load), avg(memory_used),
    max(memory_total), sum(network_received), sum(network_sent), max(process_memory),
    max(process_files), max(loop_lag_max), max(journal_lag_bytes), max(journal_lag_seconds),
    avg(commit_p50), max(commit_p99), avg(batch_frames), avg(database_up),
    (array_agg(database_size ORDER BY at DESC))[1], max(database_connections),
    max(oldest_transaction), (array_agg(partitions ORDER BY at DESC))[1],
    (array_agg(volumes ORDER BY at DESC))[1],
    coalesce((array_agg(of_hour.sources))[1], '{}'),
    (array_agg(tables ORDER BY at DESC))[1]
FROM gone LEFT JOIN of_hour USING (host, hour)
GROUP BY host, hour
ON CONFLICT (host, at) DO NOTHING
"""
_PRUNE = "DELETE FROM machine_minutes WHERE at < now() - make_interval(days => $1)"


class Minutes:
    """Minutes on their way into the table."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.waiting: deque[MachineMinute] = deque(maxlen=WAITING)

    async def write(self) -> None:
        """Write what waits. DatabaseAway leaves it waiting; what Postgres refuses is given up."""
        if not self.waiting:
            return
        async with self.database.acquire() as connection:
            while self.waiting:
                minute = self.waiting[0]
                try:
                    with meaning():
                        await add(connection, minute)
                except RowRefused:
                    self._done(minute)
                    raise
                self._done(minute)

    def _done(self, minute: MachineMinute) -> None:
        # While it was written, a full deque may have let it go.
        if self.waiting and self.waiting[0] is minute:
            self.waiting.popleft()


async def add(connection: Executor, minute: MachineMinute) -> None:
    """Write one row; the same one twice makes no difference."""
    values = msgspec.structs.asdict(minute)
    for name in ("volumes", "sources", "tables"):
        values[name] = msgspec.json.encode(values[name])
    await connection.execute(_ADD, *values.values())


async def roll_up(connection: Executor, days: int) -> None:
    """Make one row an hour of the minutes that are older than so many days."""
    await connection.execute(_ROLL_UP, days)


async def prune(connection: Executor, days: int) -> None:
    """Remove what is older than so many days."""
    await connection.execute(_PRUNE, days)
