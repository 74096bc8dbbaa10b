"""Token buckets, and a share of the event loop's time for work that must not delay the writer."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOP_SHARE = 0.2  # of the event loop's time
WORK_SLICE = 0.004  # seconds of work at once

Clock = Callable[[], float]


class TokenBucket:
    """Holds at most `capacity` tokens, which come back at a fixed rate; starts full."""

    __slots__ = ("_at", "_clock", "_tokens", "capacity", "per_second")

    def __init__(self, capacity: float, per_second: float, clock: Clock = time.monotonic) -> None:
        self.capacity = capacity
        self.per_second = per_second
        self._clock = clock
        self._tokens = float(capacity)
        self._at = clock()

    def available(self) -> float:
        """Tokens in it now; below 0 while more was spent than there was."""
        now = self._clock()
        filled = self._tokens + (now - self._at) * self.per_second
        self._tokens, self._at = min(float(self.capacity), filled), now
        return self._tokens

    def wait_for(self, tokens: float = 1) -> float:
        """Seconds until this many tokens are available; 0 when they are now."""
        return max(0.0, tokens - self.available()) / self.per_second

    def spend(self, tokens: float = 1) -> None:
        """Take tokens out, also when there are not enough. Negative: put them back."""
        self._tokens = min(float(self.capacity), self.available() - tokens)


class LoopBudget:
    """A share of the event loop's time for readers; the rest is for what must not wait.

    Readers share a loop with the writer: pages in `run`, sinks in every daemon. What they ask for
    may take any amount of work, so it is done in short pieces; after each, other tasks run until
    the share is kept. All who work for viewers use one budget, and all sinks another.
    """

    def __init__(
        self, share: float = LOOP_SHARE, slice_: float = WORK_SLICE, clock: Clock = time.monotonic
    ) -> None:
        self._clock = clock
        self._seconds = TokenBucket(slice_, share, clock)

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Charge the time that the block takes; it must not wait for anything."""
        began = self._clock()
        try:
            yield
        finally:
            self.spend(self._clock() - began)

    def spend(self, seconds: float) -> None:
        self._seconds.spend(seconds)

    def wait(self) -> float:
        """Seconds until there may be more work; 0 when there may be now."""
        if self._seconds.available() >= 0:
            return 0.0
        return self._seconds.wait_for(self._seconds.capacity)

    async def wait_turn(self) -> None:
        """Wait until there may be more work."""
        while (seconds := self.wait()) > 0:  # noqa: ASYNC110 - others spend meanwhile
            await asyncio.sleep(seconds)
