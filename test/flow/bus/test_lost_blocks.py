"""What the bus loses, doubles or refuses is stored all the same, once."""

import asyncio
import time

import pytest

from bus_bench import STREAM, BusBench
from stream import lane_writers
from stream.bus import blocks, ordered, publisher
from stream.bus.blocks import FRAMES_MAX
from stream.bus.ordered import ID
from waiting import Eventually

MANY = 20 * FRAMES_MAX


async def test_tweets_go_from_journals_over_the_bus_into_the_tables(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.collecting() as machine, bench.writing():
        for _ in range(20):
            machine.append(FRAMES_MAX)
            await eventually(machine.all_sent)
        await eventually(machine.all_stored)
    await bench.check(eventually)
    assert await bench.frames() == {"stored": MANY}


async def test_lost_blocks_are_sent_again(bench: BusBench, eventually: Eventually) -> None:
    async with bench.collecting() as machine:
        machine.append(MANY)
        await eventually(machine.all_sent)
        count = await bench.messages()
        await bench.lose([2, 3, 7, count - 1])
        async with bench.writing():
            await eventually(machine.all_stored)
    await bench.check(eventually)
    assert await bench.frames() == {"stored": MANY}


async def test_a_lane_is_late_as_long_as_lost_blocks_cannot_be_sent_again(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.collecting() as machine:
        machine.append(MANY)
        await eventually(machine.all_sent)
    await bench.lose([3])
    async with bench.writing() as writers:

        def late() -> bool:
            """For as long as it waits for them."""
            lanes = writers.writers.values()
            return any(time.time() - (each.late_since or time.time()) > 3 for each in lanes)

        await eventually(late)
        assert await bench.stored() != bench.sent
        async with bench.collecting() as machine:
            await eventually(machine.all_stored)
        [lane] = writers.writers.values()
        await eventually(lambda: lane.late_since is None)
    await bench.check(eventually)


@pytest.mark.parametrize("kept", [0, 1, 10])
async def test_the_last_blocks_are_sent_again_although_nothing_follows_them(
    kept: int, bench: BusBench, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "LOST_AFTER", 1.0)
    async with bench.collecting() as machine:
        machine.append(MANY)
        await eventually(machine.all_sent)
        count = await bench.messages()
        await bench.lose(range(1 + kept, 1 + count))
        async with bench.writing():
            await eventually(machine.all_stored)
    await bench.check(eventually)
    assert await bench.frames() == {"stored": MANY}


async def test_a_last_block_of_which_the_beginning_is_lost_is_sent_again(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.collecting() as machine:
        machine.append(1, 3 << 20)
        await eventually(machine.all_sent)
        assert await bench.messages() > 2
        await bench.lose([1])
        async with bench.writing():
            await eventually(machine.all_stored)
    await bench.check(eventually)


async def test_a_last_block_that_is_unreadable_is_sent_again(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.collecting() as machine:
        machine.append(FRAMES_MAX)
        await eventually(machine.all_sent)
        async with bench.client() as js:
            newest = await js.get_msg(STREAM, await bench.messages())
        [sender] = machine.publisher.senders.values()
        assert newest.headers is not None
        assert newest.data is not None
        headers = {**newest.headers, ID: "damaged"}
        await bench.lose([newest.seq or 0])
        sender.sender.newest = await machine.publisher.bus.publish(
            sender.lane.id, newest.data[:-1], headers
        )
        async with bench.writing():
            await eventually(machine.all_stored)
    await bench.check(eventually)


async def test_a_stream_that_is_deleted_is_created_and_filled_again(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.collecting() as machine:
        async with bench.writing():
            machine.append(MANY)
            await eventually(machine.all_stored)
            machine.append(MANY)
            await bench.recreate()
            machine.append(MANY)
            await eventually(machine.all_stored)
        machine.append(MANY)
        await eventually(machine.all_sent)
        await bench.recreate()
        async with bench.writing():
            await eventually(machine.all_stored)
    await bench.check(eventually)
    assert await bench.frames() == {"stored": 4 * MANY}


async def test_blocks_of_a_new_stream_are_not_deleted_by_numbers_of_the_old_one(
    bench: BusBench, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_writers, "FREE_INTERVAL", 3600.0)
    async with bench.collecting() as machine, bench.writing() as writers:
        machine.append(MANY)
        await eventually(machine.all_stored)
        async with bench.database.transaction() as connection:  # Postgres stores no position
            await connection.execute("LOCK TABLE positions IN SHARE MODE")
            await bench.recreate()
            machine.append(FRAMES_MAX)
            await eventually(machine.all_sent)
            [writer] = writers.writers.values()
            count = await bench.messages()
            assert writer.reader.stored is not None
            assert writer.reader.stored.sequence > count > 0
            await writer.reader.free()
            assert await bench.messages() == count
        await eventually(machine.all_stored)
    await bench.check(eventually)


async def test_what_is_acknowledged_of_a_backlog_counts_as_sent_before_all_of_it_is(
    bench: BusBench, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordered, "IN_FLIGHT_MESSAGES", 2)
    async with bench.collecting() as machine:
        ends = set()

        async def watch() -> None:
            while True:
                ends.add(machine.publisher.sent)
                await asyncio.sleep(0)

        machine.append(MANY)
        watching = asyncio.create_task(watch())
        await eventually(machine.all_sent)
        watching.cancel()
        assert len(ends) > 3, ends


async def test_while_the_stream_is_full_the_journal_keeps_the_rest(
    bench: BusBench, eventually: Eventually
) -> None:
    bench.use(bus_max_bytes=1 << 20)
    async with bench.collecting() as machine:
        for _ in range(20):
            machine.append(FRAMES_MAX, 2000)
        await eventually(lambda: machine.publisher.failing)
        assert not machine.all_sent()
        async with bench.writing():
            await eventually(machine.all_stored)
        assert machine.publisher.failing is None
    await bench.check(eventually)
    assert await bench.frames() == {"stored": MANY}


async def test_a_block_that_comes_twice_is_stored_once(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.collecting() as machine:
        machine.append(MANY)
        await eventually(machine.all_sent)
        async with bench.client() as js:
            for sequence in (3, 1, 5, 5):
                message = await js.get_msg(STREAM, sequence)
                assert message.subject is not None
                assert message.data is not None
                await js.publish(message.subject, message.data)
        async with bench.writing():
            await eventually(machine.all_stored)
            machine.append(MANY)
            await eventually(machine.all_stored)
    await bench.check(eventually)
    assert await bench.frames() == {"stored": 2 * MANY}


async def test_what_is_no_block_harms_nothing(bench: BusBench, eventually: Eventually) -> None:
    async with bench.collecting() as machine:
        machine.append(FRAMES_MAX)
        await eventually(machine.all_sent)
        async with bench.client() as js:
            subject = f"{STREAM}.lane.{bench.source.id}"
            for data in (b"", b"hello", bytes([blocks.VERSION + 1]) + b"newer"):
                await js.publish(subject, data)
            headers = {"Twitterstream-Part": "1/3"}
            await js.publish(subject, b"the middle of nothing", headers=headers)
        machine.append(FRAMES_MAX)
        async with bench.writing():
            await eventually(machine.all_stored)
    await bench.check(eventually)


async def test_frames_of_several_megabytes_pass(bench: BusBench, eventually: Eventually) -> None:
    async with bench.collecting() as machine:
        for size in (1 << 19, 5 << 20, 0, 3 << 20):
            machine.append(2, size)
        await eventually(machine.all_sent)
        async with bench.writing():
            await eventually(machine.all_stored)
    await bench.check(eventually)
    assert await bench.frames() == {"stored": 8}
