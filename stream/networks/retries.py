"""Retries of what reads the past of a network: by back-off, up to a number of failures in a row."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from stream.backoff import Backoff, BackoffName, Clock, backoff_for
from stream.errors import ConnectError

T = TypeVar("T")

WAIT_MAX = 900.0  # seconds that a server may ask for; other look-backs wait as long


class Retries:
    """The failures since the last progress.

    `report`: called with the reason of each retry, and with "" after the next success.
    `policy`: of every delay; None: by kind of failure.
    """

    def __init__(
        self,
        clock: Clock,
        failures_max: int,
        report: Callable[[str], None],
        policy: BackoffName | None = None,
    ) -> None:
        self._clock = clock
        self._failures_max = failures_max
        self._report = report
        self._policy = policy
        self._backoff = Backoff()
        self._failures = 0

    def reset(self) -> None:
        """Something was read: the next failure is the first one."""
        if self._failures:
            self._report("")
        self._failures = 0
        self._backoff.reset()

    async def repeat(self, request: Callable[[], Awaitable[T]]) -> T:
        """Make a request until it succeeds; raises the last error when there must be no other."""
        while True:
            try:
                answer = await request()
            except ConnectError as error:
                await self.wait_after(error)
            else:
                self.reset()
                return answer

    async def wait_after(self, error: ConnectError) -> None:
        """Wait until the next attempt; raises the error when there must be none."""
        self._failures += 1
        asked = 0.0 if error.retry_at is None else error.retry_at - self._clock.time()
        if error.retry == "final" or self._failures >= self._failures_max or asked > WAIT_MAX:
            raise error
        self._report(error.reason)
        delay = self._backoff.delay(self._policy or backoff_for(error.retry) or "resumable")
        await self._clock.sleep(max(delay, asked))
