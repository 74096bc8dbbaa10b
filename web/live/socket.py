"""A WebSocket whose other end may be slow, frozen or gone."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from web.live.seats import Seat

HEARTBEAT = 20.0  # seconds between pings; who does not answer one is gone
PATIENCE = 20.0  # seconds for one message to go out
GOODBYE = 2.0  # seconds for the other end to close in order
SEND_BUFFER = 64 * 1024  # bytes of the system's: what is in it, a slow reader cannot miss any more
WRITE_BUFFER = 64 * 1024  # bytes of ours


class Gone(ConnectionError):
    """The other end is away, or takes nothing."""


@contextlib.asynccontextmanager
async def opened(request: web.Request, longest: int) -> AsyncIterator[web.WebSocketResponse]:
    """The socket, which is closed at the end, in order if the other end plays along."""
    ws = web.WebSocketResponse(
        heartbeat=HEARTBEAT,
        timeout=GOODBYE,
        compress=False,
        max_msg_size=longest,
        writer_limit=WRITE_BUFFER,
    )
    await ws.prepare(request)
    keep_small(request)
    transport = request.transport
    try:
        yield ws
    finally:
        try:
            async with asyncio.timeout(GOODBYE):
                await ws.close(code=WSCloseCode.GOING_AWAY)
        except TimeoutError:
            pass
        finally:
            if transport is not None and transport.get_write_buffer_size():
                transport.abort()  # it would wait for ever to get rid of what nobody takes


def keep_small(request: web.Request) -> None:
    """The system shall not hold megabytes for a reader who is slow."""
    connection = None if request.transport is None else request.transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


async def send(ws: web.WebSocketResponse, message: bytes) -> None:
    """Gone when nobody takes it."""
    try:
        async with asyncio.timeout(PATIENCE):
            await ws.send_frame(message, WSMsgType.TEXT)
    except (TimeoutError, ConnectionError, RuntimeError) as error:
        raise Gone from error


async def send_last(ws: web.WebSocketResponse, message: bytes) -> None:
    """Say why it ends, to whoever is still there."""
    with contextlib.suppress(Gone):
        await send(ws, message)


async def said(ws: web.WebSocketResponse) -> str | None:
    """The next text from the other end; None at its end, and for what is no text."""
    message = await ws.receive()
    return message.data if message.type is WSMsgType.TEXT else None


async def until_over(seat: Seat, *parts: Coroutine[Any, Any, None]) -> None:
    """Do these until one of them is done, or the seat is taken away: then its Problem."""
    tasks = [asyncio.create_task(each) for each in (*parts, _over(seat))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if seat.problem is not None:
        raise seat.problem


async def _over(seat: Seat) -> None:
    await seat.over.wait()
