"""The bus is freed of what is not to be stored any more, and of nothing else."""

import pytest

from bus_bench import STREAM, BusBench
from stream import lane_writers
from stream.bus import unused_lanes
from stream.bus.blocks import FRAMES_MAX
from stream.store.lanes import first_lane
from waiting import Eventually

MANY = 10 * FRAMES_MAX
ONE = 1  # block stays: that which was stored last on a lane in use


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unused_lanes, "INTERVAL", 0.2)
    monkeypatch.setattr(lane_writers, "FREE_INTERVAL", 0.2)


async def has_blocks(bench: BusBench, count: int) -> bool:
    return await bench.messages() == count


async def test_blocks_of_lanes_that_are_gone_with_their_machine_are_stored_and_deleted(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.collecting(lanes=3) as machine:
        machine.append(MANY)
        await eventually(machine.all_sent)
    await bench.database.execute("UPDATE sources SET lanes = 1")
    async with bench.writing() as writers:
        await bench.check(eventually)
        await eventually(lambda: has_blocks(bench, ONE))
        await eventually(lambda: set(writers.writers) == {first_lane(bench.source.id)})
    assert await bench.frames() == {"stored": MANY}


async def test_blocks_of_a_former_division_are_deleted(
    bench: BusBench, eventually: Eventually
) -> None:
    for lanes in (4, 2):
        async with bench.collecting(lanes=lanes) as machine:
            machine.append(MANY)
            await eventually(machine.all_sent)
    async with bench.collecting(lanes=1) as machine, bench.writing():
        machine.append(MANY)
        await eventually(machine.all_stored)
        await bench.check(eventually)
        await eventually(lambda: has_blocks(bench, ONE))
        machine.append(MANY)
        await eventually(machine.all_stored)
    await bench.check(eventually)
    assert await bench.frames() == {"stored": 4 * MANY}


async def test_blocks_of_a_removed_source_are_deleted_and_none_of_another_installation(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.collecting(lanes=2) as machine:
        machine.append(MANY)
        await eventually(machine.all_sent)
    async with bench.client() as js:
        for name in ("4000", "4000", "name"):
            await js.publish(f"{STREAM}.lane.{name}", b"theirs")
    await bench.database.execute("DELETE FROM sources")
    async with bench.writing():
        await eventually(lambda: has_blocks(bench, 3))
        for _ in range(50):  # looks, which take the time in which they could be deleted
            assert await has_blocks(bench, 3)
