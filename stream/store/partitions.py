"""The partitions of `tweets` and `matches`: one of each for every day (UTC)."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from stream.db import Executor, transaction, translated_errors
from stream.errors import DatabaseAway

T = TypeVar("T")

# A server's deadlock_timeout is a second or more: so we give up before it ends a writer for us.
LOCK_TIMEOUT = "500ms"
LOCK_ATTEMPTS = 20
LOCK_PAUSE = 0.2, 1.0  # seconds between two attempts, at random

_ENSURE_DAY = "SELECT ensure_day($1)"
# Every one of these names is made by ensure_day().
_DAYS = """
SELECT to_date(right(child.relname, 8), 'YYYYMMDD') AS day
FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = 'tweets'::regclass AND child.relname ~ '^tweets_[0-9]{8}$'
ORDER BY 1
"""
_EXISTS = "SELECT to_regclass('tweets' || to_char($1::date, '_YYYYMMDD')) IS NOT NULL AS found"
_HAS_TWEETS = """
SELECT EXISTS (SELECT FROM tweets WHERE received_at >= $1 AND received_at < $2) AS found
"""
_HAS_MATCHES = """
SELECT EXISTS (
    SELECT FROM matches
    WHERE track_id = ANY ($1::bigint[]) AND received_at >= $2 AND received_at < $3) AS found
"""
_SET_LOCK_TIMEOUT = f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"
_LOCK = "SELECT archive_lock($1) AS watched"
_DROP = "SELECT archive_drop($1)"


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """The start of a day and that of the next one (UTC)."""
    since = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return since, since + timedelta(days=1)


async def ensure_days(connection: Executor, days: Iterable[date]) -> None:
    """Create the partitions of these days, or repair them, unless they are there."""
    for day in days:
        await connection.execute(_ENSURE_DAY, day)


async def days(connection: Executor) -> list[date]:
    """The days that have partitions, oldest first."""
    return [row["day"] for row in await connection.fetch(_DAYS)]


async def exists(connection: Executor, day: date) -> bool:
    """Whether a day's partition exists, attached or not."""
    [row] = await connection.fetch(_EXISTS, day)
    return bool(row["found"])


async def has_tweets(connection: Executor, day: date) -> bool:
    """Whether any tweet of this day is stored."""
    [row] = await connection.fetch(_HAS_TWEETS, *day_bounds(day))
    return bool(row["found"])


async def has_matches(connection: Executor, day: date, track_ids: Sequence[int]) -> bool:
    """Whether any tweet of this day is credited to one of these tracks."""
    [row] = await connection.fetch(_HAS_MATCHES, track_ids, *day_bounds(day))
    return bool(row["found"])


async def lock_day(connection: Executor, day: date) -> bool:
    """Lock a day's partitions against everything else, inside a transaction.

    Returns whether all changes since it was archived are in `archive_changes`.
    """
    [row] = await connection.fetch(_LOCK, day)
    return bool(row["watched"])


async def drop_day(connection: Executor, day: date) -> None:
    """Drop a day's partitions, inside a transaction that has locked them."""
    await connection.execute(_DROP, day)


@contextlib.asynccontextmanager
async def short_lock_waits(connection: Executor) -> AsyncIterator[None]:
    """A transaction that gives up waiting for a lock before the writers behind it are delayed."""
    async with transaction(connection):
        await connection.execute(_SET_LOCK_TIMEOUT)
        yield


async def with_lock_retries(attempt: Callable[[], Awaitable[T]]) -> T:
    """Retry something with short lock waits; DatabaseAway when no attempt gets its locks."""
    for _ in range(LOCK_ATTEMPTS):
        with contextlib.suppress(DatabaseAway), translated_errors():
            return await attempt()
        await asyncio.sleep(random.uniform(*LOCK_PAUSE))  # noqa: S311 - no secret
    with translated_errors():
        return await attempt()
