"""Locks of a process that stood still, and that lost them meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from stream import db
from stream.store import locks
from stream.store.locks import SOURCE_LOCK_CLASS, Lock, Locks, try_lock

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    import pytest

    from stream.db import Database
    from test.conftest import Eventually

HOLDER = """
SELECT pid FROM pg_locks JOIN pg_database ON oid = database
WHERE datname = current_database() AND locktype = 'advisory' AND objid = $1 AND granted
"""


async def holder_of(database: Database, number: int) -> int | None:
    """The process of Postgres that has a lock."""
    rows = await database.fetch(HOLDER, number)
    return rows[0]["pid"] if rows else None


async def end_holder_of(database: Database, number: int) -> int | None:
    """End the session that has a lock."""
    pid = await holder_of(database, number)
    await database.execute("SELECT pg_terminate_backend($1, 5000)", pid)
    return pid


async def end_both_connections(ours: Locks) -> Lock:
    """Want lock 7, which another connection has; then end that one and ours."""
    async with ours.database.dedicated() as holder:
        assert await try_lock(holder, 7, SOURCE_LOCK_CLASS)
        lock = ours.want(7)
        await lock.until(ours=False)
        await ours.want(8).until(ours=True)
        await end_holder_of(ours.database, 8)
    return lock


async def test_a_lock_is_not_confirmed_while_another_daemon_has_it(
    connected: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "CONFIRM_WITHIN", 60.0)
    ours = Locks(connected, SOURCE_LOCK_CLASS)
    async with asyncio.TaskGroup() as group:
        async with connected.dedicated() as other:
            assert await try_lock(other, 7, SOURCE_LOCK_CLASS)
            lock = ours.want(7)
            lock.set(ours=True)  # as far as it knows
            confirming = group.create_task(ours.confirm(7))
            running = group.create_task(ours.run())
            await ours.confirm(8)  # ends with the same check
            assert lock.ours is False
            assert not confirming.done()
        await confirming  # the other one is gone
        assert lock.ours
        running.cancel()


async def test_while_postgres_is_away_only_the_first_of_several_checks_waits(
    connected: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Locks(connected, SOURCE_LOCK_CLASS)
    ours.want(7)  # it does not run: nothing answers
    monkeypatch.setattr(locks, "FRESH", 600.0)
    monkeypatch.setattr(locks, "CONFIRM_WITHIN", 0.1)
    await ours.confirm(7)
    monkeypatch.setattr(locks, "CONFIRM_WITHIN", 600.0)
    async with asyncio.timeout(60):
        await ours.confirm(7)


async def test_after_an_outage_the_former_holder_of_a_lock_may_take_it_first(
    connected: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "HOLDER_FIRST", 600.0)
    ours = Locks(connected, SOURCE_LOCK_CLASS)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ours.run())
        lock = await end_both_connections(ours)
        await ours.want(9).until(ours=True)  # over the new connection, when nobody has lock 7
        assert lock.ours is False
        running.cancel()


async def test_a_holder_whose_session_was_ended_is_back_before_another_one_tries(
    connected: Database, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "RETRY_INTERVAL", 600.0)  # nothing is tried again by itself
    ours, other = Locks(connected, SOURCE_LOCK_CLASS), Locks(connected, SOURCE_LOCK_CLASS)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(each.run()) for each in (ours, other)]
        lock = ours.want(7)
        await lock.until(ours=True)
        others = other.want(7)
        for number in (8, 9, 10):
            await other.want(number).until(ours=True)  # it has just tried
            ended = await end_holder_of(connected, 7)

            async def is_held_again(ended: int | None = ended) -> bool:
                return await holder_of(connected, 7) not in (ended, None)

            await eventually(is_held_again)
            assert (lock.ours, others.ours) == (True, False)
        for each in running:
            each.cancel()


async def test_outages_that_follow_each_other_keep_no_lock_from_others(
    connected: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each interrupts the wait for the former holder, which does not come back."""
    monkeypatch.setattr(locks, "HOLDER_FIRST", 3.0)
    ours = Locks(connected, SOURCE_LOCK_CLASS)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ours.run())
        lock = await end_both_connections(ours)
        async with asyncio.timeout(60):
            for number in itertools.count(9):
                await ours.want(number).until(ours=True)
                if lock.ours:
                    break
                await end_holder_of(connected, number)
        running.cancel()


class SilentNetwork:
    """Forwards to Postgres; on demand it drops its clients, which the server does not notice."""

    def __init__(self, url: str) -> None:
        self._direct = urlsplit(url)
        self._socket = parse_qs(self._direct.query)["host"][0] + "/.s.PGSQL.5432"
        self._clients: list[asyncio.StreamWriter] = []
        self._servers: list[asyncio.StreamWriter] = []
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[SilentNetwork]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            address = "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
            netloc = self._direct.netloc + address
            self.url = self._direct._replace(netloc=netloc, query="").geturl()
            yield self
            for connection in (*self._clients, *self._servers):
                connection.transport.abort()

    def drop(self) -> None:
        for client in self._clients:
            client.transport.abort()

    async def _serve(self, asked: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_unix_connection(self._socket)
        self._clients.append(client)
        self._servers.append(server)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._forward(asked, server), self._forward(answers, client))

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            target.write(data)


async def test_a_lock_is_kept_when_the_server_does_not_notice_that_its_connection_was_lost(
    database: str,
) -> None:
    async with (
        SilentNetwork(database).running() as network,
        db.connect(network.url) as connected,
        asyncio.TaskGroup() as group,
    ):
        ours = Locks(connected, SOURCE_LOCK_CLASS)
        running = group.create_task(ours.run())
        lock = ours.want(7)
        await lock.until(ours=True)
        losing = group.create_task(lock.until(ours=False))
        network.drop()
        await ours.want(8).until(ours=True)  # with the new connection
        assert not losing.done()
        losing.cancel()
        running.cancel()
