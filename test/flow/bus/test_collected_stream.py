"""A writer stores lanes only while it is on the stream to which collectors send."""

import uuid

import pytest

from bus_bench import BusBench
from stream.bus import collected_stream
from stream.bus.blocks import FRAMES_MAX
from stream.bus.collected_stream import ELSEWHERE
from stream.daemon_report import BusReport, DaemonReport
from stream.lane_writers import LaneWriters
from stream.store import daemons
from waiting import Eventually

COLLECTOR = uuid.UUID(int=1)


async def report_collector(bench: BusBench, created: str) -> None:
    """A daemon that collects has reported when its stream was created, and will go on."""
    async with bench.database.acquire() as connection:
        await daemons.upsert(
            connection,
            COLLECTOR,
            "east",
            1,
            "collecting",
            roles=["collect"],
            report=DaemonReport(bus=BusReport(created=created)),
        )
        await connection.execute("UPDATE daemons SET seen_at = now() + interval '1 day'")


async def created_for(writers: LaneWriters) -> str:
    """When the stream of a writer was created: it looks, as a daemon does all the time."""
    await writers.bus.until_connected()
    return (await writers.bus.ensure_stream()).created.isoformat()


async def test_a_writer_on_another_stream_takes_no_lane(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.collecting(lanes=2) as machine:
        machine.append(FRAMES_MAX)
        await eventually(machine.all_sent)
        created = machine.publisher.bus.stream_created
        assert created is not None
        await report_collector(bench, created.isoformat())
        bench.use(bus_stream="another")
        async with bench.writing() as wrong:
            await created_for(wrong)
            await eventually(lambda: wrong.stream.is_ours is False)
            bench.use(bus_stream="twitterstream")
            async with bench.writing() as right:
                await created_for(right)
                await eventually(machine.all_stored)
                assert len(right.writers) == 2
                assert not wrong.writers
    await bench.check(eventually)


async def test_a_writer_leaves_its_lanes_once_sources_are_collected_on_another_stream(
    bench: BusBench, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collected_stream, "LEAVE_AFTER", 0.5)
    bench.use(bus_stream="another")
    async with bench.writing() as wrong:
        await created_for(wrong)
        await eventually(lambda: wrong.writers)
        bench.use(bus_stream="twitterstream")
        async with bench.collecting() as machine, bench.writing() as right:
            machine.append(FRAMES_MAX)
            await eventually(machine.all_sent)
            assert wrong.writers, "no collector is known to be elsewhere"
            await report_collector(bench, await created_for(right))
            await eventually(machine.all_stored)
            assert wrong.stream.lasting == ELSEWHERE
            assert right.stream.lasting == ""
    await bench.check(eventually)


async def test_a_writer_keeps_its_lanes_while_a_new_stream_is_seen_at_different_moments(
    bench: BusBench, eventually: Eventually
) -> None:
    async with bench.collecting() as machine, bench.writing() as writers:
        created = await created_for(writers)
        await report_collector(bench, created)
        await eventually(lambda: writers.writers)
        kept = dict(writers.writers)
        await report_collector(bench, "2020-01-01T00:00:00+00:00")
        await eventually(lambda: not writers.stream.is_ours)
        assert writers.locks.limit == 1
        machine.append(FRAMES_MAX)
        await eventually(machine.all_stored)
        await report_collector(bench, created)
        await eventually(lambda: writers.stream.is_ours)
        assert writers.writers == kept
    await bench.check(eventually)
