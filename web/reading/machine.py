"""What was measured of the machines, as lines over time."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, get_args

import msgspec

from stream.db import Executor, Row

Span = Literal["hour", "day", "week", "month"]
SPANS: tuple[Span, ...] = get_args(Span)
MINUTE, HOUR = 60, 3600  # seconds
_STEPS: Mapping[Span, tuple[timedelta, timedelta]] = {  # length, and of each step
    "hour": (timedelta(hours=1), timedelta(minutes=1)),
    "day": (timedelta(days=1), timedelta(minutes=5)),
    "week": (timedelta(days=7), timedelta(hours=1)),
    "month": (timedelta(days=30), timedelta(hours=4)),
}

# From machine to machine by the index: there are a million rows and few machines.
_HOSTS = """
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
_LINES = """
SELECT date_bin($3, at, 'epoch') AS time,
    avg(cpu_percent) AS cpu, max(cpu_percent_max) AS cpu_max,
    avg(memory_used) AS memory, max(process_memory) AS process,
    max(journal_lag_bytes) AS waiting, max(journal_lag_seconds) AS lag,
    avg(commit_p50) AS p50, max(commit_p99) AS p99,
    max(database_size) AS database
FROM machine_minutes WHERE host = $1 AND at >= $2 GROUP BY 1
"""
_FREE = """
SELECT time, volume.key AS volume, (volume.value ->> 'free')::bigint AS free
FROM unnest($2::timestamptz[]) AS time
CROSS JOIN LATERAL (
    SELECT volumes FROM machine_minutes
    WHERE host = $1 AND at >= time AND at < time + $3 ORDER BY host DESC, at DESC LIMIT 1
) AS last
CROSS JOIN LATERAL jsonb_each(volumes) AS volume
"""
_TWEETS = """
SELECT date_bin($2, {at}, 'epoch') AS time, sum(frames)::bigint AS tweets
FROM {table}
WHERE {at} >= $1 AND outcome IN ('stored', 'unmatched')
  AND source_id = ANY (ARRAY(SELECT id FROM sources)) GROUP BY 1
"""


class Newest(msgspec.Struct, frozen=True):
    """The last thing that was measured of a machine."""

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


class Line(msgspec.Struct, frozen=True):
    """A series as charts.js wants it: a value for each of the chart's times."""

    label: str
    values: Sequence[float | None]
    unit: str | None = None


class Lines(msgspec.Struct, frozen=True):
    """All that is drawn of one machine over one span, by the name of the chart."""

    times: Sequence[int]  # seconds since 1970, when each step begins
    charts: Mapping[str, Sequence[Line]]


async def machines(connection: Executor) -> list[Newest]:
    """The machines of the last month, the one measured last first."""
    return [Newest(**row) for row in await connection.fetch(_HOSTS)]


async def lines(connection: Executor, host: str, span: Span, now: datetime) -> Lines:
    """Everything that is measured, in some hundred steps; the last one is the one of now.

    Only of the last hour the minute of now is left out: it has not been measured yet.
    """
    length, step = _STEPS[span]
    seconds = int(step.total_seconds())
    end = int(now.timestamp()) // seconds * seconds + (seconds if seconds > MINUTE else 0)
    times = range(end - int(length.total_seconds()), end, seconds)
    begin = datetime.fromtimestamp(times.start, now.tzinfo)
    measured = {_key(row): row for row in await connection.fetch(_LINES, host, begin, step)}
    moments = [datetime.fromtimestamp(time, now.tzinfo) for time in times]
    free = await connection.fetch(_FREE, host, moments, step)
    at, table = ("hour", "source_hours") if seconds >= HOUR else ("minute", "source_minutes")
    came = await connection.fetch(_TWEETS.format(at=at, table=table), begin, step)
    tweets = {_key(row): row["tweets"] for row in came}

    def line(name: str, label: str, unit: str | None = None) -> Line:
        found = (measured.get(time) for time in times)
        return Line(label, [None if row is None else _rounded(row[name]) for row in found], unit)

    rates = [_rate(tweets.get(time, 0), seconds, now.timestamp() - time) for time in times]
    return Lines(times, _charts(line, _volumes(times, free), rates))


def _rate(tweets: int, seconds: float, passed: float) -> float | None:
    """A second; None in a step that has hardly begun."""
    return None if passed < MINUTE else round(tweets / min(seconds, passed), 3)


def _charts(
    line: Callable[..., Line], volumes: Sequence[Line], rates: Sequence[float | None]
) -> Mapping[str, Sequence[Line]]:
    return {
        "tweets": [Line("Tweets a second", rates)],
        "cpu": [line("cpu", "Mean", "percent"), line("cpu_max", "Most", "percent")],
        "memory": [
            line("memory", "Of the machine", "bytes"),
            line("process", "Of the collector", "bytes"),
        ],
        "disk": volumes,
        "lag": [line("lag", "The oldest waits", "seconds")],
        "waiting": [line("waiting", "Bytes that wait", "bytes")],
        "latency": [
            line("p50", "Half of them", "seconds"),
            line("p99", "99 of 100", "seconds"),
        ],
        "database": [line("database", "Database", "bytes")],
    }


def _volumes(times: Sequence[int], rows: Sequence[Row]) -> list[Line]:
    names = sorted({row["volume"] for row in rows})
    free = {(row["volume"], _key(row)): row["free"] for row in rows}
    return [
        Line(f"Free for {name}", [free.get((name, time)) for time in times], "bytes")
        for name in names
    ]


def _key(row: Row) -> int:
    return int(row["time"].timestamp())


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
