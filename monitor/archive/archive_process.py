"""The periodic job that runs `archive run` as a child process of the daemon."""

from collections.abc import Sequence

from monitor import child_process
from monitor.jobs import Leader, PeriodicJob
from stream.config import Settings

INTERVAL = 3600.0  # seconds
RUN_TIMEOUT = 23 * 3600.0  # seconds


class ArchiveProcess:
    """The periodic job that archives, on the leader."""

    def __init__(self, settings: Settings, leader: Leader, command_line: Sequence[str]) -> None:
        self.settings = settings
        self.leader = leader
        self.command_line = command_line
        self.job = PeriodicJob("archive", INTERVAL, self.work, limit=RUN_TIMEOUT)

    async def work(self) -> None:
        """Run it; ChildFailed when it fails."""
        if self.settings.archive.url and self.leader.leads:
            await child_process.run("archive", self.command_line)
