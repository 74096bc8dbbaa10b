"""The daemon's row in the table `daemons`: a heartbeat, with a report of what it does."""

import asyncio
import contextlib
import os
import socket
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from stream import __version__
from stream.collector import Collector
from stream.config import Settings
from stream.daemon_report import (
    MISSING_MAX,
    REASON_MAX,
    DaemonReport,
    JournalReport,
    LaneReport,
    MissingFrames,
    Role,
)
from stream.db import Database
from stream.errors import DatabaseAway
from stream.journal.backlog import BacklogAge
from stream.lane_writers import LaneWriter, LaneWriters
from stream.store import daemons
from stream.tweet import BusPosition, LaneId, SourceId
from stream.vault import Vault

if TYPE_CHECKING:
    from stream.bus.connection import Bus

INTERVAL = 2.0  # seconds
SIGN_OFF_TIMEOUT = 1.0  # seconds, for deleting the row at the end
MUST_BE_EQUAL = (
    "bus",
    "bus_stream",
    "bus_replicas",
    "bus_max_bytes",
    "max_frame_bytes",
    "deletions",
    "keep_unmatched",
)


class Heartbeat:
    """Writes the row of one daemon until cancelled."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        vault: Vault,
        roles: frozenset[Role],
        collectors: Mapping[SourceId, Collector],
        lane_writers: LaneWriters | None = None,
        bus: "Bus | None" = None,
    ) -> None:
        self.database = database
        self.settings = settings
        self.vault = vault
        self.roles = roles
        self.collectors = collectors
        self.lane_writers = lane_writers
        self.id = uuid.uuid4()
        self.watch = None
        if bus is not None:
            from stream.bus.watch import BusWatch  # noqa: PLC0415 - only where there is a bus

            creates = bool(roles & {"collect", "write"})
            self.watch = BusWatch(
                bus, settings, self._stored_blocks, self._why_useless, creates=creates
            )
        self._unsent: dict[uuid.UUID, BacklogAge] = {}  # by journal
        self._missing_since: dict[tuple[LaneId, uuid.UUID], float] = {}

    async def run(self) -> None:
        """Write until cancelled; the row is deleted by `sign_off`."""
        async with asyncio.TaskGroup() as group:
            if self.watch is not None:
                group.create_task(self.watch.run(), name="bus")
            await self._write()

    async def _write(self) -> None:
        host, pid = socket.gethostname(), os.getpid()
        while True:
            report = self.report()
            with contextlib.suppress(DatabaseAway):
                async with self.database.acquire() as connection:
                    await daemons.upsert(
                        connection,
                        self.id,
                        host,
                        pid,
                        self._role(),
                        roles=self.roles,
                        lanes=[each.id for each in report.lanes],
                        report=report,
                    )
            await asyncio.sleep(INTERVAL)

    async def sign_off(self) -> None:
        """Delete the row: this daemon ends in order."""
        with contextlib.suppress(DatabaseAway, TimeoutError):
            async with asyncio.timeout(SIGN_OFF_TIMEOUT), self.database.acquire() as connection:
                await daemons.delete(connection, self.id)

    def _role(self) -> str:
        """Whether it collects."""
        if "collect" not in self.roles:
            return "other"
        waiting = [collector.standing_by for collector in self.collectors.values()]
        return "standby" if waiting and all(waiting) else "collecting"

    # -- the report -------------------------------------------------------------------------------

    def report(self) -> DaemonReport:
        """How this daemon is at this moment."""
        return DaemonReport(
            version=__version__,
            cell=self.settings.cell,
            at=round(time.time(), 3),
            key=self.vault.fingerprint(),
            settings=must_be_equal(self.settings),
            ready=[each.source.id for each in self.collectors.values() if each.ready],
            lanes=[self._lane(each) for each in self._lanes()],
            journals=[
                journal
                for each in self.collectors.values()
                if (journal := self._journal(each)) is not None
            ],
            bus=None if self.watch is None else self.watch.report,
        )

    def _lanes(self) -> list[LaneWriter]:
        return [] if self.lane_writers is None else list(self.lane_writers.writers.values())

    def _stored_blocks(self) -> dict[LaneId, BusPosition | None]:
        return {each.lane.id: each.reader.stored for each in self._lanes()}

    def _why_useless(self) -> str:
        return "" if self.lane_writers is None else self.lane_writers.stream.lasting

    def _lane(self, writer: LaneWriter) -> LaneReport:
        lane, now = writer.lane, time.time()
        failing = writer.reader.away_because or ""
        if writer.writer.away_since is not None:
            failing = "Postgres does not store"
        return LaneReport(
            id=lane.id,
            source=writer.source.name,
            cell=lane.cell,
            number=lane.number,
            lag=round(now - min(writer.late_since or now, now), 1),
            blocks=None if self.watch is None else self.watch.blocks.get(lane.id),
            missing=self._missing(writer),
            failing=failing[:REASON_MAX],
        )

    def _missing(self, writer: LaneWriter) -> list[MissingFrames]:
        """The frames that a lane waits for; since when is known by watching."""
        lane, now = writer.lane.id, round(time.time(), 3)
        known = self._missing_since
        missing = dict(list(writer.reader.missing.items())[:MISSING_MAX])
        for key in [key for key in known if key[0] == lane and key[1] not in missing]:
            del known[key]
        return [
            MissingFrames(
                journal=journal.hex,
                position=position,
                since=known.setdefault((lane, journal), now),
            )
            for journal, position in missing.items()
        ]

    def _journal(self, collector: Collector) -> JournalReport | None:
        journal, publisher = collector.journal, collector.publisher
        if journal is None or publisher is None:
            return None
        unsent = self._unsent.setdefault(journal.id, BacklogAge())
        return JournalReport(
            source_id=collector.source.id,
            source=collector.source.name,
            collecting=collector.collecting,
            journal=journal.id.hex,
            end=journal.end,
            stored=journal.stored,
            sent=publisher.sent,
            lag=round(unsent.seconds(publisher.sent, journal.end), 1),
            resent=sum(each.resent for each in publisher.senders.values()),
            failing=(publisher.failing or "")[:REASON_MAX],
        )


def must_be_equal(settings: Settings) -> dict[str, str]:
    """The settings that all machines of an installation have to share, as text."""
    found = {name: str(getattr(settings, name)) for name in MUST_BE_EQUAL}
    found["keep_unmatched"] = found["keep_unmatched"].lower()  # as in the settings
    return found | {"bus": ",".join(sorted(settings.bus.split(",")))}
