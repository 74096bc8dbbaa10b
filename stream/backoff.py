"""Retry: exponential back-off, rate limits for connection attempts, a clock, supervised loops.

The policies only decide: nothing waits here, except `Clock.sleep`, `wait_turn` and `supervised`.
"""

import asyncio
import contextlib
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from stream import files
from stream.errors import RetryMode

JITTER = 0.2  # greatest share of a delay that is added to it; nothing is subtracted
FREE_RETRY_INTERVAL = 60.0  # seconds between two retries without delay

RESTART_AFTER = 5.0  # seconds; of a supervised loop

logger = logging.getLogger(__name__)

BackoffName = Literal["network", "http", "rate_limit", "connection_limit", "resumable"]


class Clock:
    """The time for everything that waits for a network.

    Durations are monotonic: a suspended machine or a changed date does not affect them. Tests may
    pass a faster clock.
    """

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since 1970 UTC."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        """As asyncio.timeout."""
        return asyncio.timeout(seconds)


class BackoffPolicy(msgspec.Struct, frozen=True):
    """The delays of one kind of failure: each is `factor` times the last one, plus `more`."""

    first: float  # seconds
    factor: float
    more: float  # seconds
    cap: float  # seconds

    def delay(self, failures: int) -> float:
        """Seconds to wait after this number of failures in a row."""
        seconds = self.first
        for _ in range(failures - 1):
            if seconds >= self.cap:
                break
            seconds = seconds * self.factor + self.more
        return min(seconds, self.cap)


# X v1.1 reference §12, X v2 reference §7 and §8. For a rate limit X states no cap; ours is longer
# than its longest window, 15 minutes.
POLICIES: Mapping[BackoffName, BackoffPolicy] = {
    "network": BackoffPolicy(first=0.25, factor=1, more=0.25, cap=16),
    "http": BackoffPolicy(first=5, factor=2, more=0, cap=320),
    "rate_limit": BackoffPolicy(first=60, factor=2, more=0, cap=960),
    "connection_limit": BackoffPolicy(first=5, factor=2, more=0, cap=20),
    # Networks that resume on another host (Jetstream reference §6).
    "resumable": BackoffPolicy(first=0.25, factor=2, more=0, cap=30),
}


class Backoff:
    """The consecutive failures of one source, by policy, and the delays that follow."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._failures: Counter[BackoffName] = Counter()
        self._free_at = float("-inf")

    def delay(self, retry: BackoffName) -> float:
        """Seconds to wait after one more failure of this kind."""
        self._failures[retry] += 1
        return self.jittered(POLICIES[retry].delay(self._failures[retry]))

    def jittered(self, seconds: float) -> float:
        """Add up to a fifth, so that many clients do not reconnect at once."""
        return seconds * (1 + JITTER * self._chance())

    def after_drop(self, now: float, *, delivered: bool, policy: BackoffName = "http") -> float:
        """Seconds to wait after an open connection ended; `now` is monotonic.

        The first retry is free, once a minute, if the connection delivered anything. A server that
        accepts and closes at once is treated as one that answers with an error.
        """
        if delivered and now - self._free_at >= FREE_RETRY_INTERVAL:
            self._free_at = now
            return 0.0
        return self.delay(policy)

    def reset(self) -> None:
        """The connection is stable: all delays start again."""
        self._failures.clear()


class SlidingWindowLimiter:
    """A rate limit: at most `limit` uses in any `seconds`; pure."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.uses: list[float] = []

    def wait(self, now: float, reserve: int = 0) -> float:
        """Seconds until one more use is allowed that leaves `reserve` others; 0: now."""
        # A use in the future was recorded by a wrong clock: it counts as one of now.
        self.uses = [min(use, now) for use in self.uses if use > now - self.seconds]
        over = len(self.uses) - max(self.limit - reserve, 1)
        return 0.0 if over < 0 else max(self.uses[over] + self.seconds - now, 0.001)

    def left(self, now: float) -> int:
        """Uses that are still allowed now."""
        return max(self.limit - sum(use > now - self.seconds for use in self.uses), 0)

    def use(self, now: float) -> None:
        self.uses.append(now)


async def wait_turn(limiter: SlidingWindowLimiter, clock: Clock) -> None:
    """Wait until one more use is allowed, by monotonic time, and count it."""
    while (seconds := limiter.wait(clock.monotonic())) > 0:
        await clock.sleep(seconds)
    limiter.use(clock.monotonic())


class ConnectBudget(SlidingWindowLimiter):
    """The rate limit of connection attempts, kept in a file: it also holds in a crash loop.

    Times are those of the wall clock, since they must survive the process.
    """

    def __init__(self, file: Path, limit: int, seconds: float) -> None:
        super().__init__(limit, seconds)
        self.file = file
        self.unreadable = ""  # why the file was ignored
        try:
            self.uses = sorted(float(use) for use in json.loads(file.read_bytes()))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
            self.unreadable = f"{file} cannot be read ({error}) and is ignored"

    def merge(self, uses: Iterable[float]) -> None:
        """Also count attempts that another machine made for the same account."""
        self.uses = sorted({*self.uses, *uses})

    def use(self, now: float) -> None:
        """Record an attempt before it is made. On a full disk only the file lacks it."""
        super().use(now)
        # A few hundred bytes per connection: a thread would cost more than the write.
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            files.write(self.file, json.dumps(self.uses).encode())


def backoff_for(retry: RetryMode) -> BackoffName | None:
    """The back-off policy for a failure; None when it has its own rule."""
    match retry:
        case "network" | "http" | "rate_limit" | "connection_limit":
            return retry
        case "fault":
            return "http"
        case "final" | "paused" | "drop":
            return None


async def supervised(
    name: str, work: Callable[[], Awaitable[None]], restart_after: float = RESTART_AFTER
) -> None:
    """Run work that should never end, until cancelled; if it ends or fails, start it again."""
    while True:
        try:
            await work()
        except Exception:  # a background loop must not end collecting
            logger.exception("%s failed", name)
        else:
            logger.error("%s ended", name)
        await asyncio.sleep(restart_after)
