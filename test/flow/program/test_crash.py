"""Killed at any moment, the program loses nothing that it took and stores nothing twice."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from typing import TYPE_CHECKING

import pytest

from simulator.server import Limits, Server
from stream.postgres import Embedded

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.conftest import AuditBooks, OpenTables, Tables
    from test.flow.program.conftest import MakeProgram, Program, Simulate

KILLS = int(os.environ.get("CRASH_KILLS", "25"))  # more: make it a proof
POSTGRES_KILLS = KILLS // 5  # among these lives
RATE = 700  # tweets a second
# More is sent again than can be on its way: sockets and buffers hold less than 8 MB.
LIMITS = Limits(connects=1000, rule_reads=10_000, resend=1000, resend_bytes=8 << 20)
FAULTS = ("resend", "garbage@2", "unknown-kinds@3")
TRACKS = ("snow", "rain,sun", "news", "#news", "@nasa")


@pytest.mark.timeout(900 + 20 * KILLS)
async def test_killed_at_random_moments_it_stores_everything_once(
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    audit: AuditBooks,
    eventually: Eventually,
) -> None:
    """Of the program, and of Postgres in every fifth life: what is in the tables is what was sent,
    each once, credited and counted once, and each kill lies in a gap. TEST_SEED repeats the
    moments."""
    seed = int(os.environ.get("TEST_SEED", random.randrange(1 << 32)))
    print("TEST_SEED", seed)  # noqa: T201  # shown when the test fails
    journal = {"segment_bytes": 4 << 20, "min_free_bytes": 0, "min_free_percent": 0}
    program = make_program("main", "", journal=journal)
    async with (
        Embedded(program.data_dir).lease() as url,
        simulate(rate=RATE, faults=FAULTS, limits=LIMITS) as server,
    ):
        await program.command("migrate")
        tables = open_tables(url)
        await tables.add_tracks(*TRACKS)
        await program.add_source(server.url)
        kills = await lives(program, server, random.Random(seed), eventually)
        server.hub.posts_left = 0
        await program.start()
        await eventually(lambda: server.connections == 1)

        async def all_there() -> bool:
            return bool(await tables.one("SELECT count(*) FROM tweet_ids") == len(server.sent))

        await eventually(all_there)
        await program.stop()
        found = await audit(tables, program.journal)
        assert found.tweets == set(server.sent)
        assert found.rejects
        assert found.control > 0
        await check_gaps(tables, kills, [frame.received / 1e6 for frame in found.frames])


async def lives(
    program: Program, server: Server, chance: random.Random, eventually: Eventually
) -> list[float]:
    """Start and kill; when each kill was."""
    with_postgres = set(chance.sample(range(KILLS), POSTGRES_KILLS))
    kills: list[float] = []
    for life in range(KILLS):
        before = len(server.sent)
        await program.start()
        if life in with_postgres:
            await asyncio.sleep(chance.uniform(0.8, 1.6))
            await program.kill_postgres(eventually)
            if life == min(with_postgres):
                await eventually(lambda: program.postgres)  # the daemon starts it again
        # The moment is what is tested: in every other life somewhere in the start, in the others in
        # the first bytes or under full load, however long this machine takes to come there.
        if life % 2:

            def more(before: int = before) -> bool:
                return sent_more(program, server, before)

            await eventually(more)
        await asyncio.sleep(chance.uniform(0, 1.5))
        kills.append(await program.kill())
    return kills


def sent_more(program: Program, server: Server, before: int) -> bool:
    """A program that has ended by itself would be waited for in vain."""
    assert program.alive, program.log.read_text()[-2000:]
    return len(server.sent) > before


async def check_gaps(tables: Tables, kills: list[float], frames: list[float]) -> None:
    """Every kill lies in a gap, no frame does, and the last gap is the stop in good order.

    Before the first connection nothing was promised: a kill in the first start is in no gap.
    """
    gaps = await tables.rows(
        "SELECT extract(epoch FROM began_at)::float,"
        " extract(epoch FROM coalesce(ended_at, 'infinity'))::float FROM gaps ORDER BY began_at"
    )
    assert [ended for _, ended in gaps].count(float("inf")) == 1
    promised = [kill for kill in kills if kill > min(frames)]
    assert [kill for kill in promised if not any(a <= kill <= b for a, b in gaps)] == []
    for began, ended in gaps:
        assert not [at for at in frames if began + 0.001 < at < ended - 0.001]
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(gaps))
