"""What takes Postgres long to say: kept for a while, and read again beside whoever asks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """An answer that is at most `seconds` old, or was so when the last one asked.

    Whoever comes later than that is given the old answer at once, and a new one is read for the
    next; after `longest` seconds he waits for the new one. Never is it read by two at once.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[T]],
        seconds: float,
        longest: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._seconds = seconds
        self._longest = longest
        self._clock = clock
        self._found: tuple[T, float] | None = None
        self._reading: asyncio.Task[T] | None = None

    async def get(self) -> T:
        if self._found is not None:
            value, at = self._found
            age = self._clock() - at
            if age >= self._seconds:
                _ = self._again()
            if age < self._longest:
                return value
        # Others wait for the same answer: one who leaves must not take it from them.
        return await asyncio.shield(self._again())

    def forget(self) -> None:
        """It has been changed: the next one who asks waits for what is true now."""
        self._found, self._reading = None, None

    def _again(self) -> asyncio.Task[T]:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._renew(), name="kept")
            self._reading.add_done_callback(_heard)
        return self._reading

    async def _renew(self) -> T:
        began = self._clock()
        value = await self._read()
        if asyncio.current_task() is self._reading:
            self._found = value, began
        return value


def _heard(task: asyncio.Task[T]) -> None:
    """An error is for those who wait; when nobody does, the next one finds it again."""
    if not task.cancelled():
        task.exception()
