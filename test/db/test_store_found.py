"""What look-backs count as found, where posts are deleted and edited meanwhile."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

import jetstream_messages as jetstream
from looking_back import LookBackBench, Recorded, hours_ago, look_back_bench
from monitor.look_back import gathered
from stream.backoff import Clock
from stream.networks.bluesky.replay import read_past
from test.db.test_look_back_network import network

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from stream.db import Database

DELETED_AGAIN = """
SELECT native_id FROM tweet_ids WHERE tweet_id IS NOT NULL AND deleted_at IS NOT NULL ORDER BY 1
"""
NO_ICE = """
ALTER TABLE tweets ADD CONSTRAINT no_ice CHECK (text NOT LIKE '%ice%');
CREATE TABLE stored_by (number xid8);
CREATE FUNCTION note_stored() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO stored_by VALUES (pg_current_xact_id()); RETURN NEW; END $$;
CREATE TRIGGER note_stored AFTER INSERT ON tweets FOR EACH ROW EXECUTE FUNCTION note_stored();
"""  # and which transaction stored each tweet


@pytest.fixture
async def bench(connected: Database, tmp_path: Path) -> AsyncIterator[LookBackBench]:
    async with look_back_bench(connected, tmp_path) as made:
        yield made


async def replayed(bench: LookBackBench) -> list[bytes]:
    """All that the network has."""
    past = read_past(
        bench.source, bench.settings, Clock(), time.time() - 7200, None, lambda _: None
    )
    async with aclosing(past):
        return [body async for page in past for _, body in page.messages]


@pytest.mark.parametrize("sizes", [(60, 60), (60, 45), (2000, 45), (1, 2000)])
async def test_deleted_posts_of_a_network_are_not_among_what_is_found(
    connected: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int]
) -> None:
    """Whatever transactions they and their deletions lie in; and the second time nothing is."""
    monkeypatch.setattr(gathered, "FRAMES", 1)
    async with network(connected, tmp_path, "deletes", word="snowfall") as (bench, _):
        messages = await replayed(bench)
        track = await bench.track("snowfall")
        first = await bench.look_through_network(messages, sizes[0])
        deleted = await bench.rows(DELETED_AGAIN)
        second = await bench.look_through_network(messages, sizes[1])
        assert deleted == await bench.rows(DELETED_AGAIN)
        left = len(await bench.found(track))
        assert left > 400
        assert (first.found, first.added) == (left, left)
        assert (second.found, second.added) == (0, 0)
        assert await bench.rows("SELECT count(*) FROM matches WHERE look_back") == [(left,)]
        assert await bench.counts_agree()


async def test_only_posts_that_it_has_found_itself_are_subtracted(
    bench: LookBackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New versions and deletions of posts that the track had, or another one, count for nothing."""
    monkeypatch.setattr(gathered, "FRAMES", 1)
    rain = await bench.track("rain")
    recorded = Recorded(1500)
    bench.record(recorded.messages[:700], hours_ago(3))
    await bench.collect()
    snow = await bench.track("snow")
    await bench.look_through_network(recorded.messages[:700], 50, track_id=snow)
    before = await bench.found(snow)
    row = await bench.look_through_network(recorded.messages, 50, track_id=snow)
    assert await bench.found(snow) == recorded.matching("snow")
    assert before.keys() - recorded.matching("snow").keys()
    assert row.found == len(recorded.matching("snow").keys() - before.keys())
    assert (await bench.found(rain)).items() <= recorded.matching("rain").items()
    assert await bench.counts_agree()


async def test_a_deletion_that_is_met_after_a_restart_is_subtracted(bench: LookBackBench) -> None:
    await bench.track("snow")
    posts = [jetstream.post(n, "snow", rkey=f"3lpost{n}") for n in range(3)]
    row = await bench.look_through_network(posts, finish=False)
    assert (row.found, row.added) == (3, 3)
    row = await bench.look_through_network([jetstream.deletion(9, rkey="3lpost1")])
    assert (row.found, row.added) == (2, 2)


async def test_a_post_that_postgres_refuses_costs_only_itself(bench: LookBackBench) -> None:
    """The others have a transaction each, and it continues anywhere without finding one twice."""
    await bench.database.execute(NO_ICE)
    track = await bench.track("snow")
    messages = [
        jetstream.post(1, "snow one", rkey="3lpost1"),
        jetstream.post(2, "snow and ice", rkey="3lpost2"),
        jetstream.post(3, "snow three", rkey="3lpost3"),
        jetstream.post(4, "snow four", rkey="3lpost4"),
        jetstream.post(5, "snow storm", rkey="3lpost1", operation="update"),
        jetstream.deletion(6, "3lpost3"),
        jetstream.post(7, "rain", rkey="3lpost7"),
    ]
    left = {"3lpost1": "snow storm", "3lpost4": "snow four"}
    for finish in (False, True):
        row = await bench.look_through_network(messages, finish=finish)
        assert await bench.found(track) == left
        assert (row.found, row.added) == (2, 2)
        assert "no_ice" in row.reason or finish
    assert await bench.rows("SELECT count(*), count(DISTINCT number) FROM stored_by") == [(2, 2)]
    assert await bench.counts_agree()
