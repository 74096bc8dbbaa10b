"""Postgres answers, but nothing can be stored: noticed, alerted, and resolved by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import psycopg
import pytest

from monitor.monitor import Monitor
from simulator.server import Settings as Simulated
from simulator.server import serve
from stream import db
from stream.config import AlertSettings, JournalSettings, MonitorSettings, Settings
from stream.daemon import Daemon
from stream.store import sources, tracks
from stream.store.tracks import NewTrack
from stream.vault import Vault

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import AsyncIterator
    from pathlib import Path

    from monitor.snapshot import SourceSnapshot
    from test.conftest import Eventually
    from test.flow.conftest import Tables

STALLED = 3  # seconds until the alert
STORED_ONCE = """
SELECT (SELECT count(*) FROM tweets) = sum(frames) FILTER (WHERE outcome IN ('stored', 'unmatched'))
    AND count(*) FILTER (WHERE outcome = 'duplicate') = 0
FROM source_minutes
"""
LIMIT = 2  # seconds for a statement; a busy machine needs some


@pytest.fixture
async def monitor(database: str, tmp_path: Path) -> AsyncIterator[Monitor]:
    """Of a daemon that collects from a simulator until the test ends."""
    settings = Settings(
        database=database,
        data_dir=str(tmp_path),
        flush_interval=0.05,
        journal=JournalSettings(min_free_bytes=0, min_free_percent=0),
        monitor=MonitorSettings(sample_interval=0.2, listen="127.0.0.1:0"),
        alerts=AlertSettings(writer_stalled=STALLED),
    )
    vault = Vault(tmp_path)
    async with (
        serve(msgspec.structs.replace(Simulated(), rate=50)) as server,
        db.connect(database, call_timeout=LIMIT) as connected,
        db.connect(database, size=3) as own,
    ):
        async with connected.acquire() as connection:
            sealed = vault.seal({"bearer_token": "T"})
            await sources.add(connection, "main", "x_v2", server.url, None, sealed)
            await tracks.add(connection, NewTrack("snow"))
        daemon = Daemon(connected, settings, vault, lambda _: None)
        made = Monitor(daemon, own, settings)
        async with asyncio.TaskGroup() as group:
            collecting = group.create_task(daemon.run())
            watching = group.create_task(made.run())
            yield made
            daemon.stop.set()
            await asyncio.wait([collecting])
            watching.cancel()


async def ready(monitor: Monitor) -> tuple[int, str]:
    """What /health/ready answers."""
    server = monitor.service.server
    assert server is not None
    assert server.address is not None
    host, port = server.address
    address = f"http://{host}:{port}/health/ready"
    async with aiohttp.ClientSession() as client, client.get(address) as response:
        return response.status, await response.text()


async def test_a_lock_that_keeps_the_writer_from_storing_is_told_and_survived(
    monitor: Monitor, database: str, tables: Tables, eventually: Eventually
) -> None:
    def source() -> SourceSnapshot:
        assert monitor.sampler.newest is not None
        return monitor.sampler.newest.sources[0]

    async def is_ready() -> bool:
        return (await ready(monitor))[0] == 200

    def alerted() -> bool:
        return ("writer_stalled", "main") in monitor.alerts.engine.open

    await eventually(tables.stored)
    await eventually(is_ready)
    async with await psycopg.AsyncConnection.connect(database) as other:
        await other.execute("SELECT 1 FROM positions FOR UPDATE")
        await eventually(lambda: source().writer_stalled > STALLED)
        await eventually(alerted)
        alert = monitor.alerts.engine.open["writer_stalled", "main"]
        assert monitor.sampler.newest is not None
        assert monitor.sampler.newest.database.up
        assert source().lag_bytes > 0
        assert source().state == "streaming"
        status, text = await ready(monitor)
        assert status == 503
        assert "Nothing of source main has been stored for" in text
        # The writer has given up and tried again, and no attempt keeps its connection.
        waiting = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        assert await tables.one(waiting) <= 1
    [collector] = monitor.daemon.collectors.values()
    journal = collector.journal
    assert journal is not None
    received = journal.end
    await eventually(is_ready)
    await eventually(lambda: source().writer_stalled < STALLED)
    await eventually(lambda: journal.stored >= received)
    assert await tables.one(STORED_ONCE)
    # It is closed when it has stayed so for a while.
    await eventually(lambda: alert.gone_since is not None)
