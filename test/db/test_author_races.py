"""A post is stored in the same moment in which its author is hidden, shown again or deleted."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

import jetstream_messages as jetstream
from lock_waits import waiting
from looking_back import LookBackBench, look_back_bench
from monitor.maintenance import table_maintenance
from stream.keys import Cursor
from stream.store import feed
from stream.store.deletions import apply_to_authors
from x_tweets import v1_tweet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from stream.db import Database
    from waiting import Eventually
    from writer_bench import WriterBench

HIDDEN = jetstream.account(3, "deactivated")
SHOWN = jetstream.account(4)
DELETED = jetstream.account(4, "deleted")
POST = jetstream.post(5, "snow two", rkey="3lpost2")
OF_BOB = jetstream.post(6, "snow three", rkey="3lpost3").replace(b"ann", b"bob")
TWEETS = "SELECT text, withheld::text FROM tweets WHERE text <> 'snow one'"


@pytest.fixture
async def bench(connected: Database, tmp_path: Path) -> AsyncIterator[LookBackBench]:
    """A post of an account is stored, and counted for a track."""
    async with look_back_bench(connected, tmp_path) as made:
        await made.track("snow")
        await collect(made, jetstream.post(1, "snow one", rkey="3lpost1"))
        yield made


async def collect(bench: LookBackBench, *bodies: bytes) -> None:
    bench.record(bodies)
    await bench.collect()


async def apply(bench: LookBackBench) -> None:
    await apply_to_authors(bench.database, erase=True)


async def store_during(
    bench: LookBackBench, post: bytes, news: bytes, eventually: Eventually
) -> None:
    """Let a look-back store a post; before its COMMIT the network sends news of the account.

    The news are applied to what is stored then, unless they wait for the look-back.
    """
    async with bench.database.dedicated() as holder:
        await holder.execute("BEGIN")
        await holder.execute("SELECT FROM track_days FOR UPDATE")
        storing = bench.look_through_network([post])
        async with waiting(bench.database, holder, storing, eventually) as waits:
            assert waits
            writing = asyncio.create_task(collect(bench, news))

            async def written_or_waits() -> bool:
                query = (
                    "SELECT FROM pg_stat_activity"
                    " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
                )
                return writing.done() or len(await bench.rows(query)) > 1

            await eventually(written_or_waits)
            if writing.done():
                await apply(bench)
            await holder.execute("COMMIT")
        await writing


async def test_a_post_stored_while_its_author_is_shown_again_is_shown(
    bench: LookBackBench, eventually: Eventually
) -> None:
    await collect(bench, HIDDEN)
    await apply(bench)
    await store_during(bench, POST, SHOWN, eventually)
    await apply(bench)
    assert await bench.rows(TWEETS) == [("snow two", "{}")]


@pytest.mark.parametrize(("news", "left"), [(HIDDEN, [("snow two", "{XX}")]), (DELETED, [])])
async def test_a_post_stored_while_its_author_is_hidden_or_deleted_is_too(
    bench: LookBackBench, eventually: Eventually, news: bytes, left: list[tuple[str, str]]
) -> None:
    await store_during(bench, POST, news, eventually)
    await apply(bench)
    assert await bench.rows(TWEETS) == left


async def test_the_first_post_of_an_author_is_deleted_within_an_hour(
    bench: LookBackBench, eventually: Eventually
) -> None:
    """There is no row that both transactions could lock. A job repairs that, also when killed."""
    await store_during(bench, OF_BOB, DELETED.replace(b"ann", b"bob"), eventually)
    await apply(bench)
    await table_maintenance.hold_stored(bench.database)
    async with bench.database.acquire() as connection:  # killed here
        page = await feed.after(connection, Cursor({}), 100)
    assert [each.text for each in page.tweets] == ["snow one"]
    await apply(bench)
    assert await bench.rows(TWEETS) == []
    assert await bench.counts_agree()


async def test_the_first_tweet_of_an_author_of_x_is_withheld_once_it_is_stored(
    x_benches: tuple[WriterBench, WriterBench], eventually: Eventually
) -> None:
    """Two sources: one stores it, and the other's message is applied before the COMMIT of that."""
    first, second = x_benches
    other = {"id": 6, "id_str": "6", "screen_name": "bob"}
    first.journal.append([v1_tweet(1, user=other)])
    await first.store()
    first.journal.append([v1_tweet(2)])
    withheld = {"id": 5, "withheld_in_countries": ["XX"]}
    second.journal.append([json.dumps({"user_withheld": withheld}).encode()])
    query = "SELECT native_id, withheld::text FROM tweets ORDER BY 1"
    async with first.database.dedicated() as holder:
        await holder.execute("BEGIN")
        await holder.execute("SELECT FROM track_days FOR UPDATE")
        async with waiting(first.database, holder, first.store(), eventually) as waits:
            assert waits
            await second.store()
            await apply_to_authors(first.database, erase=True)
            assert await first.rows(query) == [("1", None)]
            await holder.execute("COMMIT")
    await apply_to_authors(first.database, erase=True)
    assert await first.rows(query) == [("1", None), ("2", "{XX}")]
    assert await first.rows("SELECT pending FROM author_tombstones") == [([],)]
