"""What uses the bus ends when it is cancelled, also at the moment when an answer comes."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

import pytest

from nats_servers import running_server
from stream.bus.connection import Bus
from stream.config import Settings
from stream.errors import BusAway
from stream.tweet import LaneId

LANE = LaneId(1)
TURNS = 300  # of the event loop; an answer takes fewer
WITHIN = 240  # seconds


async def _read(bus: Bus) -> None:
    async with bus.reading(LANE) as reading:
        while True:
            await reading.next(1)


async def _again(call: Callable[[], Awaitable[object]]) -> None:
    while True:
        with contextlib.suppress(BusAway):
            await call()


@pytest.mark.parametrize("what", ["read", "publish", "ask"])
async def test_a_task_that_is_cancelled_while_an_answer_comes_ends(
    what: str, tmp_path: Path
) -> None:
    """asyncio.wait_for of Python 3.11 may forget it, and the client waits by that."""
    async with (
        running_server(tmp_path) as server,
        Bus(Settings(bus=server.url, bus_replicas=1)).connected() as bus,
    ):
        await bus.until_connected()
        await bus.ensure_stream()
        await bus.publish(LANE, b"block", {})
        runs: dict[str, Callable[[], Coroutine[None, None, None]]] = {
            "read": lambda: _read(bus),
            "publish": lambda: _again(lambda: bus.publish(LANE, b"block", {})),
            "ask": lambda: _again(lambda: bus.has(1)),
        }
        for turns in range(TURNS):
            task = asyncio.create_task(runs[what]())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            ended, _ = await asyncio.wait([task], timeout=WITHIN)
            assert ended, f"cancelled after {turns} turns of the event loop, it goes on"
