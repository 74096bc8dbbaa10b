"""Machine history: the table machine_minutes, a row per machine and minute, later per hour."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from stream.db import Executor

# Two daemons on one machine share its row. Each adds its sources; where one collects what the other
# stores, each has numbers of the source that are 0 for the other. Writing it twice changes nothing.
_INSERT_MINUTE = """
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
    sources = (
        SELECT coalesce(jsonb_object_agg(source, fields), '{}')
        FROM (
            SELECT source, jsonb_object_agg(field, value) AS fields
            FROM (
                SELECT source.key AS source, field.key AS field,
                    (array_agg(field.value ORDER BY field.value DESC))[1] AS value
                FROM (VALUES (known.sources), (excluded.sources)) AS of_daemon (sources),
                    jsonb_each(of_daemon.sources) AS source, jsonb_each(source.value) AS field
                GROUP BY source.key, field.key
            ) AS each_field
            GROUP BY source
        ) AS each_source
    ),
    tables = known.tables || excluded.tables
WHERE known.minutes = 1
"""

# The deleted rows are summed up into new ones, whole hours only; a minute that is written after its
# hour was rolled up is too late. In `sources` numbers are added up, except those that are levels.
_ROLL_UP = r"""
WITH expired AS (
    DELETE FROM machine_minutes
    WHERE minutes = 1 AND at < date_trunc('hour', now() - make_interval(days => $1), 'UTC')
    RETURNING *, date_trunc('hour', at, 'UTC') AS hour
), field AS (
    SELECT host, hour, at, source.key AS source, field.key AS field, field.value
    FROM expired, jsonb_each(sources) AS source, jsonb_each(source.value) AS field
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
FROM expired LEFT JOIN of_hour USING (host, hour)
GROUP BY host, hour
ON CONFLICT (host, at) DO NOTHING
"""
# From machine to machine by the index: there are a million rows and few machines.
_NEWEST_OF_HOSTS = """
WITH RECURSIVE hosts (host) AS (
    (SELECT host FROM machine_minutes ORDER BY host LIMIT 1)
    UNION ALL
    SELECT (SELECT host FROM machine_minutes WHERE host > hosts.host ORDER BY host LIMIT 1)
    FROM hosts WHERE hosts.host IS NOT NULL
)
SELECT hosts.host, newest.* FROM hosts
CROSS JOIN LATERAL (
    SELECT at, cpu_percent, cpu_percent_max, load, memory_used, memory_total, process_memory,
        journal_lag_bytes, journal_lag_seconds, commit_p50, commit_p99, database_up, database_size,
        database_connections
    FROM machine_minutes WHERE host = hosts.host ORDER BY host DESC, at DESC LIMIT 1
) AS newest
WHERE hosts.host IS NOT NULL AND at > now() - interval '30 days'
ORDER BY at DESC, hosts.host LIMIT 50
"""
_AVERAGES = """
SELECT date_bin($3, at, 'epoch') AS time,
    avg(cpu_percent)::double precision AS cpu,
    max(cpu_percent_max)::double precision AS cpu_max,
    avg(memory_used)::double precision AS memory,
    max(process_memory)::double precision AS process,
    max(journal_lag_bytes)::double precision AS waiting,
    max(journal_lag_seconds)::double precision AS lag,
    avg(commit_p50)::double precision AS p50, max(commit_p99)::double precision AS p99,
    max(database_size)::double precision AS database
FROM machine_minutes WHERE host = $1 AND at >= $2 GROUP BY 1
"""
_FREE_SPACE = """
SELECT time, volume.key AS volume, (volume.value ->> 'free')::bigint AS free
FROM unnest($2::timestamptz[]) AS time
CROSS JOIN LATERAL (
    SELECT volumes FROM machine_minutes
    WHERE host = $1 AND at >= time AND at < time + $3 ORDER BY host DESC, at DESC LIMIT 1
) AS last
CROSS JOIN LATERAL jsonb_each(volumes) AS volume
"""
_DELETE_OLD = "DELETE FROM machine_minutes WHERE at < now() - make_interval(days => $1)"


class SourceMinute(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one source delivered in a minute: an entry of machine_minutes.sources."""

    network: str
    state: str
    frames: int
    tweets: int  # new ones, matched or not
    bytes: int
    duplicates: int
    unmatched: int
    rejected: int
    rejects: Mapping[str, int]  # by reason
    reconnects: Mapping[str, int]  # by cause
    attempts: int
    gap_seconds_today: float
    lag_bytes: int  # the greatest
    lag_seconds: float  # the greatest
    frames_per_s: float
    tweets_per_s: float
    bytes_per_s: float
    attempts_left: int | None = None  # the least


class MachineMinute(msgspec.Struct, frozen=True):
    """A row of machine_minutes: its columns, in their order."""

    host: str
    at: datetime
    cpu_percent: float
    cpu_percent_max: float
    load: float
    memory_used: int
    memory_total: int
    network_received: int
    network_sent: int
    process_memory: int
    process_files: int
    loop_lag_max: float
    journal_lag_bytes: int
    journal_lag_seconds: float
    commit_p50: float | None
    commit_p99: float | None
    batch_frames: float | None
    database_up: float
    database_size: int | None
    database_connections: int | None
    oldest_transaction: float | None
    partitions: int | None
    volumes: Mapping[str, Mapping[str, object]]
    sources: Mapping[str, SourceMinute]
    tables: Mapping[str, int]


class LatestMinute(msgspec.Struct, frozen=True):
    """The newest row of a machine."""

    host: str
    at: datetime
    cpu_percent: float
    cpu_percent_max: float
    load: float
    memory_used: int
    memory_total: int
    process_memory: int
    journal_lag_bytes: int
    journal_lag_seconds: float
    commit_p50: float | None
    commit_p99: float | None
    database_up: float
    database_size: int | None
    database_connections: int | None


class Averages(msgspec.Struct, frozen=True):
    """What was measured of a machine in the step that begins at this time."""

    time: datetime
    cpu: float
    cpu_max: float
    memory: float
    process: float
    waiting: float
    lag: float
    p50: float | None
    p99: float | None
    database: float | None


class FreeSpace(msgspec.Struct, frozen=True):
    """Bytes free on a volume at the end of the step that begins at this time."""

    time: datetime
    volume: str
    free: int


async def insert(connection: Executor, minute: MachineMinute) -> None:
    """Write one row; writing it twice makes no difference."""
    values = msgspec.structs.asdict(minute)
    for name in ("volumes", "sources", "tables"):
        values[name] = msgspec.json.encode(values[name])
    await connection.execute(_INSERT_MINUTE, *values.values())


async def roll_up(connection: Executor, days: int) -> None:
    """Replace minutes older than `days` with one row per hour."""
    await connection.execute(_ROLL_UP, days)


async def prune(connection: Executor, days: int) -> None:
    """Delete rows older than `days`."""
    await connection.execute(_DELETE_OLD, days)


async def latest_of_hosts(connection: Executor) -> list[LatestMinute]:
    """The machines of the last 30 days, the one measured last first."""
    return [LatestMinute(**row) for row in await connection.fetch(_NEWEST_OF_HOSTS)]


async def averages(
    connection: Executor, host: str, begin: datetime, step: timedelta
) -> list[Averages]:
    """What was measured of a machine, by steps; without those in which nothing was."""
    return [Averages(**row) for row in await connection.fetch(_AVERAGES, host, begin, step)]


async def free_space(
    connection: Executor, host: str, times: Sequence[datetime], step: timedelta
) -> list[FreeSpace]:
    """Bytes free on each volume of a machine, in steps that begin at these times."""
    rows = await connection.fetch(_FREE_SPACE, host, list(times), step)
    return [FreeSpace(**row) for row in rows]
