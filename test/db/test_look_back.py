"""What a look-back finds: everything that is wanted, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

import jetstream_messages as jetstream
from deleting import delete_tweets
from looking_back import (
    LookBackBench,
    Recorded,
    hours_ago,
    look_back_bench,
    split,
)
from monitor.jobs import Leader
from monitor.look_back.recordings import SLICE_FRAMES
from monitor.look_back.store_found import FOUND_BEFORE
from monitor.maintenance.raw_backup import RawBackup
from statuses import account, frame, status
from stream.config import ArchiveSettings, RetentionSettings
from stream.journal import segments
from stream.store import author_tombstones, feed
from stream.store.author_tombstones import AuthorRestrictions
from stream.store.feed import Cursor
from stream.tweet import NativeId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream.db import Database


@pytest.fixture
async def bench(connected: Database, tmp_path: Path) -> AsyncIterator[LookBackBench]:
    async with look_back_bench(connected, tmp_path) as made:
        yield made


async def test_recordings_yield_exactly_what_a_search_of_all_messages_finds(
    bench: LookBackBench,
) -> None:
    """Some posts are stored for another track already; new versions and deletions count."""
    other = await bench.track("rain")
    recorded = Recorded(5000)
    bench.record(recorded.messages, hours_ago(30))
    await bench.collect()
    assert await bench.found(other) == recorded.matching("rain")
    new = await bench.track("snow")
    row = await bench.look(new)
    assert (row.state, row.reason, row.progress) == ("done", "", 1)
    assert await bench.found(new) == recorded.matching("snow")
    assert await bench.found(other) == recorded.matching("rain")
    assert await bench.counts_agree()
    assert row.added < row.found
    assert await bench.rows("SELECT DISTINCT track_id, look_back FROM matches ORDER BY 1") == [
        (other, False),
        (new, True),
    ]
    again = await bench.look(new)
    assert (again.found, again.added, again.looked) == (0, 0, row.looked)


async def test_a_row_that_begins_in_the_future_fails_with_the_reason(bench: LookBackBench) -> None:
    track_id = await bench.track("snow")
    [(number,)] = await bench.rows(
        "INSERT INTO look_backs (track_id, place, since)"
        " VALUES ($1, 'stored', now() + interval '1 day') RETURNING id",
        track_id,
    )
    await bench.run()
    row = await bench.row(number)
    assert row.state == "failed"
    assert row.reason == "`since` must be a time in the past, not before 1900."


async def test_stored_tweets_of_other_tracks_are_credited(bench: LookBackBench) -> None:
    other = await bench.track("rain,snow")
    recorded = Recorded(3000)
    bench.record(recorded.messages, hours_ago(30))
    await bench.collect()
    new = await bench.track("snow")
    row = await bench.look(new, "stored")
    assert await bench.found(new) == recorded.matching("snow")
    assert (row.found, row.added) == (len(recorded.matching("snow")), 0)
    assert await bench.found(other) == recorded.matching("rain", "snow")
    assert await bench.counts_agree()
    assert (await bench.look(new, "stored")).found == 0


async def test_only_what_is_wanted_is_looked_through(bench: LookBackBench) -> None:
    early, late = [jetstream.post(n, f"snow {n}", rkey=f"3lpost{n:08d}") for n in range(2)]
    bench.record([early], hours_ago(30))
    bench.journal.rotate()
    bench.record([late], hours_ago(2))
    await bench.collect()
    new = await bench.track("snow")
    row = await bench.look(new, since=hours_ago(3))
    assert (row.looked, [*(await bench.found(new))]) == (1, ["3lpost00000001"])
    elsewhere = await bench.track("snow", networks=["x_v2"])
    assert (await bench.look(elsewhere)).looked == 0


async def test_posts_of_an_account_that_was_hidden_for_a_moment_are_found(
    bench: LookBackBench,
) -> None:
    """Also soon after it is shown again, in the same slice of messages."""
    between = (jetstream.post(n, "sun", rkey=f"3lsun{n}") for n in range(10, 10 + SLICE_FRAMES))
    states = [jetstream.account(n, state) for n, state in ((1, "deactivated"), (2, ""))]
    hidden, shown = (each.replace(b"ann", b"bob") for each in states)
    post = jetstream.post(3, "snow", rkey="3lpost3").replace(b"ann", b"bob")
    bench.record([hidden, *between, shown, post])
    await bench.collect()
    new = await bench.track("snow")
    row = await bench.look(new)
    assert (row.found, row.added) == (1, 1)


async def test_deleted_posts_and_gone_accounts_stay_away(bench: LookBackBench) -> None:
    """Also when the tables have forgotten them."""
    other = await bench.track("rain")
    bench.record(
        [
            jetstream.post(1, "snow", rkey="3lpost1"),
            jetstream.post(2, "snow", rkey="3lpost2"),
            jetstream.deletion(3, rkey="3lpost1"),
        ],
        hours_ago(80),
    )
    bench.record([jetstream.post(4, "snow", rkey="3lpost4").replace(b"ann", b"bob")])
    bench.record([jetstream.account(5, "deactivated").replace(b"ann", b"bob")])
    bench.record([jetstream.post(6, "snow and rain", rkey="3lpost6")])
    await bench.collect()
    async with bench.database.acquire() as connection:
        await connection.execute("DELETE FROM tweet_ids WHERE tweet_id IS NULL")
        await connection.execute("DELETE FROM author_tombstones")
    new = await bench.track("snow")
    row = await bench.look(new)
    assert (row.found, row.added) == (2, 1)
    assert (await bench.found(new)).keys() == {"3lpost2", "3lpost6"}
    assert len(await bench.found(other)) == 1


async def test_tombstones_and_hidden_authors_win(bench: LookBackBench) -> None:
    bench.record([jetstream.post(n, "snow", rkey=f"3lpost{n}") for n in range(3)], hours_ago(5))
    await bench.collect()
    gone = {NativeId(f"3lpost0/{jetstream.ANN}"): hours_ago(1)}
    await delete_tweets(bench.database, "bluesky", gone)
    async with bench.database.acquire() as connection:
        limits = AuthorRestrictions(withheld=("XX",), hidden_at=hours_ago(1))
        await author_tombstones.restrict_authors(connection, "bluesky", {jetstream.ANN: limits})
    new = await bench.track("snow")
    row = await bench.look(new)
    assert (row.found, row.added) == (2, 2)
    assert await bench.rows("SELECT DISTINCT withheld FROM tweets") == [(["XX"],)]


async def test_other_networks_edits_and_authors_who_opted_out(
    connected: Database, tmp_path: Path
) -> None:
    """On Mastodon: server's own ids, new versions of what other tracks have, and opt-outs."""

    def post(number: int, text: str, event: str = "update", **more: object) -> bytes:
        uri = f"https://social.example/users/ann/statuses/{number}"
        return frame(status(f"<p>{text}</p>", id=str(number), uri=uri, **more), event)

    async with look_back_bench(connected, tmp_path, network="mastodon") as bench:
        rain = await bench.track("rain")
        bench.record(
            [
                post(1, "snow", account=account(indexable=False)),
                post(2, "snow and rain"),
                post(3, "snow"),
                post(4, "snow"),
                post(5, "sun and rain"),
                post(2, "rain only", "status.update"),
                post(3, "snow and rain, later", "status.update"),
                post(5, "snow and rain", "status.update"),
                json.dumps({"stream": ["public"], "event": "delete", "payload": "4"}).encode(),
            ],
            hours_ago(3),
        )
        await bench.collect()
        snow = await bench.track("snow")
        row = await bench.look(snow)
        texts = sorted((await bench.found(snow)).values())
        assert texts == ["snow and rain", "snow and rain, later"]
        assert row.state == "done"
        assert len(await bench.found(rain)) == 3
        assert await bench.counts_agree()


async def test_damaged_bytes_are_skipped_and_reported(bench: LookBackBench) -> None:
    recorded = Recorded(3000, edits=False)
    bench.record([], hours_ago(3))
    for some in split(recorded.messages, 3):
        bench.record(some)
        bench.journal.rotate()
    await bench.collect()
    first, second = bench.journal.segments[:2]
    first.path = segments.compress(first.path)
    first.path.with_name(segments.segment_name(first.start)).unlink()
    for path in (first.path, second.path):
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 20] = b"x" * 20
        path.write_bytes(data)
    new = await bench.track("snow")
    row = await bench.look(new)
    assert row.state == "done"
    assert "damaged bytes" in row.reason
    assert 0 < row.found < len(recorded.matching("snow"))
    assert (await bench.found(new)).items() <= recorded.matching("snow").items()


async def test_archived_and_expired_days_are_not_touched(bench: LookBackBench) -> None:
    """What was found of them counts at the time when it was found."""
    bench.settings = msgspec.structs.replace(
        bench.settings, retention=RetentionSettings(tweets_days=3)
    )
    times = [hours_ago(24 * days) for days in (5, 2, 1)]
    for number, at in enumerate(times):
        bench.record([jetstream.post(number, "snow", rkey=f"3lpost{number}")], at)
    await bench.collect()
    await bench.database.execute(
        "INSERT INTO archives (day, state, path) VALUES ($1, 'dropped', 'x')", times[1].date()
    )
    new = await bench.track("snow")
    row = await bench.look(new)
    assert (row.found, row.added) == (3, 3)
    days = await bench.rows("SELECT received_at::date FROM tweets ORDER BY native_id")
    today = (hours_ago(0) - FOUND_BEFORE).date()
    assert [day for [day] in days] == [today, today, times[2].date()]
    assert await bench.counts_agree()


async def test_the_raw_backup_is_read_where_the_journal_is_trimmed(
    bench: LookBackBench, tmp_path: Path
) -> None:
    bench.settings = msgspec.structs.replace(
        bench.settings, archive=ArchiveSettings(url=str(tmp_path / "archive"))
    )
    recorded = Recorded(3000)
    bench.record([], hours_ago(3))
    for some in split(recorded.messages, 4):
        bench.record(some)
        bench.journal.rotate()
    await bench.collect()
    for each in bench.journal.segments[:3]:
        path = segments.compress(each.path)
        each.path.unlink()
        each.path = path
    leader = Leader(bench.database)
    await RawBackup(bench.database, bench.settings, leader).work()
    for each in bench.journal.segments[:2]:
        each.path.unlink()
    new = await bench.track("snow")
    row = await bench.look(new)
    assert (row.state, row.reason) == ("done", "")
    assert await bench.found(new) == recorded.matching("snow")
    [copy] = (tmp_path / "archive").glob(f"raw/main/*/*-{0:020d}.journal.zst")
    copy.unlink()
    again = await bench.look(await bench.track("rain"))
    assert again.reason == f"The journal's segment {0:020d} of source 1 is gone."


async def test_cursors_of_readers_stay_valid(bench: LookBackBench) -> None:
    """From before the posts a reader finds them; one that is past them gets what comes later."""
    await bench.track("rain")
    bench.record([jetstream.post(n, "snow", rkey=f"3lpost{n}") for n in range(5)], hours_ago(5))
    bench.record([jetstream.post(7, "rain", rkey="3lpost7")], hours_ago(1))
    await bench.collect()
    async with bench.database.acquire() as connection:
        past = await feed.head(connection)
    await bench.look(await bench.track("snow"))
    bench.record([jetstream.post(8, "rain", rkey="3lpost8")])
    await bench.collect()
    async with bench.database.acquire() as connection:
        assert len((await feed.after(connection, past, 100)).tweets) == 1
        begin = await feed.since(connection, hours_ago(6))
        assert len((await feed.after(connection, begin, 100)).tweets) == 7
        assert len((await feed.after(connection, Cursor({}), 100)).tweets) == 7
    assert await bench.rows("SELECT count(*) FROM ingest_runs") == [(1,)]
