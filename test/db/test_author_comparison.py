"""After a sync event an author's stored posts are compared with those on the author's server."""

import re
from collections.abc import AsyncIterator

import pytest

from bluesky_directory import Directory, serving_directory
from jetstream_messages import ANN, post, sync
from monitor.jobs import Leader
from monitor.maintenance.author_comparison import AuthorComparison
from stream.config import Settings
from writer_bench import WriterBench, snow

TEXTS = "SELECT native_id, text FROM tweets ORDER BY native_id"
VERSION = "bafyreiannannannann"
WAITING = "SELECT count(*) FROM accounts WHERE resync_at > now() + interval '10 minutes'"


@pytest.fixture
async def directory() -> AsyncIterator[Directory]:
    async with serving_directory() as opened:
        yield opened


@pytest.fixture
async def bench(bluesky_bench: WriterBench, directory: Directory) -> WriterBench:
    """Three stored posts that match."""
    keys = [f"3lannpost000{number}" for number in (1, 2, 3)]
    bluesky_bench.journal.append([post(n, f"snow {n}", rkey=key) for n, key in enumerate(keys)])
    await bluesky_bench.store()
    directory.posts = {key: (f"snow {n}", VERSION) for n, key in enumerate(keys)}
    return bluesky_bench


async def compare(bench: WriterBench, directory: Directory) -> None:
    leader = Leader(bench.database)
    leader.leads = True
    settings = Settings(bluesky=directory.settings)
    await AuthorComparison(bench.database, settings, leader, snow).work()


async def texts(bench: WriterBench) -> dict[str, str]:
    return {native_id.partition("/")[0]: text for native_id, text in await bench.rows(TEXTS)}


@pytest.mark.parametrize("page_size", [1, 2, 100])
async def test_posts_that_are_gone_are_deleted_and_changed_ones_replaced(
    bench: WriterBench, directory: Directory, page_size: int
) -> None:
    directory.page_size = page_size
    del directory.posts["3lannpost0002"]
    directory.posts["3lannpost0003"] = ("no longer", "bafyreichanged")
    directory.posts["3lannpost0004"] = ("never stored", VERSION)
    bench.journal.append([sync(9)])
    await bench.store()
    await compare(bench, directory)
    assert await texts(bench) == {"3lannpost0001": "snow 0", "3lannpost0003": "no longer"}
    assert await bench.one("SELECT count(*) FROM matches") == 1
    assert await bench.counts_agree()
    assert re.search(ANN, await bench.one("SELECT string_agg(text, '') FROM events"))
    # Once is enough.
    asked = len(directory.asked)
    await compare(bench, directory)
    assert len(directory.asked) == asked


async def test_nothing_is_concluded_where_the_server_lists_nothing(
    bench: WriterBench, directory: Directory
) -> None:
    bench.journal.append([sync(9)])
    await bench.store()
    directory.posts.clear()
    await compare(bench, directory)
    assert len(await texts(bench)) == 3
    directory.gone.add(ANN)
    bench.journal.append([sync(10)])
    await bench.store()
    await compare(bench, directory)
    assert len(await texts(bench)) == 3


async def test_an_account_is_hidden_as_long_as_its_server_hides_it(
    bench: WriterBench, directory: Directory
) -> None:
    hidden = "SELECT count(*) FROM author_tombstones WHERE withheld = '{XX}' AND hidden_at < now()"
    directory.hidden.add(ANN)
    bench.journal.append([sync(9)])
    await bench.store()
    await compare(bench, directory)
    assert await bench.one(hidden) == 1
    assert await bench.one("SELECT count(*) FROM accounts WHERE resync_at > now()") == 1
    directory.hidden.clear()
    bench.journal.append([sync(10)])
    await bench.store()
    await compare(bench, directory)
    assert await bench.one(hidden) == 0
    assert len(await texts(bench)) == 3


async def test_a_server_that_fails_is_asked_again_later(
    bench: WriterBench, directory: Directory
) -> None:
    bench.journal.append([sync(9)])
    await bench.store()
    directory.failing = 502
    await compare(bench, directory)
    assert await bench.one(WAITING) == 1
    assert len(await texts(bench)) == 3


async def test_authors_of_whom_nothing_is_stored_are_not_asked_about(
    bluesky_bench: WriterBench, directory: Directory
) -> None:
    bluesky_bench.journal.append([sync(1)])
    await bluesky_bench.store()
    await compare(bluesky_bench, directory)
    assert directory.asked == []
    assert await bluesky_bench.one("SELECT count(*) FROM events") == 0
