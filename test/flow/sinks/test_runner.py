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
from stream.store import sinks, webhooks
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
    passed_on = SinkSettings(webhooks=WebhookSettings(allowed_networks=LOCAL))
    settings = Settings(data_dir=str(folder), poll_interval=3600, sinks=passed_on)
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

    async def shown() -> list[str]:
        async with hooks.database.acquire() as connection:
            return [f"{each.name}: {each.state}" for each in await sinks.get_all(connection)]

    async def none_is_shown() -> bool:
        return not await shown()

    async def webhooks_are_shown() -> bool:
        return await shown() == ["webhooks: ok"]

    async with hooks.database.acquire() as connection:
        await sinks.write(connection, "redis")  # of a daemon with other settings
    async with running(hooks, tmp_path):
        second_heartbeat = "SELECT count(*) = 1 FROM daemons WHERE seen_at > started_at"
        await hooks.eventually(lambda: hooks.value(second_heartbeat))
        assert await none_runs()
        await hooks.eventually(none_is_shown)
        for number in (1, 2):
            hook, _ = await hooks.add(receiver.url)
            await hooks.store(f"snow {number}")
            await hooks.eventually(partial(came, number))
            assert not await none_runs()
            await hooks.eventually(webhooks_are_shown)
            async with hooks.database.acquire() as connection:
                await webhooks.remove(connection, hook)
            await hooks.eventually(none_runs)
            await hooks.eventually(none_is_shown)
    assert receiver.texts == ["snow 1", "snow 2"]


async def test_only_sinks_that_run_are_shown(
    hooks: WebhookBench, receiver: Receiver, tmp_path: Path
) -> None:
    """Not webhooks that are all paused, nor what a daemon with other settings had."""

    async def shown() -> set[str]:
        async with hooks.database.acquire() as connection:
            return {each.name for each in await sinks.get_all(connection)}

    async def is_shown(*names: str) -> bool:
        return await shown() == set(names)

    hook, _ = await hooks.add(receiver.url)
    async with hooks.database.acquire() as connection:
        await sinks.write(connection, "redis")
    async with hooks.passing_on():
        await hooks.eventually(partial(is_shown, "webhooks"))
        await hooks.execute("UPDATE webhooks SET state = 'paused'")
        await hooks.eventually(is_shown)
        await hooks.resume(hook)
        await hooks.eventually(partial(is_shown, "webhooks"))


async def test_how_many_webhooks_fail_is_said_where_sinks_are_shown(hooks: WebhookBench) -> None:
    """Failing or disabled; one that is paused does not fail."""

    async def shown() -> str:
        async with hooks.database.acquire() as connection:
            return "; ".join(each.state for each in await sinks.get_all(connection))

    async with hooks.database.acquire() as connection:
        await sinks.write(connection, "redis")
        await sinks.write(connection, "webhooks")
    for name in ("a", "b", "c"):
        await hooks.add("https://example.org/", name=name)
    assert await shown() == "ok; ok"
    await hooks.execute("UPDATE webhooks SET state = 'paused' WHERE name = 'a'")
    await hooks.execute("UPDATE webhooks SET state = 'disabled' WHERE name = 'b'")
    assert await shown() == "ok; ok, 1 of 3 fails"
    await hooks.execute("UPDATE webhooks SET reason = 'It fails.' WHERE name = 'c'")
    assert await shown() == "ok; ok, 2 of 3 fail"


async def test_a_daemon_without_sinks_leaves_those_of_another_one(hooks: WebhookBench) -> None:
    async with hooks.database.acquire() as other, hooks.database.acquire() as connection:
        assert await sinks.try_lock(other)
        await sinks.write(connection, "redis")
        await sinks.forget(connection)
        assert [each.name for each in await sinks.get_all(connection)] == ["redis"]
