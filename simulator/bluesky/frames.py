"""Writes WebSocket frames in large pieces, as fast as the client reads them."""

import asyncio
import struct
import time
from collections.abc import Sequence

from aiohttp import WSMsgType, web

from simulator.bluesky.dictionary import Compression

WRITABLE_BELOW = 256 << 10  # bytes; with fewer queued, more are written
DRAIN_POLL = 0.002  # seconds


class Unread(Exception):
    """The client accepted nothing for too long."""


class FrameWriter:
    """The writing half of one WebSocket. Frames are built here: that is several times as fast."""

    def __init__(
        self, request: web.Request, ws: web.WebSocketResponse, write_timeout: float
    ) -> None:
        self.request = request
        self.ws = ws
        self.write_timeout = write_timeout

    async def write(self, messages: Sequence[bytes], compression: Compression | None) -> None:
        """Write each message as one frame: binary when compressed with a dictionary."""
        if self.ws.compress and compression is None:  # the extension permessage-deflate
            for message in messages:
                await self.ws.send_frame(message, WSMsgType.TEXT)
        elif compression is None:
            await self.drain(b"".join([frame(0x81, message) for message in messages]))
        else:
            packed = [frame(0x82, compression.compress(message)) for message in messages]
            await self.drain(b"".join(packed))

    async def drain(self, data: bytes) -> None:
        """Write bytes and wait until most of them are on their way; Unread after a while."""
        transport = self.request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        transport.write(data)
        await asyncio.sleep(0)
        queued = transport.get_write_buffer_size()
        deadline = time.monotonic() + self.write_timeout
        while queued > WRITABLE_BELOW:
            await asyncio.sleep(DRAIN_POLL)
            left = transport.get_write_buffer_size()
            if left < queued:
                deadline = time.monotonic() + self.write_timeout
            queued = left
            if time.monotonic() > deadline:
                raise Unread


def frame(head: int, payload: bytes) -> bytes:
    """One unfragmented, unmasked WebSocket frame."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", head, size) + payload
    if size < 65536:
        return struct.pack("!BBH", head, 126, size) + payload
    return struct.pack("!BBQ", head, 127, size) + payload
