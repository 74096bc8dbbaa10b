"""What watches from outside gets to see of one daemon."""

import asyncio
import time
from collections.abc import Callable, Sequence

from monitor.chores import Chore
from monitor.reading import Reading
from monitor.service import health
from monitor.service.metrics import OpenAlerts
from monitor.service.server import Server, Sights
from monitor.service.systemd import Notifier
from stream.config import Settings
from stream.daemon import Daemon
from stream.logs import redact


class Service:
    """The port for /metrics and /health, and the line to systemd."""

    def __init__(
        self,
        daemon: Daemon,
        settings: Settings,
        chores: Sequence[Chore],
        newest: Callable[[], Reading | None],
        alerts: Callable[[], OpenAlerts],
    ) -> None:
        self.daemon = daemon
        self.settings = settings.monitor
        self.newest = newest
        self.liveness = health.Liveness(chores)
        sights = Sights(newest, alerts, self.liveness.look, self._ready)
        listen = self.settings.listen
        self.server = Server(listen, sights) if listen else None
        self.notifier = Notifier(self._status)

    async def run(self) -> None:
        """Be there until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.notifier.run(self.daemon.stop), name="systemd")
            if self.server is not None:
                group.create_task(self.server.run(), name="metrics and health")

    def _ready(self) -> health.Answer:
        every = self.settings.probe_every
        return health.ready(self.daemon.begun, self.newest(), every, time.time())

    def _status(self) -> str | None:
        """None before anybody knows whether the start goes well.

        A Postgres that is away is no failed start: else systemd would end what waits for it.
        """
        if not self.daemon.begun:
            return (
                f"Waiting for Postgres: {redact(self.daemon.waits)}" if self.daemon.waits else None
            )
        reading = self.newest()
        if reading is not None and not reading.database.up:
            return redact(f"Postgres is away: {reading.database.error}. {self.daemon.status}")
        return redact(self.daemon.status) or "Collecting."
