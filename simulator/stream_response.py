"""Writes one open stream: queued messages, keep-alives and stream faults."""

import asyncio
import contextlib
import time
import zlib

from aiohttp import web

from simulator.faults import Armed
from simulator.hub import Connection, Hub, Network, id_of
from simulator.sockets import drop, enlarge

GARBAGE = (
    b'{"data": {"id": "17',
    b"\x00\xff\xfe\x80 no text at all",
    b"<html>502 Bad Gateway</html>",
    b"]]]}}}",
)


class StreamingResponse:
    """The response to one request for a stream."""

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
        """Write until either side ends the stream. The connection has already joined the hub."""
        try:
            await self._open()
            await self._write_until_end()
        except ConnectionResetError:
            pass  # the client disconnected
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
        enlarge(self.request)
        await response.prepare(self.request)
        if self.hub.faults.take("connect", "accept-close"):
            self.connection.end()
            return
        if self.hub.faults.mode("resend"):
            again = list(self.hub.recent.lines)
            self.hub.lines += len(again)
            self.connection.put(again)
        self.connection.mute(on=False)
        self.hub.changed.set()

    async def _write_until_end(self) -> None:
        while True:
            if self.begun and await self._run_fault():
                return
            if self.connection.size:
                await self._write(self.connection.take())
            elif self.connection.over:
                break
            else:
                await self._wait()
        if self.connection.torn:
            drop(self.request, reset=True)

    async def _wait(self) -> None:
        """Wait for data or a due fault; write a keep-alive after long silence."""
        blank = self.written + self.network.keep_alive - time.monotonic()
        due = self.hub.faults.next_due(*_STREAM_FAULTS) if self.begun else None
        try:
            async with asyncio.timeout(blank if due is None else min(blank, due)):
                await self.connection.wakeup.wait()
        except TimeoutError:
            if time.monotonic() >= self.written + self.network.keep_alive:
                await self._write(b"\r\n")
        if not self.connection.size:
            self.connection.wakeup.clear()

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

    async def _run_fault(self) -> bool:
        """Run one armed stream fault, if any; True when it ends the stream."""
        if self.connection.muted or self.connection.over:
            return False
        armed = self.hub.faults.take("stream", *_STREAM_FAULTS)
        if armed is None:
            return False
        match armed.fault:
            case "stall":
                await self._stall(armed)
                return False
            case "half-open":
                await self._silence()
            case "operational-disconnect" | "bare-problem":
                await self._finish_with(self.network.fault_messages(armed))
                await self._silence()
            case "disconnect":
                await self._finish_with(self.network.fault_messages(armed))
            case "reset" | "cut":
                await self._cut_short(reset=armed.fault == "reset")
            case "close":
                await self._finish_with([])
            case "garbage":
                lines = [GARBAGE[place % len(GARBAGE)] for place in range(armed.n or 3)]
                self.hub.send(self.connection, lines)
                return False
            case _:
                lines = self.network.fault_messages(armed)
                self.hub.send(self.connection, lines)
                self.hub.record_sent(lines, [id_of(line) for line in lines])
                return False
        return True

    async def _finish_with(self, lines: list[bytes]) -> None:
        self.connection.put(lines)
        await self._write(self.connection.take())

    async def _stall(self, armed: Armed) -> None:
        self.connection.mute(on=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.hub.duration(armed, self.network.stall)):
                await self._wait_for_end()
        self.connection.mute(on=False)
        self.hub.changed.set()

    async def _silence(self) -> None:
        self.connection.mute(on=True)
        await self._wait_for_end()

    async def _wait_for_end(self) -> None:
        """Wait until another task ends this stream. A client that disconnects cancels us."""
        while not self.connection.over:
            self.connection.wakeup.clear()
            await self.connection.wakeup.wait()

    async def _cut_short(self, *, reset: bool) -> None:
        data = self.connection.take() or b'{"data":{"id":"17900000000'
        # Half of the last message; messages before it stay whole.
        start = data.rfind(b"\n", 0, len(data) - 1) + 1
        await self._write(data[: start + (len(data) - start) // 2])
        drop(self.request, reset=reset)


_STREAM_FAULTS = (
    "stall", "half-open", "reset", "cut", "close", "garbage", "torn-utf8", "unknown-kinds",
    "operational-disconnect", "bare-problem", "data-errors", "disconnect", "stall-warning",
)  # fmt: skip
