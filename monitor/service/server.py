"""/metrics and /health on a port of their own, where nobody can do harm, whatever they send."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import cast

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler

from monitor.reading import Reading
from monitor.service import health, metrics

logger = logging.getLogger(__name__)
# What clients do wrong is no news, and must not fill the log. Our own errors are said below.
_quiet = logging.getLogger(f"{__name__}.clients")
_quiet.setLevel(logging.CRITICAL + 1)


RETRY = 30.0  # seconds between two attempts to have the port
MOST = 32  # connections at once
LONGEST = 10.0  # seconds that a connection may last
SWEEP = 1.0  # seconds between two looks for those that last longer
REMEMBER = 1.0  # seconds that the text of /metrics is given again
LONGEST_LINE = 4096  # bytes
MOST_HEADERS = 64
GOODBYE = 1.0  # seconds for answers on their way, at the end

INDEX = """twitterstream

/metrics       for Prometheus
/health/live   200 while the daemon lives; else a restart may help
/health/ready  200 while tweets are collected and stored; else it says why not
"""
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Sights(msgspec.Struct, frozen=True):
    """What there is to be seen."""

    newest: Callable[[], Reading | None]
    alerts: Callable[[], metrics.OpenAlerts]
    live: Callable[[], health.Answer]
    ready: Callable[[], health.Answer]


class Server:
    """Serves on `listen` (host:port, also [::1]:port) for as long as `run` runs.

    A port that cannot be had is said once and tried for again: collecting goes on without it.
    """

    def __init__(
        self,
        listen: str,
        sights: Sights,
        *,
        retry: float = RETRY,
        longest: float = LONGEST,
    ) -> None:
        host, _, port = listen.rpartition(":")
        self.host = host.removeprefix("[").removesuffix("]")
        self.port = int(port)
        self.sights = sights
        self.retry = retry
        self.longest = longest
        self.address: tuple[str, int] | None = None  # while it serves; 0 as port: any free one
        self._text = b""
        self._text_until = float("-inf")
        self._writing = asyncio.Lock()
        self._failed = False

    async def run(self) -> None:
        """Serve until cancelled."""
        said = ""
        while True:
            try:
                await self._serve()
            except Exception as error:  # noqa: BLE001 - what watches may not stop what it watches
                level = logging.DEBUG if said == str(error) else logging.WARNING
                said = str(error)
                logger.log(
                    level,
                    "monitor.listen cannot be had; it is tried for again and again",
                    extra={"host": self.host, "port": self.port, "why": said},
                )
            await asyncio.sleep(self.retry)

    async def _serve(self) -> None:
        # Each answer ends its connection: what lasts is slow or hostile, and is swept out.
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=_quiet,
            keepalive_timeout=self.longest,
            lingering_time=0,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_HEADERS,
            handle_signals=False,
        )
        await runner.setup()
        try:
            web_server = runner.server
            assert web_server is not None
            listening = await asyncio.get_running_loop().create_server(
                lambda: web_server() if len(web_server.connections) < MOST else _Refusal(),
                self.host,
                self.port,
                backlog=MOST,
            )
            try:
                self.address = listening.sockets[0].getsockname()[:2]
                logger.info(
                    "metrics and health can be read",
                    extra={"address": f"{self.address[0]}:{self.address[1]}"},
                )
                await self._sweep(web_server)
            finally:
                self.address = None
                listening.close()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    await runner.cleanup()

    async def _sweep(self, server: web.Server) -> None:
        """End connections that last too long; their other side may neither write nor read."""
        since: dict[RequestHandler, float] = {}
        while True:
            await asyncio.sleep(min(SWEEP, self.longest))
            now = time.monotonic()
            since = {each: since.get(each, now) for each in server.connections}
            for each, began in since.items():
                if now - began >= self.longest and each.transport is not None:
                    each.transport.abort()

    # -- answers ----------------------------------------------------------------------------------

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
        except Exception:  # nothing that watches may stop what it watches
            if not self._failed:
                self._failed = True
                logger.exception("%s cannot be answered", request.path)
            response = web.Response(status=500, text="This is our fault; the log says more.\n")
        else:
            self._failed = False
        response.headers.update(HEADERS)
        response.force_close()
        return response

    async def _index(self, _: web.Request) -> web.Response:
        return web.Response(text=INDEX)

    async def _metrics(self, _: web.Request) -> web.Response:
        async with self._writing:
            if time.monotonic() >= self._text_until:  # however often it is asked for
                reading, alerts = self.sights.newest(), tuple(self.sights.alerts())
                self._text = await asyncio.to_thread(metrics.exposition, reading, alerts)
                self._text_until = time.monotonic() + REMEMBER
        return web.Response(body=self._text, headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _live(self, _: web.Request) -> web.Response:
        return _answer(self.sights.live())

    async def _ready(self, _: web.Request) -> web.Response:
        return _answer(self.sights.ready())


def _answer(answer: health.Answer) -> web.Response:
    body = msgspec.json.format(msgspec.json.encode(answer), indent=2) + b"\n"
    return web.Response(
        status=200 if answer.ok else 503, body=body, content_type="application/json"
    )


class _Refusal(asyncio.Protocol):
    """There are enough connections."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()  # uvloop's have no base class of asyncio's
