"""Serves one webhook: reads what comes next, sends it, and tries again by the rules.

Messages are sent one after the other. Before the first try of a message there is a row of it, so
that its id and its tweets stay the same however often it is tried, also after a kill. The position
moves on when a message has arrived, or was given up.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from stream.backoff import Backoff, BackoffPolicy
from stream.db import Database, Executor
from stream.errors import TwitterstreamError
from stream.keys import received_at
from stream.loop_budget import LoopBudget
from stream.sinks import webhook_messages, webhook_secrets
from stream.sinks.reader import SKIPPED_DAY, SinkPosition
from stream.sinks.webhook_address import Network, Resolver
from stream.sinks.webhook_client import WebhookClient
from stream.sinks.webhook_messages import Batch, MessageReader, Tracks
from stream.sinks.webhook_status import WebhookStatus
from stream.store import archive_list, sharing, webhook_deliveries, webhooks
from stream.store.webhook_deliveries import Delivery, NewDelivery, Try
from stream.store.webhooks import Webhook
from stream.vault import Vault

logger = logging.getLogger(__name__)

RETRIES = BackoffPolicy(first=5, factor=3, more=0, cap=24 * 3600)
RETRY_AFTER_MAX = 24 * 3600.0  # seconds; longer requests to wait are cut to this
GIVE_UP_AFTER = timedelta(days=3)  # then a message is a dead letter
DISABLE_AFTER = 5 * 24 * 3600.0  # seconds without any success
READ_INTERVAL = 1.0  # seconds between two looks for tweets, when there were no more
SAVE_INTERVAL = 60.0  # seconds between two notes of a position that moved past nothing
DATABASE_CALLS = 4  # at a time, of all webhooks
SENDING_MAX = 64  # at a time, to receivers that work
SENDING_SLOWLY_MAX = 16  # at a time, to those whose last try failed or took long
SLOW_TRY = 5.0  # seconds
NOTHING_LEFT = "Nothing was sent: its tweets were deleted, or are no longer shared."

ReadArchived = Callable[[int], Awaitable[Sequence[bytes]]]  # what is left of a delivery, by its id
# `pause`: new tweets shall come together in one message; `wait`: there is nothing to send.
Then = Literal["go on", "pause", "wait", "end"]


class WebhookParts:
    """What all webhooks of a daemon share, each with a bound."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        budget: LoopBudget,
        allowed: Sequence[Network],
        resolver: Resolver,
        read_archived: ReadArchived,
    ) -> None:
        self.vault = vault
        self.read_archived = read_archived
        self.reader = MessageReader(budget)
        self.allowed = allowed
        self.resolver = resolver
        self._database = database
        self._calls = asyncio.Semaphore(DATABASE_CALLS)
        self._fast = asyncio.Semaphore(SENDING_MAX)
        self._slow = asyncio.Semaphore(SENDING_SLOWLY_MAX)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Executor]:
        async with self._calls, self._database.acquire() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Executor]:
        async with self._calls, self._database.transaction() as connection:
            yield connection

    def sending(self, *, slowly: bool) -> asyncio.Semaphore:
        """Slow receivers wait for each other only."""
        return self._slow if slowly else self._fast


class WebhookWorker:
    """The work on one webhook."""

    def __init__(self, status: WebhookStatus, parts: WebhookParts) -> None:
        self.id = status.id
        self._status = status
        self._parts = parts
        self._woken = asyncio.Event()
        self._is_blocked = False  # by a message that waits for its next try
        self._is_slow = False
        self._deletions_next = False  # take turns, so that neither waits for long
        self._ahead: tuple[str, SinkPosition] | None = None  # of a position, further on
        self._saved_at = 0.0
        self._client: WebhookClient | None = None

    def wake(self, *, due: bool = False) -> None:
        """There may be new tweets; `due`: it is time for a try, or it was changed."""
        if due or not self._is_blocked:
            self._woken.set()

    async def work(self) -> None:
        """Work until there is nothing to do for this webhook, or until an error."""
        try:
            while True:
                self._woken.clear()
                then = await self._step()
                if then == "end":
                    return
                if then != "go on":
                    await asyncio.sleep(READ_INTERVAL)
                if then == "wait":
                    await self._woken.wait()
        finally:
            self._status.waiting_since = None
            await self._close()

    async def _step(self) -> Then:
        """Send one message, if there is any."""
        async with self._parts.connection() as connection:
            hook = await webhooks.by_id(connection, self.id)
            if hook is None or not hook.allowed:
                return "end"
            due = await self._due(connection, hook)
            if due is None and hook.state != "active":
                return "end"
            if due is None and self._is_blocked:
                return "wait"
            following = None if due else await self._next(connection, hook)
        if due is not None:
            await self._send_again(hook, due)
            return "go on"
        assert following is not None
        batch, delivery = following
        if delivery is None:
            return "go on" if batch.more else "wait"
        body = webhook_messages.message(batch.event, delivery.created_at, batch.items)
        if await self._send(hook, delivery, body) and not batch.more:
            self._status.waiting_since = None
        return "go on" if batch.more else "pause"

    async def _due(self, connection: Executor, hook: Webhook) -> Delivery | None:
        """The message to try again now; if the webhook is not active, one its user asked for."""
        found = await webhook_deliveries.unfinished(connection, self.id)
        found = [each for each in found if hook.state == "active" or each.state == "again"]
        due = next((each for each in found if each.due), None)
        first = next((each for each in found if each.state == "waiting"), None)
        if first is not None:
            self._status.wait_for(first)
        self._is_blocked = first is not None and due is None
        return due

    # -- what comes next --------------------------------------------------------------------------

    async def _next(self, connection: Executor, hook: Webhook) -> tuple[Batch, Delivery | None]:
        """What comes next, and its message, if there is anything to send."""
        tracks = await followed_tracks(connection, hook)
        batch = await self._read(connection, self._position(hook), tracks)
        await self._note_skipped(connection, batch, tracks)
        if not batch.tweets:
            await self._pass_over(connection, hook, batch.position)
            self._status.waiting_since = None
            return batch, None
        new = NewDelivery(
            f"msg_{uuid.uuid4().hex}",
            batch.event,
            batch.tweets,
            str(batch.position),
            "waiting",
            datetime.now(UTC),
        )
        delivery = await webhook_deliveries.add(connection, self.id, new)
        self._status.wait_for(delivery)
        return batch, delivery

    async def _read(self, connection: Executor, position: SinkPosition, tracks: Tracks) -> Batch:
        """Tweets and deletions by turns; the other kind if there are none of this one."""
        reader = self._parts.reader
        reads = [reader.tweets_after, reader.deletions_after]
        if self._deletions_next:
            reads.reverse()
        first = await reads[0](connection, position, tracks)
        if first.tweets:
            self._deletions_next = not self._deletions_next
            return first
        second = await reads[1](connection, first.position, tracks)
        passed = first.passed or second.passed
        return second._replace(more=first.more or second.more, passed=passed)

    async def _note_skipped(self, connection: Executor, batch: Batch, tracks: Tracks) -> None:
        """A dead letter for each day whose tweets this webhook follows and cannot get any more.

        Before the position moves on: after a kill they are found again, and not noted twice.
        """
        days = await archive_list.skipped_days(connection, batch.passed, tracks)
        for day in days:
            why = SKIPPED_DAY.format(day)
            if await webhook_deliveries.add_skipped(connection, self.id, day, why):
                self._status.given_up += 1
                logger.warning("webhook missed a day: %s", why, extra={"webhook": self.id})
        if days:
            await webhook_deliveries.prune(connection, self.id, dead=True)

    def _position(self, hook: Webhook) -> SinkPosition:
        if self._ahead is not None and self._ahead[0] == hook.position:
            return self._ahead[1]
        return SinkPosition.parse(hook.position)

    async def _pass_over(self, connection: Executor, hook: Webhook, position: SinkPosition) -> None:
        """Go on from here; noted now and then."""
        self._ahead = (hook.position, position)
        now = asyncio.get_running_loop().time()
        if now - self._saved_at > SAVE_INTERVAL and str(position) != hook.position:
            self._saved_at = now
            await webhooks.move(connection, self.id, str(position))

    # -- one try ----------------------------------------------------------------------------------

    async def _send_again(self, hook: Webhook, delivery: Delivery) -> None:
        """One more try of a message, or the first one after a kill."""
        if delivery.event == "webhook.test":
            body = webhook_messages.test_message(delivery.created_at, hook.name)
            await self._send(hook, delivery, body)
            return
        async with self._parts.connection() as connection:
            tracks = await followed_tracks(connection, hook)
            items = await self._parts.reader.again(connection, delivery, tracks)
            is_archived = await _is_archived(connection, delivery)  # asked last: days can move
        if is_archived:
            try:
                items = await self._parts.read_archived(delivery.id)
            except TwitterstreamError as error:
                why = f"Its tweets are in an archive, which cannot be read: {error}"
                await self._note_failure(delivery, Try(0.0, None, why))
                return
        if items:
            body = webhook_messages.message(delivery.event, delivery.created_at, items)
            await self._send(hook, delivery, body)
        else:
            await self._note_success(delivery, Try(0.0, None, answer=NOTHING_LEFT))

    async def _send(self, hook: Webhook, delivery: Delivery, body: bytes) -> bool:
        """Try once; whether it has arrived."""
        try:
            secrets = webhook_secrets.open_secrets(self._parts.vault, hook)
        except TwitterstreamError as error:
            found = Try(0.0, None, str(error))
        else:
            client = await self._client_for(hook)
            async with self._parts.sending(slowly=self._is_slow):
                found = await client.send(delivery.message_id, body, secrets)
        self._is_slow = bool(found.reason) or found.seconds > SLOW_TRY
        if found.reason:
            await self._note_failure(delivery, found)
        else:
            await self._note_success(delivery, found)
        return not found.reason

    async def _client_for(self, hook: Webhook) -> WebhookClient:
        if self._client is None or self._client.url != hook.url:
            await self._close()
            parts = self._parts
            self._client = WebhookClient(hook.url, parts.resolver, parts.allowed)
        return self._client

    async def _close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _note_success(self, delivery: Delivery, found: Try) -> None:
        async with self._parts.transaction() as connection:
            if delivery.state == "again":
                await webhooks.lock(connection, self.id)
            elif found.status is None:  # nothing was left to send, which says nothing of it
                await webhooks.move(connection, self.id, delivery.position)
            else:
                await webhooks.note_success(connection, self.id, delivery.position)
            await webhook_deliveries.note_try(connection, delivery.id, "delivered", found, None)
            await webhook_deliveries.prune(connection, self.id, dead=False)
        self._status.count(found)

    async def _note_failure(self, delivery: Delivery, found: Try) -> None:
        is_last = delivery.event == "webhook.test" or (found.is_final and delivery.state == "again")
        next_at = None if is_last else next_try(delivery, found)
        state = "dead" if next_at is None else delivery.state
        async with self._parts.transaction() as connection:
            await webhooks.lock(connection, self.id)
            await webhook_deliveries.note_try(connection, delivery.id, state, found, next_at)
            if delivery.state == "waiting":
                await self._note_failing(connection, found)
                if state == "dead":
                    await webhooks.move(connection, self.id, delivery.position)
            if state == "dead":
                is_test = delivery.event == "webhook.test"
                await webhook_deliveries.prune(connection, self.id, dead=not is_test)
        self._status.count(found, given_up=state == "dead")

    async def _note_failing(self, connection: Executor, found: Try) -> None:
        too_long = await webhooks.note_failure(connection, self.id, found.reason, DISABLE_AFTER)
        if found.is_final:
            await webhooks.disable(connection, self.id, found.reason)
        elif too_long:
            days = DISABLE_AFTER / 86_400
            words = f"Disabled after {days:.0f} days without success. {found.reason}"
            await webhooks.disable(connection, self.id, words)


async def followed_tracks(connection: Executor, hook: Webhook) -> Tracks:
    """The tracks that a webhook follows, of those that its user sees now."""
    if hook.tracks is None:
        return (await sharing.visible_tracks(connection, hook.user_id)).keys()
    return (await sharing.visible_among(connection, hook.user_id, hook.tracks)).keys()


async def _is_archived(connection: Executor, delivery: Delivery) -> bool:
    """Whether an archive has tweets of a delivery that Postgres may not have."""
    if delivery.event != "tweets.matched":
        return False
    days = {received_at(key).date() for key in delivery.tweets}
    return await archive_list.has_rows_of(connection, days)


def next_try(delivery: Delivery, found: Try) -> datetime | None:
    """When to try again after this failure; None: the message is given up."""
    now, end = datetime.now(UTC), delivery.began_at + GIVE_UP_AFTER
    if now >= end:
        return None
    seconds = Backoff().jittered(RETRIES.delay(delivery.tries + 1))
    seconds = max(seconds, min(found.retry_after or 0.0, RETRY_AFTER_MAX))
    return min(now + timedelta(seconds=seconds), end)
