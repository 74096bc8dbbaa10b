"""Looking back for tracks with a start or an end: neither gets posts from outside of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

import jetstream_messages as jetstream
from looking_back import LookBackBench, hours_ago, look_back_bench
from monitor.look_back import run
from monitor.look_back.track_matcher import digest
from stream.store import look_back_queue
from test.db.test_look_back_network import HANDLE, POSTS, network

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from stream.db import Database
    from stream.store.look_backs import Place


@pytest.fixture
async def bench(connected: Database, tmp_path: Path) -> AsyncIterator[LookBackBench]:
    async with look_back_bench(connected, tmp_path) as made:
        yield made


def snow(number: int, text: str = "snow", operation: str = "create") -> bytes:
    return jetstream.post(number, text, rkey=f"3lpost{number}", operation=operation)


@pytest.mark.parametrize("place", ["stored", "recorded"])
async def test_a_track_gets_nothing_from_outside_its_time(
    bench: LookBackBench, place: Place
) -> None:
    await bench.track("rain")
    for number in range(6):
        bench.record([snow(number, "snow and rain")], hours_ago(6 - number))
    await bench.collect()
    new = await bench.track("snow", starts_at=hours_ago(4.5), ends_at=hours_ago(1.5))
    row = await bench.look(new, place)
    assert (row.state, row.found) == ("done", 3)
    assert (await bench.found(new)).keys() == {"3lpost2", "3lpost3", "3lpost4"}
    assert "from the track's start on" in row.reason
    assert "until the track's end" in row.reason
    assert await bench.counts_agree()


@pytest.mark.parametrize("place", ["stored", "recorded", "network", "author"])
async def test_a_track_that_had_ended_before_finds_nothing_and_says_so(
    connected: Database, tmp_path: Path, place: Place
) -> None:
    async with network(connected, tmp_path, word="snow") as (bench, _):
        await bench.track("rain")
        bench.record([snow(1, "snow and rain")], hours_ago(2))
        await bench.collect()
        more = {"author": HANDLE} if place == "author" else {}
        ended = await bench.track("snow", ends_at=hours_ago(24 * 30))
        row = await bench.look(ended, place, since=hours_ago(3), **more)
        assert (row.state, row.looked, row.found) == ("done", 0, 0)
        assert row.reason.startswith("Nothing can be found: the track ended at ")
        later = await bench.track("snow", starts_at=hours_ago(-3))
        row = await bench.look(later, place, **more)
        assert (row.state, row.looked, row.found) == ("done", 0, 0)
        assert row.reason.startswith("Nothing can be found: the track starts at ")


async def test_a_new_version_after_the_end_replaces_a_post_and_brings_none(
    bench: LookBackBench,
) -> None:
    bench.record([snow(1), snow(2, "sun")], hours_ago(3))
    bench.record([snow(1, "snow again", "update"), snow(2, "snow", "update")], hours_ago(1))
    await bench.collect()
    new = await bench.track("snow", ends_at=hours_ago(2))
    assert (await bench.look(new)).found == 1
    assert await bench.found(new) == {"3lpost1": "snow again"}


async def test_what_a_network_and_an_author_posted_after_the_end_is_left_out(
    connected: Database, tmp_path: Path
) -> None:
    end = hours_ago(0.5)
    async with network(connected, tmp_path, word=f"@{HANDLE}") as (bench, server):
        author = server.bluesky.activity.accounts.named(HANDLE)
        for handle in (None, HANDLE):
            track = await bench.track(author.did, kind="user", ends_at=end)
            row = await bench.look(track, "author" if handle else "network", author=handle)
            assert row.found > POSTS / 20
            assert "until the track's end" in row.reason
            written = "SELECT max(created_at) FROM track_tweets WHERE track_id = $1"
            [(latest,)] = await bench.rows(written, track)
            assert end - timedelta(minutes=10) < latest < end + timedelta(seconds=5)
            assert await bench.counts_agree()


async def test_an_end_that_is_moved_begins_again(
    bench: LookBackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "MATCHED_WAIT", 0.1)  # no daemon takes the edit up
    bench.record([snow(1)], hours_ago(3))
    await bench.collect()
    new = await bench.track("snow", ends_at=hours_ago(4))
    number = await bench.request(new)
    async with bench.database.acquire() as connection:
        track = await look_back_queue.lock_track(connection, new)
        assert track is not None
        done = msgspec.json.encode({"track": digest(track), "at": [9, "x", 99999999]})
        await look_back_queue.claim(connection)
        await look_back_queue.begin_again(connection, number, done)
        await connection.execute("UPDATE tracks SET ends_at = NULL, reason = '-'")
    await bench.run()
    assert (await bench.row(number)).found == 1
