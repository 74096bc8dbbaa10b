"""Runs the webhooks of a database: a worker for each one that has something to do."""

import asyncio
import contextlib
import logging

from stream.backoff import Backoff
from stream.config.settings import WebhookSettings
from stream.db import Database
from stream.errors import DatabaseAway
from stream.loop_budget import LoopBudget
from stream.sinks.reader import SinkPosition, head_position
from stream.sinks.status import SinkStatus, raise_if_cancelled
from stream.sinks.webhook_address import Resolver, parse_networks
from stream.sinks.webhook_status import WebhookStatus
from stream.sinks.webhook_worker import ReadArchived, WebhookParts, WebhookWorker
from stream.store import webhooks
from stream.vault import Vault

logger = logging.getLogger(__name__)

LOOK_INTERVAL = 1.0  # seconds between two looks at the table
WORKED = 60.0  # seconds without an error, after which the next one is a new one


class Webhooks:
    """Starts, wakes and ends the workers. A slow receiver delays its own webhook only."""

    def __init__(
        self,
        database: Database,
        settings: WebhookSettings,
        vault: Vault,
        budget: LoopBudget,
        exist: asyncio.Event,
        read_archived: ReadArchived,
    ) -> None:
        self._database = database
        self._allowed = parse_networks(settings.allowed_networks)
        self._vault = vault
        self._budget = budget
        self._exist = exist  # set while there are some
        self._read_archived = read_archived
        self.hooks: dict[int, WebhookStatus] = {}
        self._workers: dict[int, tuple[WebhookWorker, asyncio.Task[None]]] = {}
        self._head: SinkPosition | None = None
        self.status = SinkStatus("webhooks")

    @property
    def in_use(self) -> bool:
        return bool(self._workers)

    def wake(self) -> None:
        """Tweets were stored."""
        for worker, _ in self._workers.values():
            worker.wake()

    async def work(self) -> None:
        """Serve all webhooks until an error."""
        resolver = Resolver()
        parts = WebhookParts(
            self._database, self._vault, self._budget, self._allowed, resolver, self._read_archived
        )
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    raise_if_cancelled()
                    if not self._workers:
                        await self._exist.wait()
                    with contextlib.suppress(DatabaseAway):  # the workers go on when it is back
                        await self._look(group, parts)
                    self.status.passed_on(more=False)
                    await asyncio.sleep(LOOK_INTERVAL)
        finally:
            self._workers.clear()
            self.hooks.clear()
            resolver.end()

    async def _look(self, group: asyncio.TaskGroup, parts: WebhookParts) -> None:
        """Start workers for what is new, end those of what is gone, and wake the others."""
        async with self._database.acquire() as connection:
            wanted = {each.id: each for each in await webhooks.running(connection)}
            head = await head_position(connection) if wanted else None
        for webhook_id in self._workers.keys() - wanted.keys():
            self._workers[webhook_id][1].cancel()
        for webhook_id in self.hooks.keys() - wanted.keys():
            del self.hooks[webhook_id]
        for each in wanted.values():
            status = self.hooks.setdefault(each.id, WebhookStatus(each.id, each.state))
            status.state = each.state
            found = self._workers.get(each.id)
            if found is not None:
                is_due = each.due or each.state != "active"  # else it would wait for a tweet to end
                if is_due or head != self._head:
                    found[0].wake(due=is_due)
            elif each.state == "active" or each.due:
                worker = WebhookWorker(status, parts)
                task = group.create_task(self._keep_working(worker), name=f"webhook {each.id}")
                self._workers[each.id] = worker, task
        self._head = head

    async def _keep_working(self, worker: WebhookWorker) -> None:
        """Work again after every error, with back-off, until there is nothing to do."""
        backoff, loop = Backoff(), asyncio.get_running_loop()
        try:
            while True:
                raise_if_cancelled()
                began = loop.time()
                try:
                    await worker.work()
                except DatabaseAway:
                    pass
                except Exception:
                    logger.exception("webhook failed", extra={"webhook": worker.id})
                else:
                    return
                if loop.time() - began > WORKED:
                    backoff.reset()
                await asyncio.sleep(backoff.delay("resumable"))
        finally:
            self._workers.pop(worker.id, None)
