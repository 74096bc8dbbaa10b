"""How long what waits in a journal has waited."""

import time
from collections import deque
from collections.abc import Callable

BACKLOG_MARKS = 360


class BacklogAge:
    """How long the oldest of what waits in a journal has waited, by its positions over time.

    For a journal whose frames other daemons store. As exact as the time between two looks.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: deque[tuple[float, int]] = deque(maxlen=BACKLOG_MARKS)  # when it ended where

    def seconds(self, stored: int, end: int) -> float:
        """Update with the current positions; call this at every look."""
        now = self._clock()
        while self._ends and self._ends[0][1] <= stored:
            self._ends.popleft()
        if len(self._ends) == BACKLOG_MARKS:  # the oldest one has to stay
            self._ends.pop()
        self._ends.append((now, end))
        return now - self._ends[0][0] if end > stored else 0.0
