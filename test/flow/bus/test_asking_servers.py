"""What the servers of the bus say of themselves: their clocks, and whether they store."""

from pathlib import Path

from nats_servers import ASKABLE, running_server
from stream.bus import servers
from stream.bus.connection import Bus
from stream.config import Settings


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
