"""The event loop of all async tests: a machine that stands still ends no wait.

Every time limit, back-off and silence on this loop counts only the time in which the process runs.
After a freeze of some seconds a wait goes on where it was, instead of ending at once.
"""

import asyncio
import selectors
import time

LONGEST_SELECT = 0.05  # seconds; waits are cut into pieces, so that a freeze falls into a short one
LONGEST_STEP = 0.1  # seconds that count between two readings of the time, at most


class _ShortSelector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        short = LONGEST_SELECT if timeout is None else min(timeout, LONGEST_SELECT)
        return super().select(short)


class PatientLoop(asyncio.SelectorEventLoop):
    """asyncio's own event loop with a time that does not notice freezes."""

    def __init__(self) -> None:
        self._read_at = self._now = time.monotonic()
        super().__init__(_ShortSelector())

    def time(self) -> float:
        read_at = time.monotonic()
        self._now += min(read_at - self._read_at, LONGEST_STEP)
        self._read_at = read_at
        return self._now
