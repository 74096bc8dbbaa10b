"""The daemon: keeps one Collector for each enabled source, and says how it is going."""

import asyncio
import contextlib
import logging
import os
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

from stream import migrations, sources
from stream.collector import Collector
from stream.config import Settings
from stream.control import Control
from stream.db import Database
from stream.errors import DatabaseAway, TwitterstreamError
from stream.locks import Locks
from stream.networks.base import Plan
from stream.postgres import Embedded
from stream.sources import SourceRow
from stream.tweet import NetworkName, Source, SourceId, SourceState, StateNote
from stream.vault import Vault

logger = logging.getLogger(__name__)

HEARTBEAT = 2.0  # seconds between two signs of life in `daemons`
RETRY = 1.0  # seconds between two attempts to begin while Postgres is away
GOODBYE = 1.0  # seconds for taking ourselves off the list of daemons
FIRST_STATUS = 5.0  # seconds until the first status line
WATCH = 2.0  # seconds between two looks at the embedded server
BEHIND_WORTH_SAYING = 1 << 20  # bytes


class Daemon:
    """Builds nothing before `run`; ends after `stop` is set."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        vault: Vault,
        report: Callable[[str], None],
        embedded: Embedded | None = None,
    ) -> None:
        self.database = database
        self.settings = settings
        self.vault = vault
        self.report = report
        self.embedded = embedded
        self.stop = asyncio.Event()
        self.id = uuid.uuid4()
        self.begun = False  # Postgres was there, and its schema fits
        self.waits = ""  # before that: why Postgres cannot be read
        self.status = ""  # the newest status line
        self.collectors: dict[SourceId, Collector] = {}
        self._rows: Sequence[SourceRow] = ()
        self._stored_before: Counter[str] = Counter()  # by collectors that have ended
        self._plans: Mapping[NetworkName, Plan] = {}
        self._sources_changed = asyncio.Event()
        self.locks = Locks(database)
        self.control = Control(database, settings, self._use_sources, self._use_plans)

    async def run(self) -> None:
        """Collect until `stop` is set."""
        async with asyncio.TaskGroup() as services:
            running = []
            if self.embedded is not None:  # it may die before we have begun, too
                running.append(
                    services.create_task(self._watch(self.embedded), name="embedded database")
                )
            await self._unless_stopped(self._begin())
            running += [
                services.create_task(self.control.run(), name="control"),
                services.create_task(self.locks.run(), name="locks"),
                services.create_task(self._heartbeat(), name="heartbeat"),
                services.create_task(self._status_line(), name="status line"),
            ]
            await self._keep_collectors()
            for service in running:
                service.cancel()
        with contextlib.suppress(DatabaseAway, TimeoutError):
            async with asyncio.timeout(GOODBYE), self.database.acquire() as connection:
                await sources.daemon_gone(connection, self.id)

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> None:
        """Do this to its end, or until `stop` is set: a server that hangs may take long to fail."""
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
        said = ""
        while True:
            try:
                await migrations.require_current(self.database)
                await self.control.reload()
            except DatabaseAway as error:
                if said != str(error):
                    said = self.waits = str(error)
                    logger.warning("waiting for Postgres", extra={"why": said})
                await asyncio.sleep(RETRY)
            else:
                self.begun = True
                return

    # -- collectors -------------------------------------------------------------------------------

    def _use_sources(self, rows: Sequence[SourceRow]) -> None:
        self._rows = rows
        self._sources_changed.set()

    def _use_plans(self, plans: Mapping[NetworkName, Plan]) -> None:
        self._plans = plans
        for collector in self.collectors.values():
            self._give_plan(collector)

    def _give_plan(self, collector: Collector) -> None:
        plan = self._plans.get(collector.source.network)
        if plan is not None:
            collector.set_plan(plan)

    async def _keep_collectors(self) -> None:
        """One collector for each enabled row, as it stands now; all of them end at the stop."""
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(self.stop.wait(), name="stop")
            while not self.stop.is_set():
                self._sources_changed.clear()
                await self._unless_stopped(self._adjust(group))
                changed = group.create_task(self._sources_changed.wait(), name="sources")
                await asyncio.wait([stopping, changed], return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
            for collector in self.collectors.values():
                collector.stop.set()

    async def _adjust(self, group: asyncio.TaskGroup) -> None:
        wanted: dict[SourceId, Source] = {}
        for row in self._rows:
            if not row.enabled:
                await self._say_disabled(row)
            elif (source := await self._unseal(row)) is not None:
                wanted[row.id] = source
        for source_id, collector in self.collectors.items():
            if wanted.get(source_id) != collector.source:
                collector.stop.set()
        for source_id, source in wanted.items():
            if source_id not in self.collectors:
                collector = Collector(
                    self.database, self.settings, source, self.control, self.locks
                )
                self.collectors[source_id] = collector
                self._give_plan(collector)
                group.create_task(self._collect(collector), name=f"source {source.name}")

    async def _collect(self, collector: Collector) -> None:
        try:
            await collector.run()
        finally:
            del self.collectors[collector.source.id]
            if collector.writer is not None:
                self._stored_before.update(collector.writer.stored)
            # Its row may have changed rather than gone: then another one begins now.
            self._sources_changed.set()

    async def _unseal(self, row: SourceRow) -> Source | None:
        """The source with its credentials, or None and the reason in its row."""
        try:
            secrets = self.vault.open(row.secrets) if row.secrets is not None else {}
        except TwitterstreamError as error:
            await self._write_state(row, "failed", str(error))
            return None
        return Source(
            row.id, row.name, row.network, row.url, row.proxy, secrets, enabled=row.enabled
        )

    async def _say_disabled(self, row: SourceRow) -> None:
        if row.id not in self.collectors and row.state not in ("disabled", "importing"):
            await self._write_state(row, "disabled", "Disabled; enable it to collect again.")

    async def _write_state(self, row: SourceRow, state: SourceState, reason: str) -> None:
        if (row.state, row.reason) != (state, reason):
            with contextlib.suppress(DatabaseAway):
                async with self.database.acquire() as connection:
                    note = StateNote(state, reason, time.time())
                    await sources.write_state(connection, row.id, note)

    # -- services ---------------------------------------------------------------------------------

    async def _heartbeat(self) -> None:
        host, pid = socket.gethostname(), os.getpid()
        while True:
            waiting = [collector.standing_by for collector in self.collectors.values()]
            role = "standby" if waiting and all(waiting) else "collecting"
            with contextlib.suppress(DatabaseAway):
                async with self.database.acquire() as connection:
                    await sources.daemon_seen(connection, self.id, host, pid, role)
            await asyncio.sleep(HEARTBEAT)

    async def _watch(self, embedded: Embedded) -> None:
        """Start the embedded server again when it dies."""
        while True:
            await embedded.revive()
            await asyncio.sleep(WATCH)

    async def _status_line(self) -> None:
        before: Counter[str] = Counter()
        # Whoever has just started it does not want to wait for the first word.
        seconds = min(FIRST_STATUS, self.settings.count_every)
        while True:
            await asyncio.sleep(seconds)
            now = Counter(self._stored_before)
            for collector in self.collectors.values():
                if collector.writer is not None:
                    now.update(collector.writer.stored)
            self.status = status_line(now, now - before, seconds, self.collectors.values())
            self.report(self.status)
            before, seconds = now, self.settings.count_every


def status_line(
    total: Counter[str], recent: Counter[str], seconds: float, collectors: Iterable[Collector]
) -> str:
    """One line for people: what came in, and how each source is."""
    kept = ("stored", "unmatched")
    new = sum(recent[outcome] for outcome in kept)
    since_start = sum(total[outcome] for outcome in kept)
    parts = [f"{since_start:,} tweets since the start, {new:,} new ({new / seconds:,.1f} a second)"]
    extra = {name: recent[name] for name in ("duplicate", "dropped", "rejected") if recent[name]}
    parts += [f"{number:,} {name}" for name, number in extra.items()]
    parts += [f"{each.source.name}: {_standing(each)}" for each in collectors]
    return " · ".join(parts)


def _standing(collector: Collector) -> str:
    """How one source is, and how far Postgres is behind its journal."""
    if collector.journal is None or not collector.collecting:
        return "standing by, another daemon collects"
    assert collector.connection is not None
    state = collector.connection.state
    text = state.state if state.state == "streaming" else f"{state.state} ({state.reason})"
    behind = collector.journal.end - collector.journal.stored
    away = collector.writer is not None and collector.writer.away_since is not None
    if away or behind > BEHIND_WORTH_SAYING:
        text += f", {behind / 1e6:,.1f} MB still to be stored"
        text += " (Postgres is away)" if away else ""
    return text
