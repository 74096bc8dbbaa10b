"""One open Jetstream stream: reads the log, frames it as WebSocket messages, runs faults."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Protocol

import msgspec
from aiohttp import WSMsgType, web

from simulator.bluesky.dictionary import Compression, Dictionaries
from simulator.bluesky.event_log import Event, EventLog, v1_message, v2_error, v2_message
from simulator.bluesky.frames import FrameWriter, Unread, frame
from simulator.bluesky.options import BadOptions, ClientMessage, Options, OptionsUpdate, v1_update
from simulator.core import Core
from simulator.faults import Armed
from simulator.sockets import drop, enlarge

BATCH = 256  # events read from the log at once
PING = 30  # seconds between pings
STALL = 60  # seconds of silence in the fault of this name
SUBPROTOCOL = "xrpc.v1.json"
CLIENT_MESSAGE_BYTES = 10_000_000
GARBAGE = (b'{"did":"did:plc:', b"no JSON at all", b"<html>502 Bad Gateway</html>", b"]]]}}}")
_TORN = b'{"did":"did:plc:torn","kind":"commit","commit":{"record":{"text":"un caf\xc3'
_UNKNOWN = {
    1: (
        b'{"did":"did:plc:unknown","time_us":1,"kind":"label","label":{"val":"spam"}}',
        b'{"did":"did:plc:unknown","time_us":1,"kind":"commit","commit":{"operation":"merge",'
        b'"collection":"app.bsky.feed.post","rkey":"3k","rev":"3k"}}',
        b"{}",
    ),
    2: (
        b'{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#label"}}',
        b'{"$type":"notice","text":"maintenance"}',
        b"{}",
    ),
}
_STREAM_FAULTS = (
    "stall", "half-open", "reset", "cut", "close", "garbage", "torn-utf8", "unknown-kinds",
    "close-1001", "close-1006", "close-1008", "too-slow", "error-frame", "bad-zstd",
    "dictionary-change",
)  # fmt: skip


class Host(msgspec.Struct, frozen=True):
    """One of the hosts that serve the same events."""

    index: int
    first_seq: int  # sequence number of event 0
    shift: int  # µs that its times differ


class Bench(Protocol):
    """What a subscription needs of the simulation."""

    core: Core
    log: EventLog

    async def dictionaries(self) -> Dictionaries:
        """The dictionaries."""
        ...


class Subscription:
    """The response to one request for a stream. `start`: number of the first event."""

    def __init__(
        self,
        bench: Bench,
        request: web.Request,
        host: Host,
        wire: int,
        options: Options,
        start: int,
        compression: Compression | None,
    ) -> None:
        self.id = str(uuid.uuid4())
        self.bench = bench
        self.core = bench.core
        self.jetstream = bench.core.settings.jetstream
        self.request = request
        self.host = host
        self.wire = wire
        self.options = options
        self.position = start
        self.compression = compression
        self.opened = self.core.now()
        self.frames = 0
        self.waiting_for_hello = False  # v1 with requireHello
        self.end: tuple[int, str] | None = None  # close code and reason
        self.over = False  # the client left
        self.wakeup = asyncio.Event()
        self.late_since: tuple[float, int] | None = None  # when and where it was found to be late
        self.ws = ws = web.WebSocketResponse(
            timeout=1,
            heartbeat=self.core.scaled(PING),
            compress=wire == 1 and compression is None,
            protocols=(SUBPROTOCOL,) if wire == 2 else (),
            max_msg_size=CLIENT_MESSAGE_BYTES,
        )
        self.writer = FrameWriter(request, ws, bench.core.settings.jetstream.write_timeout)

    async def run(self, first: bytes | None) -> web.WebSocketResponse:
        """Stream until either side ends it; `first` goes before all events."""
        enlarge(self.request)
        await self.ws.prepare(self.request)
        self.core.wakers.add(self.wakeup)
        reader = asyncio.create_task(self._read_client(), name="subscription reader")
        try:
            if self.core.faults.take("connect", "accept-close"):
                drop(self.request, reset=False)
            else:
                await self._stream(first)
        except (ConnectionError, Unread):
            drop(self.request, reset=True)
        finally:
            self.core.wakers.discard(self.wakeup)
            reader.cancel()
        return self.ws

    def close(self, code: int, reason: str) -> None:
        """End the stream from outside. Code 1006: a reset, without a close frame."""
        self.end = (code, reason)
        self.wakeup.set()

    async def _stream(self, first: bytes | None) -> None:
        if first is not None:
            await self._write([first])
        while not self.over:
            if self.end is not None:
                await self._finish(*self.end)
                return
            if self.waiting_for_hello or self._is_silenced():
                await self._wait()
            elif await self._run_fault():
                return
            elif self.position < self.bench.log.start:
                await self._fail("InternalError", "archive replay unavailable; reconnect")
                return
            elif events := self.bench.log.read(self.position, BATCH):
                await self._write([self._message(event) for event in events if self._wants(event)])
                self.position += len(events)
                if self._is_too_slow():
                    await self._fail("ConsumerTooSlow", f"reconnect with cursor={self._seq()}")
                    return
            else:
                await self._wait()

    def _seq(self) -> int:
        return self.host.first_seq + self.position

    def _is_silenced(self) -> bool:
        silent = self.core.faults.mode("silent-host")
        return silent is not None and silent.n in {None, self.host.index}

    async def _wait(self) -> None:
        """Wait for a change or a due fault."""
        self.wakeup.clear()
        try:
            async with asyncio.timeout(self.core.faults.next_due(*_STREAM_FAULTS)):
                await self.wakeup.wait()
        except TimeoutError:
            return

    def _wants(self, event: Event) -> bool:
        if self.wire == 1 and (event.kind == "sync" or event.resync):
            return False
        return self.options.wants(event)

    def _message(self, event: Event) -> bytes:
        seq = self.host.first_seq + event.number
        return (v1_message if self.wire == 1 else v2_message)(event, seq, self.host.shift)

    async def _write(self, messages: Sequence[bytes], *, plain: bool = False) -> None:
        """Write messages, as often as the fault duplicates says."""
        limit = self.options.size_limit
        kept = [message for message in messages if not limit or len(message) <= limit]
        if copies := self.core.faults.mode("duplicates"):
            kept = [message for message in kept for _ in range(copies.n or 2)]
        self.frames += len(kept)
        compression = None if plain else self.compression
        if compression is not None and self.core.faults.mode("wrong-dictionary"):
            compression = (await self.bench.dictionaries()).other
        await self.writer.write(kept, compression)

    def _is_too_slow(self) -> bool:
        """Has the client been far behind, and slow, for the whole window?"""
        late = self.bench.log.tip - self.position > self.jetstream.slow_lag
        now = time.monotonic()
        if not late or self.late_since is None:
            self.late_since = (now, self.position) if late else None
            return False
        since, position = self.late_since
        if now - since < self.core.scaled(self.jetstream.slow_window):
            return False
        self.late_since = (now, self.position)
        return (self.position - position) / (now - since) < self.jetstream.slow_rate

    async def _finish(self, code: int, reason: str) -> None:
        if code == 1006:
            drop(self.request, reset=True)
        else:
            await self.ws.close(code=code, message=reason.encode())

    async def _fail(self, name: str, message: str) -> None:
        """End as the real server does: an error frame on v2, then no close frame."""
        if self.wire == 2:
            await self._write([v2_error(name, message)])
        drop(self.request, reset=False)

    async def _run_fault(self) -> bool:
        """Run one armed stream fault, if any; True when it ends the stream."""
        armed = self.core.faults.take("stream", *_STREAM_FAULTS)
        if armed is None:
            return False
        match armed.fault:
            case "stall" | "half-open":
                await self._silence(armed)
            case "garbage":
                await self._write([GARBAGE[at % len(GARBAGE)] for at in range(armed.n or 3)])
            case "torn-utf8":
                await self._write([_TORN], plain=self.compression is None)
            case "unknown-kinds":
                await self._write(_UNKNOWN[self.wire])
            case "bad-zstd":
                await self.writer.drain(frame(0x82, b"\x28\xb5\x2f\xfdnot compressed"))
            case ending:
                await self._end_by_fault(ending)
                return True
        return False

    async def _end_by_fault(self, fault: str) -> None:
        match fault:
            case "reset" | "cut":
                events = self.bench.log.read(self.position, 1)
                torn = frame(0x81, self._message(events[0]) if events else GARBAGE[0] * 9)
                await self.writer.drain(torn[: len(torn) // 2])
                drop(self.request, reset=fault == "reset")
            case "close-1006":
                drop(self.request, reset=False)
            case "too-slow":
                await self._fail("ConsumerTooSlow", f"reconnect with cursor={self._seq()}")
            case "error-frame":
                await self._fail("InternalError", "stream read failed; reconnect")
            case "close-1008":
                await self._finish(1008, "policy violated")
            case "dictionary-change":
                (await self.bench.dictionaries()).change()
                await self._finish(1001, "server shutting down")
            case "close-1001":
                await self._finish(1001, "server shutting down")
            case _:
                await self._finish(1000, "")

    async def _silence(self, armed: Armed) -> None:
        """Send nothing but pings and pongs: for good, or for a while."""
        seconds = None if armed.fault == "half-open" else self.core.duration(armed, STALL)
        try:
            async with asyncio.timeout(seconds):
                while self.end is None and not self.over:
                    self.wakeup.clear()
                    await self.wakeup.wait()
        except TimeoutError:
            return

    async def _read_client(self) -> None:
        """Answer pings; obey or refuse what the client sends."""
        try:
            async for message in self.ws:
                if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                    continue
                if self.wire == 2:
                    self.close(1008, "unexpected data message")
                elif message.type is WSMsgType.TEXT:
                    self._obey(message.data)
        finally:
            self.over = self.end is None
            self.wakeup.set()

    def _obey(self, text: str) -> None:
        """A message of a v1 client."""
        try:
            message = msgspec.json.decode(text, type=ClientMessage)
            if message.type != "options_update":
                return
            payload = msgspec.json.decode(message.payload, type=OptionsUpdate)
        except msgspec.MsgspecError:
            self.close(1007, "bad SubscriberSourcedMessage envelope")
            return
        try:
            self.options = v1_update(payload)
        except BadOptions as bad:
            self.close(1008, str(bad)[:120])
            return
        self.waiting_for_hello = False
        self.wakeup.set()
