"""Reads for a sink what was stored and what was deleted, from its position on."""

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from stream.db import Database, Executor
from stream.errors import TwitterstreamError
from stream.keys import passed_ranges
from stream.loop_budget import LoopBudget
from stream.sinks.messages import SinkMessage, deletion_message, message_of
from stream.store import archive_list, deletion_log, feed
from stream.store.feed import Cursor

logger = logging.getLogger(__name__)

PAGE = 200  # tweets read at a time
BATCH_BYTES = 4 << 20  # about; a tweet counts once more for each of its tracks
DELETIONS_PAGE = 500
DELETIONS_INTERVAL = 0.5  # seconds between two looks at deletions
SKIPPED_DAY = (
    "The tweets of {} were archived and left Postgres before they were sent."
    " Export the day (page Exports) to get them."
)


class SinkPosition(msgspec.Struct, frozen=True):
    """How far a sink has read tweets and deletions, and the number of its last message."""

    cursor: str
    deletion: int
    seq: int = 0

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str | bytes) -> "SinkPosition":
        """Read a position's text; TwitterstreamError when it is invalid."""
        try:
            position = msgspec.json.decode(text, type=cls)
            Cursor.parse(position.cursor)
        except (msgspec.DecodeError, UnicodeDecodeError, TwitterstreamError) as error:
            raise TwitterstreamError(
                "The position of the sink is invalid. Delete it to start again with new tweets."
            ) from error
        return position


async def head_position(connection: Executor, seq: int = 0) -> SinkPosition:
    """The position after everything that is stored now; `seq`: of the last message."""
    deletion = await deletion_log.head(connection)
    return SinkPosition(str(await feed.head(connection)), deletion, seq)


class MessageBatch(NamedTuple):
    """The next messages, the position after them, and whether there are more now."""

    messages: Sequence[SinkMessage]
    position: SinkPosition
    more: bool


class Reader:
    """A reader of stored tweets in commit order, and of their deletions.

    A deletion is read after the tweets of the same batch, so it never comes before its tweet.
    """

    def __init__(self, database: Database, budget: LoopBudget) -> None:
        self._database = database
        self._budget = budget
        self._deletions_at = 0.0  # when to look at deletions again; monotonic

    async def head(self, seq: int) -> SinkPosition:
        """The position after everything that is stored now; `seq`: of the last message."""
        async with self._database.acquire() as connection:
            return await head_position(connection, seq)

    async def read(self, position: SinkPosition) -> MessageBatch:
        async with self._database.acquire() as connection:
            cursor = Cursor.parse(position.cursor)
            page = await feed.after(connection, cursor, PAGE, with_doc=False)
            passed = passed_ranges(page.ranges, page.cursor)
            for day in await archive_list.skipped_days(connection, passed, None):
                logger.warning("%s", SKIPPED_DAY.format(day))
            matches = await feed.matches(connection, page.tweets)
        messages, cursor, more, size = list[SinkMessage](), page.cursor, page.more, 0
        for tweet in page.tweets:
            await self._budget.wait_turn()
            with self._budget.spending():
                message = message_of(tweet, matches.get(tweet.id, ()))
            messages.append(message)
            size += len(message.tweet) * (1 + len(message.tracks))
            if size > BATCH_BYTES:
                cursor, more = page.cursor_after(tweet.id), True
                break
        deletion = await self._add_deletions(messages, position.deletion)
        after = SinkPosition(str(cursor), deletion, position.seq + len(messages))
        return MessageBatch(messages, after, more)

    async def _add_deletions(self, messages: list[SinkMessage], number: int) -> int:
        """Add the next deletions, now and then; returns the number of the last one."""
        if time.monotonic() < self._deletions_at:
            return number
        async with self._database.acquire() as connection:
            found = await deletion_log.after(connection, number, DELETIONS_PAGE)
        messages += map(deletion_message, found)
        if len(found) < DELETIONS_PAGE:
            self._deletions_at = time.monotonic() + DELETIONS_INTERVAL
        return found[-1].number if found else number
