"""The database goes away and comes back; whoever watches goes on where he was."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.live.conftest import Hall

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


async def test_the_database_goes_away_and_comes_back(
    hall: Hall, server: str, database: str
) -> None:
    ana = await hall.watcher(await hall.pages.enter("ana"))
    program = await hall.pages.program("root", "admin")
    await ana.watch(query="snow")
    async with program.client.ws_connect("/api/v1/stream") as ws, asyncio.timeout(60):
        await hall.press.store("snow 1")
        assert await ana.texts(1) == ["snow 1"]
        assert (await ws.receive_json())["tweet"]["text"] == "snow 1"
        _allow(server, database, is_there=False)
        await ana.until(lambda said: said.get("away"))
        _allow(server, database, is_there=True)
        await hall.press.store("snow 2")
        assert await ana.texts(1) == ["snow 2"]
        assert (await ws.receive_json())["tweet"]["text"] == "snow 2"
        await ana.until(lambda said: said.get("away") is False)


def _allow(server: str, database: str, *, is_there: bool) -> None:
    """Let nobody into this database, or everybody again."""
    name = urlsplit(database).path.removeprefix("/")
    with psycopg.connect(server, autocommit=True) as connection:
        statement = "ALTER DATABASE {} ALLOW_CONNECTIONS {}"
        allowed = sql.SQL("true" if is_there else "false")
        connection.execute(sql.SQL(statement).format(sql.Identifier(name), allowed))
        if not is_there:
            connection.execute(CUT, [name])
