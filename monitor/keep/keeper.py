"""Keeping as a whole: its chores, and what it hears."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from functools import partial

from monitor.archive import drop_early
from monitor.chores import Chore
from monitor.keep import partitions, pruning, retention
from monitor.keep.pressure import Pressure
from monitor.keep.raw import RawBackup
from monitor.keep.retention import Retention
from monitor.keep.tops import Tops
from monitor.leader import Leader
from monitor.reading import Reading
from stream.config import Settings
from stream.daemon import Daemon
from stream.db import Database


class Keeper:
    """Sees to partitions, retention, pruning, the raw backup, the tops, and room on the disks.

    `archive` has closed days archived soon.
    """

    def __init__(
        self,
        daemon: Daemon,
        database: Database,
        settings: Settings,
        leader: Leader,
        archive: Callable[[], None],
    ) -> None:
        self.database = database
        self.settings = settings
        self.leader = leader
        early: Callable[[], Awaitable[Sequence[date]]] = partial(drop_early, database, settings)
        self.pressure = Pressure(daemon, settings, early, archive)
        self._retention = Retention(database, settings, leader)
        self._raw = RawBackup(database, settings, leader)
        self._tops = Tops(database, leader)
        self._for_all = [
            Chore("retention", retention.EVERY, self._retention.work, limit=retention.LIMIT),
            Chore("pruning", pruning.EVERY, self._prune, limit=pruning.LIMIT),
        ]
        self._led = False

    def chores(self) -> list[Chore]:
        """What has to be run for this."""
        return [
            Chore("partitions", partitions.EVERY, self._ensure, limit=partitions.LIMIT),
            *self._for_all,
            *self._raw.chores(),
            *self._tops.chores(),
            *self.pressure.chores(),
        ]

    def hear(self, reading: Reading) -> None:
        """Every reading."""
        if reading.leads and not self._led:
            for chore in self._for_all:  # who has just become the leader does not wait an hour
                chore.hurry()
        self._led = reading.leads
        self.pressure.hear(reading)

    async def _ensure(self) -> None:
        await partitions.ensure(self.database)

    async def _prune(self) -> None:
        if self.leader.leads:
            await pruning.prune(self.database, self.settings)
