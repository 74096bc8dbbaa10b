"""Serve programs that watch the daemon: /metrics and /health over HTTP, its status to systemd.

The port is separate from the web UI's, and hardened against any client.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler

from monitor.alert.alerts import Alerts
from monitor.alert.verdict import HealthReport
from monitor.jobs import PeriodicJob
from monitor.service import health, metrics
from monitor.service.systemd import SystemdNotifier
from monitor.snapshot import Snapshot
from stream.config import Settings
from stream.daemon import Daemon
from stream.http_server import ConnectionOptions, HttpConnection, Refusal, listening, split_listen
from stream.logs import redact

logger = logging.getLogger(__name__)

BIND_RETRY_INTERVAL = 30.0  # seconds between two attempts to bind the port
CONNECTIONS_MAX = 32  # at once
CONNECTION_TIMEOUT = 10.0  # seconds
SWEEP_INTERVAL = 1.0  # seconds between two searches for connections beyond it
METRICS_CACHE = 1.0  # seconds that the text of /metrics is served again
LINE_MAX = 4096  # bytes of a request or header line
HEADERS_MAX = 64
SHUTDOWN_TIMEOUT = 1.0  # seconds for open responses

INDEX = """twitterstream

/metrics       for Prometheus
/health/live   200 while the daemon runs
/health/ready  200 while tweets are collected and stored and no critical alert is open
"""
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Server": "twitterstream",  # without versions, which would help attackers
}


class Endpoints(msgspec.Struct, frozen=True):
    """The functions that make the content of each response."""

    newest: Callable[[], Snapshot | None]
    alerts: Callable[[], metrics.OpenAlerts]
    live: Callable[[], HealthReport]
    ready: Callable[[], HealthReport]


class Server:
    """Serves on `listen` (host:port, also [::1]:port) for as long as `run` runs.

    A port that cannot be bound is logged once and tried again: collecting continues without it.
    """

    def __init__(
        self,
        listen: str,
        endpoints: Endpoints,
        *,
        retry: float = BIND_RETRY_INTERVAL,
        timeout: float = CONNECTION_TIMEOUT,
    ) -> None:
        self.host, self.port = split_listen(listen)
        self.endpoints = endpoints
        self.retry = retry
        self.timeout = timeout
        self.address: tuple[str, int] | None = None  # while it serves; 0 as port: any free one
        self._text = b""
        self._text_until = float("-inf")
        self._writing = asyncio.Lock()
        self._failed = False

    async def run(self) -> None:
        """Serve until cancelled."""
        logged = ""
        while True:
            try:
                await self._serve()
            except Exception as error:  # noqa: BLE001 - the monitor must not stop the daemon
                level = logging.DEBUG if logged == str(error) else logging.WARNING
                logged = str(error)
                logger.log(
                    level,
                    "monitor.listen cannot be bound, retrying: each process needs its own address,"
                    " or none",
                    extra={"host": self.host, "port": self.port, "why": logged},
                )
            await asyncio.sleep(self.retry)

    async def _serve(self) -> None:
        # Each response ends its connection; one that lasts is slow or hostile, and is aborted.
        application, address = self._application(), (self.host, self.port)
        try:
            async with listening(
                application,
                address,
                self._accept,
                shutdown_timeout=SHUTDOWN_TIMEOUT / 2,
                backlog=CONNECTIONS_MAX,
            ) as (server, self.address):
                host, port = self.address
                logger.info("serving metrics and health", extra={"address": f"{host}:{port}"})
                await self._sweep(server)
        finally:
            self.address = None

    def _accept(self, server: web.Server) -> asyncio.Protocol:
        if len(server.connections) >= CONNECTIONS_MAX:
            return Refusal()
        options = ConnectionOptions(HEADERS, self.timeout, 0, LINE_MAX, HEADERS_MAX)
        return HttpConnection(server, options)

    async def _sweep(self, server: web.Server) -> None:
        """Abort connections that last too long, also those that neither read nor write."""
        since: dict[RequestHandler, float] = {}
        while True:
            await asyncio.sleep(min(SWEEP_INTERVAL, self.timeout))
            now = asyncio.get_running_loop().time()
            since = {each: since.get(each, now) for each in server.connections}
            for each, began in since.items():
                if now - began >= self.timeout and each.transport is not None:
                    each.transport.abort()

    # -- responses --------------------------------------------------------------------------------

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=1)
        application.router.add_get("/", self._index)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/health/live", self._live)
        application.router.add_get("/health/ready", self._ready)
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=f"{error.reason}\n")
        except Exception:  # the monitor must not stop the daemon
            if not self._failed:
                self._failed = True
                logger.exception("request for %s failed", request.path)
            response = web.Response(status=500, text="Internal error; see the log.\n")
        else:
            self._failed = False
        response.headers.update(HEADERS)
        response.force_close()
        return response

    async def _index(self, _: web.Request) -> web.Response:
        return web.Response(text=INDEX)

    async def _metrics(self, _: web.Request) -> web.Response:
        async with self._writing:
            if time.monotonic() >= self._text_until:  # however often it is requested
                snapshot, alerts = self.endpoints.newest(), tuple(self.endpoints.alerts())
                self._text = await asyncio.to_thread(metrics.exposition, snapshot, alerts)
                self._text_until = time.monotonic() + METRICS_CACHE
        return web.Response(body=self._text, headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _live(self, _: web.Request) -> web.Response:
        return _response(self.endpoints.live())

    async def _ready(self, _: web.Request) -> web.Response:
        return _response(self.endpoints.ready())


def _response(report: HealthReport) -> web.Response:
    body = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
    return web.Response(
        status=200 if report.ok else 503, body=body, content_type="application/json"
    )


class Service:
    """Runs the HTTP port and the notifications to systemd."""

    def __init__(
        self,
        daemon: Daemon,
        settings: Settings,
        jobs: Sequence[PeriodicJob],
        newest: Callable[[], Snapshot | None],
        alerts: Alerts,
    ) -> None:
        self.daemon = daemon
        self.settings = settings.monitor
        self.newest = newest
        self.alerts = alerts
        self.liveness = health.Liveness(jobs)
        endpoints = Endpoints(
            newest=newest,
            alerts=lambda: [(each.rule, each.severity) for each in alerts.open_alerts],
            live=self.liveness.report,
            ready=self._ready,
        )
        listen = self.settings.listen
        self.server = Server(listen, endpoints) if listen else None
        self.notifier = SystemdNotifier(self._status)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.notifier.run(self.daemon.stop), name="systemd")
            if self.server is not None:
                group.create_task(self.server.run(), name="metrics and health")
            await asyncio.Event().wait()  # also without systemd and an address

    def _ready(self) -> HealthReport:
        return self.alerts.readiness(self.daemon.begun_at)

    def _status(self) -> str | None:
        """The status line for systemd; None until it is known whether the start succeeds.

        Waiting for Postgres is not a failed start: systemd would end the daemon.
        """
        if self.daemon.begun_at is None:
            return (
                f"Waiting for Postgres: {redact(self.daemon.waits)}" if self.daemon.waits else None
            )
        snapshot = self.newest()
        if snapshot is not None and not snapshot.database.up:
            return redact(f"Postgres is away: {snapshot.database.error}. {self.daemon.status}")
        roles = self.daemon.roles
        works = "Collecting." if "collect" in roles else f"Running: {', '.join(sorted(roles))}."
        return redact(self.daemon.status) or works
