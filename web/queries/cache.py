"""Cache answers that are slow to read: stale-while-revalidate."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class StaleWhileRevalidate(Generic[T]):
    """A cached answer; after `fresh` seconds it is still served while a new one is read.

    After `stale_max` seconds callers wait for the new one. It is never read twice at a time.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[T]],
        fresh: float,
        stale_max: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._fresh = fresh
        self._stale_max = stale_max
        self._clock = clock
        self._answer: tuple[T, float] | None = None
        self._reading: asyncio.Task[T] | None = None

    async def get(self) -> T:
        if self._answer is not None:
            value, at = self._answer
            age = self._clock() - at
            if age >= self._fresh:
                _ = self._revalidate()
            if age < self._stale_max:
                return value
        # Others wait for the same answer: a caller that is cancelled must not cancel it.
        return await asyncio.shield(self._revalidate())

    def invalidate(self) -> None:
        """The answer has changed: the next caller waits for the new one."""
        self._answer, self._reading = None, None

    def _revalidate(self) -> asyncio.Task[T]:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._renew(), name="cache")
            self._reading.add_done_callback(_retrieve_error)
        return self._reading

    async def _renew(self) -> T:
        began = self._clock()
        value = await self._read()
        if asyncio.current_task() is self._reading:
            self._answer = value, began
        return value


def _retrieve_error(task: asyncio.Task[T]) -> None:
    """Those who wait get the error; when none waits, the next read finds it again."""
    if not task.cancelled():
        task.exception()
