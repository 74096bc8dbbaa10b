"""Looks up accounts of networks whose messages name authors by id only, on the leader.

Handles that tracks name come first: their posts do not match without the id. A look-up that fails
is retried later, by back-off; nothing waits for it.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from monitor.jobs import Leader, PeriodicJob
from stream.backoff import Backoff, BackoffPolicy, Clock, SlidingWindowLimiter, wait_turn
from stream.config import Settings
from stream.db import Database, Executor
from stream.errors import ConnectError
from stream.networks.bluesky.identity import Identities, OwnHostError
from stream.store import accounts, tweets
from stream.store.accounts import Due
from stream.tweet import NetworkName

logger = logging.getLogger(__name__)

INTERVAL = 2.0  # seconds
RUN_TIMEOUT = 600.0  # seconds; the next run continues
BATCH = 50  # accounts read at once
FAILURES_MAX = 3  # in a row, until the next run
NETWORK: NetworkName = "bluesky"

RETRY = BackoffPolicy(first=60, factor=2, more=0, cap=86_400)  # of one account
KNOWN_AGAIN = 6 * 3600.0  # seconds until a tracked handle is checked again; events come sooner
UNKNOWN_AGAIN = 900.0  # seconds, of one that no account has
FILL_IN_HOURS = 48  # of an author's stored tweets, those that get the handle


class AccountLookup:
    """The periodic job; `clock` is for tests."""

    def __init__(
        self, database: Database, settings: Settings, leader: Leader, clock: Clock | None = None
    ) -> None:
        self.database = database
        self.leader = leader
        self.clock = clock or Clock()
        self.identities = Identities(settings.bluesky, self.clock)
        self.limiter = SlidingWindowLimiter(settings.bluesky.lookups_per_minute, 60)
        self.backoff = Backoff()
        self.job = PeriodicJob("account look-up", INTERVAL, self.work, limit=RUN_TIMEOUT)
        self._not_before = 0.0  # monotonic
        self._failures = 0  # in a row

    async def work(self) -> None:
        """Look up what is due."""
        if not self.leader.leads or self.clock.monotonic() < self._not_before:
            return
        self._failures = 0
        while self._failures < FAILURES_MAX:
            async with self.database.acquire() as connection:
                handles = await accounts.due_handles(connection, NETWORK, BATCH)
                authors = [] if handles else await accounts.due_accounts(connection, NETWORK, BATCH)
            if not handles and not authors:
                return
            await self._look_up_all(handles, self._look_up_handle, accounts.retry_handle)
            await self._look_up_all(authors, self._look_up_author, accounts.retry_account)

    async def _look_up_all(
        self,
        due: Sequence[Due],
        look_up: Callable[[str], Awaitable[None]],
        retry: Callable[[Executor, NetworkName, str, float], Awaitable[None]],
    ) -> None:
        for each in due:
            if self._failures >= FAILURES_MAX:
                return
            await wait_turn(self.limiter, self.clock)
            try:
                await look_up(each.name)
            except ConnectError as error:
                await self._put_off(each, error, retry)
            else:
                self._failures = 0
                self.backoff.reset()

    async def _put_off(
        self,
        due: Due,
        error: ConnectError,
        retry: Callable[[Executor, NetworkName, str, float], Awaitable[None]],
    ) -> None:
        """Retry later; after several failures in a row, or where a server asks for it, all wait.

        The account alone waits for a host of its own: it may be of any kind, and ask for anything.
        """
        of_all = not isinstance(error, OwnHostError)
        self._failures += of_all
        seconds = RETRY.delay(due.failures + 1) * random.uniform(1, 1.2)  # noqa: S311 - no secret
        if error.retry_at is not None:
            seconds = max(seconds, error.retry_at - self.clock.time())
            self._failures = FAILURES_MAX if of_all else self._failures
        if self._failures >= FAILURES_MAX:
            pause = self.backoff.delay("http")
            if error.retry_at is not None:
                pause = max(pause, error.retry_at - self.clock.time())
            self._not_before = self.clock.monotonic() + pause
            extra = {"why": error.reason, "seconds": round(pause)}
            logger.info("accounts cannot be looked up; retrying", extra=extra)
        async with self.database.acquire() as connection:
            await retry(connection, NETWORK, due.name, seconds)

    async def _look_up_handle(self, handle: str) -> None:
        author_id = await self.identities.id_of(handle)
        again = UNKNOWN_AGAIN if author_id is None else KNOWN_AGAIN
        async with self.database.acquire() as connection:
            await accounts.save_id(connection, NETWORK, handle, author_id, again)

    async def _look_up_author(self, author_id: str) -> None:
        handle = await self.identities.handle_of(author_id)
        since = datetime.now(UTC) - timedelta(hours=FILL_IN_HOURS)
        async with self.database.transaction() as connection:
            await accounts.save_handle(connection, NETWORK, author_id, handle or accounts.INVALID)
            if handle is not None:
                await tweets.name_author(connection, NETWORK, author_id, handle, since)
