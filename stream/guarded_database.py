"""A database that fails soon while its server stands still, for callers that must not wait."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from stream.db import Database, Executor
from stream.errors import DatabaseAway, TwitterstreamError

T = TypeVar("T")

# In seconds: together the time until callers learn of a frozen server.
SLOW_CALL = 1.5  # a call that lasts longer makes it check whether the server answers
CHECK_TIMEOUT = 5.0  # for the answer; a machine with much else to do needs seconds
CHECK_INTERVAL = 1.0
TIMEOUT_LATE = 0.5  # seconds; a timeout that comes so much later than due is none

_FROZEN = "it does not answer"

logger = logging.getLogger(__name__)


class GuardedDatabase(Database):
    """A circuit breaker: calls fail soon while the server does not answer anyone.

    A slow call proves nothing: it may be a large search. So a statement on a separate connection
    decides: without an answer all calls end, and new ones fail at once until the server is back.
    """

    def __init__(self, database: Database, name: str = "Postgres") -> None:
        """Calls to this database; `name`: what the log calls it."""
        super().__init__(database.pool, database.url, database.call_timeout, database.connector)
        self._name = name
        self._is_frozen = False
        self._calls: dict[asyncio.Timeout, float] = {}  # since when each runs
        self._called = asyncio.Event()

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Executor]:
        if self._is_frozen:
            raise DatabaseAway(_FROZEN)
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._calls[limit] = asyncio.get_running_loop().time()
                self._called.set()
                try:
                    async with super().acquire() as connection:
                        yield connection
                finally:
                    del self._calls[limit]
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DatabaseAway(_FROZEN) from error

    async def watch(self) -> None:
        """Guard the calls until cancelled."""
        async with self.separate_pool(1) as separate:
            while True:
                await self._slow_call()
                if await _is_frozen(separate):
                    self._end_calls()
                elif self._is_frozen:
                    self._is_frozen = False
                    logger.info("%s answers again", self._name)
                await asyncio.sleep(CHECK_INTERVAL)

    async def _slow_call(self) -> None:
        """Wait until a call has lasted so long that the server may be frozen."""
        clock = asyncio.get_running_loop().time
        while not self._is_frozen:
            if not self._calls:
                self._called.clear()
                await self._called.wait()
            rest = min(self._calls.values(), default=clock()) + SLOW_CALL - clock()
            if self._calls and rest <= 0:
                return
            await asyncio.sleep(max(rest, 0.0))

    def _end_calls(self) -> None:
        if not self._is_frozen:
            self._is_frozen = True
            logger.warning("%s does not answer; requests fail at once until it does", self._name)
        for limit in self._calls:
            with contextlib.suppress(RuntimeError):  # it is about to end
                limit.reschedule(asyncio.get_running_loop().time())


async def answer_within(seconds: float, ask: Callable[[], Awaitable[T]]) -> T:
    """The answer of a server; TimeoutError when it takes longer.

    A timeout that comes late proves nothing: this machine stood still as well. So it asks again.
    """
    clock = asyncio.get_running_loop().time
    while True:
        late = clock() + seconds + TIMEOUT_LATE
        try:
            async with asyncio.timeout(seconds):
                return await ask()
        except TimeoutError:
            if clock() < late:
                raise


async def _is_frozen(database: Database) -> bool:
    """Whether the server gives no answer at all; a refusal is one, and reaches callers as well."""
    try:
        await answer_within(CHECK_TIMEOUT, database.ping)
    except TimeoutError:
        return True
    except TwitterstreamError as error:
        # A server that is frozen for long accepts no connection on its Unix socket either.
        return isinstance(error.__cause__, TimeoutError | BlockingIOError)
    return False
