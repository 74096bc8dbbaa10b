"""A bus of one server, and the machines beside it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus_bench import BusBench, bus_bench
from nats_servers import running_server
from stream.db import Database


@pytest.fixture
async def bench(connected: Database, tmp_path: Path) -> AsyncIterator[BusBench]:
    async with (
        running_server(tmp_path / "nats") as server,
        bus_bench(connected, server, tmp_path) as made,
    ):
        yield made
