"""The HTTP server under the pages and under the monitor's endpoints: hardened connections.

Whatever a client sends, or does not send, costs little: bodies are not decompressed, heads are
short, client errors are not logged, and every answer carries the headers of the program.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import cast

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

# What browsers and scanners do wrong must not fill the log.
_clients = logging.getLogger(f"{__name__}.clients")
_clients.setLevel(logging.CRITICAL + 1)


class ConnectionOptions(msgspec.Struct, frozen=True):
    """Limits of an HTTP connection, and the headers of every response on it."""

    headers: Mapping[str, str]  # also of the answer to what is not HTTP
    idle_max: float  # seconds until the whole head of a request must be there, first or next
    linger: float  # seconds for which the rest of an unwanted body is discarded
    line_max: int  # bytes of an address or a header
    headers_max: int


class HttpConnection(RequestHandler):
    """An HTTP connection with one request at a time."""

    def __init__(self, server: web.Server, options: ConnectionOptions) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # documented, but not typed
            logger=_clients,
            auto_decompress=False,  # a small body could unpack to any size, before the login
            keepalive_timeout=options.idle_max,
            lingering_time=options.linger,
            max_line_size=options.line_max,
            max_field_size=options.line_max,
            max_headers=options.headers_max,
        )
        self.is_idle = True  # no request is being handled
        self._own_headers = options.headers

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is not HTTP: no application sees it."""
        response = super().handle_error(request, status, exc, message)
        response.headers.update(self._own_headers)
        return response


class Refusal(asyncio.Protocol):
    """Closes a connection at once, because there are too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()  # uvloop's transports lack asyncio's base


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of `host:port`, also of `[::1]:port`."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


@contextlib.asynccontextmanager
async def listening(
    application: web.Application,
    address: tuple[str, int],
    accept: Callable[[web.Server], asyncio.Protocol],
    *,
    shutdown_timeout: float,
    backlog: int = 100,
) -> AsyncIterator[tuple[web.Server, tuple[str, int]]]:
    """Listen; yields aiohttp's server and the address, with the port that was chosen for 0.

    `accept` makes the protocol of each new connection. OSError when the port is taken.
    """
    runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=shutdown_timeout)
    await runner.setup()
    server = runner.server
    assert server is not None
    server.request_handler = _noting_idle(server.request_handler)
    try:
        listener = await asyncio.get_running_loop().create_server(
            lambda: accept(server), *address, backlog=backlog
        )
        try:
            host, port = listener.sockets[0].getsockname()[:2]
            yield server, (host, port)
        finally:
            listener.close()
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * shutdown_timeout):
                await runner.cleanup()


_Handle = Callable[[BaseRequest], Awaitable[web.StreamResponse]]


def _noting_idle(handle: _Handle) -> _Handle:
    async def noting(request: BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, HttpConnection)
        connection.is_idle = False
        try:
            return await handle(request)
        finally:
            connection.is_idle = True

    return noting
