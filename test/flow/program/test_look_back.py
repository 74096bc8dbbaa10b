"""Look-backs of a running daemon, and of a process that is killed at random moments."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from typing import TYPE_CHECKING

from looking_back import LookBackBench, Recorded, hours_ago, look_back_bench

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stream.db import Database
    from test.flow.program.conftest import Collect, MakeProgram, Program

KILLS = 12
POSTS = 40_000
SEED = 20261129


async def test_a_row_starts_a_look_back(collect: Collect) -> None:
    """By psql: the daemon finds it, and credits what is stored."""
    async with collect("snow", rate=200) as run:
        await run.stored(300)
        await run.stored_all()
        await run.tables.rows("UPDATE tracks SET value = 'nothing like it'")
        await run.tables.add_tracks("snow")
        await run.tables.rows("INSERT INTO look_backs (track_id, place) VALUES (2, 'stored')")
        await run.rows_are("SELECT state FROM look_backs", "done")
        [found] = await run.tables.rows("SELECT found, added FROM look_backs")
        credited = "SELECT count(*) FROM matches WHERE track_id = 2 AND look_back"
        assert found == (await run.tables.one(credited), 0)
        assert found == (await run.tables.one("SELECT count(*) FROM matches WHERE track_id = 1"), 0)


async def look_back(program: Program, until: Callable[[], Awaitable[bool]]) -> bool:
    """Run the process of the daemon, and kill it then; False: it had ended by itself."""
    process = await asyncio.create_subprocess_exec(
        *program._command("look-back", "run", "--die-with-parent"), stdin=-1, stdout=-1, stderr=-2
    )
    assert process.stdout is not None
    ended = asyncio.ensure_future(process.stdout.read())
    while not ended.done():
        if await until():
            process.kill()
            break
        await asyncio.wait([ended], timeout=0.01)
    said = await ended
    if await process.wait() == -signal.SIGKILL:
        return True
    assert process.returncode == 0, said.decode()
    return False


def further(
    bench: LookBackBench, number: int, seen: int, delay: float
) -> Callable[[], Awaitable[bool]]:
    """Whether it has looked at more posts, for so many seconds."""
    moment = float("inf")

    async def is_further() -> bool:
        nonlocal moment
        now = asyncio.get_running_loop().time()
        if (await bench.row(number)).looked > seen:
            moment = min(moment, now + delay)
        return now >= moment

    return is_further


async def never() -> bool:
    return False


async def test_killed_anywhere_it_finds_everything_once(
    make_program: MakeProgram, connected: Database, database: str
) -> None:
    """TEST_SEED repeats the moments."""
    chance = random.Random(int(os.environ.get("TEST_SEED", SEED)))
    program = make_program("main", database)
    recorded = Recorded(POSTS)
    async with look_back_bench(connected, program.data_dir) as bench:
        other = await bench.track("fog")
        bench.record(recorded.messages, hours_ago(20))
        await bench.collect()
        new = await bench.track("snow,fog")
        number = await bench.request(new)
        kills = seen = 0
        while kills < KILLS:
            if not await look_back(program, further(bench, number, seen, chance.uniform(0, 0.3))):
                break
            kills += 1
            row = await bench.row(number)
            seen = row.looked
            [stored] = await bench.rows("SELECT count(*) FILTER (WHERE look_back) FROM matches")
            assert stored[0] <= row.found
            assert await bench.counts_agree()
        assert kills > 2
        assert kills < KILLS or not await look_back(program, never)
        row = await bench.row(number)
        assert row.state == "done"
        assert row.looked == sum(b'"delete"' not in each for each in recorded.messages)
        assert await bench.found(new) == recorded.matching("snow", "fog")
        assert await bench.found(other) == recorded.matching("fog")
        assert await bench.counts_agree()
