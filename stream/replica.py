"""Reads from a streaming replica while it keeps up, and from the primary otherwise."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime

import msgspec

from stream.db import Database, Executor, connect
from stream.errors import ConfigError, DatabaseAway
from stream.guarded_database import GuardedDatabase, answer_within
from stream.store import migrations, server

logger = logging.getLogger(__name__)

CHECK_INTERVAL = 1.0  # seconds between two looks at how far the replica is
CHECK_TIMEOUT = 5.0  # seconds for its answer
OTHER_DATABASE = "it is the standby of another database"
SAMPLES = 3600  # positions of the primary that are kept, one for each look


class ReplicaStatus(msgspec.Struct, frozen=True):
    """Where reads go, and how far the replica is behind its primary; None: that is not known."""

    used: bool
    reason: str  # why reads go to the primary; empty: they go to the replica
    lag_seconds: float | None
    lag_bytes: int | None


class Lag:
    """How far a replica is behind, by the positions that the primary had; no clock is compared."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES)  # loop time, position

    def add(self, at: float, position: int) -> None:
        """Note a position of the primary; a promoted one may be behind the one before it."""
        if self._samples and position < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((at, position))

    def of(self, replayed: int, now: float) -> tuple[float | None, int | None]:
        """Seconds since the primary had what the replica lacks, and bytes."""
        if not self._samples:
            return None, None
        missing = next((at for at, position in self._samples if position > replayed), now)
        return now - missing, max(0, self._samples[-1][1] - replayed)


class Replica:
    """Connections for reads that need not see the newest commit.

    Without a replica, and while it is away or lags by more than `max_lag` seconds, these are
    connections to the primary.
    """

    def __init__(self, primary: GuardedDatabase, url: str = "", max_lag: float = 0.0) -> None:
        self._primary = primary
        self._url = url
        self._max_lag = max_lag
        self._database: GuardedDatabase | None = None
        self._lag = Lag()
        self._created: datetime | None = None  # the database, as far as is known
        self.status: ReplicaStatus | None = None  # None: there is no replica
        if url:
            self._set("it was not looked at yet")

    @contextlib.asynccontextmanager
    async def acquire(self, position: int = 0) -> AsyncIterator[Executor]:
        """A connection to a server that has everything up to this position of the primary."""
        async with contextlib.AsyncExitStack() as opened:
            connection = await self._connection(opened, position)
            if connection is None:
                connection = await opened.enter_async_context(self._primary.acquire())
            yield connection

    @contextlib.asynccontextmanager
    async def beside(self, primary: Executor, position: int | None = 0) -> AsyncIterator[Executor]:
        """As `acquire`, for one who has a connection to the primary; None: only that will do."""
        async with contextlib.AsyncExitStack() as opened:
            connection = None
            if position is not None:
                connection = await self._connection(opened, position)
            yield primary if connection is None else connection

    async def position(self, connection: Executor) -> int:
        """What a server must have that continues what was read here; 0 without a replica."""
        return await server.wal_position(connection) if self._url else 0

    async def _connection(
        self, opened: contextlib.AsyncExitStack, position: int
    ) -> "Executor | None":
        """A connection to the replica, if it is used and has this position."""
        if self._database is None or self.status is None or not self.status.used:
            return None
        try:
            connection = await opened.enter_async_context(self._database.acquire())
            is_there = not position or await server.wal_position(connection) >= position
        except DatabaseAway as error:
            self._set(f"it cannot be reached: {error}")
            return None
        return connection if is_there else None

    # -- how far it is ----------------------------------------------------------------------------

    async def watch(self, connections: int) -> None:
        """Use the replica and look at it until cancelled; `connections` at most."""
        async with connect(self._url, connections, standby=True) as pool:
            database = self._database = GuardedDatabase(pool)
            async with pool.separate_pool(1) as own, asyncio.TaskGroup() as group:
                group.create_task(database.watch(), name="replica guard")
                while True:
                    await self._look(own)
                    await asyncio.sleep(CHECK_INTERVAL)

    async def _look(self, replica: Database) -> None:
        clock = asyncio.get_running_loop().time
        with contextlib.suppress(DatabaseAway):  # what it had last still tells how far it is
            async with self._primary.acquire() as connection:
                self._lag.add(clock(), await server.wal_position(connection))
                self._created = await migrations.created_at(connection)
        try:
            replayed, created = await answer_within(CHECK_TIMEOUT, lambda: _looked_at(replica))
        except (DatabaseAway, ConfigError) as error:
            self._set(f"it cannot be reached: {error}")
            return
        except TimeoutError:
            self._set("it does not answer")
            return
        if replayed is None:
            self._set("it is no replica: it can be written to")
            return
        if self._created is not None and created != self._created:
            self._set(OTHER_DATABASE)
            return
        seconds, number = self._lag.of(replayed, clock())
        late = seconds is not None and seconds > self._max_lag
        self._set(f"it is {seconds:.0f} s behind" if late else "", seconds, number)

    def _set(self, reason: str, seconds: float | None = None, number: int | None = None) -> None:
        before = self.status
        self.status = ReplicaStatus(not reason, reason, seconds, number)
        if before is None or before.used == self.status.used:
            return
        if reason:
            logger.warning("reads go to the primary, not to the replica", extra={"why": reason})
        else:
            logger.info("reads go to the replica again")


async def _looked_at(replica: Database) -> tuple[int | None, datetime | None]:
    """How far the replica has replayed, None when it is a primary; and when it was created."""
    async with replica.acquire() as connection:
        return (
            await server.replayed_position(connection),
            await migrations.created_at(connection),
        )
