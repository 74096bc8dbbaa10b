"""Serves the application on `web.listen`: retries the port, limits and drops connections."""

import asyncio
import logging
import resource
from collections.abc import Callable

from aiohttp import web

from stream.backoff import supervised
from stream.http_server import ConnectionOptions, HttpConnection, Refusal, listening, split_listen
from web.context import APP_CONTEXT
from web.middleware import HEADERS

logger = logging.getLogger(__name__)

RETRY = 10.0  # seconds between two attempts to listen
SHUTDOWN_TIMEOUT = 1.0  # seconds for answers on their way, at the end
LINE_MAX = 16 * 1024  # bytes of an address or a header
HEADERS_MAX = 64
CONNECTIONS_MAX = 1024  # at once, in addition to those of live viewers
OPEN_FILES = 65_536  # that this process tries to be allowed; collecting needs some of them, too
# Seconds until the whole head of a request must be there, first or next. Proxies keep connections
# for 60 (nginx) or 120 (Caddy) seconds, and must be the ones to close them.
IDLE_MAX = 150.0
LINGER = 2.0  # seconds for which the rest of an unwanted body is discarded
SWEEP = 1.0  # seconds between two checks for stalled connections
STALL_MAX = 60.0  # seconds for which a client may take nothing of what is ready for it


class Server:
    """`opened` is called with the address whenever the server starts to listen."""

    def __init__(
        self,
        build: Callable[[], web.Application],
        listen: str,
        opened: Callable[[str], None],
        *,
        retry: float = RETRY,
    ) -> None:
        self.listen = split_listen(listen)
        self.build = build
        self.opened = opened
        self.retry = retry
        self.address: str | None = None  # while it serves

    async def run(self) -> None:
        """Serve until cancelled. A port that is taken is logged once, and tried again."""
        logged = ""
        while True:
            try:
                await self._serve()
            except OSError as error:
                if logged != str(error):
                    logged = str(error)
                    host, port = self.listen
                    logger.warning(
                        "cannot listen on web.listen; trying again",
                        extra={"listen": f"{host}:{port}", "why": logged},
                    )
            except Exception:  # the pages must not end the daemon they run in
                logger.exception("the web server failed; restarting it")
            await asyncio.sleep(self.retry)

    async def _serve(self) -> None:
        app = self.build()
        context = app[APP_CONTEXT]
        limiter = _ConnectionLimiter(CONNECTIONS_MAX + context.settings.web.max_live_connections)
        try:
            async with listening(
                app, self.listen, limiter.accept, shutdown_timeout=SHUTDOWN_TIMEOUT
            ) as (server, (host, port)):
                shown = f"[{host}]" if ":" in host else host
                self.address = context.address = f"http://{shown}:{port}"
                self.opened(self.address)
                await supervised(
                    "dropping stalled connections", lambda: limiter.drop_stalled(server), SWEEP
                )
        finally:
            self.address = None


class _ConnectionLimiter:
    """Limits the number of open connections: closes idle ones for new ones, and stalled ones."""

    def __init__(self, connections_max: int) -> None:
        self._max = _within_open_files(connections_max)
        self._stalls: dict[asyncio.Transport, tuple[int, float]] = {}  # bytes that wait, since

    def accept(self, server: web.Server) -> asyncio.Protocol:
        """A protocol for a new connection."""
        if len(server.connections) >= self._max and not self._make_room(server):
            return Refusal()
        options = ConnectionOptions(HEADERS, IDLE_MAX, LINGER, LINE_MAX, HEADERS_MAX)
        return HttpConnection(server, options)

    def _make_room(self, server: web.Server) -> bool:
        """Close the connection that has been idle longest; False when all are busy."""
        there = [each for each in _connections(server) if each.is_open]
        if len(there) < self._max:
            return True
        for each in there:
            if each.is_idle and each.transport is not None:
                each.transport.abort()
                return True
        return False

    async def drop_stalled(self, server: web.Server) -> None:
        """Close connections whose client takes nothing of what was written for it."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP)
            now, stalls = loop.time(), self._stalls
            self._stalls = {}
            for each in _connections(server):
                transport = each.transport
                if transport is not None and (waiting := transport.get_write_buffer_size()):
                    before, since = stalls.get(transport, (waiting, now))
                    since = since if before == waiting else now
                    self._stalls[transport] = waiting, since
                    if now - since >= STALL_MAX:
                        transport.abort()


def _connections(server: web.Server) -> list[HttpConnection]:
    return [each for each in server.connections if isinstance(each, HttpConnection)]


def _within_open_files(connections: int) -> int:
    """At most half of the files that the process may open, after raising that limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return connections if soft == resource.RLIM_INFINITY else min(connections, soft // 2)
