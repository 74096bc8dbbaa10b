"""Calls that may never come back, such as a look at a network disk that has gone."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

PATIENCE = 5.0  # seconds


class Stuck(Exception):
    """A call that does not come back."""


class Apart(Generic[T]):
    """Makes one call in a thread that nobody waits for: not the loop, nor the program's end.

    The loop's own threads are few and belong to the journal: a call that hangs must not take one.
    """

    def __init__(self, name: str, call: Callable[[], T]) -> None:
        self.name = name
        self.call = call
        self._thread: threading.Thread | None = None

    async def __call__(self) -> T:
        """What the call returns or raises; Stuck when it, or the last one, does not come back."""
        if self._thread is not None and self._thread.is_alive():
            raise Stuck(f"{self.name} does not answer")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._thread = threading.Thread(
            target=self._work, args=(loop, future), name=self.name, daemon=True
        )
        self._thread.start()
        try:
            async with asyncio.timeout(PATIENCE):
                return await future
        except TimeoutError:
            raise Stuck(f"{self.name} did not answer within {PATIENCE:g} s") from None

    def _work(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[T]) -> None:
        error: Exception | None = None
        result: T | None = None
        try:
            result = self.call()
        except Exception as raised:  # noqa: BLE001 - it is raised where somebody waits
            error = raised

        def tell() -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # T may itself be optional

        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell)
