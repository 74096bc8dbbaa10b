"""What the simulators of all networks share: settings, faults, clock, and what a network offers."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
from aiohttp import web

from simulator.faults import Armed, Faults, from_flag
from simulator.payload import Json
from simulator.settings import Settings

BURST = 300  # posts


class Attempt(msgspec.Struct, frozen=True):
    """One request for a stream, and how it was answered."""

    at: float  # seconds since 1970
    status: int
    note: str = ""


class Core:
    """State that every simulator has."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.rate = settings.rate
        self.posts_left = settings.posts
        self.faults = Faults(settings.network)
        for flag in settings.faults:
            self.faults.arm(from_flag(flag))
        self.ports: list[int] = []  # where it listens
        self.attempts: deque[Attempt] = deque(maxlen=1000)
        self.attempt_count = 0
        self.changed = asyncio.Event()
        self.wakers: set[asyncio.Event] = set()  # set by each change

    def now(self) -> float:
        """The server's clock in seconds since 1970; shifted by the fault clock-skew."""
        skew = self.faults.mode("clock-skew")
        return time.time() + ((skew.seconds or 600) if skew else 0)

    def scaled(self, seconds: float) -> float:
        """A protocol time, multiplied by the setting time_scale."""
        return seconds * self.settings.time_scale

    def duration(self, armed: Armed, default: float) -> float:
        """How long a fault lasts: as given, or else a scaled protocol time."""
        return self.scaled(default) if armed.seconds is None else armed.seconds

    def note_attempt(self, status: int, note: str = "") -> None:
        """Record how a request for a stream was answered."""
        self.attempts.append(Attempt(time.time(), status, note))
        self.attempt_count += 1

    async def wait_until(self, met: Callable[[], bool]) -> None:
        """Wait until `met()` is true; it is checked after each change."""
        while not met():
            self.changed.clear()
            await self.changed.wait()

    def wake(self) -> None:
        """Signal a change to everything that waits."""
        self.changed.set()
        for waker in self.wakers:
            waker.set()


class PostCredit:
    """How many posts are due at the set rate."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.credit = 0.0
        self.clock = time.monotonic()

    def reset(self) -> None:
        """Start again from now, so that a pause earns nothing."""
        self.clock, self.credit = time.monotonic(), 0.0

    def due(self, step: int) -> int:
        """Posts to make now; `step`: so many without a rate."""
        if burst := self.core.faults.take("stream", "burst"):
            return burst.n or BURST
        most = step
        if rate := self.core.rate:
            now = time.monotonic()
            # Catch up on one second at most, so that a busy machine causes no burst.
            self.credit = min(self.credit + (now - self.clock) * rate, max(rate, 1.0))
            self.clock = now
            most = int(self.credit)
            self.credit -= most
        left = self.core.posts_left
        return most if left is None else min(most, left)


class Simulation(Protocol):
    """One simulated network, as the server runs and controls it."""

    @property
    def core(self) -> Core:
        """The shared state."""
        ...

    def routes(self) -> Sequence[web.RouteDef]:
        """The routes of this network."""
        ...

    async def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add this network's headers to a response."""
        ...

    async def run(self) -> None:
        """Produce posts until cancelled."""
        ...

    def status(self) -> Json:
        """Counts and connections, for /sim/status."""
        ...

    def sent(self, start: int) -> Json:
        """Ids of the posts sent, from index `start` on, for /sim/sent."""
        ...

    def emit(self, body: bytes, *, verbatim: bool) -> int | None:
        """Send lines, or bytes exactly as they are; None when no client is connected."""
        ...

    def disconnect(self, *, torn: bool) -> int:
        """End all streams, cleanly or by a reset; how many there were."""
        ...

    async def shut_down(self) -> None:
        """End all streams as at the server's shutdown."""
        ...
