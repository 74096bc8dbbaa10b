"""Transactions that write at the same time lock rows in one order (stream/row_locks.py)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

import jetstream_messages as jetstream
import statuses
from lock_waits import waiting
from looking_back import LookBackBench, look_back_bench
from stream.keys import server_id
from stream.store import rollups
from stream.store.deletions import apply_to_authors
from stream.store.rollups import Credit
from stream.tweet import TrackId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from stream.db import Database
    from waiting import Eventually
    from writer_bench import WriterBench

BOB = (
    "SELECT FROM accounts WHERE author_id LIKE '%bob%' FOR UPDATE"  # of whom nothing new is stored
)
TABLES = (
    *("accounts", "author_tombstones", "tweet_ids", "tweets", "matches"),
    *("track_minutes", "track_hours", "track_days"),
)


def bobs(body: bytes) -> bytes:
    return body.replace(b"ann", b"bob")


STORED = [
    jetstream.post(1, "snow one", rkey="3lpost1"),
    bobs(jetstream.post(2, "snow two", rkey="3lpost2")),
]
HIDDEN = bobs(jetstream.account(3, "deactivated"))
SHOWN = bobs(jetstream.account(4))
# All that a transaction may change: new posts, a new version that matches no longer, a deletion,
# and news of accounts.
CHANGES = [
    jetstream.post(11, "snow three", rkey="3lpost3"),
    jetstream.post(12, "sun", rkey="3lpost1", operation="update"),
    bobs(jetstream.deletion(13, "3lpost2")),
    bobs(jetstream.identity(14, "bob.example")),
    bobs(jetstream.sync(15)),
    HIDDEN,
]


@pytest.fixture
async def bench(connected: Database, tmp_path: Path) -> AsyncIterator[LookBackBench]:
    async with look_back_bench(connected, tmp_path) as made:
        await made.track("snow")
        for bodies in (STORED, [HIDDEN], [SHOWN]):
            made.record(bodies)
            await made.collect()
        yield made


async def collect(bench: LookBackBench) -> None:
    """The writer's transaction."""
    bench.record(CHANGES)
    await bench.collect()


async def look_back(bench: LookBackBench) -> None:
    """The transaction of a look-back that reads what the network replays."""
    await bench.look_through_network(CHANGES)


async def apply_deletion(bench: LookBackBench) -> None:
    """The job that deletes the posts of deleted accounts."""
    await bench.database.execute(
        "UPDATE author_tombstones SET deleted_at = now(), pending = '{deleted,withheld}'"
    )
    await apply_to_authors(bench.database, erase=True)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("work", [collect, look_back, apply_deletion])
async def test_what_waits_for_a_row_holds_none_that_comes_later(
    bench: LookBackBench,
    eventually: Eventually,
    work: Callable[[LookBackBench], Awaitable[None]],
    table: str,
) -> None:
    later = TABLES[TABLES.index(table) + 1 :]
    async with bench.database.dedicated() as holder, bench.database.dedicated() as other:
        await holder.execute("BEGIN")
        await holder.execute(BOB if table == "accounts" else f"SELECT FROM {table} FOR UPDATE")
        async with waiting(bench.database, holder, work(bench), eventually) as waits:
            for each in later:
                await other.execute(f"SELECT FROM {each} FOR UPDATE NOWAIT")
            await holder.execute("COMMIT")
        assert waits or table in ("accounts", "author_tombstones", "tweet_ids", "matches")
    assert await bench.counts_agree()


async def test_a_look_back_and_a_writer_never_wait_for_each_other(
    bench: LookBackBench, eventually: Eventually
) -> None:
    """The writer has locked an author, and counts for the track of the look-back afterwards."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    async with bench.database.dedicated() as writer:
        await writer.execute("BEGIN")
        await writer.execute(BOB)
        async with waiting(bench.database, writer, look_back(bench), eventually) as waits:
            await rollups.add_track_counts(writer, {(TrackId(1), now): Credit()})
            await writer.execute("COMMIT")
        assert waits


# The tables that those who wait for a lock have begun to change.
CHANGED = """
SELECT DISTINCT relname FROM pg_locks JOIN pg_class ON pg_class.oid = relation
WHERE mode = 'RowExclusiveLock' AND pg_locks.pid IN (
    SELECT pid FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0)
"""


def of_server(name: str, uri: str, text: str = "snow") -> bytes:
    return statuses.frame(statuses.status(f"<p>{text}</p>", id=name, uri=uri))


def deletion_of(name: str) -> bytes:
    return json.dumps({"stream": ["public"], "event": "delete", "payload": name}).encode()


@pytest.mark.parametrize(
    ("held", "batch"),
    [
        # Another transaction adds the same name of a server.
        (
            "INSERT INTO tweet_ids (network, native_id, tweet_id) VALUES ('mastodon', $1, 1)",
            [of_server("222", "https://a.example/2")],
        ),
        # Another transaction has the post that a server deletes by a name of its own.
        (
            "SELECT FROM tweet_ids WHERE native_id <> $1 AND native_id LIKE 'https%' FOR UPDATE",
            [of_server("222", "https://a.example/2"), deletion_of("111")],
        ),
    ],
)
async def test_all_names_of_posts_are_locked_before_any_is_stored(
    mastodon_benches: tuple[WriterBench, WriterBench],
    eventually: Eventually,
    held: str,
    batch: list[bytes],
) -> None:
    bench = mastodon_benches[0]
    bench.journal.append([of_server("111", "https://b.example/1")])
    await bench.store()
    bench.journal.append(batch)
    async with bench.database.dedicated() as holder:
        await holder.execute("BEGIN")
        await holder.execute(held, server_id(bench.source.id, "222"))
        async with waiting(bench.database, holder, bench.store(), eventually) as waits:
            assert waits
            changed = {row["relname"] for row in await bench.database.fetch(CHANGED)}
            assert "tweet_ids" in changed or "SELECT" in held
            if "INSERT" in held:  # these come first: whoever waits for one has no native id
                ids = "SELECT FROM tweet_ids WHERE native_id LIKE 'https%' FOR UPDATE NOWAIT"
                await holder.execute(ids)
            assert not any(name.startswith(("tweets", "matches")) for name in changed)
            await holder.execute("ROLLBACK")
    assert await bench.counts_agree()
