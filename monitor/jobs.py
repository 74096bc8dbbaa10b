"""Background work: periodic jobs, blocking calls that may hang, and the election of a leader.

A failure is logged and retried, and never stops collecting.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar

from stream.db import Database
from stream.errors import DatabaseAway, TwitterstreamError
from stream.store import server

logger = logging.getLogger(__name__)

REASON_MAX = 500  # characters
LEADER_INTERVAL = 5.0  # seconds between two attempts to lead, or checks of the connection

T = TypeVar("T")


class PeriodicJob:
    """Runs `work` every `every` seconds, and remembers how the last run went.

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
        self.done_at: float | None = None  # the last run that succeeded
        self.took = 0.0  # seconds
        self.failed: str | None = None  # why the last run failed
        self.failing_since: float | None = None
        self._run_soon = asyncio.Event()

    async def run(self) -> None:
        """Run again and again until cancelled."""
        while True:
            self._run_soon.clear()
            await self.run_once()
            try:
                async with asyncio.timeout(self.every):
                    await self._run_soon.wait()
            except TimeoutError:
                continue

    def run_soon(self) -> None:
        """Start the next run now, or right after the present one."""
        self._run_soon.set()

    async def run_once(self) -> None:
        """Run the job now. Every error ends here, so that collecting continues."""
        self.ran_at, began = time.time(), time.monotonic()
        try:
            async with asyncio.timeout(self.limit):
                await self.work()
        except DatabaseAway as error:
            # The writers log this already, once.
            logger.debug("job %s waits for Postgres", self.name, extra={"why": str(error)})
            self._fail(f"Postgres is away: {error}")
        except TimeoutError:
            logger.warning("job %s took too long", self.name, extra={"seconds": self.limit})
            self._fail(f"took longer than {self.limit:g} s")
        except TwitterstreamError as error:  # a sentence for a person
            if self.failed is None:
                logger.warning("job %s failed", self.name, extra={"why": str(error)})
            self._fail(str(error))
        except Exception as error:  # a job must not stop the daemon
            if self.failed is None:
                logger.exception("job %s failed", self.name)
            self._fail(f"{type(error).__name__}: {error}")
        else:
            self.done_at, self.failed, self.failing_since = time.time(), None, None
        finally:
            self.took = time.monotonic() - began

    def _fail(self, why: str) -> None:
        self.failed = why[:REASON_MAX]
        if self.failing_since is None:
            self.failing_since = time.time()


class Busy(TwitterstreamError):
    """The call, or the one before it, has not returned yet."""


class DetachedCall:
    """Runs one blocking call at a time in a thread that neither the loop nor shutdown waits for.

    For example a look at a network disk that is gone, or a message to a server that does not
    answer. The event loop's own threads are few, and the journal syncs its files in them.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._last: Future[object] | None = None

    async def run(self, call: Callable[[], T], timeout: float | None = None) -> T:
        """Result of a call in a detached thread; Busy when it takes longer than `timeout` seconds.

        Cancelling stops the waiting; the call continues.
        """
        if self._last is not None and not self._last.done():
            raise Busy(f"{self.name}: the previous call has not returned yet")
        result: Future[T] = Future()
        result.set_running_or_notify_cancel()
        self._last = result  # type: ignore[assignment]  # only asked whether it is done
        threading.Thread(target=_work, args=(result, call), name=self.name, daemon=True).start()
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.wrap_future(result)
        except TimeoutError:
            if result.done():
                raise  # the call's own
            raise Busy(f"{self.name}: no answer within {timeout:g} s") from None


def _work(result: Future[T], call: Callable[[], T]) -> None:
    try:
        found = call()
    except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
        result.set_exception(error)
    else:
        result.set_result(found)


class Leader:
    """Leader election: one daemon of a database does the work that concerns them all.

    It holds an advisory lock for as long as its connection lives. While Postgres is away the last
    leader remains the leader, so that the outage is reported.
    """

    def __init__(self, database: Database, *, may_lead: bool = True) -> None:
        self.database = database
        self.may_lead = may_lead  # False: this process has other roles only
        self.leads = False

    async def run(self) -> None:
        """Become the leader when there is none, until cancelled."""
        if not self.may_lead:
            await asyncio.Event().wait()
        while True:
            try:
                await self._hold()
            except DatabaseAway:
                await asyncio.sleep(LEADER_INTERVAL)

    async def _hold(self) -> None:
        async with self.database.dedicated() as connection:
            while True:
                self.leads = await server.try_leader_lock(connection)
                while self.leads:
                    await asyncio.sleep(LEADER_INTERVAL)
                    await server.ping(connection)
                await asyncio.sleep(LEADER_INTERVAL)
