"""A look-back that is edited, widened, cancelled, or begins again goes on with nothing lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import jetstream_messages as jetstream
from looking_back import (
    WRONG_POSITIONS,
    LookBackBench,
    Recorded,
    hours_ago,
    look_back_bench,
)
from monitor.look_back import gathered, recordings, run, task
from stream.store import look_back_queue, look_backs, tracks
from stream.store.look_back_rows import Added
from stream.store.look_backs import NewLookBack, Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream.db import Database
    from test.conftest import Eventually


@pytest.fixture
async def bench(connected: Database, tmp_path: Path) -> AsyncIterator[LookBackBench]:
    async with look_back_bench(connected, tmp_path) as made:
        yield made


async def test_an_edited_track_begins_again_and_a_removed_one_ends(
    bench: LookBackBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "MATCHED_WAIT", 0.1)  # no daemon takes the edit up
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
