"""Several machines, several lanes, and positions that change: each tweet is stored once."""

import os
from pathlib import Path

import pytest

from bus_bench import ROOMY, BusBench
from servers import free_port
from stream.bus.blocks import FRAMES_MAX
from stream.journal import Journal, maintenance
from stream.journal.journal import GIVEN
from stream.store.lanes import first_lane
from waiting import Eventually

MANY = 10 * FRAMES_MAX


async def test_blocks_of_two_journals_are_stored_as_they_come(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.collecting("first") as first, bench.collecting("second") as second:
        for _ in range(10):
            first.append(7)
            await eventually(first.all_sent)
            second.append(5)
            await eventually(second.all_sent)
        async with bench.writing():
            first.append(FRAMES_MAX)
            second.append(FRAMES_MAX)
            await eventually(first.all_stored)
            await eventually(second.all_stored)
    await bench.check(eventually)
    assert await bench.frames() == {"stored": 120 + 2 * FRAMES_MAX}


async def test_the_end_of_an_old_journal_is_stored_when_its_machine_is_back(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.writing():
        async with bench.collecting("first") as first:
            first.append(MANY)
            await eventually(first.all_stored)
            await bench.server.kill()
            first.append(MANY)
            await eventually(lambda: first.journal.synced == first.journal.end)
        await bench.server.start()
        async with bench.collecting("second") as second:
            second.append(MANY)
            await eventually(second.all_stored)
            assert not await bench.has_all()
            async with bench.collecting("first") as first:
                await eventually(first.all_stored)
                second.append(MANY)
                await eventually(second.all_stored)
    await bench.check(eventually)
    assert await bench.frames() == {"stored": 4 * MANY}


async def test_a_collector_that_begins_again_stores_no_frame_of_any_lane_twice(
    bench: BusBench, eventually: Eventually
) -> None:
    """It sends again what is not stored yet, in other blocks than before."""
    async with bench.collecting(lanes=3) as machine:
        for _ in range(20):
            machine.append(7)
            await eventually(machine.all_sent)
    async with bench.collecting(lanes=3) as machine:
        machine.append(100)
        await eventually(machine.all_sent)
        async with bench.writing():
            await eventually(machine.all_stored)
    await bench.check(eventually)
    assert await bench.frames() == {"stored": 240}


@pytest.mark.parametrize("left", [None, 0.0, 0.5], ids=["deleted", "emptied", "halved"])
async def test_frames_that_the_disk_lost_after_they_were_sent_do_not_hide_later_ones(
    bench: BusBench, eventually: Eventually, left: float | None
) -> None:
    """The bus and its writers take frames at positions that they know for those that they have."""
    async with bench.collecting() as machine:
        machine.append(MANY)
        await eventually(machine.all_sent)
        path = machine.journal.segments[-1].path
    if left is None:
        path.unlink()
    else:
        os.truncate(path, int(path.stat().st_size * left))
    async with bench.collecting() as machine:
        machine.append(MANY // 2)
        async with bench.writing():
            await eventually(machine.all_stored)
    await bench.check(eventually)
    assert await bench.frames() == {"stored": MANY + MANY // 2}


async def test_what_was_given_to_the_bus_is_remembered_unless_the_disk_damages_it(
    tmp_path: Path,
) -> None:
    def given() -> int:
        with Journal.open(tmp_path, ROOMY) as journal:
            return journal.given

    with Journal.open(tmp_path, ROOMY) as journal:
        journal.note_given(7000)
        journal.note_given(6000)  # of another lane
    assert given() == 7000
    data = (tmp_path / GIVEN).read_bytes()
    with Journal.open(tmp_path, ROOMY) as journal:
        journal.note_given(1 << 62)
    assert given() == 0, "further than anything counts"
    for damaged in (b"", data[:-1], bytes(len(data)), b"\xff" * len(data), b"\1" + data[1:]):
        (tmp_path / GIVEN).write_bytes(damaged)
        assert given() == 0


async def test_positions_that_were_set_back_are_followed(
    bench: BusBench, eventually: Eventually
) -> None:
    """As after a backup is restored, with a bus that has freed what was stored."""
    async with bench.collecting() as machine, bench.writing() as writers:
        machine.append(MANY)
        await eventually(machine.all_stored)
        before = await bench.rows("SELECT position, bus_created, bus_sequence FROM positions")
        machine.append(MANY)
        await eventually(machine.all_stored)
        [writer] = writers.writers.values()
        await writer.reader.free()
        await bench.database.execute("DELETE FROM tweets WHERE id > (SELECT min(id) FROM tweets)")
        await bench.database.execute("TRUNCATE tweet_ids, matches")
        await bench.database.execute(
            "UPDATE positions SET position = $1, bus_created = $2, bus_sequence = $3", *before[0]
        )
        machine.append(1)
        await eventually(machine.all_stored)
        assert await bench.frames() == {"stored": 3 * MANY + 1}


async def test_deleted_positions_are_added_again(bench: BusBench, eventually: Eventually) -> None:
    async with bench.collecting(lanes=2) as machine, bench.writing():
        machine.append(MANY)
        await eventually(machine.all_stored)
        await bench.database.execute("DELETE FROM positions")
        await eventually(bench.positions)
        machine.append(MANY)
        await eventually(machine.all_stored)
    await bench.check(eventually)


async def test_the_number_of_lanes_changes_while_frames_are_on_the_bus(
    bench: BusBench, eventually: Eventually
) -> None:
    for lanes in (1, 3, 2, 5):
        async with bench.collecting(lanes=lanes) as machine:
            machine.append(MANY)
            await eventually(machine.all_sent)
    async with bench.writing():
        for lanes in (2, 3, 1, 2):
            async with bench.collecting(lanes=lanes) as machine:
                machine.append(MANY)
                await eventually(machine.all_sent)
                if lanes > 1:
                    await eventually(machine.all_stored)
        assert len(await bench.positions()) == 2
    await bench.check(eventually)


async def test_the_frames_of_lanes_are_stored_without_a_bus_later(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.collecting(lanes=3) as machine:
        machine.append(MANY)
        async with bench.writing():
            await eventually(machine.all_stored)
        machine.append(MANY)
        await eventually(machine.all_sent)
    async with bench.storing_alone() as machine:
        machine.append(MANY)
        await eventually(machine.all_stored)
    await bench.check(eventually)
    assert set(await bench.positions()) == {(machine.journal.id, bench.source.id)}
    async with bench.collecting(lanes=2) as machine, bench.writing():
        machine.append(MANY)
        await eventually(machine.all_stored)
    await bench.check(eventually)


async def test_a_journal_without_its_beginning_goes_on_after_the_hole(
    bench: BusBench, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench.collecting(lanes=2) as machine:
        for _ in range(4):
            machine.append(FRAMES_MAX, 20_000)
            await eventually(machine.all_sent)
        begin = machine.journal.segments[2].start
        monkeypatch.setattr(machine.journal, "stored", begin)
        monkeypatch.setattr(machine.journal, "keep_stored", False)
        await maintenance.trim(machine.journal)
        assert machine.journal.start == begin
    await bench.lose_all()
    async with bench.collecting(lanes=2) as machine, bench.writing():
        machine.append(MANY)
        await eventually(machine.all_stored)
    stored = await bench.stored()
    assert sorted(stored) == sorted(bench.sent)[-len(stored) :]
    assert len(stored) >= MANY
    events = await bench.rows("SELECT text FROM events WHERE text LIKE '%bytes are missing%'")
    assert len(events) == 1, "each lane has met the hole"


async def test_the_bus_never_has_what_a_power_loss_takes_from_the_journal(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.collecting() as machine:
        machine.append(MANY)
        await eventually(machine.all_sent)
        synced, segment = machine.journal.synced, machine.journal.segments[-1]
        machine.stop_syncing()
        lost = machine.append(MANY)
        count = await bench.messages()
        for _ in range(50):  # looks at the stream, which take the time in which it could be sent
            assert await bench.messages() == count
    with segment.path.open("r+b") as file:
        file.truncate(synced - segment.start)
    bench.forget(lost)
    async with bench.collecting() as machine, bench.writing():
        machine.append(MANY)
        await eventually(machine.all_stored)
    await bench.check(eventually)
    assert await bench.frames() == {"stored": 2 * MANY}


async def test_only_one_of_two_machines_stores_a_lane(
    bench: BusBench, eventually: Eventually
) -> None:
    """Also when its lock is lost with its connection, and the other one takes it."""
    lane = first_lane(bench.source.id)
    async with bench.collecting() as machine, bench.writing() as one, bench.writing() as other:
        for _ in range(6):
            machine.append(MANY)
            await eventually(lambda: one.writers or other.writers)
            await bench.end_locks()
            machine.append(MANY)
            await eventually(machine.all_stored)
        # The one that lost its lock may need a moment to notice; what it commits then is refused.
        await eventually(lambda: [lane in each.writers for each in (one, other)].count(True) == 1)
    await bench.check(eventually)
    assert await bench.frames() == {"stored": 12 * MANY}


async def test_nothing_that_is_stored_waits_for_the_bus(
    bench: BusBench, eventually: Eventually
) -> None:
    """Also on a machine that does not reach the bus, such as with a wrong `bus_ca`."""
    async with bench.collecting() as machine:
        machine.append(MANY)
        await eventually(machine.all_sent)
    bench.use(bus=f"nats://127.0.0.1:{free_port()}")
    async with bench.collecting() as machine:
        assert not machine.all_sent()
        bench.use(bus=bench.server.url)
        async with bench.writing():
            await eventually(machine.all_stored)
        assert machine.all_sent()
        assert machine.publisher.bus.away_because is not None
    await bench.check(eventually)
