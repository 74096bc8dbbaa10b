"""Two daemons on one database: one collects, the other stands by, says so, and takes over."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from simulator.server import Limits

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.conftest import AuditBooks
    from test.flow.program.conftest import Collect, MakeProgram, Program, Run

TAKE_OVER = 30.0  # seconds, as promised
LIMITS = Limits(resend=500, resend_bytes=4 << 20)
TAKEN_OVER = ("killed", "another daemon took the source over")
ROLE = "SELECT count(*) FROM daemons WHERE pid = %s AND role = %s"


async def roles(program: Program) -> dict[int, str]:
    """What `status` says of each daemon, by process."""
    status = json.loads(await program.command("status", "--json"))
    return {daemon["pid"]: daemon["role"] for daemon in status["daemons"]}


async def stand_by(second: Program, run: Run) -> None:
    """Start another daemon beside the one that collects."""
    second.share_key_of(run.program)
    await run.more_sent(200)
    await second.start()
    await run.eventually(lambda: "another daemon collects" in second.log.read_text())


@pytest.mark.parametrize("shared", [True, False], ids=["one data_dir", "a data_dir each"])
async def test_the_second_stands_by_and_takes_over(
    shared: bool,
    make_program: MakeProgram,
    database: str,
    collect: Collect,
    audit: AuditBooks,
    eventually: Eventually,
) -> None:
    """Nothing is lost or stored twice, the change is a gap, and the first can come back."""
    second = make_program("second", database)
    async with collect("snow", "rain,sun", rate=200, faults=("resend",), limits=LIMITS) as run:
        first, tables, server = run.program, run.tables, run.server
        if shared:
            second.share(first)
        else:
            second.share_key_of(first)
        await run.more_sent(200)
        await second.start()

        def known(role: str, program: Program) -> Callable[[], Awaitable[object]]:
            return lambda: tables.one(ROLE, program.pid, role)

        await eventually(known("standby", second))
        await eventually(known("collecting", first))
        assert await roles(second) == {first.pid: "collecting", second.pid: "standby"}
        assert server.hub.attempt_count == 1
        killed = await first.kill()
        await eventually(lambda: server.connections == 0)
        await eventually(lambda: server.connections == 1, TAKE_OVER)
        await first.start()
        await eventually(known("collecting", second))
        await eventually(known("standby", first))
        assert await roles(second) == {first.pid: "standby", second.pid: "collecting"}
        assert server.connections == 1
        await run.stored_all()
        await first.stop()
        await second.stop()
    journals = {first.journal, second.journal}
    found = await audit(tables, *journals)
    assert found.tweets == set(server.sent)
    gaps = await tables.rows(
        "SELECT extract(epoch FROM began_at)::float, extract(epoch FROM ended_at)::float, cause,"
        " detail FROM gaps ORDER BY began_at"
    )
    taken_over, stopped = gaps
    assert tuple(taken_over[2:]) == TAKEN_OVER
    assert stopped[2] == "stopped"
    assert taken_over[0] <= killed <= taken_over[1]


async def test_a_stop_hands_over_and_leaves_no_gap_open(
    make_program: MakeProgram, database: str, collect: Collect, eventually: Eventually
) -> None:
    """The one that goes writes its last words while the other one may be streaming already."""
    second = make_program("second", database, status_interval=0.5)
    async with collect("snow", "rain,sun", rate=500) as run:
        second.share_key_of(run.program)
        await run.more_sent(500)
        await second.start()
        await eventually(lambda: "another daemon collects" in second.log.read_text())
        await run.program.stop()
        await run.more_sent(500)
        await run.rows_are("SELECT cause FROM gaps WHERE ended_at IS NOT NULL", "stopped")
        assert await run.tables.one("SELECT count(*) FROM gaps") == 1
        assert await run.tables.one("SELECT state FROM sources") == "streaming"
        await second.stop()


async def test_one_that_stood_still_says_nothing_of_a_source_that_another_one_has(
    make_program: MakeProgram,
    database: str,
    collect: Collect,
    audit: AuditBooks,
    eventually: Eventually,
) -> None:
    second = make_program("second", database)
    async with collect("snow", "rain,sun", rate=200, faults=("resend",), limits=LIMITS) as run:
        first, tables, server = run.program, run.tables, run.server
        await stand_by(second, run)
        first.freeze()
        await eventually(lambda: tables.one(ROLE, second.pid, "collecting"))
        await run.more_sent(200)
        first.thaw()
        await eventually(lambda: tables.one(ROLE, first.pid, "standby"))
        await run.more_sent(200)
        await run.stored_all()
        assert await tables.one("SELECT state FROM sources") == "streaming"
        assert not await tables.one("SELECT count(*) FROM gaps WHERE ended_at IS NULL")
        await first.stop()
        await second.stop()
    found = await audit(tables, first.journal, second.journal)
    assert found.tweets == set(server.sent)


async def test_a_connection_that_ended_while_one_stood_still_is_no_gap_of_the_other_one(
    make_program: MakeProgram,
    database: str,
    collect: Collect,
    audit: AuditBooks,
    eventually: Eventually,
) -> None:
    """When it goes on, it reads what had arrived and the end before it knows that it lost."""
    second = make_program("second", database)
    async with collect("snow", "rain,sun", rate=200, faults=("resend",), limits=LIMITS) as run:
        first, tables, server = run.program, run.tables, run.server
        await stand_by(second, run)
        [connection] = server.hub.connections
        first.freeze()
        await run.more_sent(50)
        connection.end()
        await eventually(lambda: tables.one(ROLE, second.pid, "collecting"))
        await run.more_sent(200)
        first.thaw()
        await eventually(lambda: tables.one(ROLE, first.pid, "standby"))
        await run.more_sent(200)
        await run.stored_all()
        assert await tables.rows("SELECT cause, detail FROM gaps") == [TAKEN_OVER]
        assert not await tables.one("SELECT count(*) FROM gaps WHERE ended_at IS NULL")
        assert await tables.one("SELECT state FROM sources") == "streaming"
        assert not first.said("source is waiting")
        assert first.said("another daemon has taken the source over")
        await first.stop()
        await second.stop()
    found = await audit(tables, first.journal, second.journal)
    assert found.tweets == set(server.sent)
