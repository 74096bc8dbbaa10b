"""The web UI and the API through PgBouncer in transaction mode; what collects refuses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from live_app import LiveApp
from pgbouncers import bouncing
from stream import db
from stream.config import Settings
from stream.daemon import Daemon
from stream.errors import ConfigError, DatabaseAway
from stream.tweet import TrackId
from stream.vault import Vault
from waiting import Eventually
from web_app import running_app

LIMIT = 1.0  # seconds of a statement
# With prepared statements and without; the last one also ignores what the session asks for.
POOLERS: dict[str, dict[str, str | int]] = {
    "prepared": {"max_prepared_statements": 200},
    "unprepared": {"max_prepared_statements": 0},
    "ignoring": {"max_prepared_statements": 0, "ignore_startup_parameters": "options"},
}


@pytest.fixture(params=POOLERS)
async def pooled(
    request: pytest.FixtureRequest, database: str, tmp_path: Path
) -> AsyncIterator[str]:
    async with bouncing(tmp_path / "pgbouncer", database, **POOLERS[request.param]) as url:
        yield url


async def test_pages_api_downloads_and_the_live_view_work_through_a_pooler(
    pooled: str, tmp_path: Path
) -> None:
    """Many at once, so that each transaction of a connection may be on another server."""
    async with running_app(pooled, tmp_path / "data") as app:
        live = LiveApp(app, app.stack)
        ana = await app.log_in("ana")
        status, _ = await ana.post("/tracks/new", await ana.form("/tracks/new") | {"value": "snow"})
        assert status == 303
        viewer = await live.connect(ana)
        await viewer.watch(track="1")
        live.tracks["snow"] = TrackId(1)
        await live.store("snow one", "snow two", "rain")
        assert await viewer.texts(2) == ["snow one", "snow two"]

        async def get(path: str) -> str:
            return await ana.page(path)

        paths = ["/", "/tracks/1", "/tracks/1/chart", "/api/v1/tweets", "/api/v1/tracks"]
        paths = [*paths, "/api/v1/counts?track=1", "/api/v1/gaps"] * 10
        paths.append("/api/v1/tweets?format=ndjson")
        found = await asyncio.gather(*map(get, paths))
        for path, text in zip(paths, found, strict=True):
            assert "snow" in text or path.startswith(("/api/v1/counts", "/api/v1/gaps")), path
        form = await ana.form("/tracks/1/change")
        assert (await ana.post("/tracks/1/change", form | {"value": "rain"}))[0] == 303
        assert "rain" in await ana.page("/tracks/1")


async def test_sessions_are_as_the_statements_need_them(
    pooled: str, database: str, eventually: Eventually
) -> None:
    """In UTC, with a limit that the server enforces, and in one transaction."""
    async with db.connect(pooled, call_timeout=LIMIT) as through:

        async def one() -> None:
            async with through.acquire() as connection:
                [row] = await connection.fetch(
                    "SELECT current_setting('timezone') AS zone, pg_backend_pid() AS pid,"
                    " current_setting('statement_timeout') AS limit, $1::jsonb AS json",
                    b'{"a": 1}',
                )
                assert (row["zone"], row["limit"]) == ("UTC", "1s")
                assert row["json"] == b'{"a": 1}'
                [again] = await connection.fetch("SELECT pg_backend_pid() AS pid")
                assert again["pid"] == row["pid"]

        await asyncio.gather(*(one() for _ in range(100)))
        with pytest.raises(DatabaseAway):
            await through.fetch("SELECT pg_sleep(600)")
        running = "SELECT FROM pg_stat_activity WHERE query = %s AND state = 'active'"

        async def is_over() -> bool:
            async with await psycopg.AsyncConnection.connect(database) as direct:
                return not (await direct.execute(running, ["SELECT pg_sleep(600)"])).rowcount

        await eventually(is_over)


async def test_what_collects_refuses_a_pooler(pooled: str, tmp_path: Path) -> None:
    async with db.connect(pooled) as through:
        daemon = Daemon(
            through, Settings(data_dir=str(tmp_path)), Vault(tmp_path / "data"), lambda _: None
        )
        with pytest.raises(ConfigError, match="connection pooler such as PgBouncer") as raised:
            await through.require_direct()
        with pytest.RaisesGroup(ConfigError, flatten_subgroups=True):
            await daemon.run()
        with pytest.raises(ConfigError):
            async with through.long_running():
                pass
    assert "Set `database` to the address of Postgres itself" in str(raised.value)


async def test_a_direct_connection_is_recognized(database: str) -> None:
    async with db.connect(database) as direct:
        await direct.require_direct()
