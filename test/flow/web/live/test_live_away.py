"""The database goes away and comes back; viewers continue where they were."""

from __future__ import annotations

import asyncio

from live_app import LiveApp
from web_app import database_away


async def test_the_database_goes_away_and_comes_back(
    live: LiveApp, server: str, database: str
) -> None:
    ana = await live.viewer("ana")
    program = await live.app.api_client("root", "admin")
    await ana.watch(query="snow")
    async with program.http.ws_connect("/api/v1/stream") as ws, asyncio.timeout(60):
        await live.store("snow 1")
        assert await ana.texts(1) == ["snow 1"]
        assert (await ws.receive_json())["tweet"]["text"] == "snow 1"
        with database_away(server, database):
            await ana.wait_until(lambda message: message.get("away"))
        await live.store("snow 2")
        assert await ana.texts(1) == ["snow 2"]
        assert (await ws.receive_json())["tweet"]["text"] == "snow 2"
        await ana.wait_until(lambda message: message.get("away") is False)
