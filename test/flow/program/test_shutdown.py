"""SIGINT and SIGTERM end the program within 5 s, whatever it is doing."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.conftest import AuditBooks
    from test.flow.program.conftest import Cluster, Collect, MakeProgram

WITHIN = 30.0  # seconds; 5 are promised, and a wait without a limit would last for a minute
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
async def test_under_load_it_ends_in_time_and_stores_what_it_took(
    number: signal.Signals, collect: Collect, cluster: Cluster, audit: AuditBooks
) -> None:
    async with collect("snow", "rain,sun", url=cluster.url, rate=1000) as run:
        tables = run.tables
        await run.more_sent(1000)
        assert await run.program.stop(number) < WITHIN
        run.server.hub.posts_left = 0
        await run.program.store_rest(run.eventually)
    await audit(tables, run.program.journal)
    assert await tables.rows("SELECT cause FROM gaps WHERE ended_at IS NULL") == [("stopped",)]
    assert await tables.rows("SELECT state, reason FROM sources") == [
        ("idle", "the daemon was stopped")
    ]
    assert await tables.one("SELECT count(*) FROM daemons") == 0


async def test_a_second_signal_ends_it_at_once_and_the_rest_is_stored_later(
    collect: Collect, cluster: Cluster, audit: AuditBooks
) -> None:
    async with collect("snow", "rain,sun", url=cluster.url, rate=500) as run:
        program = run.program
        assert program.process is not None
        await run.more_sent(500)
        cluster.freeze()  # so that it cannot end in order before the second one
        program.process.send_signal(signal.SIGINT)
        await run.eventually(lambda: "source is idle" in program.log.read_text())
        program.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(WITHIN):
            assert await program.process.wait() == 130
        assert "Interrupted. What is not stored yet is in the journal." in program.log.read_text()
        cluster.thaw()
        await program.start()
        await run.stored(len(run.server.sent) + 500)
        run.server.hub.posts_left = 0
        await program.stop()
        await program.store_rest(run.eventually)
    await audit(run.tables, program.journal)


@BOTH
@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_without_postgres_it_ends_in_time_and_stores_the_rest_later(
    number: signal.Signals, how: str, collect: Collect, cluster: Cluster, audit: AuditBooks
) -> None:
    async with collect("snow", "rain,sun", url=cluster.url, rate=500) as run:
        program, server = run.program, run.server
        await run.more_sent(500)
        if how == "killed":
            await cluster.kill(run.eventually)
        else:
            cluster.freeze()
        sent = len(server.sent)
        await run.more_sent(1000)
        assert await program.stop(number) < WITHIN
        cluster.thaw()
        await cluster.give_back()
        server.hub.posts_left = 0
        await program.start()
        await run.stored(sent + 500)
        await program.stop()
        await program.store_rest(run.eventually)
    await audit(run.tables, program.journal)


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
    expected = ("is suspended (SIGSTOP): continue it",) if ours else ("answer", "timeout expired")
    assert any(each in said for each in expected), said
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
    number: signal.Signals, faults: tuple[str, ...], state: str, collect: Collect
) -> None:
    async with collect("snow", faults=faults) as run:
        await run.rows_are("SELECT state FROM sources", state)
        assert await run.program.stop(number) < WITHIN
