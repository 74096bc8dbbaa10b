"""Background work after gaps, beside the live stream: it begins with delivery, and is retried."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from stream.connection.recorder import Recorder
from stream.errors import ConnectError, DatabaseAway, is_broken, unexpected

logger = logging.getLogger(__name__)

START_DELAY = 2.0  # seconds after a gap, until the new connection surely delivers
RETRY_INTERVAL = 300.0  # seconds until work that failed goes on
DATABASE_RETRY = 5.0  # seconds


class GapRepair:
    """Runs `step` whenever delivery has begun, again and again until it returns False."""

    def __init__(self, name: str, recorder: Recorder, step: Callable[[], Awaitable[bool]]) -> None:
        self.name = name
        self.recorder = recorder
        self.step = step
        self.clock = recorder.clock
        self._delivering = asyncio.Event()
        recorder.on_streaming.append(self._delivering.set)

    async def run(self) -> None:
        """Work until cancelled; what is not finished then goes on in the next run."""
        while True:
            await self._delivering.wait()
            self._delivering.clear()
            await self.clock.sleep(START_DELAY)
            await self._work()

    async def _work(self) -> None:
        """Repair until nothing is left, or only a person can help."""
        while True:
            try:
                if not await self.step():
                    return
            except DatabaseAway:
                await self.clock.sleep(DATABASE_RETRY)
            except ConnectError as error:
                self._report(error.reason)
                if error.retry == "final":
                    return
                await self.clock.sleep(RETRY_INTERVAL)
            except Exception as error:
                if is_broken(error):
                    raise
                logger.exception("%s after a gap failed", self.name)
                self._report(unexpected(error))
                await self.clock.sleep(RETRY_INTERVAL)

    def _report(self, why: str) -> None:
        self.recorder.record_event(f"{self.name} after a gap failed: {why}")
