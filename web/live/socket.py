"""Live connections, WebSockets and event streams: the other end may be slow or disconnected."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from web.live.viewers import ViewerSlot

PING_INTERVAL = 20.0  # seconds; a peer that does not answer a ping is disconnected
SEND_TIMEOUT = 20.0  # seconds for one message
CLOSED_POLL_INTERVAL = 1.0  # seconds between two checks whether a reader of events is still there
CLOSE_TIMEOUT = 2.0  # seconds for the other end to close in order
SEND_BUFFER = 64 * 1024  # bytes of the system's: a slow reader cannot miss what is in it
WRITE_BUFFER = 64 * 1024  # bytes that wait to be sent


class PeerGone(ConnectionError):
    """The other end has disconnected, or reads nothing."""


@contextlib.asynccontextmanager
async def open_websocket(
    request: web.Request, message_max: int
) -> AsyncIterator[web.WebSocketResponse]:
    """A WebSocket, closed at the end; `message_max`: bytes of a message from the other end."""
    ws = web.WebSocketResponse(
        heartbeat=PING_INTERVAL,
        timeout=CLOSE_TIMEOUT,
        compress=False,
        max_msg_size=message_max,
        writer_limit=WRITE_BUFFER,
    )
    await ws.prepare(request)
    limit_send_buffer(request)
    transport = request.transport
    try:
        yield ws
    finally:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await ws.close(code=WSCloseCode.GOING_AWAY)
        except TimeoutError:
            pass
        finally:
            if transport is not None and transport.get_write_buffer_size():
                transport.abort()  # it would wait for ever to send what is not read


def limit_send_buffer(request: web.Request) -> None:
    """Keep the system from buffering megabytes for a slow reader."""
    connection = None if request.transport is None else request.transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


async def send(ws: web.WebSocketResponse, message: bytes) -> None:
    """PeerGone when the message is not taken in time."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            await ws.send_frame(message, WSMsgType.TEXT)
    except (TimeoutError, ConnectionError, RuntimeError) as error:
        raise PeerGone from error


async def send_last(ws: web.WebSocketResponse, message: bytes) -> None:
    """Send why the connection ends, if the other end is still there."""
    with contextlib.suppress(PeerGone):
        await send(ws, message)


async def receive_text(ws: web.WebSocketResponse) -> str | None:
    """The next text from the other end; None when it closes, or sends anything else."""
    message = await ws.receive()
    return message.data if message.type is WSMsgType.TEXT else None


async def run_until_ended(slot: ViewerSlot, *parts: Coroutine[Any, Any, None]) -> None:
    """Run these until one of them is done, or the slot was ended: then its Problem is raised."""
    tasks = [asyncio.create_task(each) for each in (*parts, _ended(slot))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if slot.problem is not None:
        raise slot.problem


async def wait_until_closed(request: web.Request) -> None:
    """Wait until the other end has closed the connection."""
    while (transport := request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(CLOSED_POLL_INTERVAL)  # aiohttp has no event for it


async def _ended(slot: ViewerSlot) -> None:
    await slot.ended.wait()
