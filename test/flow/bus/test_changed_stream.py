"""The stream follows the settings of a machine that collects, which says what it changed."""

import logging
from pathlib import Path

import pytest

from nats_servers import running_cluster
from stream.bus.connection import Bus
from stream.config import Settings


async def test_what_a_machine_changes_of_the_stream_is_in_its_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_cluster(tmp_path) as servers:
        right = Settings(bus=servers.url, bus_max_bytes=1 << 24)
        wrong = Settings(bus=servers.url, bus_max_bytes=1 << 23, bus_replicas=1)
        async with Bus(right).connected() as bus:
            await bus.until_connected()
            await bus.ensure_stream()
            await bus.adapt_stream()
            assert not _warnings(caplog), "it is as wanted"
        async with Bus(wrong).connected() as bus:
            await bus.until_connected()
            await bus.adapt_stream()
            assert (await bus.ensure_stream()).max_bytes == 1 << 23
    (said,) = _warnings(caplog)
    assert said.__dict__["bus_replicas"] == "1, was 3"
    assert said.__dict__["bus_max_bytes"] == "8388608, was 16777216"


def _warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if "changed the stream" in each.getMessage()]
