"""Top items of what look-backs have found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import jetstream_messages as jetstream
from looking_back import LookBackBench, hours_ago, look_back_bench
from monitor.jobs import Leader
from monitor.maintenance.top_items_job import TopItemsJob
from stream.store.top_items import SPANS, Aspect, TopItem, most_frequent_by_aspect, span_start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from stream.db import Database


@pytest.fixture
async def bench(connected: Database, tmp_path: Path) -> AsyncIterator[LookBackBench]:
    async with look_back_bench(connected, tmp_path) as made:
        yield made


async def test_top_items_count_what_was_found_once(bench: LookBackBench) -> None:
    """What their own job is still to read is left to it."""
    rain = await bench.track("rain")
    texts = ["snow", "snow and rain", "rain", "rain"]
    posts = [jetstream.post(n, text, rkey=f"3lpost{n}") for n, text in enumerate(texts)]
    bench.record(posts, hours_ago(0.5))
    await bench.collect()
    counting = TopItemsJob(bench.database, Leader(bench.database))
    await counting.count()
    snow = await bench.track("snow")
    await bench.look(snow, "stored")
    await bench.look(snow)
    bench.record([jetstream.post(8, "snow and rain", rkey="3lpost8")])
    await bench.collect()
    await bench.look(snow)
    await counting.count()
    tops = "SELECT track_id, item, tweets FROM track_top_items WHERE aspect = 'lang' ORDER BY 1"
    assert await bench.rows(tops) == [(rain, "en", 4), (snow, "en", 3)]


async def test_top_items_of_each_span_are_those_of_all_tweets(bench: LookBackBench) -> None:
    counting = TopItemsJob(bench.database, Leader(bench.database))
    await bench.track("rain")
    for number, hours in enumerate((40, 30, 20, 5, 0.2)):
        texts = "snow and rain", "snow"
        posts = [jetstream.post(2 * number + n, text) for n, text in enumerate(texts)]
        named = [post.replace(b"3lann", b"3l%d%d" % (number, n)) for n, post in enumerate(posts)]
        bench.record(named, hours_ago(hours))
    await bench.collect()
    await counting.count()
    snow = await bench.track("snow")
    assert (await bench.look(snow, "stored")).found == 5
    assert (await bench.look(snow)).found == 5
    await counting.count()
    tops: dict[Aspect, list[TopItem]] = {}
    for span in SPANS:
        async with bench.database.acquire() as connection:
            tops = await most_frequent_by_aspect(connection, snow, span, 5)
        since = span_start(span)
        count = "SELECT count(*) FROM matches WHERE track_id = $1 AND received_at >= $2"
        expected = await bench.rows(count, snow, since or hours_ago(99))
        assert [(top.tweets,) for top in tops["lang"]] == expected
    assert tops["lang"][0].tweets == 10
