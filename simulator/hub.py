"""What all parts of a simulator share: connections, sent posts, faults, clock, and the network."""

import asyncio
import random
import re
import time
import uuid
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

import msgspec
from aiohttp import web

from simulator.core import Core
from simulator.faults import Armed
from simulator.payload import Json
from simulator.posts import Constraints, Post
from simulator.settings import Settings

Encoder: TypeAlias = Callable[[Json], bytes | None]
"""Turns a post's payload into the line for one connection; None when it does not match."""

WRITABLE_BELOW = 512 * 1024  # bytes; with fewer queued, more may be added


class Connection:
    """Output queue of one open stream: filled by the producer, emptied by StreamingResponse."""

    def __init__(self, encode: Encoder, opened: float, *, delimited: bool = False) -> None:
        self.id = str(uuid.uuid4())
        self.encode = encode
        self.opened = opened
        self.delimited = delimited
        self.muted = True  # until the response has started, and while a fault keeps it silent
        self.posts = 0
        self.limited = 0  # v1: withheld posts reported so far
        self.waiting: list[bytes] = []
        self.size = 0
        self.over = False  # the stream ends once the queue is written
        self.torn = False  # ... by a reset
        self.wakeup = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()

    def put(self, lines: Sequence[bytes]) -> None:
        """Append whole messages."""
        if self.delimited:
            framed = b"".join(b"%d\r\n%b\r\n" % (len(line) + 2, line) for line in lines)
        else:
            framed = b"\r\n".join((*lines, b""))
        self.put_bytes(framed)

    def put_bytes(self, data: bytes) -> None:
        """Append bytes exactly as they are."""
        self.waiting.append(data)
        self.size += len(data)
        if self.size >= WRITABLE_BELOW:
            self.writable.clear()
        self.wakeup.set()

    def take(self) -> bytes:
        """Remove and return everything queued."""
        data = b"".join(self.waiting)
        self.waiting.clear()
        self.size = 0
        self.wakeup.clear()
        self.writable.set()
        return data

    def end(self, *, torn: bool = False) -> None:
        """End the stream once the queue is written, cleanly or by a reset."""
        self.over = True
        self.torn = torn
        self.wakeup.set()
        self.writable.set()

    def mute(self, *, on: bool) -> None:
        """Mute or unmute: a muted connection gets no posts and delays no others."""
        self.muted = on
        self.writable.set()


class _Data(msgspec.Struct):
    id: str | None = None


class _Shape(msgspec.Struct):
    id_str: str | None = None
    data: _Data | None = None


_shape = msgspec.json.Decoder(_Shape)
_DIGITS = re.compile("[0-9]{1,19}")


def id_of(line: bytes) -> int | None:
    """The id of the post in this line; None when the line is not a post."""
    try:
        line.decode()  # the decoder does not check values that it skips
        shape = _shape.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    found = shape.id_str or (shape.data.id if shape.data else None)
    return int(found) if found and _DIGITS.fullmatch(found) else None


class SentLog:
    """Ids of all posts sent, in order, without resent copies; eight bytes each."""

    def __init__(self) -> None:
        self._ids = array("Q")
        self.others = 0  # lines without an id: control messages, broken lines

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, number: int | None) -> None:
        if number is None:
            self.others += 1
        else:
            self._ids.append(number)

    def ids(self, start: int = 0) -> list[str]:
        """The ids from index `start` on."""
        return [str(number) for number in self._ids[start:]]


class RecentLines:
    """The lines sent last: at least `count` lines and at least `size` bytes."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        self.lines: deque[bytes] = deque()
        self.held = 0

    def add(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            self.lines.append(line)
            self.held += len(line)
        while len(self.lines) > self.count and self.held - len(self.lines[0]) > self.size:
            self.held -= len(self.lines.popleft())


class RequestWindow:
    """Fixed-window rate limit; a window opens with its first request (X v2: 15 minutes)."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.used = 0
        self.opened = time.time() - seconds

    def take(self) -> bool:
        """Count one more request; False when it exceeds the limit."""
        now = time.time()
        if now >= self.opened + self.seconds:
            self.opened, self.used = now, 0
        self.used += 1
        return self.used <= self.limit

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)

    @property
    def reset(self) -> float:
        """When the window ends, in seconds since 1970."""
        return self.opened + self.seconds


class Hub(Core):
    """The state of a simulator that streams over HTTP: connections and what they were sent."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.sent = SentLog()
        self.deleted: list[int] = []
        self.lines = 0  # written lines, copies and control messages included
        self.recent = RecentLines(settings.limits.resend, settings.limits.resend_bytes)
        self.connections: list[Connection] = []

    def join(self, connection: Connection) -> None:
        self.connections.append(connection)
        self.changed.set()

    def leave(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
        connection.mute(on=True)

    def active(self) -> list[Connection]:
        """The connections that can receive posts."""
        return [conn for conn in self.connections if not conn.muted and not conn.over]

    def wake(self) -> None:
        """Signal a change to everything that waits."""
        super().wake()
        for connection in self.connections:
            connection.wakeup.set()

    def send(self, connection: Connection, lines: Sequence[bytes]) -> None:
        """Queue lines on one connection; the fault duplicates repeats them."""
        copies = self.faults.mode("duplicates")
        if copies:
            lines = [line for line in lines for _ in range(copies.n or 2)]
        self.lines += len(lines)
        connection.put(lines)

    def record_sent(self, lines: Sequence[bytes], numbers: Sequence[int | None]) -> None:
        """Record lines that at least one connection received."""
        for number in numbers:
            self.sent.add(number)
        if self.faults.mode("resend"):
            self.recent.add(lines)

    async def wait_writable(self) -> None:
        """Wait for slow readers when there is no fixed rate or nothing may be lost."""
        for connection in self.active():
            if self.rate == 0 or self.faults.mode("resend"):
                await connection.writable.wait()


class Network(Protocol):
    """One protocol: its routes, its JSON, its fault messages."""

    keep_alive: float  # seconds without data until a blank line is sent
    stall: float  # seconds of silence after which a client must reconnect

    def routes(self) -> Sequence[web.RouteDef]:
        """The HTTP routes of this network."""
        ...

    async def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add this network's headers to a response."""
        ...

    def payload(self, post: Post) -> Json:
        """A post as this network's JSON, with all fields."""
        ...

    def constraints(self, rng: random.Random) -> Constraints | None:
        """What a post must contain to match an active filter; None when there is none."""
        ...

    def fault_messages(self, armed: Armed) -> list[bytes]:
        """The messages that a fault sends."""
        ...

    def extra_messages(self, post: Post, count: int) -> tuple[list[bytes], list[Post], list[bytes]]:
        """For post number `count`: messages before it, posts and messages after it."""
        ...

    def limit_notices(self, connection: Connection) -> list[bytes]:
        """Limit messages that a connection gets after a post."""
        ...

    def quota_messages(self) -> list[bytes] | None:
        """Count one more post; the final messages when the quota is used up, else None."""
        ...

    def slow_reader_messages(self) -> list[bytes]:
        """The final messages to a reader that is too slow."""
        ...
