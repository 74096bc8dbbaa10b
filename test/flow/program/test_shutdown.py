"""SIGINT and SIGTERM end the program within 5 s, whatever it is doing."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.conftest import AuditBooks, OpenTables
    from test.flow.program.conftest import Cluster, MakeProgram, Simulate

WITHIN = 5.0 + 3.0  # seconds; the promise, and something for a machine that tests
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
async def test_under_load_it_ends_in_time_and_stores_what_it_took(
    number: signal.Signals,
    make_program: MakeProgram,
    cluster: Cluster,
    open_tables: OpenTables,
    simulate: Simulate,
    audit: AuditBooks,
    eventually: Eventually,
) -> None:
    program, tables = make_program("main", cluster.url), open_tables(cluster.url)
    await tables.add_tracks("snow", "rain,sun")
    async with simulate(rate=1000) as server:
        await program.add_source(server.url)
        await program.start()
        await eventually(lambda: len(server.sent) > 1000)
        assert await program.stop(number) < WITHIN
    await audit(tables, program.journal)
    assert await tables.rows("SELECT cause FROM gaps WHERE ended_at IS NULL") == [("stopped",)]
    assert await tables.rows("SELECT state, reason FROM sources") == [("idle", "stopped")]
    assert await tables.one("SELECT count(*) FROM daemons") == 0


@BOTH
@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_without_postgres_it_ends_in_time_and_stores_the_rest_later(
    number: signal.Signals,
    how: str,
    make_program: MakeProgram,
    cluster: Cluster,
    open_tables: OpenTables,
    simulate: Simulate,
    audit: AuditBooks,
    eventually: Eventually,
) -> None:
    program, tables = make_program("main", cluster.url), open_tables(cluster.url)
    await tables.add_tracks("snow", "rain,sun")
    async with simulate(rate=500) as server:
        await program.add_source(server.url)
        await program.start()
        await eventually(lambda: len(server.sent) > 500)
        if how == "killed":
            await cluster.kill(eventually)
        else:
            cluster.freeze()
        sent = len(server.sent)
        await eventually(lambda: len(server.sent) > sent + 1000)
        assert await program.stop(number) < WITHIN
        cluster.thaw()
        await cluster.give_back()
        server.hub.posts_left = 0
        await program.start()

        async def something_new() -> bool:
            return await tables.stored() > sent + 500

        await eventually(something_new)
        await program.stop()
    await audit(tables, program.journal)


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_while_it_waits_for_postgres_at_the_start_it_ends_in_time(
    how: str, make_program: MakeProgram, cluster: Cluster, eventually: Eventually
) -> None:
    program = make_program("main", cluster.url)
    if how == "killed":
        await cluster.kill(eventually)
    else:
        cluster.freeze()
    await program.start()
    await eventually(lambda: "waiting for Postgres" in program.log.read_text())
    assert await program.stop() < WITHIN


@pytest.mark.parametrize("ours", [True, False], ids=["embedded", "elsewhere"])
@pytest.mark.parametrize("words", [("status",), ("psql", "-c", "SELECT 1")])
async def test_a_command_beside_a_postgres_that_hangs_says_so(
    ours: bool, words: tuple[str, ...], make_program: MakeProgram, cluster: Cluster
) -> None:
    program = make_program("main", "" if ours else cluster.url)
    if ours:
        program.use(cluster.folder.parents[1])
    cluster.freeze()
    async with asyncio.timeout(60):  # and not for ever
        code, said = await program.fails(*words)
    assert code != 0
    assert "answer" in said or "timeout expired" in said, said
    assert "Traceback" not in said


@BOTH
@pytest.mark.parametrize(
    ("faults", "state"),
    [
        (("503:1000",), "waiting"),
        (("429-quota:1000",), "paused"),
        (("401:1000",), "failed"),
        (("half-open@1",), "streaming"),
    ],
)
async def test_while_a_source_waits_it_ends_in_time(
    number: signal.Signals,
    faults: tuple[str, ...],
    state: str,
    make_program: MakeProgram,
    database: str,
    open_tables: OpenTables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    program, tables = make_program("main", database), open_tables(database)
    await tables.add_tracks("snow")
    async with simulate(faults=faults) as server:
        await program.add_source(server.url)
        await program.start()

        async def in_this_state() -> bool:
            return await tables.rows("SELECT state FROM sources") == [(state,)]

        await eventually(in_this_state)
        assert await program.stop(number) < WITHIN
