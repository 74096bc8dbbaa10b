"""The daemon: runs one Collector per enabled source, and reports its status."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING

from stream import credentials
from stream.backoff import supervised
from stream.batch import Batch
from stream.cells.copier import CellCopier
from stream.cells.databases import Cells
from stream.collector import Collector
from stream.config import Settings
from stream.daemon_report import ROLES, Role
from stream.db import Database, Executor
from stream.decoded_tweets import DecodedTweets
from stream.errors import DatabaseAway, TwitterstreamError, is_broken, unexpected
from stream.heartbeat import Heartbeat
from stream.lane_writers import LaneWriters
from stream.networks.base import Plan
from stream.notes import SourceState, StateNote
from stream.postgres import Embedded
from stream.reconciler import TrackReconciler
from stream.sinks.runner import Sinks
from stream.status_line import status_line
from stream.store import cells as cell_tables
from stream.store import daemons, migrations, sources
from stream.store.locks import SOURCE_LOCK_CLASS, Locks
from stream.store.sources import SourceRow
from stream.tweet import Match, NetworkName, Source, SourceId, Tweet
from stream.vault import Vault

if TYPE_CHECKING:
    from stream.bus.connection import Bus

logger = logging.getLogger(__name__)

DATABASE_RETRY = 1.0  # seconds between two attempts at start while Postgres is unreachable
FIRST_STATUS = 5.0  # seconds until the first status line
RESTART_DELAY = 30.0  # seconds until a collector is restarted after an unexpected error
SERVER_CHECK_INTERVAL = 2.0  # seconds, of the embedded server


class Daemon:
    """Runs the reconciler and the collectors; ends after `stop` is set."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        vault: Vault,
        report: Callable[[str], None],
        embedded: Embedded | None = None,
        roles: frozenset[Role] = ROLES,
        bus: "Bus | None" = None,
        cells: Cells | None = None,
    ) -> None:
        self.database = database
        self.settings = settings
        self.vault = vault
        self.report = report
        self.embedded = embedded
        self.roles = roles  # without a bus, what collects also writes
        self.bus = bus
        self.cells = cells or Cells(database)
        self.stop = asyncio.Event()
        # When Postgres was reachable with the right schema, in seconds since 1970.
        self.begun_at: float | None = None
        self.waits = ""  # before that: why Postgres is unreachable
        self.status = ""  # the newest status line
        self.collectors: dict[SourceId, Collector] = {}
        self._rows: Sequence[SourceRow] = ()
        self._unusable: dict[SourceId, str] = {}  # why sources cannot be collected here
        self._stored_before: Counter[str] = Counter()  # by collectors that have ended
        self._plans: Mapping[NetworkName, Plan] = {}
        self._sources_changed = asyncio.Event()
        self.locks = Locks(database, SOURCE_LOCK_CLASS)
        self.sinks = Sinks(database, settings, vault)
        self.decoded = DecodedTweets()
        self.reconciler = TrackReconciler(
            database,
            settings,
            self._use_sources,
            self._use_plans,
            self.sinks.use_webhooks,
            writes_states="collect" in roles,
        )
        self.reconciler.on_matched = self._note_tracks
        self.lane_writers: LaneWriters | None = None
        if bus is not None and "write" in roles:
            self.lane_writers = LaneWriters(
                database, settings, bus, self.reconciler, self._on_stored, settings.cell
            )
        self.heartbeat = Heartbeat(
            database, settings, vault, roles, self.collectors, self.lane_writers, bus
        )

    def _on_stored(self, batch: Batch) -> None:
        self.decoded.add(batch.arrivals)
        self.sinks.wake()

    def match(self, tweet: Tweet) -> Sequence[Match]:
        """The tracks that a tweet belongs to at the moment."""
        return self.reconciler.matcher.match(tweet)

    async def run(self) -> None:
        """Collect until `stop` is set."""
        async with asyncio.TaskGroup() as services:
            running = []
            if self.embedded is not None:  # it may also die during start-up
                running.append(
                    services.create_task(self._watch(self.embedded), name="embedded database")
                )
            await self._unless_stopped(self._begin())
            running += [
                services.create_task(self.reconciler.run(), name="reconciler"),
                services.create_task(self.locks.run(), name="locks"),
                services.create_task(self.heartbeat.run(), name="heartbeat"),
                services.create_task(self._status_line(), name="status line"),
            ]
            if "write" in self.roles:
                running.append(
                    services.create_task(supervised("sinks", self.sinks.run), name="sinks")
                )
            if self.cells.others:
                running.append(services.create_task(self._serve_cells(), name="cells"))
            await self._work()
            for service in running:
                service.cancel()
        await self.heartbeat.sign_off()

    async def _serve_cells(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.cells.watch(), name="guards of cells")
            if self.roles - {"web"}:
                interval = self.settings.poll_interval
                copier = CellCopier(self.database, self.cells.others, interval)
                await supervised("copies in cells", copier.run)

    async def _work(self) -> None:
        """Collect and write, as the roles say, until `stop` is set."""
        async with asyncio.TaskGroup() as group:
            if self.lane_writers is not None:
                group.create_task(self.lane_writers.run(self.stop), name="lane writers")
            if "collect" in self.roles:
                await self._keep_collectors()
            await self.stop.wait()

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` until it ends or `stop` is set: a hanging server may take long to fail."""
        async with asyncio.TaskGroup() as group:
            both = [
                group.create_task(work, name="work"),
                group.create_task(self.stop.wait(), name="stop"),
            ]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in both:
                task.cancel()

    async def _begin(self) -> None:
        """Wait for Postgres, check its schema, and read the tables for the first time."""
        last = ""
        while True:
            try:
                await self.database.require_direct()
                await migrations.require_current(self.database)
                async with self.database.acquire() as connection:
                    await cell_tables.require_name(connection, self.settings.cell)
                    await self._compare_bus(connection)
                await self.reconciler.reload()
            except DatabaseAway as error:
                if last != str(error):
                    last = self.waits = str(error)
                    logger.warning("waiting for Postgres", extra={"why": last})
                await asyncio.sleep(DATABASE_RETRY)
            else:
                self.begun_at = time.time()
                return

    async def _compare_bus(self, connection: Executor) -> None:
        """Warn when other machines use a bus and this one does not."""
        if self.bus is not None:
            return
        if others := [row.name for row in await daemons.running(connection) if row.report.bus]:
            logger.warning(
                "other machines use a bus, but `bus` is not set here: set it, and start again",
                extra={"machines": ", ".join(others)},
            )

    # -- collectors -------------------------------------------------------------------------------

    def _use_sources(self, rows: Sequence[SourceRow]) -> None:
        self._rows = rows
        self._sources_changed.set()

    def _note_tracks(self) -> None:
        for collector in self.collectors.values():
            collector.note_tracks()

    def _use_plans(self, plans: Mapping[NetworkName, Plan]) -> None:
        self._plans = plans
        for collector in self.collectors.values():
            self._give_plan(collector)

    def _give_plan(self, collector: Collector) -> None:
        plan = self._plans.get(collector.source.network)
        if plan is not None:
            collector.set_plan(plan)

    async def _keep_collectors(self) -> None:
        """Run a collector for each enabled row; all of them end when `stop` is set."""
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(self.stop.wait(), name="stop")
            while not self.stop.is_set():
                self._sources_changed.clear()
                await self._unless_stopped(self._adjust(group))
                changed = group.create_task(self._sources_changed.wait(), name="sources")
                await asyncio.wait([stopping, changed], return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
            for collector in self.collectors.values():
                collector.end("the daemon was stopped")

    async def _adjust(self, group: asyncio.TaskGroup) -> None:
        wanted: dict[SourceId, Source] = {}
        for row in self._rows:
            if not row.enabled:
                await self._say_disabled(row)
            elif (source := await self._unseal(row)) is not None:
                wanted[row.id] = source
        rows = {row.id: row for row in self._rows}
        for source_id, collector in self.collectors.items():
            if wanted.get(source_id) != collector.source:
                collector.end(_why_ended(rows.get(source_id)))
        for source_id, source in wanted.items():
            if source_id not in self.collectors:
                collector = Collector(
                    self.database,
                    self.settings,
                    source,
                    self.reconciler,
                    self.locks,
                    self._on_stored,
                    bus=self.bus,
                    cells=self.cells,
                )
                self.collectors[source_id] = collector
                self._give_plan(collector)
                group.create_task(self._collect(collector), name=f"source {source.name}")

    async def _collect(self, collector: Collector) -> None:
        """Run a collector. An unexpected error fails this source, and no other."""
        try:
            await collector.run()
        except Exception as error:
            if is_broken(error):
                raise
            name = collector.source.name
            logger.exception("source failed with an unexpected error", extra={"source": name})
            await self._fail(collector, unexpected(error))
        finally:
            del self.collectors[collector.source.id]
            if collector.writer is not None:
                self._stored_before.update(collector.writer.stored)
            # If its row has changed, a new collector starts now.
            self._sources_changed.set()

    async def _fail(self, collector: Collector, reason: str) -> None:
        """Write the failure into the source's row, and pause before the restart."""
        collector.failure, collector.collecting = reason, False
        until = time.time() + RESTART_DELAY
        with contextlib.suppress(DatabaseAway):
            async with self.database.acquire() as connection:
                note = StateNote("failed", reason, time.time(), until)
                await sources.write_state(connection, collector.source.id, note)
        await collector.pause(RESTART_DELAY)

    async def _unseal(self, row: SourceRow) -> Source | None:
        """The source with decrypted credentials; None, and a reason in its row, if that fails."""
        try:
            source = credentials.source_of(self.vault, row)
            sealed = credentials.rebound(self.vault, row)
        except TwitterstreamError as error:
            await self._say_unusable(row, str(error))
            return None
        self._unusable.pop(row.id, None)
        if sealed is not None:
            with contextlib.suppress(DatabaseAway):
                async with self.database.acquire() as connection:
                    await sources.rebind(connection, row, sealed)
        return source

    async def _say_unusable(self, row: SourceRow, why: str) -> None:
        """Say why a source cannot be collected here; in its row unless another daemon does."""
        if self._unusable.get(row.id) != why:
            self._unusable[row.id] = why
            extra = {"source": row.name, "why": why}
            logger.warning("the source cannot be collected here", extra=extra)
        with contextlib.suppress(DatabaseAway):
            async with self.database.acquire() as connection:
                collected = await sources.collected_ids(connection)
            if row.id in self.collectors or row.id not in collected:
                await self._write_state(row, "failed", why)

    async def _say_disabled(self, row: SourceRow) -> None:
        if row.id not in self.collectors and row.state not in ("disabled", "importing"):
            await self._write_state(row, "disabled", "Disabled. Enable it to collect again.")

    async def _write_state(self, row: SourceRow, state: SourceState, reason: str) -> None:
        if (row.state, row.reason) != (state, reason):
            with contextlib.suppress(DatabaseAway):
                async with self.database.acquire() as connection:
                    note = StateNote(state, reason, time.time())
                    await sources.write_state(connection, row.id, note)

    # -- services ---------------------------------------------------------------------------------

    async def _watch(self, embedded: Embedded) -> None:
        """Restart the embedded server when it dies."""
        while True:
            await embedded.revive()
            await asyncio.sleep(SERVER_CHECK_INTERVAL)

    def _stored(self) -> Counter[str]:
        """Outcomes since the start, of all that this daemon has stored."""
        found = Counter(self._stored_before)
        for collector in self.collectors.values():
            if collector.writer is not None:
                found.update(collector.writer.stored)
        return found if self.lane_writers is None else found + self.lane_writers.stored()

    async def _status_line(self) -> None:
        before: Counter[str] = Counter()
        # The first line is printed soon after the start.
        seconds = min(FIRST_STATUS, self.settings.status_interval)
        while True:
            await asyncio.sleep(seconds)
            now = self._stored()
            report = self.heartbeat.report()
            self.status = status_line(
                now,
                now - before,
                seconds,
                self.collectors.values(),
                None if self.lane_writers is None else report.lanes,
                report.bus,
                self.roles,
            )
            self.report(self.status)
            before, seconds = now, self.settings.status_interval


def _why_ended(row: SourceRow | None) -> str:
    """Why a collector ends, by the source's new row."""
    if row is None:
        return "the source was removed"
    if not row.enabled:
        return "the source was disabled"
    return "the source was changed; it reconnects with its new settings"
