"""Postgres may be away as long as the journal's budget lasts: nothing lost, memory flat."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import psutil
import pytest

from simulator.server import Limits

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from pathlib import Path

    from test.conftest import Eventually
    from test.flow.conftest import AuditBooks, OpenTables, ReadJournal
    from test.flow.program.conftest import Cluster, MakeProgram, Program, Simulate

AWAY = 60  # seconds
RATE = 1000  # tweets a second
PATIENCE = 120  # seconds, on a machine that has other work
MARGIN = 48 << 20  # bytes: the largest batch, decoded, which is kept for the next attempt
DRIFT = 8 << 20  # bytes: growth while it waits


def memory(program: Program) -> int:
    assert program.process is not None
    return int(psutil.Process(program.process.pid).memory_info().rss)


@pytest.mark.timeout(600)
async def test_a_minute_without_postgres_at_1000_a_second_loses_nothing(
    make_program: MakeProgram,
    cluster: Cluster,
    open_tables: OpenTables,
    simulate: Simulate,
    audit: AuditBooks,
    eventually: Eventually,
) -> None:
    """Memory stays as it was meanwhile, the connection stays open, and all is stored afterwards."""
    program, tables = make_program("main", cluster.url), open_tables(cluster.url)
    await tables.add_tracks("snow", "rain,sun", "#news")
    async with simulate(rate=RATE) as server:
        await program.add_source(server.url)
        await program.start()

        async def current() -> bool:
            query = "SELECT max(received_at) > now() - interval '10 seconds' FROM tweets"
            return bool(await tables.one(query)) and len(server.sent) > 3 * RATE

        await eventually(current, PATIENCE)
        before = memory(program)
        await cluster.kill(eventually)
        await asyncio.sleep(AWAY / 4)
        early = memory(program)
        await asyncio.sleep(AWAY * 3 / 4)
        late = memory(program)
        await cluster.give_back()
        sent = len(server.sent)
        await eventually(current, PATIENCE)
        after = memory(program)
        server.hub.posts_left = 0

        async def all_there() -> bool:
            return await tables.stored() == len(server.sent)

        await eventually(all_there, PATIENCE)
        print("memory", before >> 10, early >> 10, late >> 10, after >> 10, "sent", sent)  # noqa: T201
        assert sent > RATE * AWAY / 2
        assert late < before + MARGIN
        assert late < early + DRIFT
        assert after < before + MARGIN
        assert server.hub.attempt_count == 1, "the connection had no reason to end"
        await program.stop()
    found = await audit(tables, program.journal)
    assert found.tweets == set(server.sent)


def copied(journal: Path, copy: Path) -> bool:
    """Copy a journal that is in use; False when a segment was compressed under our hands."""
    shutil.rmtree(copy, ignore_errors=True)
    try:
        shutil.copytree(journal, copy)
    except shutil.Error:
        return False
    return True


async def test_a_full_disk_budget_pauses_the_source_and_it_resumes_by_itself(
    make_program: MakeProgram,
    cluster: Cluster,
    open_tables: OpenTables,
    simulate: Simulate,
    read_journal: ReadJournal,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    """With Postgres away; the pause is a gap, and what was taken before it is stored after it."""
    journal = {"max_bytes": 2 << 20, "segment_bytes": 1 << 16, "min_free_bytes": 0}
    program = make_program("main", cluster.url, journal={**journal, "min_free_percent": 0})
    tables = open_tables(cluster.url)
    await tables.add_tracks("snow", "rain,sun", "#news")
    limits = Limits(resend=1000, resend_bytes=8 << 20)
    async with simulate(rate=500, faults=("resend",), limits=limits) as server:
        await program.add_source(server.url)
        await program.start()

        async def more_than_fits() -> bool:
            return await tables.stored() > 2000

        # While Postgres takes them, ten times as much goes through the budget.
        await eventually(more_than_fits, PATIENCE)
        assert server.hub.attempt_count == 1
        await cluster.kill(eventually)
        await eventually(lambda: server.connections == 0, PATIENCE)
        copy = tmp_path / "copy"
        # While the source is paused: later its stored parts are trimmed.
        await eventually(lambda: copied(program.journal, copy))
        used = sum(path.stat().st_size for path in program.journal.glob("*.journal*"))
        await cluster.give_back()
        await eventually(lambda: server.connections == 1, PATIENCE)
        server.hub.posts_left = 0

        async def all_there() -> bool:
            return await tables.stored() == len(server.sent)

        await eventually(all_there, PATIENCE)
        await program.stop()
    assert used < (2 << 20) + (1 << 20), "one chunk of the socket may come on top, no more"
    taken = await asyncio.to_thread(read_journal, "x_v2", copy)
    stored = {native_id for (native_id,) in await tables.rows("SELECT native_id FROM tweets")}
    assert taken.tweets
    assert taken.tweets <= stored
    assert stored == set(server.sent)
    gaps = await tables.rows("SELECT cause, detail, ended_at FROM gaps ORDER BY began_at")
    assert [cause for cause, _, _ in gaps] == ["disk", "stopped"]
    assert "max_bytes" in gaps[0][1]
    assert gaps[0][2] is not None
    paused = "SELECT count(*) FROM events WHERE text LIKE 'paused: %%max_bytes%%'"
    assert await tables.one(paused) == 1
