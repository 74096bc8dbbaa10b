"""Accounts of Bluesky that are hidden, shown again or deleted; and what is kept of the deletions of
posts and accounts of which nothing is stored."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from jetstream_messages import account, deletion, post
from monitor.maintenance import table_maintenance
from stream.config import RetentionSettings, Settings
from stream.db import Database
from stream.keys import Cursor
from stream.store import archived_deletions, feed
from stream.store.deletions import apply_to_authors
from writer_bench import WriterBench

DAY = date(2026, 3, 14)
TOMBSTONES = "SELECT held, pending::text, withheld::text FROM author_tombstones"
IDS = "SELECT native_id FROM tweet_ids ORDER BY 1"
TEXTS = "SELECT text FROM tweets ORDER BY id"


@pytest.fixture
def bench(bluesky_bench: WriterBench) -> WriterBench:
    bluesky_bench.keep_unmatched = False
    return bluesky_bench


async def shown(database: Database) -> Sequence[str]:
    async with database.acquire() as connection:
        page = await feed.after(connection, Cursor({}), 100)
    return [each.text for each in page.tweets]


async def store(bench: WriterBench, *bodies: bytes) -> None:
    bench.journal.append(list(bodies))
    await bench.store()


async def age(bench: WriterBench, table: str, columns: str, days: float) -> None:
    """Make rows this much older."""
    changes = ", ".join(f"{each} = {each} - $1::interval" for each in columns.split())
    await bench.database.execute(f"UPDATE {table} SET {changes}", timedelta(days))


async def maintain(bench: WriterBench) -> None:
    """An hour's work of the jobs."""
    settings = Settings()
    await table_maintenance.erase_hidden(bench.database, settings.retention)
    await table_maintenance.prune(bench.database, settings)
    await table_maintenance.prune_ids(bench.database, settings.retention)
    await apply_to_authors(bench.database, erase=True)


@pytest.mark.parametrize("status", ["deactivated", "suspended", "takendown"])
async def test_posts_of_a_hidden_account_are_hidden_at_once_and_shown_when_it_is_back(
    bench: WriterBench, status: str
) -> None:
    await store(bench, post(1, "snow"))
    await store(bench, account(2, status))
    assert await shown(bench.database) == []
    await maintain(bench)
    assert await shown(bench.database) == []
    assert await bench.rows(TEXTS) == [("snow",)]
    await age(bench, "author_tombstones", "hidden_at changed_at", 29)
    await maintain(bench)
    await store(bench, account(3))
    await maintain(bench)
    assert await shown(bench.database) == ["snow"]
    # The days are counted from the time when it is hidden again.
    await store(bench, account(4, status))
    await age(bench, "author_tombstones", "hidden_at changed_at", 29)
    await maintain(bench)
    assert await bench.rows(TEXTS) == [("snow",)]


async def test_posts_of_an_account_that_stays_hidden_are_erased_later(bench: WriterBench) -> None:
    await store(bench, post(1, "snow"))
    await store(bench, account(2, "deactivated"))
    await store(bench, account(3, "takendown"))
    await age(bench, "author_tombstones", "hidden_at changed_at", 31)
    async with bench.database.acquire() as connection:
        [moment] = await connection.fetch("SELECT now() - interval '1 minute' AS at")
    await maintain(bench)
    assert await bench.rows(TEXTS) == []
    assert await bench.counts_agree()
    async with bench.database.acquire() as connection:  # archives follow
        concerned = await archived_deletions.candidates(
            connection, moment["at"].date(), moment["at"]
        )
    assert len(concerned.author_ids) == 1


async def test_posts_of_a_deleted_account_are_erased_at_once(bench: WriterBench) -> None:
    await store(bench, post(1, "snow"))
    await store(bench, account(2, "deleted"))
    assert await shown(bench.database) == []
    await apply_to_authors(bench.database, erase=True)
    assert await bench.rows(TEXTS) == []
    await store(bench, post(3, "snow", rkey="3lannpost0002"))
    assert await bench.rows(TEXTS) == []


@pytest.mark.parametrize("status", ["deactivated", "deleted"])
async def test_accounts_of_which_nothing_is_stored_are_forgotten_after_two_days(
    bench: WriterBench, status: str
) -> None:
    await store(bench, post(1, "sun"), account(2, status))
    [(held, pending, _)] = await bench.rows(TOMBSTONES)
    assert (held, pending) == (False, "{}")
    async with bench.database.acquire() as connection:
        assert (await archived_deletions.candidates(connection, DAY, None)).author_ids == []
    await age(bench, "author_tombstones", "changed_at", 1.9)
    await maintain(bench)
    assert len(await bench.rows(TOMBSTONES)) == 1
    await age(bench, "author_tombstones", "changed_at", 0.2)
    await maintain(bench)
    assert await bench.rows(TOMBSTONES) == []


async def test_a_late_post_of_a_hidden_account_stays_hidden_until_it_is_back(
    bench: WriterBench,
) -> None:
    await store(bench, account(2, "suspended"))
    await store(bench, post(1, "snow"))
    assert await bench.rows(TEXTS) == [("snow",)]
    assert await shown(bench.database) == []
    await age(bench, "author_tombstones", "changed_at", 3)
    await maintain(bench)
    assert len(await bench.rows(TOMBSTONES)) == 1  # a post is held by now
    await store(bench, account(3))
    await maintain(bench)
    assert await shown(bench.database) == ["snow"]


async def test_deletions_of_posts_that_were_never_stored_are_forgotten_after_two_days(
    bench: WriterBench,
) -> None:
    await store(bench, post(1, "snow", rkey="3lannpost0001"))
    await store(bench, deletion(2, rkey="3lannpost0001"), deletion(3, rkey="3lannpost0002"))
    await maintain(bench)
    assert len(await bench.rows(IDS)) == 2
    # One that arrives late is not stored.
    await store(bench, post(4, "snow", rkey="3lannpost0002"))
    assert await bench.rows(TEXTS) == []
    await age(bench, "tweet_ids", "deleted_at", 2.1)
    await maintain(bench)
    [(left,)] = await bench.rows(IDS)
    assert left.startswith("3lannpost0001/")


async def test_deletions_of_other_networks_are_kept_as_long_as_before(connected: Database) -> None:
    await connected.execute(
        "INSERT INTO tweet_ids (network, native_id, deleted_at)"
        " SELECT network, '1', now() - interval '3 days'"
        " FROM unnest(ARRAY['x_v1', 'x_v2', 'bluesky', 'mastodon']) AS each (network)"
    )
    await table_maintenance.prune_ids(connected, RetentionSettings())
    rows: list[Any] = await connected.fetch("SELECT network FROM tweet_ids ORDER BY 1")
    assert [row["network"] for row in rows] == ["x_v1", "x_v2"]
