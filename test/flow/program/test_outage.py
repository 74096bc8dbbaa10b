"""Postgres may be away as long as the journal's budget lasts: nothing lost, memory flat."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import psutil

from simulator.server import Limits

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from pathlib import Path

    from test.flow.conftest import AuditBooks, ReadJournal
    from test.flow.program.conftest import Cluster, Collect, Program

AWAY = 30_000  # tweets that come meanwhile
RATE = 1000  # tweets a second
MARGIN = 48 << 20  # bytes: the largest batch, decoded, which is kept for the next attempt
DRIFT = 8 << 20  # bytes: growth while it waits
TRACKS = ("snow", "rain,sun", "#news")


def memory(program: Program) -> int:
    assert program.process is not None
    return int(psutil.Process(program.process.pid).memory_info().rss)


async def test_an_outage_at_1000_tweets_a_second_loses_nothing(
    collect: Collect, cluster: Cluster, audit: AuditBooks
) -> None:
    """Memory stays as it was meanwhile, the connection stays open, and all is stored afterwards."""
    async with collect(*TRACKS, url=cluster.url, rate=RATE) as run:
        program, tables, server, eventually = run.program, run.tables, run.server, run.eventually

        async def current() -> bool:
            query = "SELECT max(received_at) > now() - interval '10 seconds' FROM tweets"
            return bool(await tables.one(query)) and len(server.sent) > 3 * RATE

        await eventually(current)
        before = memory(program)
        await cluster.kill(eventually)
        await run.more_sent(AWAY // 4)
        early = memory(program)
        await run.more_sent(AWAY * 3 // 4)
        late = memory(program)
        await cluster.give_back()
        sent = len(server.sent)
        server.hub.rate = RATE / 4  # how fast it catches up depends on what else the machine does
        await eventually(current)
        after = memory(program)
        await run.stored_all()
        print("memory", before >> 10, early >> 10, late >> 10, after >> 10, "sent", sent)  # noqa: T201
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
    collect: Collect, cluster: Cluster, read_journal: ReadJournal, tmp_path: Path
) -> None:
    """With Postgres away; the pause is a gap, and what was taken before it is stored after it."""
    journal = {"max_bytes": 2 << 20, "segment_bytes": 1 << 16, "min_free_bytes": 0}
    settings: dict[str, object] = {"journal": {**journal, "min_free_percent": 0}}
    limits = Limits(resend=1000, resend_bytes=8 << 20)
    async with collect(
        *TRACKS, settings=settings, url=cluster.url, rate=500, faults=("resend",), limits=limits
    ) as run:
        program, tables, server, eventually = run.program, run.tables, run.server, run.eventually
        # While Postgres takes them, ten times as much goes through the budget.
        await run.stored(2000)
        assert server.hub.attempt_count == 1
        await cluster.kill(eventually)
        await eventually(lambda: server.connections == 0)
        copy = tmp_path / "copy"
        # While the source is paused: later its stored parts are trimmed.
        await eventually(lambda: copied(program.journal, copy))
        used = sum(path.stat().st_size for path in program.journal.glob("*.journal*"))
        await cluster.give_back()
        await eventually(lambda: server.connections == 1)
        await run.stored_all()
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
