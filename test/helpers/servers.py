"""Local servers for tests, and what they do with a request."""

import asyncio
import contextlib
import functools
import json
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from aiohttp import web

from simulator.server import close

V2_TWEET = b'{"data":{"id":"7","text":"snow","author_id":"5"}}\r\n'
V1_KEYS = {
    "consumer_key": "consumer-key",
    "consumer_secret": "consumer-secret",
    "token": "user-token",
    "token_secret": "user-secret",
}
Step = Callable[[web.Request], Awaitable[web.StreamResponse]]
_taken = socket.socket()


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """The address of a server for this application."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await close(runner)


@contextlib.asynccontextmanager
async def answering(step: Step) -> AsyncIterator[str]:
    """The address of a server that answers every request so."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", step)
    async with serving(app) as url:
        yield url


@functools.cache
def closed_port() -> int:
    """A port on which nothing listens, nor will while the tests run: a socket keeps it taken."""
    _taken.bind(("127.0.0.1", 0))
    return int(_taken.getsockname()[1])


def free_port() -> int:
    """A port for a server that starts later.

    It is none of those that the system gives to connections, which could take it meanwhile.
    """
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def status(code: int, body: object = "", headers: Mapping[str, str] | None = None) -> Step:
    """Refuse the connection."""
    text = body if isinstance(body, str) else json.dumps(body)

    async def step(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers=headers)

    return step


def send(*chunks: bytes, then: str = "hold", kind: str = "application/octet-stream") -> Step:
    """Send these chunks; then `hold` the connection open, `close` it, or `abort` it."""

    async def step(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if then == "hold":
            await asyncio.Event().wait()
        if then == "abort":
            assert request.transport is not None
            request.transport.abort()
        return response

    return step


def trickle(every: float, count: int = 1_000_000) -> Step:
    """Send numbered tweets, one each so many real seconds."""

    async def step(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(1, count + 1):
            data = {"id": str(number), "text": "snow", "author_id": "5"}
            await response.write(json.dumps({"data": data}).encode() + b"\r\n")
            await asyncio.sleep(every)
        await asyncio.Event().wait()
        return response

    return step
