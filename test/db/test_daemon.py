"""What goes wrong unexpectedly in one collector fails its source, and no other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from stream import db
from stream.collector import Collector
from stream.config import Settings
from stream.daemon import Daemon
from stream.errors import Broken
from stream.store import sources
from stream.tweet import Source
from stream.vault import Vault

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from pathlib import Path

    from stream.db import Database
    from test.conftest import Eventually


class Faulty(Collector):
    """A collector with a mistake."""

    error: Exception = OverflowError("too large")

    async def run(self) -> None:
        raise self.error


async def with_a_fault(database: Database, folder: Path) -> tuple[Daemon, Faulty]:
    settings = Settings(data_dir=str(folder))
    daemon = Daemon(database, settings, Vault(folder), lambda _: None)
    async with database.acquire() as connection:
        number = await sources.add(connection, "main", "x_v2")
    source = Source(number, "main", "x_v2", None, None, {}, enabled=True)
    collector = Faulty(database, settings, source, daemon.reconciler, daemon.locks)
    daemon.collectors[number] = collector
    return daemon, collector


async def test_an_unexpected_error_fails_the_source_with_a_traceback(
    database: str, tmp_path: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    async with db.connect(database) as opened:
        daemon, collector = await with_a_fault(opened, tmp_path)
        task = asyncio.create_task(daemon._collect(collector))

        async def failed() -> bool:
            [row] = await opened.fetch("SELECT state, reason FROM sources")
            return row["state"] == "failed" and "OverflowError" in row["reason"]

        await eventually(failed)
        assert not task.done()  # it is left alone for a while
        collector.stop.set()
        await task
        assert daemon.collectors == {}
    assert any(record.exc_info for record in caplog.records)


async def test_a_broken_invariant_ends_the_daemon(connected: Database, tmp_path: Path) -> None:
    daemon, collector = await with_a_fault(connected, tmp_path)
    collector.error = Broken("no sense")
    with pytest.raises(Broken):
        await daemon._collect(collector)


async def test_a_damaged_key_fails_the_sources_and_not_the_daemon(
    database: str, tmp_path: Path, eventually: Eventually
) -> None:
    """Their credentials can be entered again, with a new key."""
    settings, vault = Settings(data_dir=str(tmp_path)), Vault(tmp_path)
    async with db.connect(database) as opened, asyncio.TaskGroup() as group:
        async with opened.acquire() as connection:
            sealed = vault.seal({"bearer_token": "T"})
            await sources.add(connection, "main", "x_v2", "http://127.0.0.1:9", None, sealed)
        key = tmp_path / "secret.key"
        key.write_bytes(b"torn")
        daemon = Daemon(opened, settings, vault, lambda _: None)
        running = group.create_task(daemon.run())

        async def row() -> tuple[str, str]:
            [found] = await opened.fetch("SELECT state, reason FROM sources")
            return found["state"], found["reason"]

        async def failed() -> bool:
            state, reason = await row()
            return state == "failed" and f"{key}, is damaged" in reason

        await eventually(failed)
        assert not running.done()
        key.unlink()
        async with opened.acquire() as connection:
            await sources.set_credentials(connection, "main", vault.seal({"bearer_token": "U"}))

        async def tries() -> bool:
            return (await row())[0] not in ("failed", "idle") or "is damaged" not in (await row())[
                1
            ]

        await eventually(tries)
        daemon.stop.set()
