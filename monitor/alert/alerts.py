"""Alerts of one daemon: listens to readings, and keeps people and the table informed."""

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from monitor.alert import book, files
from monitor.alert.book import Mute
from monitor.alert.catalogue import RULES
from monitor.alert.channels import Channels
from monitor.alert.condition import Condition, Facts, Files, Severity, View
from monitor.alert.digest import Digest
from monitor.alert.engine import Engine, Judge, Judgement
from monitor.alert.facts import Observer
from monitor.alert.heartbeat import Heartbeat
from monitor.alert.rules import evaluate, of_facts, speaks
from monitor.alert.safety import Safe
from monitor.alert.teller import Teller
from monitor.chores import Chore
from monitor.reading import Reading
from stream.config import Settings
from stream.db import Database
from stream.errors import DatabaseAway

logger = logging.getLogger(__name__)

HISTORY = 3600.0  # seconds
HISTORY_MOST = 3600  # readings
FACTS_EVERY = 60.0  # seconds
FACTS_LAST = 600.0  # seconds; older facts prove nothing, neither trouble nor its end
CHECK_EVERY = 3600.0  # seconds
TELL_EVERY = 5.0  # seconds until a row that somebody wrote is honoured
TELL_LIMIT = 400.0  # seconds; three messages through channels and fallback that all hang
BOOK_LIMIT = 15.0  # seconds; a database that takes longer must not keep back that it is away
UNKNOWN_FOR = 300.0  # seconds; then people are told, although the table was never there to be read
LEFT_BEHIND_EVERY = 3600.0  # seconds
STALE = 60.0  # seconds, at least; a reading that is older says nothing about now


class OpenAlert(msgspec.Struct, frozen=True):
    """For /metrics and pages."""

    rule: str
    subject: str
    severity: Severity
    since: float  # seconds since 1970


class Alerts:
    """Built by the monitor, which runs its chores and lets it hear every reading."""

    def __init__(self, database: Database, settings: Settings, host: str | None = None) -> None:
        self.database = database
        self.settings = settings
        self.host = host or socket.gethostname()
        self.engine = Engine(self.host, settings.alerts.repeat_every * 3600)
        self.safe = Safe(settings)
        self.teller = Teller(Channels(settings.alerts), self.safe)
        self.facts: Facts | None = None
        self._observer = Observer(database, self.host)
        self._files = Files()
        self._of_facts: Sequence[Condition] = ()
        self._readings: deque[Reading] = deque(maxlen=HISTORY_MOST)
        self._mutes: Sequence[Mute] = ()
        self._began = time.monotonic()
        self._loaded = False
        self._left_behind_at = float("-inf")  # monotonic
        self.digest = Digest(database, settings, self.teller, lambda: self.leads)
        self.heartbeat = Heartbeat(settings.alerts, lambda: self.leads and self.well)
        self._looking = Chore("alert facts", FACTS_EVERY, self.look)
        self._telling = Chore("alerts", TELL_EVERY, self.work, limit=TELL_LIMIT)
        self._checking = Chore("alert channels", CHECK_EVERY, self.teller.channels.check)

    def chores(self) -> list[Chore]:
        """What has to be run for this."""
        own = [self._looking, self._telling, self._checking]
        return [*own, *self.digest.chores(), *self.heartbeat.chores()]

    @property
    def open_alerts(self) -> list[OpenAlert]:
        """Those that this daemon knows to be open."""
        return [
            OpenAlert(each.rule, each.subject, each.severity, each.opened_at)
            for each in self.engine.open.values()
        ]

    @property
    def leads(self) -> bool:
        return bool(self._readings) and self._readings[-1].leads

    @property
    def well(self) -> bool:
        """No critical alert is open, we know how things are, and somebody collects."""
        if not self._readings:
            return False
        newest = self._readings[-1]
        fresh = time.time() - newest.at < max(3 * self.settings.monitor.probe_every, STALE)
        critical = any(each.severity == "critical" for each in self.engine.open.values())
        enabled = [source for source in newest.sources if source.enabled]
        works = not enabled or any(
            source.standing_by or (source.collecting and source.state not in ("failed", "paused"))
            for source in enabled
        )
        return fresh and not critical and works

    # -- readings ---------------------------------------------------------------------------------

    def hear(self, reading: Reading) -> None:
        """Judge a new reading. Quick, and never waits."""
        if reading.leads and not self.leads:
            self._looking.hurry()
        self._readings.append(reading)
        while self._readings[0].at < reading.at - HISTORY:
            self._readings.popleft()
        view = View(
            tuple(self._readings),
            self.settings,
            self._fresh_facts(reading),
            self._files,
            frozenset(self.engine.open),
        )
        found, failed = evaluate(view)
        judge = self._judge(view, whole=failed is None)
        before = {**self.engine.open}
        clean = [self.safe.condition(each) for each in found]
        self.engine.step(reading.at, (*clean, *self._of_facts), judge)
        self._log(before)
        if self.engine.due(reading.at, self.muted):
            self._telling.hurry()
        if failed is not None:
            raise failed

    def _fresh_facts(self, reading: Reading) -> Facts | None:
        facts = self.facts
        return facts if facts is not None and reading.at - facts.at < FACTS_LAST else None

    def _judge(self, view: View, *, whole: bool) -> Judge:
        """Who judges what, as far as enough is known for it."""

        def judge(name: str, subject: str) -> Judgement:
            rule, facts = RULES[name], view.facts
            if not speaks(view.now, rule.scope, subject):
                return "others"
            known = facts is not None and (facts.whole or rule.scope != "all")
            return "ours" if whole and (known or not rule.asks) else "unknown"

        return judge

    def _log(self, before: Mapping[tuple[str, str], object]) -> None:
        after = self.engine.open
        for key in after.keys() - before.keys():
            alert = after[key]
            extra = {"rule": alert.rule, "severity": alert.severity, "why": alert.text}
            logger.warning("alert: %s", RULES[alert.rule].title, extra=extra)
        for rule, subject in before.keys() - after.keys():
            extra = {"rule": rule, "of": subject}
            logger.info("alert is over: %s", RULES[rule].title, extra=extra)

    def muted(self, rule: str, subject: str) -> bool:
        """Whether somebody does not want to be told of it."""
        return any(mute.covers(rule, subject) for mute in self._mutes)

    # -- chores -----------------------------------------------------------------------------------

    async def look(self) -> None:
        """Ask for what the readings do not say."""
        has_secrets = self.facts is not None and self.facts.has_secrets
        self._files = await asyncio.to_thread(
            files.look, self.settings, has_secrets=has_secrets, now=datetime.now(UTC)
        )
        facts = await self._observer.look(leads=self.leads)
        if self._readings:
            view = View((self._readings[-1],), self.settings, facts)
            self._of_facts = await asyncio.to_thread(self._judge_facts, view)
        self.facts = facts

    def _judge_facts(self, view: View) -> list[Condition]:
        return [self.safe.condition(each) for each in of_facts(view)]

    async def work(self) -> None:
        """Tell what is due. The table comes first, if it is there: people may have written."""
        failed: Exception | None = None
        try:
            await _soon(self._read_and_write())
        except Exception as error:  # noqa: BLE001 - raised below; people have to be told in any case
            failed = error
        known = self._loaded or time.monotonic() - self._began > UNKNOWN_FOR
        # What was told before a restart is not known then; that the database is away may not wait.
        only = None if known else frozenset({"database_away"})
        await self.teller.tell(self.engine, self.muted, only=only)
        if failed is not None:
            raise failed
        await _soon(self._write())
        self.engine.settled(time.time(), self.muted)

    async def _read_and_write(self) -> None:
        async with self.database.acquire() as connection:
            self._mutes = await book.mutes(connection)
            rows = await book.load(connection, self.host)
        # Before the first reading nobody knows what this daemon has to judge.
        if self._readings:
            view = View(tuple(self._readings), self.settings, self.facts)
            self.engine.merge(rows, self._judge(view, whole=True))
            self._loaded = True
            await self._write()
        if self.leads and time.monotonic() - self._left_behind_at > LEFT_BEHIND_EVERY:
            async with self.database.acquire() as connection:
                await book.close_left_behind(connection)
            self._left_behind_at = time.monotonic()

    async def _write(self) -> None:
        async with self.database.acquire() as connection:
            for alert in self.engine.unsaved():
                await book.save(connection, alert)


async def _soon(work: Coroutine[None, None, None]) -> None:
    """A database that does not answer soon is away."""
    try:
        async with asyncio.timeout(BOOK_LIMIT):
            await work
    except TimeoutError as error:
        raise DatabaseAway(f"it did not answer within {BOOK_LIMIT:g} s") from error
