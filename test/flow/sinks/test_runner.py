"""Sinks cost nothing while there is nothing to pass on to, and begin as soon as there is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from stream.config import Settings
from stream.config.settings import SinkSettings, WebhookSettings
from stream.daemon import Daemon
from stream.store import webhooks
from webhook_bench import LOCAL, WebhookBench
from webhook_receiver import Receiver

LOCKS = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND classid = hashtext('twitterstream sinks')::oid
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@contextlib.asynccontextmanager
async def running(hooks: WebhookBench, folder: Path) -> AsyncIterator[Daemon]:
    """A daemon that hardly ever polls: it has to be told of webhooks."""
    sinks = SinkSettings(webhooks=WebhookSettings(allowed_networks=LOCAL))
    settings = Settings(data_dir=str(folder), poll_interval=3600, sinks=sinks)
    daemon = Daemon(hooks.database, settings, hooks.vault, lambda _: None)
    task = asyncio.create_task(daemon.run())
    try:
        yield daemon
    finally:
        daemon.stop.set()
        await task


async def test_without_redis_and_webhooks_no_sink_runs_until_a_webhook_is_added(
    hooks: WebhookBench, receiver: Receiver, tmp_path: Path
) -> None:
    async def none_runs() -> bool:
        return bool(await hooks.value(LOCKS) == 0)

    def came(number: int) -> bool:
        return len(receiver.texts) == number

    async with running(hooks, tmp_path):
        second_heartbeat = "SELECT count(*) = 1 FROM daemons WHERE seen_at > started_at"
        await hooks.eventually(lambda: hooks.value(second_heartbeat))
        assert await none_runs()
        for number in (1, 2):
            hook, _ = await hooks.add(receiver.url)
            await hooks.store(f"snow {number}")
            await hooks.eventually(partial(came, number))
            assert not await none_runs()
            async with hooks.database.acquire() as connection:
                await webhooks.remove(connection, hook)
            await hooks.eventually(none_runs)
    assert receiver.texts == ["snow 1", "snow 2"]
