"""What the README shows of Redis works as it is written there."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from redis_servers import BIN, PASSWORD
from stream.sinks import redis_streams

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.sinks.conftest import RedisBench

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
TIMEOUT = 60  # seconds


async def line_of(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT):
        return (await process.stdout.readline()).decode().rstrip("\n")


async def text_of(process: Process) -> str:
    """The text of the next tweet that is printed."""
    return str(json.loads(await line_of(process))["text"])


async def redis_cli(bench: RedisBench, command: str) -> Process:
    """Run a command of the README."""
    assert f"\n    redis-cli {command}" in README
    words = ["-p", str(bench.redis.port), "-a", PASSWORD, "--no-auth-warning", *command.split()]
    return await asyncio.create_subprocess_exec(BIN / "redis-cli", *words, stdout=PIPE)


async def test_redis_cli_shows_the_tweets_of_a_channel(bench: RedisBench) -> None:
    cli = await redis_cli(bench, "SUBSCRIBE tweets")
    try:
        assert [await line_of(cli) for _ in range(3)] == ["subscribe", "tweets", "1"]
        async with bench.passing_on():
            await bench.ready("redis channels")
            await bench.store("snow day")
            assert [await line_of(cli) for _ in range(2)] == ["message", "tweets"]
            assert json.loads(await line_of(cli))["tweet"]["text"] == "snow day"
    finally:
        cli.kill()
        await cli.wait()


async def test_the_consumer_group_gets_each_tweet_and_continues_where_it_stopped(
    bench: RedisBench,
) -> None:
    [code] = re.findall(r"^```python\n(import redis\n[^`]*)", README, re.MULTILINE)
    assert len([line for line in code.splitlines() if line]) <= 10
    assert "socket_timeout=None" in code
    code = code.replace("redis.Redis(", f"redis.Redis.from_url({bench.redis.url!r}, ")

    async def start() -> Process:
        return await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE)

    async with bench.passing_on(streams=True):
        await bench.ready()
        await bench.store("snow 1", "snow 2")
        made = await redis_cli(bench, "XGROUP CREATE {tweets}:stream readers 0 MKSTREAM")
        assert await line_of(made) == "OK"
        assert await made.wait() == 0
        reader = await start()
        try:
            assert [await text_of(reader) for _ in range(2)] == ["snow 1", "snow 2"]
            [first, *_] = await bench.store("snow 3")
            assert await text_of(reader) == "snow 3"
            await bench.delete(first)
            assert await line_of(reader) == "deleted"

            async def acknowledged() -> bool:
                pending: Any = await bench.redis.client.xpending("{tweets}:stream", "readers")
                return bool(pending["pending"] == 0)

            await bench.eventually(acknowledged)
        finally:
            reader.kill()
            await reader.wait()
        await bench.store("snow 4")
        reader = await start()
        try:
            assert await text_of(reader) == "snow 4"
        finally:
            reader.kill()
            await reader.wait()


async def test_a_user_with_the_rights_of_the_manual_is_enough(
    bench: RedisBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels, Streams that are trimmed, and the Stream of a track that is gone."""
    monkeypatch.setattr(redis_streams, "CLEAN_INTERVAL", 0.1)
    [command] = re.findall(r"^ *(ACL SETUSER .*)$", OPERATIONS, re.MULTILINE)
    words = command.replace("PASSWORD", PASSWORD).split()
    client: Any = bench.redis.client
    assert await client.execute_command(*words)
    url = bench.redis.url.replace("redis://:", "redis://tweets:")
    async with bench.passing_on(url=url, streams=True, track_stream_bytes=1000):
        await bench.ready()
        for number in range(3):
            await bench.store(*(f"snow {number} {n}" for n in range(50)))
            await bench.stream_has(50 * (number + 1))
        await bench.works("redis streams")
        await bench.works("redis channels")

        async def cleaned() -> bool:
            return not await client.exists("{tweets}:tracks")

        await bench.eventually(cleaned)
    assert {row.reason for row in (await bench.states()).values()} == {""}
