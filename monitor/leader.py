"""One daemon of a database does what concerns them all: the others stand by for that, too."""

import asyncio

from stream.db import Database
from stream.errors import DatabaseAway

LOCK_CLASS = 0x7478  # first key of the advisory locks of the monitor
LEADER = 0  # second key

_LOCK = "SELECT pg_try_advisory_lock($1, $2) AS ours"
_ALIVE = "SELECT 1"
TRY_AGAIN = 5.0  # seconds


class Leader:
    """Holds the lock for as long as its connection lives.

    While Postgres is away the leader of before stays it, in its own eyes: somebody has to say so.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.leads = False

    async def run(self) -> None:
        """Become the leader when there is none, until cancelled."""
        while True:
            try:
                await self._hold()
            except DatabaseAway:
                await asyncio.sleep(TRY_AGAIN)

    async def _hold(self) -> None:
        async with self.database.dedicated() as connection:
            while True:
                [row] = await connection.fetch(_LOCK, LOCK_CLASS, LEADER)
                self.leads = bool(row["ours"])
                while self.leads:
                    await asyncio.sleep(TRY_AGAIN)
                    await connection.fetch(_ALIVE)
                await asyncio.sleep(TRY_AGAIN)
