"""How many tweets of a live view are shown: as many as a person can read."""

import random
import time
from collections import deque
from collections.abc import Sequence
from typing import TypeVar

from stream.loop_budget import Clock, TokenBucket

RATE_WINDOW = 10.0  # seconds over which a rate is measured
SHOWN_PER_SECOND = 20  # tweets of one view: more cannot be read
SHOWN_AT_ONCE = 40

_Item = TypeVar("_Item")


class RateMeter:
    """How many per second, over the last seconds."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._noted: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, number: int) -> None:
        if number:
            self._noted.append((self._clock(), number))
            self._sum += number

    def per_second(self) -> float:
        now = self._clock()
        while self._noted and self._noted[0][0] < now - RATE_WINDOW:
            self._sum -= self._noted.popleft()[1]
        if len(self._noted) < 2:
            return self._sum / min(RATE_WINDOW, max(1.0, now - self._began))
        # Tweets arrive in batches: those of the first one arrived before it.
        at, number = self._noted[0]
        return (self._sum - number) / max(1.0, now - at)


class Sampler:
    """A random sample of new tweets: each tweet of a moment has the same chance."""

    def __init__(
        self,
        per_second: float = SHOWN_PER_SECOND,
        at_once: float = SHOWN_AT_ONCE,
        clock: Clock = time.monotonic,
    ) -> None:
        self._left = TokenBucket(at_once, per_second, clock)

    def sample(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """Choose a random sample of what is shown; keeps the order."""
        number = min(len(items), int(self._left.available()))
        self._left.spend(number)
        if number == len(items):
            return items
        return [items[n] for n in sorted(random.sample(range(len(items)), number))]
