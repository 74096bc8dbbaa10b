"""Native ids are locked in one pass, in their order, so that no two transactions deadlock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

import jetstream_messages as jetstream
from lock_waits import waiting
from looking_back import LookBackBench, look_back_bench
from stream.store import partitions
from stream.store.deletions import apply_to_authors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from stream.db import Database, Executor
    from waiting import Eventually

FIRST, LAST = "3lposta", "3lpostz"
# As a second writer takes them.
LOCK = """
INSERT INTO tweet_ids (network, native_id, tweet_id) VALUES ('bluesky', $1, 1)
ON CONFLICT (network, native_id) DO UPDATE SET tweet_id = NULL WHERE false
"""
WAITER = """
SELECT pid, xact_start FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0
"""


@pytest.fixture
async def bench(connected: Database, tmp_path: Path) -> AsyncIterator[LookBackBench]:
    async with look_back_bench(connected, tmp_path) as made:
        await made.track("snow")
        yield made


async def lock(connection: Executor, rkey: str) -> None:
    await connection.execute(LOCK, f"{rkey}/{jetstream.ANN}")


def post(seq: int, rkey: str) -> bytes:
    return jetstream.post(seq, "snow", rkey=rkey)


async def collect(bench: LookBackBench, new: str, gone: str) -> None:
    """The writer's transaction."""
    bench.record([post(11, new), jetstream.deletion(12, gone)])
    await bench.collect()


async def look_back(bench: LookBackBench, new: str, gone: str) -> None:
    """The transaction of a look-back, which keeps the deletions of what it has met only."""
    await bench.look_through_network(
        [post(10, gone), post(11, new), jetstream.deletion(12, gone)],
    )


@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize(("new", "gone"), [(FIRST, LAST), (LAST, FIRST)])
@pytest.mark.parametrize("work", [collect, look_back])
async def test_a_batch_that_stores_and_deletes_cannot_deadlock(
    bench: LookBackBench,
    eventually: Eventually,
    work: Callable[[LookBackBench, str, str], Awaitable[None]],
    new: str,
    gone: str,
    is_stored: bool,
) -> None:
    if is_stored:
        bench.record([post(1, gone)])
        await bench.collect()
    async with bench.database.dedicated() as other:
        await other.execute("BEGIN")
        await lock(other, FIRST)
        async with waiting(bench.database, other, work(bench, new, gone), eventually) as waits:
            assert waits
            waiter = await bench.rows(WAITER)
            await lock(other, LAST)  # else Postgres ends one of both
            assert await bench.rows(WAITER) == waiter
            await other.execute("ROLLBACK")
    assert await bench.counts_agree()
    assert await bench.rows(
        "SELECT native_id, deleted_at IS NOT NULL FROM tweet_ids ORDER BY 1"
    ) == [(f"{rkey}/{jetstream.ANN}", rkey == gone) for rkey in (FIRST, LAST)]


async def test_the_posts_of_a_deleted_account_are_locked_in_their_order_whatever_their_days(
    bench: LookBackBench, eventually: Eventually
) -> None:
    """The post with the greatest id was received on an earlier day."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    async with bench.database.acquire() as connection:
        await partitions.ensure_days(connection, [yesterday.date()])
    bench.record([post(1, LAST)], yesterday)
    bench.record([post(2, FIRST)], datetime.now(UTC))
    await bench.collect()
    bench.record([jetstream.account(3, "deleted")])
    await bench.collect()
    async with bench.database.dedicated() as other:
        await other.execute("BEGIN")
        await lock(other, FIRST)
        work = apply_to_authors(bench.database, erase=True)
        async with waiting(bench.database, other, work, eventually) as waits:
            assert waits
            await lock(other, LAST)
            await other.execute("ROLLBACK")
    assert await bench.rows("SELECT text FROM tweets") == []
