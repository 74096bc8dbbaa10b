"""A standby of Postgres becomes the primary: the daemon goes on by itself, nothing is lost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from postgres_servers import PostgresServer, PostgresServers, address_of
from stream import db
from stream.store import migrations
from whole_cluster import reading

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from bus_bench import Feed
    from test.conftest import Eventually
    from test.flow.conftest import AuditBooks
    from test.flow.program.conftest import Collect, Run

RATE = 300  # tweets a second
CALL_TIMEOUT = 5  # seconds of a reader, which a frozen server does not answer
TRACKS = ("snow", "rain,sun", "#news")
POSITION = "SELECT coalesce(max(position), 0) FROM positions"


async def migrated(url: str) -> None:
    async with db.connect(url) as database:
        await migrations.migrate(database)


async def is_in_sync(primary: PostgresServer) -> bool:
    return bool(await primary.ask("SELECT max(sync_state) = 'sync' FROM pg_stat_replication"))


async def finish(run: Run, feed: Feed, audit: AuditBooks) -> None:
    """Everything that was sent is stored once, and was read once."""
    await run.stored_all()
    await run.eventually(lambda: feed.ids.total() >= len(run.server.sent))
    assert feed.ids == Counter(run.server.sent)
    assert run.server.hub.attempt_count == 1, "the connection had no reason to end"
    await run.program.stop()
    found = await audit(run.tables, run.program.journal)
    assert found.tweets == set(run.server.sent)


@pytest.mark.parametrize("frozen", [False, True])
async def test_a_synchronous_standby_takes_over_and_nothing_is_lost(
    postgres_servers: PostgresServers,
    collect: Collect,
    audit: AuditBooks,
    eventually: Eventually,
    *,
    frozen: bool,
) -> None:
    """Also when the old primary's machine does not answer instead of refusing connections."""
    primary = await postgres_servers.primary()
    await migrated(primary.url)
    standby = await postgres_servers.standby(primary)
    await primary.set(synchronous_standby_names="*")
    await eventually(lambda: is_in_sync(primary))
    url = address_of(primary, standby)
    async with collect(*TRACKS, url=url, rate=RATE) as run, reading(url, CALL_TIMEOUT) as feed:
        await run.stored(RATE)
        if frozen:
            primary.freeze()
        else:
            await primary.kill()
        await run.more_sent(RATE)
        await standby.promote()
        run.tables.url = standby.url
        await run.tables.close()
        before = await run.tables.stored()
        await run.stored(before + RATE)
        await finish(run, feed, audit)


async def test_an_asynchronous_standby_that_lacks_commits_gets_them_from_the_journal(
    postgres_servers: PostgresServers, collect: Collect, audit: AuditBooks, eventually: Eventually
) -> None:
    """A reader that has read them already does not get them again."""
    primary = await postgres_servers.primary()
    await migrated(primary.url)
    standby = await postgres_servers.standby(primary)
    url = address_of(primary, standby)
    async with collect(*TRACKS, url=url, rate=RATE) as run, reading(url, CALL_TIMEOUT) as feed:
        await run.stored(RATE)

        async def streams() -> bool:
            return bool(await standby.ask(POSITION))

        await eventually(streams)
        await standby.set(primary_conninfo="")  # it receives no more
        await run.stored(await run.tables.stored() + 2 * RATE)
        read = feed.ids.total()
        lost = await primary.ask(POSITION)
        await primary.kill()
        await standby.promote()
        assert await standby.ask(POSITION) < lost
        run.tables.url = standby.url
        await run.tables.close()
        await run.stored(read + RATE)
        await finish(run, feed, audit)
        [(text,)] = await run.tables.rows("SELECT text FROM events WHERE kind = 'journal'")
        assert "Postgres has lost commits" in text
