"""The locks by which one daemon is the collector of a source, all over one connection.

When Postgres goes away the locks go with it, but nobody else can take them then either: a lock
counts as ours until Postgres is back and somebody else was faster.
"""

import asyncio
import contextlib

from stream import sources
from stream.db import Database, Executor
from stream.errors import DatabaseAway
from stream.tweet import SourceId

LOOK_EVERY = 1.0  # seconds between two attempts to take what others have, and to be heard


class Lock:
    """What one collector sees of its lock."""

    def __init__(self) -> None:
        self.ours: bool | None = None  # None: not known yet
        self._changed = asyncio.Event()

    def set(self, *, ours: bool) -> None:
        if ours is not self.ours:
            self.ours = ours
            self._changed.set()

    async def until(self, *, ours: bool) -> None:
        """Wait until it is ours, or somebody else's."""
        while self.ours is not ours:
            self._changed.clear()
            await self._changed.wait()


class Locks:
    """Takes the locks that are wanted, and tries again for those that others have."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._wanted: dict[SourceId, Lock] = {}
        self._held: set[SourceId] = set()  # over the connection of this moment
        self._changed = asyncio.Event()

    def want(self, source_id: SourceId) -> Lock:
        """Try to get this one from now on."""
        lock = self._wanted[source_id] = Lock()
        self._changed.set()
        return lock

    def release(self, source_id: SourceId) -> None:
        """Let somebody else have it."""
        self._wanted.pop(source_id, None)
        self._changed.set()

    def others_have(self, source_id: SourceId) -> bool:
        """Whether another daemon is known to have it."""
        lock = self._wanted.get(source_id)
        return lock is not None and lock.ours is False

    async def run(self) -> None:
        """Hold the locks until cancelled."""
        while True:
            with contextlib.suppress(DatabaseAway):
                async with self.database.dedicated() as connection:
                    self._held.clear()
                    while True:
                        await self._take_and_give(connection)
                        await self._pause()
            await asyncio.sleep(LOOK_EVERY)

    async def _take_and_give(self, connection: Executor) -> None:
        for source_id in self._held - self._wanted.keys():
            await sources.unlock(connection, source_id)
            self._held.discard(source_id)
        for source_id, lock in list(self._wanted.items()):
            if source_id not in self._held:
                ours = await sources.try_lock(connection, source_id)
                if ours:
                    self._held.add(source_id)
                lock.set(ours=ours)
        await connection.execute("SELECT 1")

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await self._changed.wait()
        self._changed.clear()
