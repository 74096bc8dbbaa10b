"""So many tries in so much time, for each of many callers."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_KEYS = 10_000  # the ones not seen for longest are forgotten
_LONGEST_NAME = 64  # characters: what is kept of a name that somebody typed


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

    def left(self, key: str) -> int:
        """Tries that this key has now."""
        return int(self._filled(key))

    def take(self, key: str) -> float:
        """Use up one try, if there is one: 0, or the seconds until there is."""
        left = self._filled(key)
        seconds = self.wait(key)
        self._left[key] = (left if seconds else left - 1), self._clock()
        self._left.move_to_end(key)
        if len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)
        return seconds

    def give_back(self, key: str) -> None:
        """One try was none."""
        if key in self._left:
            left, at = self._left[key]
            self._left[key] = min(float(self.burst), left + 1), at

    def forgive(self, key: str) -> None:
        """All tries are there again."""
        self._left.pop(key, None)

    def _filled(self, key: str) -> float:
        left, at = self._left.get(key, (float(self.burst), self._clock()))
        return min(float(self.burst), left + (self._clock() - at) * self.burst / self.seconds)


class Logins:
    """Tries to log in: only so many from one address, and only so many for one name.

    Whoever guesses at a name from many addresses does not shut out its owner: each address has some
    tries at each name that do not count for the others.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._by_address = Throttle(20, 600, clock)
        self._by_name = Throttle(10, 300, clock)
        self._by_both = Throttle(3, 600, clock)

    def take(self, address: str, name: str) -> float:
        """Use up one try: 0, or the seconds until there is one."""
        here, name = _network(address), name[:_LONGEST_NAME]
        if seconds := self._by_address.wait(here):
            return seconds
        if self._by_both.take(f"{here} {name}") and (seconds := self._by_name.take(name)):
            return seconds
        return self._by_address.take(here)

    def right(self, address: str, name: str) -> None:
        """It was he: that try was none."""
        here, name = _network(address), name[:_LONGEST_NAME]
        self._by_address.give_back(here)
        self._by_both.forgive(f"{here} {name}")


def _network(address: str) -> str:
    """With IPv6 everybody has 2^64 addresses."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, 64), strict=False))
