"""The periodic job that runs `exports run` as a child process while exports wait."""

from collections.abc import Sequence

from monitor import child_process
from monitor.jobs import Leader, PeriodicJob
from stream.db import Database
from stream.store import exports

INTERVAL = 2.0  # seconds
RUN_TIMEOUT = 23 * 3600.0  # seconds; the next run continues


class ExportProcess:
    """The periodic job that exports, on the leader."""

    def __init__(self, database: Database, leader: Leader, command_line: Sequence[str]) -> None:
        self.database = database
        self.leader = leader
        self.command_line = command_line
        self.job = PeriodicJob("exports", INTERVAL, self.work, limit=RUN_TIMEOUT)

    async def work(self) -> None:
        """Run it if there is something to do; ChildFailed when it fails."""
        if not self.leader.leads:
            return
        async with self.database.acquire() as connection:
            if not await exports.are_waiting(connection):
                return
        await child_process.run("exports", self.command_line)
