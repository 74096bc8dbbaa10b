"""The monitor of one daemon: builds and runs its jobs, alerts, maintenance and service."""

import asyncio
from functools import partial
from pathlib import Path

from monitor import child_process
from monitor.alert.alerts import Alerts
from monitor.archive.archive_process import ArchiveProcess
from monitor.archive.drop import drop_early
from monitor.backup.scheduled import Backups
from monitor.export.delivery_process import ArchivedDeliveries
from monitor.export.export_process import ExportProcess
from monitor.export.housekeeping import ExportHousekeeping
from monitor.jobs import Leader, PeriodicJob
from monitor.look_back.look_back_process import LookBackProcess
from monitor.maintenance.account_lookup import AccountLookup
from monitor.maintenance.author_comparison import AuthorComparison
from monitor.maintenance.disk_pressure import DiskPressure
from monitor.maintenance.raw_backup import RawBackup
from monitor.maintenance.retention import Retention
from monitor.maintenance.table_maintenance import TableMaintenance
from monitor.maintenance.top_items_job import TopItemsJob
from monitor.measure.sampler import Sampler
from monitor.service.server import Service
from monitor.snapshot import Snapshot
from stream.backoff import supervised
from stream.config import Settings
from stream.daemon import Daemon
from stream.db import Database


class Monitor:
    """Monitors a daemon, over database connections of its own, so that no writer waits for one."""

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
        self.leader = Leader(database, may_lead="monitor" in daemon.roles)
        self.jobs: list[PeriodicJob] = []
        self._for_new_leader: list[PeriodicJob] = []
        self._led = False
        self.sampler = Sampler(daemon, database, settings, self.leader, self.jobs)
        self.jobs += self.sampler.jobs()
        self.alerts = Alerts(database, settings, roles=daemon.roles)
        self.jobs += self.alerts.jobs()
        self.sampler.listeners.append(self.alerts.on_snapshot)
        archive_run = child_process.command(config_path, "archive", "run")
        self.archiving = ArchiveProcess(settings, self.leader, archive_run)
        look_back_run = child_process.command(config_path, "look-back", "run")
        looking_back = LookBackProcess(database, self.leader, look_back_run)
        exports_run = child_process.command(config_path, "exports", "run")
        exporting = ExportProcess(database, self.leader, exports_run)
        self.jobs += [self.archiving.job, looking_back.job, exporting.job]
        read_archived = child_process.command(config_path, "webhooks", "read-archived")
        daemon.sinks.read_archived = ArchivedDeliveries(read_archived).read
        files = ExportHousekeeping(database, settings, self.leader, self.alerts.announce)
        self.jobs.append(files.job)
        self.jobs += Backups(database, settings, self.leader).jobs()
        self._add_maintenance()
        self.service = Service(
            daemon,
            settings,
            self.jobs,
            newest=lambda: self.sampler.newest,
            alerts=self.alerts,
        )

    def _add_maintenance(self) -> None:
        """Add the jobs that keep tables, disks and backups in order."""
        database, settings, leader = self.database, self.settings, self.leader
        tables = TableMaintenance(database, settings, leader)
        retention = Retention(database, settings, leader)
        self.jobs += [*tables.jobs(), retention.job]
        self._for_new_leader = [tables.pruning, retention.job]
        self.jobs += RawBackup(database, settings, leader).jobs()
        self.jobs.append(TopItemsJob(database, leader, self.daemon.decoded).job)
        self.jobs.append(AccountLookup(database, settings, leader).job)
        match = self.daemon.match
        self.jobs.append(AuthorComparison(database, settings, leader, match).job)
        pressure = DiskPressure(
            self.daemon,
            settings,
            partial(drop_early, database, settings),
            self.archiving.job.run_soon,
        )
        self.jobs.append(pressure.job)
        self.sampler.listeners += [pressure.on_snapshot, self._on_snapshot]

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.leads and not self._led:
            for job in self._for_new_leader:  # does not wait an hour
                job.run_soon()
        self._led = snapshot.leads

    async def run(self) -> None:
        """Run the monitor until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, work in (
                ("leader", self.leader.run),
                ("event loop", self.sampler.run),
                ("service", self.service.run),
            ):
                group.create_task(supervised(name, work), name=name)
            for job in self.jobs:
                group.create_task(job.run(), name=f"job {job.name}")
