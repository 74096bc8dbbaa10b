"""How many a second, and how many of them a person can see."""

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

WINDOW = 10.0  # seconds over which a rate is taken
A_SECOND = 20  # tweets shown of one view: more, nobody reads
AT_ONCE = 40

_Item = TypeVar("_Item")
Clock = Callable[[], float]


class Rate:
    """So many a second, over the last seconds."""

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
        while self._noted and self._noted[0][0] < now - WINDOW:
            self._sum -= self._noted.popleft()[1]
        return self._sum / min(WINDOW, max(1.0, now - self._began))


class Sample:
    """A fair choice of what comes: each tweet of a moment has the same chance."""

    def __init__(
        self, a_second: float = A_SECOND, at_once: float = AT_ONCE, clock: Clock = time.monotonic
    ) -> None:
        self._clock = clock
        self._a_second = a_second
        self._at_once = at_once
        self._left = at_once
        self._at = clock()

    def of(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """Those to be shown, in their order."""
        now = self._clock()
        self._left = min(self._at_once, self._left + (now - self._at) * self._a_second)
        self._at = now
        number = min(len(items), int(self._left))
        self._left -= number
        if number == len(items):
            return items
        return [items[n] for n in sorted(random.sample(range(len(items)), number))]
