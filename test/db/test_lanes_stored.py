"""Lanes of one source: what concerns the same post may be stored by two writers in any order."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from lock_waits import waiting
from statuses import frame, status
from stream.journal import Journal
from stream.keys import server_id
from writer_bench import ROOMY, WriterBench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from waiting import Eventually

URI = "https://social.example/users/ann/statuses/1"
POST = frame(status("<p>snow</p>", id="111", uri=URI))
DELETION = json.dumps({"stream": ["public"], "event": "delete", "payload": "111"}).encode()
RESERVE = "INSERT INTO tweet_ids (network, native_id, tweet_id) VALUES ('mastodon', $1, 1)"
BLOCKED = """
SELECT FROM pg_stat_activity
WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


@pytest.fixture
def lanes(
    mastodon_benches: tuple[WriterBench, WriterBench], tmp_path: Path
) -> Iterator[tuple[WriterBench, WriterBench]]:
    """Two writers of one source: a post goes to the first, its deletion to the other."""
    first = mastodon_benches[0]
    with Journal.open(tmp_path / "lane", ROOMY) as journal:
        yield first, WriterBench(first.database, journal, first.source)


async def test_a_deletion_that_is_committed_meanwhile_wins(
    lanes: tuple[WriterBench, WriterBench], eventually: Eventually
) -> None:
    post, deletion = lanes
    post.journal.append([POST])
    deletion.journal.append([DELETION])
    async with post.database.dedicated() as holder:
        await holder.execute("BEGIN")
        await holder.execute(RESERVE, URI)
        async with waiting(post.database, holder, post.store(), eventually) as waits:
            assert waits
            deleting = asyncio.create_task(deletion.store())

            async def done_or_waits() -> bool:
                return deleting.done() or len(await post.rows(BLOCKED)) > 1

            await eventually(done_or_waits)
            await holder.execute("ROLLBACK")
        await deleting
    assert await post.one("SELECT count(*) FROM tweets") == 0
    assert await post.counts_agree()
    await _nothing_comes_back(post)


async def test_a_deletion_that_is_about_to_commit_wins(
    lanes: tuple[WriterBench, WriterBench], eventually: Eventually
) -> None:
    post, deletion = lanes
    deletion.journal.append([DELETION.replace(b"111", b"999")])  # for rows that can be locked
    await deletion.store()
    post.journal.append([POST])
    deletion.journal.append([DELETION])
    async with post.database.dedicated() as holder:
        await holder.execute("BEGIN")
        await holder.execute("SELECT FROM source_hours FOR UPDATE")
        async with waiting(post.database, holder, deletion.store(), eventually) as waits:
            assert waits
            storing = asyncio.create_task(post.store())

            async def waits_or_done() -> bool:
                return storing.done() or len(await post.rows(BLOCKED)) > 1

            await eventually(waits_or_done)
            await holder.execute("ROLLBACK")
        await storing
    assert await post.one("SELECT count(*) FROM tweets") == 0
    assert await post.counts_agree()


async def _nothing_comes_back(post: WriterBench) -> None:
    post.journal.append([POST])
    assert await post.store() == {"deleted": 1}


@pytest.mark.parametrize("erase", [True, False])
async def test_a_deletion_before_the_post_reaches_what_another_server_has_sent(
    lanes: tuple[WriterBench, WriterBench],
    mastodon_benches: tuple[WriterBench, WriterBench],
    *,
    erase: bool,
) -> None:
    """As it does after the post: lanes have no common order."""
    post, deletion = lanes
    other = mastodon_benches[1]
    post.erase = deletion.erase = erase
    other.journal.append([POST.replace(b"111", b"222")])
    assert await other.store() == {"stored": 1}
    deletion.journal.append([DELETION])
    await deletion.store()
    assert await post.one("SELECT count(*) FROM tweets") == 1
    post.journal.append([POST])
    assert await post.store() == {"deleted": 1}
    assert await post.one("SELECT count(*) FROM tweets WHERE deleted_at IS NULL") == 0
    assert await post.one("SELECT count(*) FROM deletion_log") == 1
    assert not erase or await post.counts_agree()


async def test_names_of_what_is_not_stored_are_not_kept(
    lanes: tuple[WriterBench, WriterBench],
    mastodon_benches: tuple[WriterBench, WriterBench],
) -> None:
    """A duplicate's name leads to what is stored; that of a post deleted by its id to nothing."""
    other = mastodon_benches[1]
    other.journal.append([POST.replace(b"111", b"222")])
    await other.store()
    post = lanes[0]
    name = server_id(post.source.id, "111")
    post.journal.append([POST])
    assert await post.store() == {"duplicate": 1}
    of_name = f"SELECT tweet_id FROM tweet_ids WHERE native_id = '{name}'"
    assert await post.rows(of_name) == await post.rows("SELECT id FROM tweets")
    await post.database.execute("DELETE FROM tweet_ids WHERE native_id = $1", name)
    await post.database.execute("UPDATE tweet_ids SET deleted_at = now()")
    post.journal.append([POST])
    assert await post.store() == {"deleted": 1}
    assert await post.rows(of_name) == []
