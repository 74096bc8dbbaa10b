"""examples/last_hour.py: the page and its events, in processes of their own."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from examples import Example, example
from web_app import WebApp


@contextlib.asynccontextmanager
async def running(program: Example, *options: object) -> AsyncIterator[str]:
    process = await program.start(program.app.address, "--listen", "127.0.0.1:0", *options)
    assert process.stdout is not None
    said = ""
    try:
        while not (found := re.search(r"Running on (http://\S+) ", said)):
            line = await process.stdout.readline()
            assert line, said
            said += line.decode()
        yield found[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def summaries(http: aiohttp.ClientSession, address: str) -> AsyncIterator[Any]:
    async with http.get(f"{address}/events") as response:
        assert response.content_type == "text/event-stream"
        async for line in response.content:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


async def test_the_page_shows_the_last_hour_and_what_comes(app: WebApp) -> None:
    program = await example(app, "last_hour.py")
    await app.add_track("snow", "ana")
    now = datetime.now(UTC)
    await app.store_tweets({"text": "old snow"}, at=now - timedelta(hours=2))
    await app.store_tweets({"text": "snow #Ice"}, at=now - timedelta(minutes=20), first=10)
    async with running(program, "--track", 1) as address, aiohttp.ClientSession() as http:
        async with http.get(address) as answer:
            page = await answer.text()
        assert 'new EventSource("events")' in page
        assert program.environment["TWEETS_TOKEN"] not in page
        shown = summaries(http, address)
        async with asyncio.timeout(60):
            async for found in shown:
                if found["total"]:
                    break
            assert (found["total"], found["newest"]) == (1, ["snow #Ice"])
            assert sum(found["minutes"]) == 1
            assert found["hashtags"] == [["#ice", 1]]
            messages = [{"text": "<b>snow</b> #ice"}, {"text": "rain"}]
            await app.store_tweets(*messages, first=20)
            async for found in shown:
                if found["total"] > 1:
                    break
        assert (found["total"], found["hashtags"]) == (2, [["#ice", 2]])
        assert found["newest"][0] == "<b>snow</b> #ice"
        assert found["authors"] == [["ann", 2]]


async def test_several_browsers_see_the_same(app: WebApp) -> None:
    program = await example(app, "last_hour.py")
    await app.add_track("snow", "ana")
    async with running(program) as address, aiohttp.ClientSession() as http:
        async with asyncio.timeout(60):
            first, second = summaries(http, address), summaries(http, address)
            await anext(first)
            await anext(second)
            await app.store_tweets({"text": "snow"})
            for shown in (first, second):
                while (await anext(shown))["newest"] != ["snow"]:
                    pass


async def test_a_port_that_cannot_be_used_is_said(app: WebApp) -> None:
    program = await example(app, "last_hour.py")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for listen, said in (
            (f"127.0.0.1:{port}", "address already in use"),
            ("127.0.0.1:99999", "port must be 0-65535"),
            ("no.such.host.invalid:8090", "no.such.host.invalid"),
            ("localhost", "--listen: HOST:PORT"),
        ):
            process = await program.start(app.address, "--listen", listen)
            output = (await process.communicate())[0].decode()
            assert (process.returncode in {1, 2}, said in output) == (True, True), output
            assert "Traceback" not in output
