"""Clocks for tests of what depends on time."""

import asyncio
import time

from stream.backoff import Clock

FASTEST_TIMEOUT = 0.2  # real seconds


class ManualClock:
    """Shows the time that a test sets."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FastClock(Clock):
    """Time that passes `speed` times as fast as that of the event loop."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._loop = asyncio.get_running_loop()
        self._began, self._wall = self._loop.time(), time.time()

    def monotonic(self) -> float:
        return (self._loop.time() - self._began) * self.speed

    def time(self) -> float:
        return self._wall + self.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        # A busy machine takes its real time for a real request.
        return asyncio.timeout(max(seconds / self.speed, FASTEST_TIMEOUT))
