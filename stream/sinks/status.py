"""How a sink is: whether it fails, with the remedy, and since when tweets wait."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from stream.errors import TwitterstreamError

POLL_INTERVAL = 0.2  # seconds; for tweets that another daemon stores


class SinkError(TwitterstreamError):
    """A sink fails: why, and the remedy."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}. {remedy}")
        self.reason = reason
        self.remedy = remedy


def raise_if_cancelled() -> None:
    """CancelledError if the task was cancelled, and a library has swallowed that.

    redis-py sends with `asyncio.wait_for`, which does so in Python 3.11 when it is done already.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class SinkStatus:
    """The state of one sink, and its wake-up call."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reason = ""  # why it fails; empty: it does not
        self.remedy = ""
        self.late_since: float | None = None  # seconds since 1970; tweets have waited since then
        self._new_data = asyncio.Event()

    def passed_on(self, *, more: bool) -> None:
        """It works; `more`: there are more tweets now."""
        self.reason = self.remedy = ""
        self.late_since = (self.late_since or time.time()) if more else None

    def fail(self, reason: str, remedy: str) -> None:
        self.reason, self.remedy = reason, remedy
        self.late_since = self.late_since or time.time()

    def wake(self) -> None:
        """There may be new tweets."""
        self._new_data.set()

    def begin_reading(self) -> None:
        """Wake-ups from now on count."""
        raise_if_cancelled()
        self._new_data.clear()

    async def wait(self) -> None:
        """Wait for new tweets, or until it is time to look for those of other daemons."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_INTERVAL):
                await self._new_data.wait()


Work = Callable[[], Awaitable[None]]
Sink = tuple[SinkStatus, Work]
