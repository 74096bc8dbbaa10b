"""Messages to webhooks, and what became of them: the table webhook_deliveries."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

import msgspec

from stream.db import Executor, row_count
from stream.keys import received_at
from stream.tweet import TweetId

Event = Literal["tweets.matched", "tweet.deleted", "webhook.test"]
State = Literal["waiting", "again", "delivered", "dead"]

KEPT = 50  # newest finished ones of a webhook, also tests that failed
DEAD_KEPT = 100  # newest dead letters of a webhook

_COLUMNS = """id, webhook_id, message_id, event, tweets, position, state, created_at, began_at,
    next_at, tries, tried_at, seconds, status, result, answer"""
_UNFINISHED = f"""
SELECT {_COLUMNS}, next_at <= now() AS due FROM webhook_deliveries
WHERE webhook_id = $1 AND next_at IS NOT NULL ORDER BY state, next_at, id
"""  # noqa: S608 - a constant
_NEWEST = f"""
SELECT {_COLUMNS}, false AS due FROM webhook_deliveries
WHERE webhook_id = $1 AND ($2::text IS NULL OR state = $2) ORDER BY id DESC LIMIT $3
"""  # noqa: S608 - a constant
_BY_ID = f"SELECT {_COLUMNS}, false AS due FROM webhook_deliveries WHERE id = $1"  # noqa: S608 - a constant
_ADD = f"""
INSERT INTO webhook_deliveries (webhook_id, message_id, event, tweets, position, state, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {_COLUMNS}, true AS due
"""  # noqa: S608 - a constant
_ADD_SKIPPED = """
INSERT INTO webhook_deliveries (webhook_id, message_id, event, tweets, state, created_at, next_at,
    result)
SELECT $1, $2, 'tweets.matched', '{}', 'dead', now(), NULL, $3
WHERE NOT EXISTS (SELECT FROM webhook_deliveries WHERE webhook_id = $1 AND message_id = $2)
"""
_NOTE_TRY = """
UPDATE webhook_deliveries SET state = $2, tries = tries + 1, tried_at = now(), seconds = $3,
    status = $4, result = $5, answer = $6, next_at = $7
WHERE id = $1
"""
_TRY_NOW = """
UPDATE webhook_deliveries SET tries = 0, began_at = now(), next_at = now()
WHERE webhook_id = $1 AND next_at IS NOT NULL
"""
_SEND_AGAIN = """
UPDATE webhook_deliveries SET state = 'again', tries = 0, began_at = now(), next_at = now()
WHERE webhook_id = $1 AND id = $2 AND next_at IS NULL
"""
_COUNT_AGAIN = """
SELECT count(*)::integer AS number FROM webhook_deliveries WHERE webhook_id = $1 AND state = 'again'
"""
_PRUNE = """
DELETE FROM webhook_deliveries WHERE id IN (
    SELECT id FROM webhook_deliveries
    WHERE webhook_id = $1 AND next_at IS NULL
      AND (state = 'dead' AND event <> 'webhook.test') = $2
    ORDER BY id DESC OFFSET $3)
"""


class Delivery(msgspec.Struct, frozen=True):
    """A row of webhook_deliveries; `due`: it is time for its next try."""

    id: int
    webhook_id: int
    message_id: str
    event: Event
    tweets: Sequence[TweetId]
    position: str
    state: State
    created_at: datetime
    began_at: datetime
    next_at: datetime | None
    tries: int
    tried_at: datetime | None
    seconds: float | None
    status: int | None
    result: str
    answer: str
    due: bool

    @property
    def first_at(self) -> datetime | None:
        """When the first of its tweets was received; with `last_at`, the range that it covers."""
        return received_at(min(self.tweets)) if self.tweets else None

    @property
    def last_at(self) -> datetime | None:
        return received_at(max(self.tweets)) if self.tweets else None

    def next_try(self, *, is_active: bool) -> datetime | None:
        """When it is tried next; what is sent again is, also when its webhook is not active."""
        return self.next_at if is_active or self.state == "again" else None

    @property
    def is_skipped_day(self) -> bool:
        """It stands for the tweets of a day that cannot be sent; `result` says why."""
        return self.event == "tweets.matched" and not self.tweets


class NewDelivery(msgspec.Struct, frozen=True):
    """A message before its first try."""

    message_id: str
    event: Event
    tweets: Sequence[TweetId]
    position: str
    state: State
    created_at: datetime


class Try(msgspec.Struct, frozen=True):
    """What came of one try. `status` None: there was no answer; `reason` empty: it succeeded.

    `is_final`: it cannot succeed until a person changes something.
    """

    seconds: float
    status: int | None
    reason: str = ""
    answer: str = ""
    retry_after: float | None = None  # seconds that the receiver asks for
    is_final: bool = False


async def unfinished(connection: Executor, webhook_id: int) -> list[Delivery]:
    """Those that have a next try: first what is sent again, then the one that others wait for."""
    return [Delivery(**row) for row in await connection.fetch(_UNFINISHED, webhook_id)]


async def newest(
    connection: Executor, webhook_id: int, limit: int, state: State | None = None
) -> list[Delivery]:
    """The newest deliveries of a webhook, at most `limit`; in this state only, or in any."""
    return [Delivery(**row) for row in await connection.fetch(_NEWEST, webhook_id, state, limit)]


async def by_id(connection: Executor, delivery_id: int) -> Delivery | None:
    rows = await connection.fetch(_BY_ID, delivery_id)
    return Delivery(**rows[0]) if rows else None


async def add(connection: Executor, webhook_id: int, new: NewDelivery) -> Delivery:
    [row] = await connection.fetch(_ADD, webhook_id, *msgspec.structs.astuple(new))
    return Delivery(**row)


async def add_skipped(connection: Executor, webhook_id: int, day: date, why: str) -> bool:
    """Add a dead letter for the tweets of a day; False when there is one of this day."""
    message_id = f"skipped_{day}"
    return bool(row_count(await connection.execute(_ADD_SKIPPED, webhook_id, message_id, why)))


async def note_try(
    connection: Executor, delivery_id: int, state: State, found: Try, next_at: datetime | None
) -> None:
    """Note a try and when the next one is; None: there is none."""
    values = (found.seconds, found.status, found.reason, found.answer)
    await connection.execute(_NOTE_TRY, delivery_id, state, *values, next_at)


async def try_now(connection: Executor, webhook_id: int) -> None:
    """Begin again with the tries of what is not finished."""
    await connection.execute(_TRY_NOW, webhook_id)


async def send_again(connection: Executor, webhook_id: int, delivery_id: int) -> bool:
    """Send a finished delivery once more; False when there is none of this id."""
    return bool(row_count(await connection.execute(_SEND_AGAIN, webhook_id, delivery_id)))


async def count_again(connection: Executor, webhook_id: int) -> int:
    """How many are being sent again, or are tests."""
    [row] = await connection.fetch(_COUNT_AGAIN, webhook_id)
    number: int = row["number"]
    return number


async def prune(connection: Executor, webhook_id: int, *, dead: bool) -> None:
    """Delete the oldest dead letters of a webhook that are too many; or what else is finished."""
    await connection.execute(_PRUNE, webhook_id, dead, DEAD_KEPT if dead else KEPT)
