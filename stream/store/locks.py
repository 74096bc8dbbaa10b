"""Advisory locks: one collector for each source, one writer for each lane, one copier to cells."""

import asyncio
import contextlib
import math
from datetime import datetime

from stream.db import Database, Executor
from stream.errors import DatabaseAway
from stream.store import server

# The first key of each lock; the second is the number of what it is about.
SOURCE_LOCK_CLASS = 0x7477  # of collectors: the source's id
LANE_LOCK_CLASS = 0x747B  # of writers: the lane's id
CELL_LOCK_CLASS = 0x747C  # of the daemon that copies to cells: always 1
RETRY_INTERVAL = 1.0  # seconds between two attempts at a lock, and between two checks of it
FRESH = 5.0  # seconds; what was known longer ago may have changed while this process stood still
CONFIRM_WITHIN = 3.0  # seconds
# How long, after an outage of Postgres, who had a lock before it may take it again unchallenged.
HOLDER_FIRST = 5.0  # seconds

# Of a connection that holds locks, without a sign of life.
_EXPIRE = "SET idle_session_timeout = '20s'"
_LOCK = "SELECT pg_try_advisory_lock($1, $2) AS ours"
_UNLOCK = "SELECT pg_advisory_unlock($1, $2)"
_SESSION = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
# Waits until it is gone, up to 5 s. After a restart of the server the number may be another one's.
_END_SESSION = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2
"""


async def try_lock(connection: Executor, number: int, lock_class: int) -> bool:
    """Try to take a lock, for as long as the connection lives."""
    [row] = await connection.fetch(_LOCK, lock_class, number)
    return bool(row["ours"])


async def unlock(connection: Executor, number: int, lock_class: int) -> None:
    """Let another daemon take this lock."""
    await connection.execute(_UNLOCK, lock_class, number)


class Lock:
    """Whether this daemon holds a lock."""

    def __init__(self) -> None:
        self.ours: bool | None = None  # None: not known yet
        self.was_others = False  # another daemon has held it since it was requested
        self._changed = asyncio.Event()

    def set(self, *, ours: bool) -> None:
        if ours is not self.ours:
            self.ours = ours
            self.was_others |= not ours
            self._changed.set()

    async def until(self, *, ours: bool) -> None:
        """Wait until this daemon holds it, or another one does."""
        while self.ours is not ours:
            self._changed.clear()
            await self._changed.wait()


class Locks:
    """Takes requested locks of one class, over one connection, and retries those of other daemons.

    When Postgres goes away the locks are lost, but no other daemon can take them then either: a
    lock counts as ours until Postgres is back and another daemon has taken it. The others leave
    each to its former holder for a while, as that may have gone on without Postgres. Of a daemon
    that stands still, as its machine may, the server ends the connection, and another one takes
    over.
    """

    def __init__(self, database: Database, lock_class: int) -> None:
        self.database = database
        self.limit: int | None = None  # how many to hold at most
        self._class = lock_class
        self._wanted: dict[int, Lock] = {}
        self._held: set[int] = set()  # over the current connection
        self._session: tuple[int, datetime] | None = None  # the server's, of the last connection
        self._holders_first_until = -math.inf  # loop time
        self._changed = asyncio.Event()
        self._checked = asyncio.Event()
        self._checked_at = -math.inf  # loop time when the last check that was answered began
        self._unanswered_at = -math.inf  # loop time when `confirm` last waited in vain

    def want(self, number: int) -> Lock:
        """Request a lock; it is retried until it is released."""
        lock = self._wanted[number] = Lock()
        self._changed.set()
        return lock

    def release(self, number: int) -> None:
        """Release a lock, so that another daemon can take it."""
        self._wanted.pop(number, None)
        self._changed.set()

    def others_have(self, number: int) -> bool:
        """Whether another daemon is known to hold it."""
        lock = self._wanted.get(number)
        return lock is not None and lock.ours is False

    async def confirm(self, number: int) -> None:
        """Look at a lock again, unless that was done just now; wait while another daemon has it.

        A process that stood still may have lost it without knowing. While Postgres is away it
        cannot be checked: then this returns after CONFIRM_WITHIN seconds, and at once soon after.
        """
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(CONFIRM_WITHIN):
                while clock() - max(self._checked_at, self._unanswered_at) > FRESH:
                    self._checked.clear()
                    self._changed.set()
                    await self._checked.wait()
        except TimeoutError:
            self._unanswered_at = clock()
        lock = self._wanted.get(number)
        if lock is not None and lock.ours is False:
            await lock.until(ours=True)

    async def run(self) -> None:
        """Hold the locks until cancelled."""
        while True:
            has_lasted = False
            with contextlib.suppress(DatabaseAway):
                async with self.database.dedicated() as connection:
                    await self._begin(connection)
                    while True:
                        await self._take_and_give(connection)
                        has_lasted = True
                        await self._pause()
            if not has_lasted:  # else the next one at once: others try for its locks
                await asyncio.sleep(RETRY_INTERVAL)

    async def _begin(self, connection: Executor) -> None:
        """Prepare a new connection, which has no locks yet."""
        self._held.clear()
        connection.add_termination_listener(lambda _: self._changed.set())
        await connection.execute(_EXPIRE)
        if self._session is not None:
            # Not again before the last wait is over: outages may follow each other without end.
            if self._checked_at >= self._holders_first_until:
                self._holders_first_until = asyncio.get_running_loop().time() + HOLDER_FIRST
            # When only the way to the server was lost, the former session still has our locks.
            await connection.execute(_END_SESSION, *self._session)
        [row] = await connection.fetch(_SESSION)
        self._session = row["pid"], row["backend_start"]

    async def _take_and_give(self, connection: Executor) -> None:
        # Not its end: this process may stand still before it reads the answer.
        began = asyncio.get_running_loop().time()
        holders_first = began < self._holders_first_until
        for number in self._held - self._wanted.keys():
            await unlock(connection, number, self._class)
            self._held.discard(number)
        for number, lock in list(self._wanted.items()):
            if number not in self._held:
                may_take = self._may_hold_more() and not (lock.ours is False and holders_first)
                ours = may_take and await try_lock(connection, number, self._class)
                if ours:
                    self._held.add(number)
                lock.set(ours=ours)
        await server.ping(connection)
        self._checked_at = began
        self._checked.set()

    def _may_hold_more(self) -> bool:
        return self.limit is None or len(self._held) < self.limit

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_INTERVAL):
                await self._changed.wait()
        self._changed.clear()
