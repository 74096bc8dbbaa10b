"""What Postgres reports: about itself, the health of all components, and disks; its set-up."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from stream.db import Executor

# Other databases' transactions do not matter: only ours can delay the cleaning of our tables.
_ACTIVITY = """
SELECT count(*)::integer AS connections,
       current_setting('max_connections')::integer AS connections_max,
       -- One that began after ours has no age yet.
       coalesce(greatest(extract(epoch FROM now() - min(xact_start) FILTER (
           WHERE datname = current_database() AND pid <> pg_backend_pid())), 0), 0)::float8
           AS oldest_transaction
FROM pg_stat_activity WHERE backend_type = 'client backend'
"""
# A transaction has a number once it has locked or changed a row.
_WRITING = """
SELECT backend_xid::text AS number FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL
"""
_DATABASE_SIZE = "SELECT pg_database_size(current_database()) AS size"
_TABLE_SIZES = r"""
SELECT regexp_replace(relname, '^(tweets|matches)_\d{8}$', '\1') AS name,
       coalesce(sum(pg_total_relation_size(oid)), 0)::bigint AS bytes
FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
GROUP BY 1 ORDER BY 1
"""
_PARTITIONS = """
SELECT inhrelid::regclass::text AS name FROM pg_inherits
WHERE inhparent IN ('tweets'::regclass, 'matches'::regclass)
"""
# A null address is a socket of this machine. Only some roles may know the folder.
_LOCAL_FOLDER = """
SELECT setting FROM pg_settings
WHERE name = 'data_directory' AND inet_server_addr() IS NOT DISTINCT FROM inet_client_addr()
"""
_VERSION = """
SELECT current_setting('server_version_num')::integer AS number,
       current_setting('server_version') AS text,
       current_setting('server_encoding') AS encoding,
       current_setting('fsync') AS fsync,
       extract(epoch FROM clock_timestamp())::double precision AS now
"""
# Positions in the write-ahead log, in bytes.
_WAL_POSITION = """
SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
    ELSE pg_current_wal_insert_lsn() END - '0/0')::bigint AS position
"""
_REPLAYED_POSITION = """
SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint AS position WHERE pg_is_in_recovery()
"""
# Only some roles see these figures of another one's standbys.
_STANDBYS = """
SELECT application_name AS name, max(pg_current_wal_lsn() - replay_lsn)::bigint AS bytes,
    max(coalesce(extract(epoch FROM replay_lag), 0))::double precision AS seconds
FROM pg_stat_replication WHERE replay_lsn IS NOT NULL GROUP BY application_name
"""
# The last commit that it shows may be old because the primary is idle.
_REPLAY_DELAY = """
SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS seconds
"""
_TRY_LEADER_LOCK = "SELECT pg_try_advisory_lock($1, $2) AS ours"
_MONITOR_LOCKS, _LEADER_LOCK = 0x7478, 0  # the two keys of an advisory lock
_CHECKS = "SELECT component, subject, ok, since, sentence, about FROM stats_health"
_OVERALL = "SELECT ok, since, sentence FROM stats_health LIMIT 1"
_FORECAST = """
SELECT host, volume, path, at, coalesce(used + free, total) AS usable, free, bytes_per_day,
    days_until_full::double precision AS days_until_full
FROM stats_forecast
ORDER BY host, volume
"""


class Activity(msgspec.Struct, frozen=True):
    """Connections to the server, and the oldest transaction in this database."""

    connections: int
    connections_max: int
    oldest_transaction: float  # seconds


class Sizes(msgspec.Struct, frozen=True):
    """Bytes on the server's disk."""

    database: int
    tables: Mapping[str, int]  # with indexes; partitions are added up


class StandbyLag(msgspec.Struct, frozen=True):
    """How far a standby that is connected to the primary is behind."""

    name: str  # its application_name
    bytes: int
    seconds: float


async def standbys(connection: Executor) -> list[StandbyLag]:
    """The standbys that stream from this primary."""
    return [StandbyLag(**row) for row in await connection.fetch(_STANDBYS)]


async def wal_position(connection: Executor) -> int:
    """A position in the write-ahead log that includes all that this server shows."""
    [row] = await connection.fetch(_WAL_POSITION)
    return int(row["position"])


async def replayed_position(connection: Executor) -> int | None:
    """How far a standby shows what its primary has written; None for a primary."""
    rows = await connection.fetch(_REPLAYED_POSITION)
    return int(rows[0]["position"]) if rows else None


async def replay_delay(connection: Executor) -> float | None:
    """Seconds since the last commit that a standby shows, by the clocks of both; None: none yet."""
    [row] = await connection.fetch(_REPLAY_DELAY)
    return None if row["seconds"] is None else float(row["seconds"])


async def activity(connection: Executor) -> Activity:
    [row] = await connection.fetch(_ACTIVITY)
    return Activity(**row)


async def writing(connection: Executor) -> set[str]:
    """The numbers of the other transactions that have locked or changed rows, and not ended."""
    return {row["number"] for row in await connection.fetch(_WRITING)}


async def sizes(connection: Executor) -> Sizes:
    [size] = await connection.fetch(_DATABASE_SIZE)
    tables = await connection.fetch(_TABLE_SIZES)
    return Sizes(size["size"], {row["name"]: row["bytes"] for row in tables})


async def partitions(connection: Executor) -> Sequence[str]:
    """The names of the daily partitions of tweets and matches."""
    return [row["name"] for row in await connection.fetch(_PARTITIONS)]


async def local_folder(connection: Executor) -> Path | None:
    """The server's data folder; None when it is on another machine, or may not be known."""
    rows = await connection.fetch(_LOCAL_FOLDER)
    return Path(rows[0]["setting"]) if rows else None


async def try_leader_lock(connection: Executor) -> bool:
    """Whether this session holds the lock that one daemon of a database has, its leader."""
    [row] = await connection.fetch(_TRY_LEADER_LOCK, _MONITOR_LOCKS, _LEADER_LOCK)
    ours: bool = row["ours"]
    return ours


async def ping(connection: Executor) -> None:
    """DatabaseAway when the connection is lost."""
    await connection.fetch("SELECT 1")


class Version(msgspec.Struct, frozen=True):
    """Which server answers, how it is set up, and what time it has."""

    number: int  # server_version_num
    text: str
    encoding: str
    fsync: str
    now: float  # seconds since 1970


async def version(connection: Executor) -> Version:
    [row] = await connection.fetch(_VERSION)
    return Version(**row)


class HealthCheck(msgspec.Struct, frozen=True):
    """A component, and whether it works."""

    component: str
    subject: str
    ok: bool
    since: datetime | None
    sentence: str
    about: str  # the same for an alert and for what it is about


class OverallHealth(msgspec.Struct, frozen=True):
    """Whether all is well, in a sentence."""

    ok: bool
    since: datetime | None  # when the trouble began, if there is any
    sentence: str


class VolumeForecast(msgspec.Struct, frozen=True):
    """A disk with our data, and when it will be full at its present growth."""

    host: str
    volume: str
    path: str | None
    at: datetime
    usable: int  # bytes, without those that only root may use: alerts count the same way
    free: int
    bytes_per_day: int | None
    days_until_full: float | None


async def health_checks(connection: Executor) -> list[HealthCheck]:
    """All components, those with trouble first; the first one is the whole program."""
    return [HealthCheck(**row) for row in await connection.fetch(_CHECKS)]


async def overall_health(connection: Executor) -> OverallHealth:
    [row] = await connection.fetch(_OVERALL)
    return OverallHealth(**row)


async def disk_forecast(connection: Executor) -> list[VolumeForecast]:
    """Every disk with our data, by machine and name."""
    return [VolumeForecast(**row) for row in await connection.fetch(_FORECAST)]


def role_password(role: str, password: str) -> str:
    """Give a role this password."""
    return f"ALTER ROLE {role} PASSWORD '{password}';\n"


def new_database(name: str) -> str:
    """Create a database of this name."""
    return f"CREATE DATABASE {name};\n"
