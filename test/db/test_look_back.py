"""Looking back for a track: complete, exact, and undisturbed by what happens meanwhile."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

import jetstream_messages as jetstream
from deleting import delete_tweets
from looking_back import (
    WRONG_POSITIONS,
    LookBackBench,
    Recorded,
    hours_ago,
    look_back_bench,
    split,
)
from monitor.jobs import Leader
from monitor.look_back import gathered, recordings, run, task
from monitor.look_back.recordings import SLICE_FRAMES
from monitor.look_back.store_found import FOUND_BEFORE
from monitor.maintenance.raw_backup import RawBackup
from statuses import account, frame, status
from stream.config import ArchiveSettings, RetentionSettings
from stream.journal import segments
from stream.store import author_tombstones, feed, look_back_queue, look_backs, tracks
from stream.store.author_tombstones import AuthorRestrictions
from stream.store.feed import Cursor
from stream.store.look_back_rows import Added
from stream.store.look_backs import NewLookBack, Place
from stream.tweet import NativeId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream.db import Database
    from test.conftest import Eventually


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


async def test_an_edited_track_begins_again_and_a_removed_one_ends(bench: LookBackBench) -> None:
    recorded = Recorded(2000, edits=False)
    bench.record(recorded.messages, hours_ago(30))
    await bench.collect()
    new = await bench.track("sun")
    assert (await bench.look(new)).found == len(recorded.matching("sun"))
    number = await bench.request(new)
    async with bench.database.acquire() as connection:
        await connection.execute(
            "UPDATE look_backs SET state = 'running', looked = 7, found = 7, resume_at = $2"
            " WHERE id = $1",
            number,
            b'{"track": "of the old value", "at": [1, "x", 99999999]}',
        )
        await connection.execute("UPDATE tracks SET value = 'wind', reason = '-'")
    await bench.run()
    row = await bench.row(number)
    assert row.found == len(recorded.matching("wind").keys() - recorded.matching("sun").keys())
    async with bench.database.acquire() as connection:
        await look_backs.add(connection, new, [NewLookBack("recorded")], None)
        await tracks.remove(connection, new)
    await bench.run()
    assert await bench.rows("SELECT count(*) FROM look_backs") == [(0,)]


@pytest.mark.parametrize("place", ["recorded", "stored"])
async def test_one_with_a_wrong_position_begins_again(place: Place, bench: LookBackBench) -> None:
    bench.record(Recorded(200, edits=False).messages, hours_ago(30))
    await bench.track("sun,snow,rain,wind,fog")
    await bench.collect()
    new = await bench.track("sun")
    whole = await bench.look(new, place)
    for wrong in WRONG_POSITIONS:
        row = await bench.look_from(new, wrong, place)
        assert (row.state, row.reason, row.looked) == ("done", "", whole.looked), wrong


async def test_a_cancelled_one_ends_soon_and_keeps_what_it_has_found(
    bench: LookBackBench, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(gathered, "FRAMES", 100)
    monkeypatch.setattr(recordings, "SLICE_FRAMES", 100)
    bench.record(Recorded(5000).messages, hours_ago(30))
    await bench.collect()
    number = await bench.request(await bench.track("snow"))
    running = asyncio.create_task(bench.run())

    async def has_found() -> bool:
        return (await bench.row(number)).found > 0

    await eventually(has_found)
    async with bench.database.acquire() as connection:
        assert await look_backs.cancel(connection, number)
    async with asyncio.timeout(90):
        await running
    row = await bench.row(number)
    assert (row.state, row.looked < 4000) == ("cancelled", True)
    assert await bench.rows("SELECT count(*) FROM matches") == [(row.found,)]
    assert await bench.counts_agree()


async def test_progress_goes_on_where_it_was(
    bench: LookBackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "SLICE_FRAMES", 100)
    bench.record(Recorded(1000).messages, hours_ago(30))
    data_dir, ids = Path(bench.settings.data_dir), [bench.source.id]
    parts = recordings.parts(data_dir, ids, [], recordings.journal_ends(data_dir, ids))
    read = recordings.Recordings(parts, {bench.source.id: "bluesky"}, 0, None)
    slices = [each async for each in read.slices(None)]
    later = [each async for each in read.slices(slices[4].resume)]
    assert [each.progress for each in later] == [each.progress for each in slices[5:]]
    assert slices[4].progress == pytest.approx(0.5, abs=0.05)


async def test_a_long_one_lets_those_of_other_users_go_on(
    bench: LookBackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each turn; what it had found is counted once, and what it waits is no work."""
    monkeypatch.setattr(gathered, "FRAMES", 100)
    monkeypatch.setattr(recordings, "SLICE_FRAMES", 100)
    monkeypatch.setattr(run, "TURN", 0.0)
    recorded = Recorded(1000)
    bench.record(recorded.messages, hours_ago(30))
    await bench.collect()
    tracks = {word: await bench.track(word) for word in ("snow", "sun", "fog")}
    users = {"snow": "ann", "sun": "bob", "fog": "bob"}
    async with bench.database.acquire() as connection:
        for word, track_id in tracks.items():
            new = [NewLookBack("recorded")]
            await look_backs.add(connection, track_id, new, users[word])
    await bench.database.execute(
        "CREATE TABLE turns (number bigserial, of bigint);"
        "CREATE FUNCTION note_turn() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN INSERT INTO turns (of) VALUES (NEW.track_id); RETURN NEW; END $$;"
        "CREATE TRIGGER note_turn AFTER UPDATE OF turn_at ON look_backs"
        " FOR EACH ROW EXECUTE FUNCTION note_turn()"
    )
    await bench.run()
    turns = [of for [of] in await bench.rows("SELECT of FROM turns ORDER BY number")]
    snow, sun, fog = tracks.values()
    assert turns[:4] == [snow, sun, snow, sun]
    assert turns.index(fog) > len(turns) - 1 - turns[::-1].index(sun)
    for word, track_id in tracks.items():
        assert await bench.found(track_id) == recorded.matching(word)
    assert await bench.counts_agree()
    seconds = "SELECT state, worked > 0, worked < extract(epoch FROM finished_at - started_at)"
    assert await bench.rows(f"{seconds} FROM look_backs") == [("done", True, True)] * 3


async def test_one_that_is_widened_begins_again_and_finds_everything_once(
    bench: LookBackBench, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(gathered, "FRAMES", 100)
    monkeypatch.setattr(recordings, "SLICE_FRAMES", 100)
    early, late = (
        [jetstream.post(number, "snow", rkey=f"3lpost{number:04d}") for number in numbers]
        for numbers in (range(1000), range(1000, 4000))
    )
    bench.record(early, hours_ago(30))
    bench.record(late, hours_ago(2))
    await bench.collect()
    new = await bench.track("snow")
    number = await bench.request(new, since=hours_ago(5))
    running = asyncio.create_task(bench.run())

    async def has_found() -> bool:
        return (await bench.row(number)).found > 0

    await eventually(has_found)
    assert await bench.request(new) == number
    async with asyncio.timeout(60):
        await running
    row = await bench.row(number)
    assert (row.state, row.since, row.looked, row.found) == ("done", None, 4000, 4000)
    assert row.added == row.found
    assert len(await bench.found(new)) == 4000
    assert await bench.counts_agree()


async def test_a_process_that_has_not_noticed_that_it_is_widened_stores_nothing(
    bench: LookBackBench,
) -> None:
    """Another daemon may do it meanwhile, from the same beginning."""
    new = await bench.track("snow")
    await bench.request(new, since=hours_ago(5))
    both = []
    for _ in range(2):
        async with bench.database.acquire() as connection:
            row = await look_back_queue.claim(connection)
            track = await look_back_queue.lock_track(connection, new)
        assert row is not None
        assert track is not None
        both.append(task.Task(bench.database, bench.settings, row, track))
        await both[-1].begin()
        await bench.request(new, since=hours_ago(9) if len(both) == 1 else hours_ago(7))

    async def work(*_: object) -> Added:
        return Added(0, 0)

    with pytest.raises(task.Ended):
        await both[0].commit(1, None, 1, work)
    await both[1].commit(1, None, 1, work)


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
