"""Writes one open stream: what waits for it, keep-alives, and the faults of the wire."""

import asyncio
import contextlib
import socket
import struct
import time
import zlib

from aiohttp import web

from simulator.connection import Connection
from simulator.faults import Armed
from simulator.hub import Hub
from simulator.network import Network
from simulator.sent import id_of

SOCKET_BYTES = 1 << 20  # so much may be under way in our half; less makes it wait for late ACKs
GARBAGE = (
    b'{"data": {"id": "17',
    b"\x00\xff\xfe\x80 no text at all",
    b"<html>502 Bad Gateway</html>",
    b"]]]}}}",
)
_WITHOUT_LINGER = struct.pack("ii", 1, 0)


class Outlet:
    """The answer to one request for a stream."""

    def __init__(
        self, hub: Hub, network: Network, connection: Connection, request: web.Request
    ) -> None:
        self.hub = hub
        self.network = network
        self.connection = connection
        self.request = request
        self.response = web.StreamResponse()
        self.zip: zlib._Compress | None = None
        self.begun = False  # something was written
        self.written = time.monotonic()

    async def run(self) -> web.StreamResponse:
        """Until one of the two sides ends it. The connection has joined the hub already."""
        try:
            await self._open()
            await self._carry()
        except ConnectionResetError:
            pass  # the client went; that is its right
        finally:
            self.hub.leave(self.connection)
        return self.response

    async def _open(self) -> None:
        response = self.response
        response.content_type = "application/json"
        response.force_close()
        accepted = self.request.headers.get("Accept-Encoding", "")
        if self.hub.faults.mode("gzip") and "gzip" in accepted:
            response.headers["Content-Encoding"] = "gzip"
            self.zip = zlib.compressobj(wbits=31)
        response.enable_chunked_encoding()
        sock = self._socket()
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        await response.prepare(self.request)
        if self.hub.faults.take("door", "accept-close"):
            self.connection.end()
            return
        if self.hub.faults.mode("resend"):
            again = list(self.hub.recent.lines)
            self.hub.lines += len(again)
            self.connection.put(again)
        self.connection.silence(on=False)
        self.hub.changed.set()

    async def _carry(self) -> None:
        while True:
            if self.begun and await self._fail():
                return
            if self.connection.size:
                await self._write(self.connection.take())
            elif self.connection.over:
                break
            else:
                await self._woken()
        if self.connection.torn:
            self._abort(reset=True)

    async def _woken(self) -> None:
        """Wait for something to do; a keep-alive is written after long quiet."""
        blank = self.written + self.network.keep_alive - time.monotonic()
        due = self.hub.faults.next_due(*_MOMENTS) if self.begun else None
        try:
            async with asyncio.timeout(blank if due is None else min(blank, due)):
                await self.connection.wake.wait()
        except TimeoutError:
            if time.monotonic() >= self.written + self.network.keep_alive:
                await self._write(b"\r\n")
        if not self.connection.size:
            self.connection.wake.clear()

    async def _write(self, data: bytes) -> None:
        self.begun = True
        self.written = time.monotonic()
        if self.zip is not None:
            data = self.zip.compress(data) + self.zip.flush(zlib.Z_SYNC_FLUSH)
        if self.hub.faults.mode("split-chunks") and len(data) > 2:
            for piece in (data[: len(data) // 2], data[len(data) // 2 : -1], data[-1:]):
                await self.response.write(piece)
            return
        await self.response.write(data)

    async def _fail(self) -> bool:
        """Let one armed fault of the wire happen, if there is one; true when it ends the stream."""
        if self.connection.deaf or self.connection.over:
            return False
        armed = self.hub.faults.take("wire", *_MOMENTS)
        if armed is None:
            return False
        match armed.fault:
            case "stall":
                await self._stall(armed)
                return False
            case "half-open":
                await self._silence()
            case "operational-disconnect" | "bare-problem":
                await self._say(self.network.oddity(armed))
                await self._silence()
            case "disconnect":
                await self._say(self.network.oddity(armed))
            case "reset" | "cut":
                await self._tear(reset=armed.fault == "reset")
            case "close":
                await self._say([])
            case "garbage":
                lines = [GARBAGE[place % len(GARBAGE)] for place in range(armed.n or 3)]
                self.hub.send(self.connection, lines)
                return False
            case _:
                lines = self.network.oddity(armed)
                self.hub.send(self.connection, lines)
                self.hub.record(lines, [id_of(line) for line in lines])
                return False
        return True

    async def _say(self, lines: list[bytes]) -> None:
        self.connection.put(lines)
        await self._write(self.connection.take())

    async def _stall(self, armed: Armed) -> None:
        self.connection.silence(on=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.hub.duration(armed, self.network.stall)):
                await self._over()
        self.connection.silence(on=False)
        self.hub.changed.set()

    async def _silence(self) -> None:
        self.connection.silence(on=True)
        await self._over()

    async def _over(self) -> None:
        """Wait until somebody else ends this stream; when the client goes, we are cancelled."""
        while not self.connection.over:
            self.connection.wake.clear()
            await self.connection.wake.wait()

    async def _tear(self, *, reset: bool) -> None:
        data = self.connection.take() or b'{"data":{"id":"17900000000'
        # Half of the last message; what was sent before it stays whole.
        start = data.rfind(b"\n", 0, len(data) - 1) + 1
        await self._write(data[: start + (len(data) - start) // 2])
        self._abort(reset=reset)

    def _abort(self, *, reset: bool) -> None:
        transport = self.request.transport
        if transport is None:
            return
        if not reset:
            transport.close()
            return
        sock = self._socket()
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _WITHOUT_LINGER)
        transport.abort()

    def _socket(self) -> socket.socket | None:
        transport = self.request.transport
        return None if transport is None else transport.get_extra_info("socket")


_MOMENTS = (
    "stall", "half-open", "reset", "cut", "close", "garbage", "torn-utf8", "unknown-kinds",
    "operational-disconnect", "bare-problem", "data-errors", "disconnect", "stall-warning",
)  # fmt: skip
