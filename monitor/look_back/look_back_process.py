"""The periodic job that runs `look-back run` as a child process while look-backs wait."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from monitor import child_process
from monitor.child_process import ChildFailed
from monitor.jobs import Leader, PeriodicJob
from stream.db import Database
from stream.store import look_back_queue
from stream.text import sentence

INTERVAL = 2.0  # seconds
RUN_TIMEOUT = 23 * 3600.0  # seconds; the next run continues
RETRY = 60.0  # seconds between two failures after which the next run waits


class LookBackProcess:
    """The periodic job that looks back, on the leader."""

    def __init__(self, database: Database, leader: Leader, command_line: Sequence[str]) -> None:
        self.database = database
        self.leader = leader
        self.command_line = command_line
        self.job = PeriodicJob("look-back", INTERVAL, self.work, limit=RUN_TIMEOUT)
        self._failure: ChildFailed | None = None  # of the last run
        self._failed_at = -RETRY  # monotonic
        self._retry_at = 0.0  # monotonic

    async def work(self) -> None:
        """Run it if there is something to do; ChildFailed when it fails.

        A process that was killed, or lost its database, is started again at once. One that fails
        again within a minute waits.
        """
        if not self.leader.leads:
            return
        if self._failure is not None and time.monotonic() < self._retry_at:
            await self._explain(self._failure)
            raise self._failure
        async with self.database.acquire() as connection:
            if not await look_back_queue.are_waiting(connection):
                return
        self._failure = None
        try:
            await child_process.run("look-back", self.command_line)
        except ChildFailed as error:
            self._note_failure(error, time.monotonic())
            raise

    async def _explain(self, failure: ChildFailed) -> None:
        """Let the look-backs that the process was doing wait, with the reason."""
        at = datetime.now(UTC) + timedelta(seconds=self._retry_at - time.monotonic())
        reason = f"{sentence(str(failure))} Retried at {at:%H:%M:%S} UTC."
        async with self.database.acquire() as connection:
            await look_back_queue.postpone_running(connection, reason)

    def _note_failure(self, error: ChildFailed, now: float) -> None:
        often = now < self._failed_at + RETRY
        self._failure, self._failed_at = error, now
        self._retry_at = now + RETRY if often else now
        if not often:
            self.job.run_soon()
