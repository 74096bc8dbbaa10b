"""So many tries in so much time, for each of many callers."""

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_KEYS = 10_000  # the ones not seen for longest are forgotten


class Throttle:
    """A bucket for each key that holds `burst` tries and fills again in `seconds`."""

    def __init__(
        self, burst: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.burst = burst
        self.seconds = seconds
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tries left, at

    def wait(self, key: str) -> float:
        """Seconds until this key may try; 0 when it may now. Takes nothing."""
        left = self._filled(key)
        return 0.0 if left >= 1 else (1 - left) * self.seconds / self.burst

    def take(self, key: str) -> float:
        """Use up one try, if there is one: 0, or the seconds until there is."""
        left = self._filled(key)
        seconds = self.wait(key)
        self._left[key] = (left if seconds else left - 1), self._clock()
        self._left.move_to_end(key)
        if len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)
        return seconds

    def forgive(self, key: str) -> None:
        """All tries are there again."""
        self._left.pop(key, None)

    def _filled(self, key: str) -> float:
        left, at = self._left.get(key, (float(self.burst), self._clock()))
        return min(float(self.burst), left + (self._clock() - at) * self.burst / self.seconds)
