"""Work that is done again and again beside collecting, and that may fail without harming it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from stream.errors import DatabaseAway, TwitterstreamError

logger = logging.getLogger(__name__)

LONGEST_REASON = 500  # characters
BEGIN_ANEW = 5.0  # seconds


async def forever(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do work that has no end; should it end in an error after all, it begins anew."""
    while True:
        try:
            await work()
        except Exception:  # nothing that watches may stop what it watches
            logger.exception("%s failed", name)
        await asyncio.sleep(BEGIN_ANEW)


class Chore:
    """One piece of work, every `every` seconds; a failure is noted, said, and tried again.

    A run that takes longer than `limit` seconds is cancelled and counts as failed.
    """

    def __init__(
        self, name: str, every: float, work: Callable[[], Awaitable[None]], *, limit: float = 60
    ) -> None:
        self.name = name
        self.every = every
        self.work = work
        self.limit = limit
        self.ran_at: float | None = None  # seconds since 1970
        self.done_at: float | None = None  # the last run that went well
        self.took = 0.0  # seconds
        self.failed: str | None = None  # why the last run did not go well
        self.failing_since: float | None = None
        self._at_once = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self.once()
            self._at_once.clear()
            try:
                async with asyncio.timeout(self.every):
                    await self._at_once.wait()
            except TimeoutError:
                continue

    def hurry(self) -> None:
        """The next run is now."""
        self._at_once.set()

    async def once(self) -> None:
        """Work now. Whatever goes wrong, collecting goes on: so every error ends here."""
        self.ran_at, began = time.time(), time.monotonic()
        try:
            async with asyncio.timeout(self.limit):
                await self.work()
        except DatabaseAway as error:
            # The writers say so already, once.
            logger.debug("%s waits for Postgres", self.name, extra={"why": str(error)})
            self._fail(f"Postgres is away: {error}")
        except TimeoutError:
            logger.warning("%s took too long", self.name, extra={"seconds": self.limit})
            self._fail(f"it took longer than {self.limit:g} s")
        except TwitterstreamError as error:  # a sentence for a person
            if self.failed is None:
                logger.warning("%s failed", self.name, extra={"why": str(error)})
            self._fail(str(error))
        except Exception as error:  # nothing that watches may stop what it watches
            if self.failed is None:
                logger.exception("%s failed", self.name)
            self._fail(f"{type(error).__name__}: {error}")
        else:
            self.done_at, self.failed, self.failing_since = time.time(), None, None
        finally:
            self.took = time.monotonic() - began

    def _fail(self, why: str) -> None:
        self.failed = why[:LONGEST_REASON]
        if self.failing_since is None:
            self.failing_since = time.time()
