"""Take snapshots again and again, pass them to listeners, and store a row per minute."""

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from monitor.jobs import Leader, PeriodicJob
from monitor.measure.machine import MachineSampler, Volumes
from monitor.measure.pipeline import GapTimes, Pipeline
from monitor.measure.postgres import PING_TIMEOUT, PostgresSampler
from monitor.measure.rollup import MinuteAggregator, MinuteQueue
from monitor.snapshot import DatabaseSnapshot, JobSnapshot, Snapshot
from stream import __version__, cluster
from stream.cluster import Cluster
from stream.config import Settings
from stream.daemon import Daemon
from stream.db import Database
from stream.errors import DatabaseAway
from stream.guarded_database import answer_within
from stream.store import machine_history
from stream.store.daemons import DaemonRow, daemon_name

SIZES_EVERY = 300.0  # seconds
GAPS_EVERY = 60.0  # seconds
MINUTES_EVERY = 60.0  # seconds
HISTORY_EVERY = 3600.0  # seconds
HISTORY_LIMIT = 600.0  # seconds


class Sampler:
    """Takes a snapshot every `monitor.sample_interval` seconds, and passes it to listeners.

    Listeners run on the event loop and must not block. The error of one counts as that of the job
    `probes`, and stops neither the snapshot nor the other listeners.
    """

    def __init__(
        self,
        daemon: Daemon,
        database: Database,
        settings: Settings,
        leader: Leader,
        jobs: Sequence[PeriodicJob],
    ) -> None:
        self.daemon = daemon
        self.database = database
        self.settings = settings
        self.leader = leader
        self.all_jobs = jobs  # of the whole monitor, to report their state
        self.newest: Snapshot | None = None
        self.listeners: list[Callable[[Snapshot], None]] = []
        self.probes = PeriodicJob("probes", settings.monitor.sample_interval, self.look)
        self.sizes = PeriodicJob("sizes", SIZES_EVERY, self._look_at_sizes)
        self.gaps_today = PeriodicJob("gaps", GAPS_EVERY, self._look_at_gaps)
        self.minutes = PeriodicJob("machine minutes", MINUTES_EVERY, self._write_minutes)
        self.machine_history = PeriodicJob(
            "machine history", HISTORY_EVERY, self._keep_history, limit=HISTORY_LIMIT
        )
        self._aggregator = MinuteAggregator()
        self._minutes = MinuteQueue(database)
        self._led = False
        self._gaps = GapTimes(database)
        self._pipeline = Pipeline(daemon, self._gaps)
        self._volumes = Volumes(settings)
        self._machine = MachineSampler(self._volumes)
        self._postgres = PostgresSampler(database)
        self._host = socket.gethostname()
        self._name = daemon_name(self._host, sorted(daemon.roles))
        self._cluster: Cluster | None = None

    def jobs(self) -> list[PeriodicJob]:
        """What the monitor has to run."""
        return [self.probes, self.sizes, self.gaps_today, self.minutes, self.machine_history]

    async def run(self) -> None:
        """Measure the event loop until cancelled."""
        # Other jobs may keep the shared connections for long; the check whether Postgres is up
        # must not wait for them.
        async with self.database.separate_pool(1) as own:
            self._postgres.database = own
            try:
                await self._machine.lag.run()
            finally:
                self._postgres.database = self.database

    async def look(self) -> None:
        """Take a snapshot and pass it to the listeners."""
        was_up = self._postgres.up
        (machine, process), database = await asyncio.gather(
            self._machine.look(), self._look_at_postgres()
        )
        others, report = self._others(), self.daemon.heartbeat.report()
        if database.up and was_up is False:
            self.sizes.run_soon()
            self.gaps_today.run_soon()
        snapshot = Snapshot(
            at=time.time(),
            host=self._host,
            version=__version__,
            leads=self.leader.leads,
            machine=machine,
            process=process,
            sources=self._pipeline.sources(
                {
                    each.source_id
                    for row in others
                    for each in row.report.journals
                    if each.collecting
                }
            ),
            commits=self._pipeline.commits(),
            database=database,
            jobs=tuple(_job(job) for job in self.all_jobs),
            tracks=Counter(track.state for track in self.daemon.reconciler.tracks),
            sinks=self._pipeline.sinks(),
            webhooks=self._pipeline.webhooks(),
            name=self._name,
            reports_machine=self._reports_machine(),
            lanes=tuple(report.lanes),
            bus=report.bus,
            cluster=self._cluster,
        )
        self.newest = snapshot
        self._aggregate(snapshot)
        self._notify(snapshot)

    def _aggregate(self, snapshot: Snapshot) -> None:
        minute = self._aggregator.add(snapshot)
        if minute is not None:
            self._minutes.waiting.append(minute)
            self.minutes.run_soon()
        if snapshot.leads and not self._led:
            self.machine_history.run_soon()
        self._led = snapshot.leads

    def _notify(self, snapshot: Snapshot) -> None:
        failed: Exception | None = None
        for listener in self.listeners:
            try:
                listener(snapshot)
            except Exception as error:  # noqa: BLE001 - raised below, after all listeners
                failed = failed or error
        if failed is not None:
            raise failed

    async def _look_at_postgres(self) -> DatabaseSnapshot:
        """Also what the other machines report; while Postgres is away, the last of it stays."""
        database = await self._postgres.sample()
        if database.up and self.daemon.bus is not None:
            with contextlib.suppress(DatabaseAway, TimeoutError):
                self._cluster = await answer_within(PING_TIMEOUT, self._cluster_now)
        return database

    async def _cluster_now(self) -> Cluster:
        cells = self.daemon.cells
        async with self._postgres.database.acquire() as connection:
            found = await cluster.read(connection, self.settings.cell)
            missing = await cells.missing(connection) if cells.others else ()
        why = {name: cells.why_missing.get(name, "") for name in missing}
        return msgspec.structs.replace(found, missing_cells=why)

    def _others(self) -> list[DaemonRow]:
        """The other daemons that run."""
        own = self.daemon.heartbeat.id
        return [row for row in self._cluster.daemons if row.id != own] if self._cluster else []

    def _reports_machine(self) -> bool:
        """Whether this daemon is the oldest of its machine, as far as it knows."""
        known = self._cluster.daemons if self._cluster is not None else ()
        here = [row.id for row in known if row.host == self._host]
        return not here or here[0] == self.daemon.heartbeat.id

    async def _look_at_sizes(self) -> None:
        await self._postgres.sample_sizes(self.database)
        if self.settings.database and self._postgres.folder is not None:
            self._volumes.use("postgres", self._postgres.folder)

    async def _look_at_gaps(self) -> None:
        await self._gaps.look()

    async def _write_minutes(self) -> None:
        await self._minutes.write()

    async def _keep_history(self) -> None:
        if self.leader.leads:
            settings = self.settings.monitor
            async with self.database.acquire() as connection:
                await machine_history.prune(connection, settings.machine_hours_days)
                await machine_history.roll_up(connection, settings.machine_minutes_days)


def _job(job: PeriodicJob) -> JobSnapshot:
    return JobSnapshot(
        name=job.name,
        ran_at=job.ran_at,
        done_at=job.done_at,
        took=job.took,
        failed=job.failed,
        failing_since=job.failing_since,
    )
