"""Serve the application on `web.listen`, for as long as it may, whatever comes through the door."""

import asyncio
import contextlib
import logging
import resource
from collections.abc import Callable
from typing import cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from web.answering import HEADERS
from web.site import SITE

logger = logging.getLogger(__name__)
# What browsers and scanners do wrong is no news, and must not fill the log.
_quiet = logging.getLogger(f"{__name__}.clients")
_quiet.setLevel(logging.CRITICAL + 1)

RETRY = 10.0  # seconds between two attempts to have the port
GOODBYE = 1.0  # seconds for answers on their way, at the end
LONGEST_LINE = 16 * 1024  # bytes of an address or a header
MOST_HEADERS = 64
MOST = 1024  # connections at once, beside those of viewers (web.viewers)
FILES = 65_536  # that this process would like to open; collecting needs some of them, too
# Seconds until all of a request's head must be there, of the first and of the next one. Servers in
# front keep connections for 60 (nginx) or 120 (Caddy), and must be the ones who end them.
IDLE = 150.0
LINGER = 2.0  # seconds for which the rest of a body that nobody wants is thrown away
SWEEP = 1.0  # seconds between two looks at who takes what he asked for
STALLED = 60.0  # seconds for which a reader may take nothing of what waits for him


class Server:
    """`opened` is called with the address each time that the port is had."""

    def __init__(
        self,
        build: Callable[[], web.Application],
        listen: str,
        opened: Callable[[str], None],
        *,
        retry: float = RETRY,
    ) -> None:
        host, _, port = listen.rpartition(":")
        self.host = host.removeprefix("[").removesuffix("]")
        self.port = int(port)
        self.build = build
        self.opened = opened
        self.retry = retry
        self.address: str | None = None  # while it serves

    async def run(self) -> None:
        """Serve until cancelled. A port that cannot be had is said, and tried for again."""
        said = ""
        while True:
            try:
                await self._serve()
            except OSError as error:
                if said != str(error):
                    said = str(error)
                    logger.warning(
                        "web.listen cannot be had; it is tried for again and again",
                        extra={"listen": f"{self.host}:{self.port}", "why": said},
                    )
            await asyncio.sleep(self.retry)

    async def _serve(self) -> None:
        app = self.build()
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=GOODBYE)
        await runner.setup()
        assert runner.server is not None
        door = _Door(runner.server, MOST + app[SITE].settings.web.viewers)
        try:
            listening = await asyncio.get_running_loop().create_server(
                door.enter, self.host, self.port
            )
            try:
                host, port = listening.sockets[0].getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                self.address = f"http://{shown}:{port}"
                self.opened(self.address)
                await door.watch()
            finally:
                self.address = None
                listening.close()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * GOODBYE):
                    await runner.cleanup()


class _Connection(RequestHandler):
    """One connection, with one request at a time on it."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked on it, or not all of the head is there yet."""
        return self._current_request is None

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no HTTP: it reaches no application."""
        response = super().handle_error(request, status, exc, message)
        response.headers.update(HEADERS)
        return response


class _Door:
    """Lets in so many at once, and sees off who takes up room for nothing."""

    def __init__(self, server: web.Server, most: int) -> None:
        self._server = server
        self._room = _room(most)
        self._stalls: dict[asyncio.Transport, tuple[int, float]] = {}  # bytes that wait, since

    def enter(self) -> asyncio.Protocol:
        """For somebody new, if there is room."""
        if len(self._server.connections) >= self._room and not self._make_room():
            return _Refusal()
        return _Connection(
            self._server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # said so in its documentation
            logger=_quiet,
            keepalive_timeout=IDLE,
            lingering_time=LINGER,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_HEADERS,
        )

    def _make_room(self) -> bool:
        """The one goes who has asked for nothing longest; False when all are busy."""
        there = [each for each in self._connections() if _is_open(each)]
        if len(there) < self._room:
            return True
        for each in there:
            if each.is_idle and each.transport is not None:
                each.transport.abort()
                return True
        return False

    async def watch(self) -> None:
        """End those who take nothing of what was written for them."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP)
            now, stalls = loop.time(), self._stalls
            self._stalls = {}
            for each in self._connections():
                transport = each.transport
                if transport is not None and (waiting := transport.get_write_buffer_size()):
                    before, since = stalls.get(transport, (waiting, now))
                    since = since if before == waiting else now
                    self._stalls[transport] = waiting, since
                    if now - since >= STALLED:
                        transport.abort()

    def _connections(self) -> list[_Connection]:
        return [each for each in self._server.connections if isinstance(each, _Connection)]


def _is_open(connection: RequestHandler) -> bool:
    return connection.transport is not None and not connection.transport.is_closing()


def _room(most: int) -> int:
    """So many that files for everything else are left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return most if soft == resource.RLIM_INFINITY else min(most, soft // 2)


class _Refusal(asyncio.Protocol):
    """There are enough connections."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()  # that of uvloop does not say that it is one
