"""The monitor: the chores that run beside one daemon."""

import asyncio
import logging
from pathlib import Path

from monitor.alert.alerts import Alerts
from monitor.archive import child
from monitor.archive.child import Archiving
from monitor.backup.automatic import Backups
from monitor.chores import Chore, forever
from monitor.keep.keeper import Keeper
from monitor.leader import Leader
from monitor.measure.prober import Prober
from monitor.service.service import Service
from stream.config import Settings
from stream.daemon import Daemon
from stream.db import Database

logger = logging.getLogger(__name__)


class Monitor:
    """Watches a daemon. It has connections of its own, so that no writer waits for one."""

    def __init__(
        self,
        daemon: Daemon,
        database: Database,
        settings: Settings,
        config_path: Path | None = None,
    ) -> None:
        self.daemon = daemon
        self.database = database
        self.settings = settings
        self.leader = Leader(database)
        self.chores: list[Chore] = []
        self.prober = Prober(daemon, database, settings, self.leader, self.chores)
        self.chores += self.prober.chores()
        self.alerts = Alerts(database, settings)
        self.chores += self.alerts.chores()
        self.prober.listeners.append(self.alerts.hear)
        self.archiving = Archiving(settings, self.leader, child.command(config_path))
        self.chores.append(self.archiving.chore)
        archive = self.archiving.chore.hurry
        self.chores += Backups(database, settings, self.leader).chores()
        self.keeper = Keeper(daemon, database, settings, self.leader, archive)
        self.chores += self.keeper.chores()
        self.prober.listeners.append(self.keeper.hear)
        self.service = Service(
            daemon,
            settings,
            self.chores,
            newest=lambda: self.prober.newest,
            alerts=self._open_alerts,
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, work in (
                ("leader", self.leader.run),
                ("event loop", self.prober.run),
                ("service", self.service.run),
            ):
                group.create_task(forever(name, work), name=name)
            for chore in self.chores:
                group.create_task(chore.run(), name=f"chore {chore.name}")

    def _open_alerts(self) -> list[tuple[str, str]]:
        return [(each.rule, each.severity) for each in self.alerts.open_alerts]
