"""A server that stands still with its connections open is left, and not waited for."""

import asyncio
import contextlib
from pathlib import Path

from nats_servers import running_server
from stream.bus.connection import Bus
from stream.config import Settings
from stream.errors import BusAway
from stream.tweet import LaneId

WITHIN = 240  # seconds
BLOCK = bytes(512 << 10)
MANY = 64  # blocks: more than the sockets take


async def test_what_a_frozen_server_does_not_take_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        try:
            async with asyncio.timeout(WITHIN):
                async with Bus(Settings(bus=server.url, bus_replicas=1)).connected() as bus:
                    await bus.until_connected()
                    await bus.ensure_stream()
                    server.freeze()
                    await asyncio.gather(*(_publish(bus) for _ in range(MANY)))
        finally:
            server.thaw()


async def _publish(bus: Bus) -> None:
    with contextlib.suppress(BusAway):
        await bus.publish(LaneId(1), BLOCK, {})
