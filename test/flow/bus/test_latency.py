"""A writer reads each block as soon as the bus has it, although nothing follows it."""

from pathlib import Path

import pytest

from bus_bench import BusBench
from nats_servers import running_cluster
from stream.bus import lane_reader, lane_sender
from waiting import Eventually

NEVER = 3600.0  # seconds


async def test_a_tweet_that_no_other_follows_is_stored_at_once(
    bench: BusBench, eventually: Eventually, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that a writer asks may have it later than the one that has announced it."""
    monkeypatch.setattr(lane_reader, "POLL_INTERVAL", NEVER)
    monkeypatch.setattr(lane_sender, "PASSED_INTERVAL", NEVER)
    async with running_cluster(tmp_path / "cluster") as cluster:
        bench.use(bus=cluster.url, bus_replicas=3, flush_interval=0.01)
        async with bench.writing(), bench.collecting() as machine:
            for _ in range(30):
                machine.append(1)
                await eventually(bench.has_all)
