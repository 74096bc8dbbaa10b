"""Admission limits (how many at once) and rate limits (how many in so much time).

`AdmissionLimiter` bounds concurrency, `RateLimiter` a rate for each key, and `LoginLimiter` slows
down password guessing.
"""

import asyncio
import contextlib
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Hashable
from typing import Generic, TypeVar

from stream.loop_budget import Clock, TokenBucket

KEYS_MAX = 10_000  # the least recently used ones are forgotten
_NAME_MAX = 64  # characters that are kept of a user name as typed
_FIRST_DELAY, _DELAY_MAX = 2.0, 30.0  # seconds between two attempts at a name, all addresses

_Value = TypeVar("_Value")


class AdmissionLimiter:
    """Admits at most `running` at once for each key; `waiting` more wait for their turn.

    `waiting` None: any number.
    """

    def __init__(self, running: int, waiting: int | None = 0) -> None:
        self.running = running
        self.waiting = waiting
        self._admitted: dict[Hashable, tuple[asyncio.Semaphore, int]] = {}

    def count(self, key: Hashable = None) -> int:
        """How many run or wait under this key."""
        return self._admitted[key][1] if key in self._admitted else 0

    def is_full(self, key: Hashable = None) -> bool:
        return self.waiting is not None and self.count(key) >= self.running + self.waiting

    @contextlib.asynccontextmanager
    async def admit(
        self, refusal: Exception | None = None, key: Hashable = None
    ) -> AsyncIterator[None]:
        """Wait for a place and hold it. Raises `refusal` when none may wait any more."""
        if self.is_full(key):
            assert refusal is not None
            raise refusal
        places, _ = self._admitted.get(key) or (asyncio.Semaphore(self.running), 0)
        self._admitted[key] = places, self.count(key) + 1
        try:
            async with places:
                yield
        finally:
            if (left := self.count(key) - 1) > 0:
                self._admitted[key] = places, left
            else:
                del self._admitted[key]


class _RecentKeys(Generic[_Value]):
    """A value for each key; of too many keys, the least recently used ones are dropped."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, _Value] = OrderedDict()

    def get(self, key: str) -> _Value | None:
        return self._values.get(key)

    def set(self, key: str, value: _Value) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > KEYS_MAX:
            self._values.popitem(last=False)

    def drop(self, key: str) -> None:
        self._values.pop(key, None)

    def keys(self) -> list[str]:
        return list(self._values)


class RateLimiter:
    """A token bucket for each key: `burst` calls at once, and as many again in `seconds`."""

    def __init__(self, burst: int, seconds: float, clock: Clock = time.monotonic) -> None:
        self.burst = burst
        self.seconds = seconds
        self._clock = clock
        self.buckets: _RecentKeys[TokenBucket] = _RecentKeys()

    def wait(self, key: str) -> float:
        """Seconds until this key may call; 0 when it may now. Uses up nothing."""
        return self._bucket(key).wait_for()

    def remaining(self, key: str) -> int:
        """Calls that this key may make now."""
        return int(self._bucket(key).available())

    def take(self, key: str) -> float:
        """Use up one call, if there is one: 0, or the seconds until there is."""
        bucket = self._bucket(key)
        if not (seconds := bucket.wait_for()):
            bucket.spend()
        self.buckets.set(key, bucket)
        return seconds

    def give_back(self, key: str) -> None:
        """Do not count the last call."""
        self._bucket(key).spend(-1)

    def reset(self, key: str) -> None:
        """Let this key have its full burst again."""
        self.buckets.drop(key)

    def _bucket(self, key: str) -> TokenBucket:
        bucket = self.buckets.get(key)
        return bucket or TokenBucket(self.burst, self.burst / self.seconds, self._clock)


class KeyedBackoff:
    """After `free` attempts each further one doubles the delay before the next, up to a limit.

    A key without attempts for `forget_after` seconds starts afresh.
    """

    def __init__(
        self,
        free: int,
        first_delay: float,
        delay_max: float,
        forget_after: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._free = free
        self._first_delay = first_delay
        self._delay_max = delay_max
        self._forget_after = forget_after
        self._clock = clock
        self.attempts: _RecentKeys[tuple[int, float]] = _RecentKeys()  # how many, the last one at

    def take(self, key: str) -> float:
        """Use up one attempt, if there is one: 0, or the seconds until there is."""
        now = self._clock()
        attempts, at = self.attempts.get(key) or (0, now)
        if now - at > self._forget_after:
            attempts = 0
        if attempts >= self._free:
            doublings = min(attempts - self._free, 30)
            delay = min(self._delay_max, math.ldexp(self._first_delay, doublings))
            if (seconds := at + delay - now) > 0:
                return seconds
        self.attempts.set(key, (attempts + 1, now))
        return 0.0


class LoginLimiter:
    """Limits login attempts by address and by its network, and slows them down by user name.

    Guessing at a name from many addresses must not lock out its owner. So each address has some
    attempts at each name of its own, and using up those of a name only delays the next ones.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.by_address = RateLimiter(20, 600, clock)
        self.by_site = RateLimiter(60, 600, clock)  # a /48 of IPv6, which one customer may have
        self.by_name = KeyedBackoff(10, _FIRST_DELAY, _DELAY_MAX, 3600, clock)
        self.by_address_and_name = RateLimiter(3, 600, clock)

    def take(self, address: str, name: str) -> float:
        """Use up one attempt: 0, or the seconds until there is one."""
        here, site = _network(address, 64), _network(address, 48)
        name = name[:_NAME_MAX]
        if seconds := max(self.by_address.wait(here), self.by_site.wait(site)):
            return seconds
        own_wait = self.by_address_and_name.take(f"{here} {name}")
        if own_wait and (seconds := self.by_name.take(name)):
            return seconds
        self.by_site.take(site)
        return self.by_address.take(here)

    def succeeded(self, address: str, name: str) -> None:
        """The password was right: do not count the attempt."""
        here, name = _network(address, 64), name[:_NAME_MAX]
        self.by_address.give_back(here)
        self.by_site.give_back(_network(address, 48))
        self.by_address_and_name.reset(f"{here} {name}")


def _network(address: str, prefix: int) -> str:
    """The network that counts as one caller: with IPv6 each has 2^64 addresses, some 2^80."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, prefix), strict=False))
