"""When to try again: the ladders of delays, the attempt budget, and the clock they go by.

Only decisions; nobody waits in here, except in `Clock.sleep`.
"""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from stream.errors import Ladder

JITTER = 0.2  # share of a delay that may come on top of it; never below the minimum
FREE_RETRY_EVERY = 60.0  # seconds

Rung = Literal["network", "http", "rate_limit", "slot"]


class Clock:
    """Time, as everything that waits for a network sees it.

    Durations are monotonic: they stand still while the machine sleeps, and a change of the date
    does not touch them. A test may pass a faster clock.
    """

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since 1970 UTC."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        """As asyncio.timeout."""
        return asyncio.timeout(seconds)


class Steps(msgspec.Struct, frozen=True):
    """The delays of one ladder: first, then each `factor` times the last one and `more`."""

    first: float  # seconds
    factor: float
    more: float  # seconds
    cap: float  # seconds

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, the first is 1."""
        seconds = self.first
        for _ in range(failures - 1):
            if seconds >= self.cap:
                break
            seconds = seconds * self.factor + self.more
        return min(seconds, self.cap)


# X v1.1 reference §12, X v2 reference §7 and §8. For a rate limit X states no cap; ours is longer
# than its longest window, 15 minutes.
LADDERS: Mapping[Rung, Steps] = {
    "network": Steps(first=0.25, factor=1, more=0.25, cap=16),
    "http": Steps(first=5, factor=2, more=0, cap=320),
    "rate_limit": Steps(first=60, factor=2, more=0, cap=960),
    "slot": Steps(first=5, factor=2, more=0, cap=20),
}


class Backoff:
    """Where one source stands on each ladder."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._failures: Counter[Rung] = Counter()
        self._free_at = float("-inf")

    def delay(self, ladder: Rung) -> float:
        """Seconds to wait after one more failure of this kind."""
        self._failures[ladder] += 1
        return self.jittered(LADDERS[ladder].delay(self._failures[ladder]))

    def jittered(self, seconds: float) -> float:
        """Up to a fifth more, so that many clients do not come back at once."""
        return seconds * (1 + JITTER * self._chance())

    def after_drop(self, now: float, *, delivered: bool) -> float:
        """Seconds to wait after an open connection ended; `now` is monotonic.

        The first retry is free, once a minute, if the connection delivered anything. A server that
        accepts and closes at once is treated as one that answers with an error.
        """
        if delivered and now - self._free_at >= FREE_RETRY_EVERY:
            self._free_at = now
            return 0.0
        return self.delay("http")

    def reset(self) -> None:
        """The connection has proved itself: all ladders begin at the bottom again."""
        self._failures.clear()


class Window:
    """At most `limit` uses in any `seconds`; pure."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.uses: list[float] = []

    def wait(self, now: float, reserve: int = 0) -> float:
        """Seconds until one more use is allowed that leaves `reserve` others; 0: now."""
        # A use in the future was noted by a clock that was wrong: it counts as one of this moment.
        self.uses = [min(use, now) for use in self.uses if use > now - self.seconds]
        over = len(self.uses) - max(self.limit - reserve, 1)
        return 0.0 if over < 0 else max(self.uses[over] + self.seconds - now, 0.001)

    def left(self, now: float) -> int:
        """Uses that are allowed at once."""
        return max(self.limit - sum(use > now - self.seconds for use in self.uses), 0)

    def use(self, now: float) -> None:
        self.uses.append(now)


class Attempts(Window):
    """The budget of attempts to connect, kept in a file: a crash loop cannot burn it.

    Times are those of the wall clock, since they outlive the process.
    """

    def __init__(self, file: Path, limit: int, seconds: float) -> None:
        super().__init__(limit, seconds)
        self.file = file
        with contextlib.suppress(OSError, ValueError, TypeError):
            self.uses = sorted(float(use) for use in json.loads(file.read_bytes()))

    def merge(self, uses: Iterable[float]) -> None:
        """Count these too: attempts that another machine made for the same account."""
        self.uses = sorted({*self.uses, *uses})

    def use(self, now: float) -> None:
        """Note an attempt, before it is made. A disk without room costs only the memory of it."""
        super().use(now)
        partial = self.file.with_name(self.file.name + ".new")
        # Some hundred bytes, once for each connection: a thread would cost more than the write.
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(self.uses), encoding="ascii")
            partial.replace(self.file)


def rung(ladder: Ladder) -> Rung | None:
    """The ladder to climb for this kind of failure; None when it is no matter of climbing."""
    match ladder:
        case "network" | "http" | "rate_limit" | "slot":
            return ladder
        case "final" | "paused" | "drop":
            return None
