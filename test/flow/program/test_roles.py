"""The work divided between processes: one collects, others write, the bus between them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from nats_servers import running_server

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from simulator.server import Server
    from test.conftest import Eventually
    from test.flow.conftest import AuditBooks, OpenTables, Tables
    from test.flow.program.conftest import MakeProgram, Program, Simulate

WORD = "zeppelin"


@contextlib.asynccontextmanager
async def machines(
    folder: Path, database: str, make_program: MakeProgram, url: str, *names: str
) -> AsyncIterator[list[Program]]:
    """Programs on one database and one bus, with the same key; the first one has the source."""
    async with running_server(folder / "nats") as nats:
        made = [make_program(name, database, bus=nats.url, bus_replicas=1) for name in names]
        await made[0].add_source_to(database, url, "x_v2")
        for other in made[1:]:
            other.share_key_of(made[0])
        yield made


def tracks_noted(program: Program) -> int:
    """How often its journal says that other tracks are in force from there on."""
    files = [each for each in program.journal.rglob("*") if each.is_file()]
    return sum(each.read_bytes().count(b'"tracks_in_force"') for each in files)


async def test_one_process_collects_and_another_one_stores(
    tmp_path: Path,
    database: str,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    audit: AuditBooks,
    eventually: Eventually,
) -> None:
    async with (
        simulate(rate=200) as server,
        machines(tmp_path, database, make_program, server.url, "collector", "writer") as made,
    ):
        collector, writer = made
        tables = open_tables(database)
        await tables.add_tracks("snow", "rain,sun")
        await collector.start(roles=["collect"])
        await writer.start(roles=["write"])
        await eventually(lambda: len(server.sent) > 1000)
        server.hub.posts_left = 0
        await eventually(lambda: tables.has_all(server.sent))
        await collector.stop()
        await writer.stop()
    found = await audit(tables, collector.journal)
    assert found.tweets == set(server.sent)


async def test_a_collector_tells_the_writers_which_tracks_are_in_force(
    tmp_path: Path,
    database: str,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    async with (
        simulate(rate=50) as server,
        machines(tmp_path, database, make_program, server.url, "collector") as [collector],
    ):
        tables = open_tables(database)
        await tables.add_tracks("snow")
        await collector.start(roles=["collect"])
        await eventually(lambda: tracks_noted(collector))
        before = tracks_noted(collector)
        await tables.add_tracks("rain")
        await eventually(lambda: tracks_noted(collector) > before)
        await collector.stop()


async def test_writers_share_the_lanes_and_take_over(
    tmp_path: Path,
    database: str,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    audit: AuditBooks,
    eventually: Eventually,
) -> None:
    """Three lanes on two machines; one is killed, and the other one stores all of them.

    When it is back it gets its share again, and both stop although each wants the other's lanes.
    """
    async with (
        simulate(rate=500) as server,
        machines(tmp_path, database, make_program, server.url, "collector", "one", "two") as made,
    ):
        collector, one, two = made
        tables = open_tables(database)
        await tables.add_tracks("snow", "rain,sun")
        await tables.rows("UPDATE sources SET lanes = 3 RETURNING id")
        await collector.start(roles=["collect"])
        for each in (one, two):
            await each.start(roles=["write"])

        def stores(program: Program, *numbers: int) -> Callable[[], Awaitable[object]]:
            query = "SELECT count(*) FROM daemons WHERE pid = %s AND cardinality(lanes) = ANY (%s)"
            return lambda: tables.one(query, program.pid, list(numbers))

        await eventually(stores(one, 1, 2))
        await eventually(stores(two, 1, 2))
        await eventually(lambda: len(server.sent) > 1000)
        await one.kill()
        await eventually(stores(two, 3))
        server.hub.posts_left = 0
        await eventually(lambda: tables.has_all(server.sent))
        await one.start(roles=["write"])
        await eventually(stores(one, 1, 2))
        for program in (collector, one, two):
            await program.stop()
    found = await audit(tables, collector.journal)
    assert found.tweets == set(server.sent)


async def test_a_writer_without_the_bus_leaves_the_lanes_to_others(
    tmp_path: Path,
    database: str,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    async with (
        simulate(rate=50) as server,
        machines(tmp_path, database, make_program, server.url, "collector", "well") as made,
    ):
        collector, well = made
        astray = make_program("astray", database, bus="nats://127.0.0.1:1", bus_replicas=1)
        astray.use(well.data_dir)
        tables = open_tables(database)
        await tables.add_tracks("snow", "rain,sun")
        await tables.rows("UPDATE sources SET lanes = 3 RETURNING id")
        await astray.start(roles=["write"])
        held = "SELECT coalesce(sum(cardinality(lanes)), 0) FROM daemons WHERE pid = %s"
        # While nobody else can, it may as well wait for the bus with the lanes.
        await collector.start(roles=["collect"])
        await eventually(lambda: tables.one(held, astray.pid))
        await well.start(roles=["write"])

        async def given() -> bool:
            return (await tables.one(held, astray.pid), await tables.one(held, well.pid)) == (0, 3)

        await eventually(given)
        server.hub.posts_left = 0
        await eventually(lambda: tables.has_all(server.sent))
        for program in (collector, well, astray):
            await program.stop()


async def test_a_machine_with_another_key_does_not_say_that_the_source_failed(
    tmp_path: Path,
    database: str,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    async with (
        simulate(rate=50) as server,
        machines(tmp_path, database, make_program, server.url, "good") as made,
    ):
        good, bad = made[0], make_program("bad", database)
        tables = open_tables(database)
        await tables.add_tracks("snow")
        await good.start(roles=["collect", "write"])
        state = "SELECT count(*) FROM sources WHERE state = 'streaming'"
        await eventually(lambda: tables.one(state))
        await bad.start()
        await eventually(lambda: b"cannot be collected here" in bad.log.read_bytes())
        # Also after it has read the rows again.
        await tables.rows("UPDATE sources SET proxy = NULL RETURNING id")
        await tables.add_tracks("rain")
        await eventually(
            lambda: tables.one("SELECT count(*) = 2 FROM tracks WHERE state = 'active'")
        )
        assert await tables.one(state)
        for program in (good, bad):
            await program.stop()


class Bluesky:
    """Machines that collect from Bluesky's simulator, and one that stores, in this order."""

    def __init__(self, server: Server, made: list[Program], tables: Tables, eventually: Eventually):
        self.server = server
        *self.collectors, self.writer = made
        self.tables = tables
        self.eventually = eventually
        self._begun = 0

    @property
    def _sent(self) -> list[str]:
        return self.server.bluesky.activity.sent.matching

    async def begin(self) -> None:
        """Let the first machine collect; what is sent from now on has to be stored."""
        await self.collectors[0].start(roles=["collect"])
        await self.eventually(lambda: self.server.connections == 1)
        self._begun = len(self._sent)
        await self.more_sent()

    async def more_sent(self) -> None:
        enough = len(self._sent) + 100
        await self.eventually(lambda: len(self._sent) > enough)

    async def finish(self, *gap: str) -> None:
        """Store everything; there has to be one gap, of this cause and detail, that is replayed."""
        await self.eventually(lambda: self.server.connections == 1)
        assert not await self.tables.stored()
        await self.writer.start(roles=["write"])
        await self.more_sent()
        wanted = set(self._sent[self._begun :])

        async def all_stored() -> bool:
            rows = await self.tables.rows("SELECT native_id FROM tweets")
            return {native_id for (native_id,) in rows} >= wanted

        await self.eventually(all_stored)
        assert await self.tables.rows(
            "SELECT cause, detail, ended_at IS NOT NULL, recovered_from <= began_at FROM gaps"
        ) == [(*gap, True, True)]
        for each in (*self.collectors, self.writer):
            if each.process is not None and each.process.returncode is None:
                await each.stop()


@pytest.fixture
async def bluesky(
    tmp_path: Path,
    database: str,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    eventually: Eventually,
) -> AsyncIterator[Bluesky]:
    tables = open_tables(database)
    await tables.add_tracks(WORD)
    async with (
        simulate(network="bluesky", rate=100, words=(WORD,), words_every=2) as server,
        running_server(tmp_path / "nats") as nats,
    ):
        hosts = {"hosts": [server.url.replace("http", "ws")], "old_hosts": []}
        settings = {"bus": nats.url, "bus_replicas": 1, "bluesky": hosts}
        made = [make_program(name, database, **settings) for name in ("one", "two", "writer")]
        await made[0].command("source", "add", "main", "--network", "bluesky")
        for other in made[1:]:
            other.share_key_of(made[0])
        yield Bluesky(server, made, tables, eventually)


async def test_bluesky_resumes_after_what_is_received_when_nothing_is_stored(
    bluesky: Bluesky,
) -> None:
    """Until Postgres knows an event, only the journal says where the last run ended."""
    await bluesky.begin()
    await bluesky.collectors[0].stop()
    await bluesky.more_sent()
    await bluesky.collectors[0].start(roles=["collect"])
    await bluesky.finish("stopped", "the daemon was stopped")


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_another_machine_replays_all_when_nothing_is_stored(
    bluesky: Bluesky, how: str
) -> None:
    """It has no journal: what the first one has received may be lost."""
    first, second = bluesky.collectors
    await bluesky.begin()
    if how == "killed":
        await second.start(roles=["collect"])
        await bluesky.eventually(lambda: second.said("another daemon collects"))
        await first.kill()
        gap = ("killed", "another daemon took the source over")
    else:
        await first.stop()
        await second.start(roles=["collect"])
        gap = ("stopped", "the daemon was stopped")
    await bluesky.eventually(lambda: second.said("source is streaming"))
    await bluesky.finish(*gap)
