"""The alerts of one daemon: from each snapshot to rows in Postgres and messages to people."""

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from monitor.alert import verdict
from monitor.alert.condition import Condition, Facts, FileProblems, RuleContext
from monitor.alert.digest import Digest
from monitor.alert.engine import Engine, Ownership, OwnershipOf
from monitor.alert.facts import FactReader, file_problems
from monitor.alert.messages import Message
from monitor.alert.notifier import Channels, Heartbeat, Notifier
from monitor.alert.registry import RULES, evaluate_facts, evaluate_snapshot, is_responsible
from monitor.alert.text import Redactor
from monitor.alert.verdict import HealthReport
from monitor.jobs import PeriodicJob
from monitor.snapshot import Snapshot
from stream.config import Settings
from stream.daemon_report import ROLES
from stream.db import Database
from stream.errors import DatabaseAway
from stream.store import alerts as store
from stream.store.alerts import Alert, Key, Mute
from stream.store.daemons import daemon_name

logger = logging.getLogger(__name__)

HISTORY = 3600.0  # seconds
HISTORY_MAX = 3600  # snapshots
FACTS_INTERVAL = 60.0  # seconds
FACTS_MAX_AGE = 600.0  # seconds; older facts prove neither trouble nor its end
CHANNEL_CHECK_INTERVAL = 3600.0  # seconds
NOTIFY_INTERVAL = 5.0  # seconds until a row that people changed takes effect
NOTIFY_TIMEOUT = 400.0  # seconds; three messages through channels and fallbacks that all hang
STORE_TIMEOUT = 15.0  # seconds; a slower database must not delay the message that it is away
LOAD_GRACE = 300.0  # seconds; then messages are sent even if the table could never be read
GONE_HOSTS_INTERVAL = 3600.0  # seconds


class Alerts:
    """Built by the monitor, which runs its jobs and passes it every snapshot."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        host: str | None = None,
        roles: Iterable[str] = ROLES,
    ) -> None:
        self.database = database
        self.settings = settings
        self.host = host or socket.gethostname()
        self.name = daemon_name(self.host, sorted(roles))
        self.engine = Engine(self.host, settings.alerts.repeat_interval * 3600, self.name)
        self.redact = Redactor(settings)
        self.notifier = Notifier(Channels(settings.alerts), self.redact)
        self.facts: Facts | None = None
        self._fact_reader = FactReader(database, self.host)
        self._file_problems = FileProblems()
        self._fact_conditions: Sequence[Condition] = ()
        self._snapshots: deque[Snapshot] = deque(maxlen=HISTORY_MAX)
        self._mutes: Sequence[Mute] = ()
        self._began = time.monotonic()
        self._loaded = False
        self._gone_hosts_at = float("-inf")  # monotonic
        self.digest = Digest(database, settings, self.notifier, lambda: self.leads)
        self.heartbeat = Heartbeat(settings.alerts, lambda: self.leads and self.is_well)
        self._facts_job = PeriodicJob("alert facts", FACTS_INTERVAL, self.read_facts)
        self._notify_job = PeriodicJob(
            "alerts", NOTIFY_INTERVAL, self.store_and_notify, limit=NOTIFY_TIMEOUT
        )
        self._channels_job = PeriodicJob(
            "alert channels", CHANNEL_CHECK_INTERVAL, self.notifier.channels.check
        )

    def jobs(self) -> list[PeriodicJob]:
        """What the monitor has to run."""
        own = [self._facts_job, self._notify_job, self._channels_job]
        return [*own, *self.digest.jobs(), *self.heartbeat.jobs()]

    async def announce(self, title: str, body: str, good: bool) -> None:
        """Send a message that is no alert, once, through the channels."""
        if self.notifier.channels:
            await self.notifier.send(Message(title, body, "success" if good else "warning"))

    @property
    def open_alerts(self) -> list[Alert]:
        """The alerts that this daemon knows to be open."""
        return list(self.engine.open.values())

    @property
    def leads(self) -> bool:
        return bool(self._snapshots) and self._snapshots[-1].leads

    @property
    def is_well(self) -> bool:
        """Whether nothing is in the way of collecting, and no critical alert is active."""
        interval = self.settings.monitor.sample_interval
        obstacles = verdict.obstacles(self.newest, interval, time.time())
        return not obstacles and not self.engine.is_critical

    @property
    def newest(self) -> Snapshot | None:
        """The newest snapshot that was evaluated."""
        return self._snapshots[-1] if self._snapshots else None

    def readiness(self, begun_at: float | None) -> HealthReport:
        """For load balancers: also what is critical now, but has not lasted until an alert."""
        interval = self.settings.monitor.sample_interval
        critical = self.engine.critical()
        return verdict.readiness(begun_at, self.newest, interval, time.time(), critical)

    # -- snapshots --------------------------------------------------------------------------------

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Open and close alerts by a new snapshot. Quick, and never waits."""
        if snapshot.leads and not self.leads:
            self._facts_job.run_soon()
        if self._snapshots:  # only the newest is judged by what other machines report
            self._snapshots[-1] = msgspec.structs.replace(self._snapshots[-1], cluster=None)
        self._snapshots.append(snapshot)
        while self._snapshots[0].at < snapshot.at - HISTORY:
            self._snapshots.popleft()
        context = RuleContext(
            tuple(self._snapshots),
            self.settings,
            self._current_facts(snapshot),
            self._file_problems,
            frozenset(self.engine.open),
        )
        found, failed = evaluate_snapshot(context)
        before = {**self.engine.open}
        clean = [self.redact.condition(each) for each in found]
        ownership = self._ownership(context, complete=failed is None)
        self.engine.step(snapshot.at, (*clean, *self._fact_conditions), ownership)
        self._log_changes(before)
        if self.engine.due(snapshot.at, self.is_muted):
            self._notify_job.run_soon()
        if failed is not None:
            raise failed

    def _current_facts(self, snapshot: Snapshot) -> Facts | None:
        facts = self.facts
        return facts if facts is not None and snapshot.at - facts.at < FACTS_MAX_AGE else None

    def _ownership(self, context: RuleContext, *, complete: bool) -> OwnershipOf:
        """Whose an alert is, and whether enough is known to decide about it."""

        def ownership(name: str, subject: str) -> Ownership:
            rule, facts = RULES[name], context.facts
            if not is_responsible(context.now, rule.scope, subject):
                return "others"
            known = facts is not None and (facts.complete or rule.scope != "all")
            return "ours" if complete and (known or not rule.needs_facts) else "unknown"

        return ownership

    def _log_changes(self, before: Mapping[Key, Alert]) -> None:
        after = self.engine.open
        for key in after.keys() - before.keys():
            alert = after[key]
            extra = {"rule": alert.rule, "severity": alert.severity, "why": alert.text}
            logger.warning("alert: %s", RULES[alert.rule].title, extra=extra)
        for rule, subject in before.keys() - after.keys():
            extra = {"rule": rule, "subject": subject}
            logger.info("alert closed: %s", RULES[rule].title, extra=extra)

    def is_muted(self, rule: str, subject: str) -> bool:
        return any(mute.covers(rule, subject) for mute in self._mutes)

    # -- jobs -------------------------------------------------------------------------------------

    async def read_facts(self) -> None:
        """Read what snapshots do not have, and check it."""
        has_credentials = self.facts is not None and self.facts.has_credentials
        self._file_problems = await asyncio.to_thread(
            file_problems, self.settings, has_credentials=has_credentials, now=datetime.now(UTC)
        )
        facts = await self._fact_reader.read(leads=self.leads)
        if self._snapshots:
            context = RuleContext((self._snapshots[-1],), self.settings, facts)
            self._fact_conditions = await asyncio.to_thread(self._check_facts, context)
        self.facts = facts

    def _check_facts(self, context: RuleContext) -> list[Condition]:
        return [self.redact.condition(each) for each in evaluate_facts(context)]

    async def store_and_notify(self) -> None:
        """Send the messages that are due. The table comes first: people may have changed it."""
        failed: Exception | None = None
        try:
            await _within_timeout(self._read_and_write())
        except Exception as error:  # noqa: BLE001 - raised below; messages are sent in any case
            failed = error
        known = self._loaded or time.monotonic() - self._began > LOAD_GRACE
        # What was sent before a restart is not known yet; that the database is away cannot wait.
        only = None if known else frozenset({"database_away"})
        await self.notifier.notify(self.engine, self.is_muted, only=only)
        if failed is not None:
            raise failed
        await _within_timeout(self._write())
        self.engine.forget_settled(time.time(), self.is_muted)

    async def _read_and_write(self) -> None:
        async with self.database.acquire() as connection:
            self._mutes = await store.mutes(connection)
            rows = await store.load(connection, self.host, self.name)
        # Before the first snapshot it is not known what this daemon is responsible for.
        if self._snapshots:
            context = RuleContext(tuple(self._snapshots), self.settings, self.facts)
            self.engine.merge(rows, self._ownership(context, complete=True))
            self._loaded = True
            await self._write()
        if self.leads and time.monotonic() - self._gone_hosts_at > GONE_HOSTS_INTERVAL:
            async with self.database.acquire() as connection:
                await store.close_of_gone_hosts(connection)
            self._gone_hosts_at = time.monotonic()

    async def _write(self) -> None:
        async with self.database.acquire() as connection:
            for alert in self.engine.unsaved():
                await store.save(connection, alert)


async def _within_timeout(work: Coroutine[None, None, None]) -> None:
    """DatabaseAway when the database does not answer soon."""
    try:
        async with asyncio.timeout(STORE_TIMEOUT):
            await work
    except TimeoutError as error:
        raise DatabaseAway(f"it did not answer within {STORE_TIMEOUT:g} s") from error
