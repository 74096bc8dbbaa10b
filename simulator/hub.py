"""What all parts of one simulator share: its connections, what was sent, its faults, its clock."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from simulator.connection import Connection
from simulator.faults import Armed, FaultBox, from_flag
from simulator.sent import Recent, SentLog
from simulator.settings import Settings


class Attempt(msgspec.Struct, frozen=True):
    """One request for a stream, and how it was answered."""

    at: float  # seconds since 1970
    status: int
    note: str = ""


class Hub:
    """One per simulator."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.rate = settings.rate
        self.posts_left = settings.posts
        self.faults = FaultBox(settings.network)
        for flag in settings.faults:
            self.faults.arm(from_flag(flag))
        self.sent = SentLog()
        self.deleted: list[int] = []
        self.lines = 0  # written lines, copies and control messages included
        self.recent = Recent(settings.limits.resend, settings.limits.resend_bytes)
        self.connections: list[Connection] = []
        self.attempts: deque[Attempt] = deque(maxlen=1000)
        self.attempt_count = 0
        self.changed = asyncio.Event()

    def now(self) -> float:
        """The server's clock in seconds since 1970, wrong when the fault clock-skew is on."""
        skew = self.faults.mode("clock-skew")
        return time.time() + ((skew.seconds or 600) if skew else 0)

    def scaled(self, seconds: float) -> float:
        """A time of the protocol on this simulator's scale."""
        return seconds * self.settings.time_scale

    def duration(self, armed: Armed, default: float) -> float:
        """How long a fault lasts: what was asked for, or a scaled protocol time."""
        return self.scaled(default) if armed.seconds is None else armed.seconds

    def note(self, status: int, note: str = "") -> None:
        """Remember how an attempt to connect was answered."""
        self.attempts.append(Attempt(time.time(), status, note))
        self.attempt_count += 1

    def join(self, connection: Connection) -> None:
        self.connections.append(connection)
        self.changed.set()

    def leave(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
        connection.silence(on=True)

    def hearing(self) -> list[Connection]:
        """The connections that can be given something."""
        return [conn for conn in self.connections if not conn.deaf and not conn.over]

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait for a change after which this is so."""
        while not met():
            self.changed.clear()
            await self.changed.wait()

    def stir(self) -> None:
        """Something changed: everybody looks again."""
        self.changed.set()
        for connection in self.connections:
            connection.wake.set()

    def send(self, connection: Connection, lines: Sequence[bytes]) -> None:
        """Hand lines to one connection, with the copies that a fault asks for."""
        copies = self.faults.mode("duplicates")
        if copies:
            lines = [line for line in lines for _ in range(copies.n or 2)]
        self.lines += len(lines)
        connection.put(lines)

    def record(self, lines: Sequence[bytes], numbers: Sequence[int | None]) -> None:
        """Remember new lines that at least one connection got."""
        for number in numbers:
            self.sent.add(number)
        if self.faults.mode("resend"):
            self.recent.add(lines)

    async def room(self) -> None:
        """Wait for readers when they set the pace; they do when nothing may be lost."""
        for connection in self.hearing():
            if self.rate == 0 or self.faults.mode("resend"):
                await connection.roomy.wait()
