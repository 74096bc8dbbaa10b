"""Makes the readings: one look at everything, again and again."""

import asyncio
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence

from monitor.chores import Chore
from monitor.leader import Leader
from monitor.measure.gaps import Gaps
from monitor.measure.machine import MachineProbe
from monitor.measure.minute import Gatherer
from monitor.measure.minutes import Minutes, prune, roll_up
from monitor.measure.pipeline import Pipeline
from monitor.measure.postgres import DatabaseProbe
from monitor.measure.volumes import Volumes
from monitor.reading import ChoreReading, Reading
from stream import __version__
from stream.config import Settings
from stream.daemon import Daemon
from stream.db import Database

HISTORY = 3600.0  # seconds
HISTORY_MOST = 3600  # readings
SIZES_EVERY = 300.0  # seconds
GAPS_EVERY = 60.0  # seconds
MINUTES_EVERY = 60.0  # seconds
HISTORY_EVERY = 3600.0  # seconds
HISTORY_LIMIT = 600.0  # seconds


class Prober:
    """Reads every `monitor.probe_every` seconds, and tells those who listen.

    A listener is called on the loop and must not block; its error is noted as that of the probes,
    and spoils neither the reading nor the other listeners.
    """

    def __init__(
        self,
        daemon: Daemon,
        database: Database,
        settings: Settings,
        leader: Leader,
        chores: Sequence[Chore],
    ) -> None:
        self.daemon = daemon
        self.database = database
        self.settings = settings
        self.leader = leader
        self.all_chores = chores  # everybody's, to tell how they go
        self.newest: Reading | None = None
        every = settings.monitor.probe_every
        self.history: deque[Reading] = deque(
            maxlen=max(min(int(HISTORY / every) + 1, HISTORY_MOST), 2)
        )
        self.listeners: list[Callable[[Reading], None]] = []
        self.probes = Chore("probes", every, self.look)
        self.sizes = Chore("sizes", SIZES_EVERY, self._look_at_sizes)
        self.gaps_today = Chore("gaps", GAPS_EVERY, self._look_at_gaps)
        self.minutes = Chore("machine minutes", MINUTES_EVERY, self._write_minutes)
        self.machine_history = Chore(
            "machine history", HISTORY_EVERY, self._keep_history, limit=HISTORY_LIMIT
        )
        self._gatherer = Gatherer()
        self._minutes = Minutes(database)
        self._led = False
        self._gaps = Gaps(database)
        self._pipeline = Pipeline(daemon, self._gaps)
        self._volumes = Volumes(settings)
        self._machine = MachineProbe(self._volumes)
        self._postgres = DatabaseProbe(database)
        self._host = socket.gethostname()

    def chores(self) -> list[Chore]:
        """What has to be run for this."""
        return [self.probes, self.sizes, self.gaps_today, self.minutes, self.machine_history]

    async def run(self) -> None:
        """Measure the event loop until cancelled."""
        # The others may be long at work on theirs: who asks whether Postgres is up must not wait
        # for them.
        async with self.database.beside(1) as own:
            self._postgres.database = own
            try:
                await self._machine.lag.run()
            finally:
                self._postgres.database = self.database

    async def look(self) -> None:
        """Make a reading and tell the listeners."""
        was_up = self._postgres.up
        (machine, process), database = await asyncio.gather(
            self._machine.look(), self._postgres.look()
        )
        if database.up and was_up is False:
            self.sizes.hurry()
            self.gaps_today.hurry()
        reading = Reading(
            at=time.time(),
            host=self._host,
            version=__version__,
            leads=self.leader.leads,
            machine=machine,
            process=process,
            sources=self._pipeline.sources(),
            commits=self._pipeline.commits(),
            database=database,
            chores=tuple(_chore(chore) for chore in self.all_chores),
            tracks=Counter(track.state for track in self.daemon.control.tracks),
        )
        self.newest = reading
        self.history.append(reading)
        self._gather(reading)
        self._tell(reading)

    def _gather(self, reading: Reading) -> None:
        minute = self._gatherer.add(reading)
        if minute is not None:
            self._minutes.waiting.append(minute)
            self.minutes.hurry()
        if reading.leads and not self._led:
            self.machine_history.hurry()
        self._led = reading.leads

    def _tell(self, reading: Reading) -> None:
        failed: Exception | None = None
        for listener in self.listeners:
            try:
                listener(reading)
            except Exception as error:  # noqa: BLE001 - raised below, when all have heard it
                failed = failed or error
        if failed is not None:
            raise failed

    async def _look_at_sizes(self) -> None:
        await self._postgres.look_at_sizes(self.database)
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
                await prune(connection, settings.hours_days)
                await roll_up(connection, settings.minutes_days)


def _chore(chore: Chore) -> ChoreReading:
    return ChoreReading(
        name=chore.name,
        ran_at=chore.ran_at,
        done_at=chore.done_at,
        took=chore.took,
        failed=chore.failed,
        failing_since=chore.failing_since,
    )
