"""A dead man's switch: an address that is called while all is well. Its silence is the alarm."""

import asyncio
import logging
from collections.abc import Callable

import aiohttp

from monitor.chores import Chore
from stream.config import AlertSettings

logger = logging.getLogger(__name__)

TIMEOUT = 15.0  # seconds


class Heartbeat:
    """The address itself is a secret: it is never said."""

    def __init__(self, settings: AlertSettings, well: Callable[[], bool]) -> None:
        self.settings = settings
        self.well = well
        self.problem: str | None = None  # why the last call did not arrive

    def chores(self) -> list[Chore]:
        """None without an address."""
        if not self.settings.heartbeat_url:
            return []
        return [Chore("heartbeat", self.settings.heartbeat_every, self.beat)]

    async def beat(self) -> None:
        """Call, if all is well."""
        if not self.well():
            return
        problem = await self._call()
        if problem is not None and self.problem is None:
            logger.warning("the heartbeat does not arrive", extra={"why": problem})
        if problem is None and self.problem is not None:
            logger.info("the heartbeat arrives again")
        self.problem = problem

    async def _call(self) -> str | None:
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                aiohttp.ClientSession() as session,
                session.get(self.settings.heartbeat_url) as answer,
            ):
                return None if answer.ok else f"it answers {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # The words of an error would name the address.
            return type(error).__name__
