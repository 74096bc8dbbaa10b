"""Postgres, as seen from here: whether it answers, how large it is, who is busy in it."""

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec

from monitor.reading import DatabaseReading
from stream.db import Database
from stream.errors import TwitterstreamError

ANSWER = 5.0  # seconds; a server that takes longer for nothing at all is not up
LONGEST_ERROR = 500  # characters

# Of the transactions of others only those count that may hold up the cleaning of our tables.
_QUICK = """
SELECT count(*)::integer AS connections,
       current_setting('max_connections')::integer AS connections_max,
       -- One that began after ours has no age yet.
       coalesce(greatest(extract(epoch FROM now() - min(xact_start) FILTER (
           WHERE datname = current_database() AND pid <> pg_backend_pid())), 0), 0)::float8
           AS oldest_transaction
FROM pg_stat_activity WHERE backend_type = 'client backend'
"""
_SIZE = "SELECT pg_database_size(current_database()) AS size"
_TABLES = r"""
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
_FOLDER = """
SELECT setting FROM pg_settings
WHERE name = 'data_directory' AND inet_server_addr() IS NOT DISTINCT FROM inet_client_addr()
"""


class _Busy(msgspec.Struct, frozen=True):
    """What every reading asks."""

    connections: int
    connections_max: int
    oldest_transaction: float  # seconds


class _Sizes(msgspec.Struct, frozen=True):
    """What is asked rarely."""

    size: int
    tables: Mapping[str, int]
    partitions: int
    days_ahead: int


class DatabaseProbe:
    """Asks; while nobody answers, the last sizes stay."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.up: bool | None = None  # None: not asked yet
        self.folder: Path | None = None  # of the server, when it is on this machine
        self._error = ""
        self._since = time.time()
        self._busy: _Busy | None = None
        self._sizes: _Sizes | None = None

    async def look(self) -> DatabaseReading:
        """Ask whether it is up; that it is not is no error but a finding."""
        try:
            async with asyncio.timeout(ANSWER):
                [row] = await self.database.fetch(_QUICK)
        except TimeoutError:
            self._note(f"no answer within {ANSWER:g} s")
        except TwitterstreamError as error:
            self._note(str(error)[:LONGEST_ERROR])
        else:
            self._busy = _Busy(**row)
            self._note("")
        return self._reading()

    def _note(self, error: str) -> None:
        up = not error
        if up is not self.up:
            self.up, self._since = up, time.time()
        if not up:
            self._busy = None
        self._error = error

    def _reading(self) -> DatabaseReading:
        busy, sizes = self._busy, self._sizes
        return DatabaseReading(
            up=bool(self.up),
            error=self._error,
            since=self._since,
            size=sizes.size if sizes else None,
            tables=sizes.tables if sizes else {},
            partitions=sizes.partitions if sizes else None,
            days_ahead=sizes.days_ahead if sizes else None,
            connections=busy.connections if busy else None,
            connections_max=busy.connections_max if busy else None,
            oldest_transaction=busy.oldest_transaction if busy else None,
        )

    async def look_at_sizes(self, database: Database) -> None:
        """Ask how large everything is. DatabaseAway when it cannot."""
        async with database.acquire() as connection:
            [size] = await connection.fetch(_SIZE)
            tables = await connection.fetch(_TABLES)
            partitions = [row["name"] for row in await connection.fetch(_PARTITIONS)]
            folders = await connection.fetch(_FOLDER)
        self.folder = Path(folders[0]["setting"]) if folders else None
        self._sizes = _Sizes(
            size["size"],
            {row["name"]: row["bytes"] for row in tables},
            len(partitions),
            days_ahead(partitions, datetime.now(UTC).date()),
        )


def days_ahead(partitions: Iterable[str], today: date) -> int:
    """For so many days after today there are partitions, without a hole."""
    found = {name for name in partitions if re.search(r"_\d{8}$", name)}
    ahead = 0
    while all(
        f"{parent}_{today + timedelta(ahead + 1):%Y%m%d}" in found
        for parent in ("tweets", "matches")
    ):
        ahead += 1
    return ahead
