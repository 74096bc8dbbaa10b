"""Every wait on the database ends: with a limit, or with its connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import aiohttp
import psutil
import pytest
import uvloop

from stream import db, guarded_database
from stream.config import Settings
from stream.errors import DatabaseAway
from stream.guarded_database import GuardedDatabase
from stream.postgres.cluster import SOCKET_NAME
from stream.postgres.process import processes_in
from stream.vault import Vault
from web.app import build
from web.server import Server

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.program.conftest import Cluster

LIMIT = 2.0  # seconds of a statement
WITHIN = 50.0  # seconds; a wait without a limit would be seen to last longer


def endless(cluster: Cluster, full: threading.Event) -> Iterator[tuple[str]]:
    """Rows without an end, for a server that stops reading with the first of them."""
    cluster.freeze()
    asyncio.get_running_loop().call_soon(full.set)  # it has no turn before the socket is full
    while True:
        yield ("x" * 65_536,)


async def copy_forever(cluster: Cluster, database: db.Database, full: threading.Event) -> None:
    async with database.transaction() as connection:
        await connection.execute("CREATE TEMPORARY TABLE bodies (body text)")
        await db.copy(connection, "bodies", ["body"], endless(cluster, full))


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("killed", [True, False])
async def test_a_copy_whose_socket_is_full_ends(
    cluster: Cluster, make_loop: Callable[[], asyncio.AbstractEventLoop], *, killed: bool
) -> None:
    """When Postgres dies with its connection, and when it only stands still by the limit."""

    full = threading.Event()

    async def attempt() -> str:
        limit = 600 if killed else LIMIT
        async with asyncio.timeout(WITHIN), db.connect(cluster.url, call_timeout=limit) as database:
            return await _away(copy_forever(cluster, database, full))

    def run() -> str:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            return runner.run(attempt())

    copying = asyncio.create_task(asyncio.to_thread(run))
    if killed:
        await asyncio.to_thread(full.wait, WITHIN)
        for each in processes_in(cluster.folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    assert ("reset" if killed else "no answer in time") in await copying


async def _away(work: Awaitable[object]) -> str:
    with pytest.raises(DatabaseAway) as raised:
        await work
    return str(raised.value)


async def test_no_statement_waits_longer_than_its_limit_for_a_server_that_stands_still(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement, a commit, a rollback, a bell that is listened for, and a new connection."""
    monkeypatch.setattr(db, "CONNECT_TIMEOUT", LIMIT)
    monkeypatch.setattr(db, "PROBE_INTERVAL", LIMIT)
    async with db.connect(cluster.url, call_timeout=LIMIT) as database:

        async def statement() -> None:
            await database.fetch("SELECT pg_sleep(600)")

        async def commit() -> None:
            async with database.transaction() as connection:
                await connection.execute("SELECT 1")
                cluster.freeze()

        async def rollback() -> None:
            async with database.transaction() as connection:
                await connection.execute("SELECT 1")
                cluster.freeze()
                raise DatabaseAway("anything")

        async def bell() -> None:
            async with database.dedicated() as connection:
                await db.listen(connection, cluster.freeze)

        async def connect() -> None:
            await database.fetch("SELECT 1")

        for work in (statement, commit, rollback, bell, connect):
            async with asyncio.timeout(WITHIN):
                await _away(work())
            if work is not bell:
                cluster.thaw()
        cluster.thaw()
        await database.fetch("SELECT 1")


@contextlib.asynccontextmanager
async def guarded(cluster: Cluster) -> AsyncIterator[GuardedDatabase]:
    async with db.connect(cluster.url) as database:
        made = GuardedDatabase(database)
        watching = asyncio.create_task(made.watch())
        yield made
        watching.cancel()


async def test_calls_to_a_guarded_database_that_is_frozen_fail_soon_and_the_next_at_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(guarded_database, "SLOW_CALL", LIMIT / 4)
    monkeypatch.setattr(guarded_database, "CHECK_TIMEOUT", LIMIT)
    monkeypatch.setattr(guarded_database, "CHECK_INTERVAL", LIMIT / 4)
    async with guarded(cluster) as database:

        async def answers() -> bool:
            with contextlib.suppress(DatabaseAway):
                return len(await database.fetch("SELECT 1")) == 1
            return False

        await database.fetch("SELECT 1")
        cluster.freeze()
        async with asyncio.timeout(WITHIN):
            calls = (_away(database.fetch("SELECT 1")) for _ in range(2 * db.POOL_SIZE))
            assert set(await asyncio.gather(*calls)) == {"it does not answer"}
        with pytest.raises(DatabaseAway):  # without any waiting: the event loop has no turn
            database.fetch("SELECT 1").send(None)
        cluster.thaw()
        await eventually(answers)


async def test_a_machine_that_stands_still_is_no_frozen_server(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check runs out of time because nothing on the machine runs: it is repeated."""
    monkeypatch.setattr(guarded_database, "CHECK_TIMEOUT", 1.0)

    async def check() -> bool:
        def stand_still() -> None:
            time.sleep(3)
            cluster.thaw()

        async with db.connect(cluster.url) as database:
            await database.fetch("SELECT 1")
            cluster.freeze()
            asyncio.get_running_loop().call_later(0.1, stand_still)
            return await guarded_database._is_frozen(database)

    # On a loop of its own, whose time goes on while this process stands still.
    assert await asyncio.to_thread(asyncio.run, check()) is False


@contextlib.contextmanager
def full_queue(url: str) -> Iterator[None]:
    """As many connections as the server's Unix socket lets wait, so that it refuses the next."""
    address = Path(parse_qs(urlsplit(url).query)["host"][0]) / SOCKET_NAME
    with contextlib.ExitStack() as waiting:
        with contextlib.suppress(BlockingIOError):
            while True:
                one = waiting.enter_context(socket.socket(socket.AF_UNIX))
                one.setblocking(False)
                one.connect(str(address))
        yield


async def test_a_frozen_server_that_lets_no_more_connections_wait_does_not_answer(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_database, "SLOW_CALL", LIMIT / 4)
    monkeypatch.setattr(guarded_database, "CHECK_INTERVAL", LIMIT / 4)

    async def attempt() -> str:
        async with guarded(cluster) as database, db.connect(cluster.url) as other:
            await database.fetch("SELECT 1")
            cluster.freeze()
            with full_queue(cluster.url):
                async with asyncio.timeout(WITHIN):
                    assert await _away(other.fetch("SELECT 1")) == "no answer in time"
                    return await _away(database.fetch("SELECT 1"))

    def run() -> str:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(attempt())

    try:
        assert await asyncio.to_thread(run) == "it does not answer"
    finally:
        cluster.thaw()


async def test_a_slow_call_to_a_guarded_database_that_answers_may_take_its_time(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_database, "SLOW_CALL", 0.1)
    monkeypatch.setattr(guarded_database, "CHECK_TIMEOUT", 60.0)
    monkeypatch.setattr(guarded_database, "CHECK_INTERVAL", 0.1)
    async with guarded(cluster) as database:
        assert len(await database.fetch("SELECT 1 FROM pg_sleep(1)")) == 1


async def test_pages_of_a_frozen_database_say_so_soon(cluster: Cluster, tmp_path: Path) -> None:
    """The first ones as well; before, each waited until its time limit."""
    settings = Settings(data_dir=str(tmp_path))
    opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with db.connect(cluster.url) as database:
        server = Server(
            lambda: build(database, settings, Vault(tmp_path)),
            "127.0.0.1:0",
            opened.set_result,
        )
        serving = asyncio.create_task(server.run())
        headers = {"Authorization": "Bearer ts_unknown"}
        async with aiohttp.ClientSession(await opened, headers=headers) as client:

            async def get(path: str) -> tuple[int, str]:
                async with client.get(path) as answer:
                    return answer.status, await answer.text()

            assert (await get("/api/v1/tracks"))[0] == 401
            cluster.freeze()
            async with asyncio.timeout(WITHIN):
                for path in ("/", "/api/v1/tracks", "/tracks/1"):
                    status, text = await get(path)
                    assert status == 503
                    assert "The database is unavailable" in text
        serving.cancel()
