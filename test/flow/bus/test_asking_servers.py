"""What the servers of the bus say of themselves: their clocks, and whether they store."""

import contextlib
from pathlib import Path

from full_bus import STREAM_BYTES, full_bus
from nats_servers import ASKABLE, running_server
from stream.bus import servers
from stream.bus.connection import Bus
from stream.config import Settings
from stream.errors import BusAway
from waiting import Eventually


async def test_a_clock_is_compared_when_the_answer_arrives(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path / "nats", ASKABLE) as nats,
        Bus(Settings(bus=nats.url, bus_replicas=1)).connected() as bus,
    ):
        await bus.until_connected()
        # A moment of a busy machine is less than the wait for further answers.
        offsets = [(await bus.servers())["n1"].clock_offset for _ in range(3)]
        assert max(offsets) > -servers.TIMEOUT / 2, "the server's clock is ours"
        assert max(offsets) < servers.TIMEOUT / 2


async def test_a_server_with_a_full_disk_has_jetstream_off_until_it_is_restarted(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with full_bus(tmp_path / "nats") as nats:
        settings = Settings(bus=nats.url, bus_max_bytes=STREAM_BYTES)
        async with Bus(settings).connected() as bus:
            await bus.until_connected()

            async def is_current() -> bool:
                with contextlib.suppress(BusAway):  # a leader is elected
                    state = await bus.find_stream()
                    return state is not None and (state.leader == "n3" or state.replicas["n3"])
                return False

            async def is_said(jetstream: bool) -> bool:
                found = await bus.servers()
                assert not any(each.unsynced for each in found.values())
                return len(found) == 3 and found["n3"].jetstream is jetstream

            await bus.ensure_stream()
            await eventually(is_current)
            await eventually(lambda: is_said(True))
            foreign = await nats.fill()
            await eventually(lambda: is_said(False))
            foreign.unlink()
            await eventually(lambda: is_said(False))
            await nats.restart()
            await eventually(is_current)
            await eventually(lambda: is_said(True))
