"""Runs the sinks of a database, in one of its daemons: each retries until it is cancelled."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

from stream.backoff import Backoff
from stream.config import Settings
from stream.db import Database, Executor, translated_errors
from stream.errors import DatabaseAway, TwitterstreamError
from stream.loop_budget import LoopBudget
from stream.sinks.status import Sink, SinkError, SinkStatus, Work, raise_if_cancelled
from stream.sinks.webhook_status import WebhookStatus
from stream.sinks.webhook_worker import DATABASE_CALLS, ReadArchived
from stream.sinks.webhooks import Webhooks
from stream.store import server, sinks
from stream.vault import Vault

logger = logging.getLogger(__name__)

CONNECTIONS = 3 + DATABASE_CALLS  # to Postgres, for all sinks
LOCK_INTERVAL = 5.0  # seconds between two attempts to run the sinks, or checks of the connection
REPORT_INTERVAL = 2.0  # seconds between two notes in the table sinks


class Sinks:
    """All sinks of a daemon. They read the tables: a slow or failing one delays nothing else."""

    def __init__(self, database: Database, settings: Settings, vault: Vault) -> None:
        self._database = database
        self._settings = settings.sinks
        self._vault = vault
        self._budget = LoopBudget()
        self.read_archived: ReadArchived = _no_archives  # until the monitor starts, which can
        self._configured: list[SinkStatus] = []  # of those that run here
        self._webhooks: Webhooks | None = None
        self._webhooks_exist = asyncio.Event()
        self._needed = asyncio.Event()  # there is something to pass on to
        self.use_webhooks(False)

    @property
    def statuses(self) -> list[SinkStatus]:
        """How the sinks that run here are; webhooks are one, once there are some."""
        hooks = self._webhooks
        return self._configured + ([hooks.status] if hooks is not None and hooks.in_use else [])

    @property
    def webhooks(self) -> Sequence[WebhookStatus]:
        """How the webhooks are, if they are served here."""
        return () if self._webhooks is None else list(self._webhooks.hooks.values())

    def use_webhooks(self, exist: bool) -> None:
        """Serve webhooks while some exist. With nothing to pass on to, nothing runs at all."""
        for event, is_set in (
            (self._webhooks_exist, exist),
            (self._needed, exist or bool(self._settings.redis.url)),
        ):
            (event.set if is_set else event.clear)()

    def wake(self) -> None:
        """Tweets were stored."""
        for status in self._configured:
            status.wake()
        if self._webhooks is not None:
            self._webhooks.wake()

    async def run(self) -> None:
        """Run the sinks until cancelled, while no other daemon does."""
        while True:
            raise_if_cancelled()
            if not self._needed.is_set():
                await self._forget()
                await self._needed.wait()
            is_away = True
            try:
                async with self._database.dedicated() as connection:
                    await self._run_locked(connection)
                is_away = False
            except* DatabaseAway:
                pass
            finally:
                self._configured, self._webhooks = [], None
            if is_away:
                await asyncio.sleep(LOCK_INTERVAL)

    async def _read_archived(self, delivery_id: int) -> Sequence[bytes]:
        return await self.read_archived(delivery_id)

    async def _forget(self) -> None:
        """Let status and Health show no sinks, where there are none any more."""
        with contextlib.suppress(DatabaseAway):
            async with self._database.acquire() as connection:
                await sinks.forget(connection)

    async def _run_locked(self, lock: Executor) -> None:
        """Run the sinks while this session has their lock, and there is something to pass on to."""
        while not await sinks.try_lock(lock):
            await asyncio.sleep(LOCK_INTERVAL)
            if not self._needed.is_set():
                return
        async with (
            self._database.separate_pool(CONNECTIONS) as database,
            self._redis_sinks(database) as configured,
            asyncio.TaskGroup() as group,
        ):
            hooks = Webhooks(
                database,
                self._settings.webhooks,
                self._vault,
                self._budget,
                self._webhooks_exist,
                self._read_archived,
            )
            self._configured, self._webhooks = [status for status, _ in configured], hooks
            tasks = [
                group.create_task(keep_passing_on(status, work), name=status.name)
                for status, work in (*configured, (hooks.status, hooks.work))
            ]
            tasks.append(group.create_task(self._report(database), name="states of sinks"))
            while self._needed.is_set():
                with translated_errors():
                    await server.ping(lock)
                await asyncio.sleep(LOCK_INTERVAL)
            for task in tasks:
                task.cancel()

    @contextlib.asynccontextmanager
    async def _redis_sinks(self, database: Database) -> AsyncIterator[list[Sink]]:
        """Those that are configured; their library is large, and most installations have none."""
        if not self._settings.redis.url:
            yield []
            return
        from stream.sinks import redis_sinks  # noqa: PLC0415

        async with redis_sinks.opened(database, self._settings.redis, self._budget) as found:
            yield found

    async def _report(self, database: Database) -> None:
        while True:
            raise_if_cancelled()
            statuses = self.statuses
            with contextlib.suppress(DatabaseAway):
                async with database.acquire() as connection:
                    for each in statuses:
                        why = f"{each.reason}. {each.remedy}" if each.reason else ""
                        await sinks.write(connection, each.name, why, each.late_since)
                    await sinks.keep_only(connection, [each.name for each in statuses])
            await asyncio.sleep(REPORT_INTERVAL)


async def _no_archives(_: int) -> Sequence[bytes]:
    raise TwitterstreamError("this daemon runs without a monitor")


async def keep_passing_on(status: SinkStatus, work: Work) -> None:
    """Repeat the work of a sink after every error, with back-off, until cancelled."""
    backoff = Backoff()
    while True:
        raise_if_cancelled()
        before = status.reason
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - a sink must not end collecting
            if not status.reason:  # it has worked since the last error
                backoff.reset()
                before = ""
            status.fail(*_explain(error))
        if status.reason != before:
            logger.warning(
                "sink fails; retrying", extra={"sink": status.name, "why": status.reason}
            )
        await asyncio.sleep(backoff.delay("resumable"))


def _explain(error: Exception) -> tuple[str, str]:
    match error:
        case DatabaseAway():
            return "Postgres is away", "Start it. Tweets are passed on when it is back."
        case SinkError():
            return error.reason, error.remedy
        case TwitterstreamError():
            return str(error).rstrip("."), "See docs/operations.md (sinks)."
    logger.error("sink failed", exc_info=error)
    return "Unexpected error in twitterstream", "See the log of the daemon."
