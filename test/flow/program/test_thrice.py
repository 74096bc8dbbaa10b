"""Delivered three times, across midnight UTC and across a restart: stored once, counted once."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from simulator.faults import Armed

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from pathlib import Path

    from test.conftest import Eventually
    from test.flow.conftest import AuditBooks, Tables
    from test.flow.program.conftest import MakeProgram, Simulate

DAY = 86_400  # seconds
BEFORE = 3600  # seconds before midnight at which the program starts


async def test_each_tweet_three_times_across_midnight_and_a_restart(
    make_program: MakeProgram,
    database: str,
    tables: Tables,
    simulate: Simulate,
    audit: AuditBooks,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    """Twice each and once more after a reconnect on the other side of midnight; then all of it
    again after a restart. The program's clock is set from before midnight to after it."""
    program = make_program("main", database)
    await tables.add_tracks("snow", "rain,sun", "#news")
    async with simulate(rate=100, faults=("resend",)) as server:
        server.hub.faults.arm(Armed(fault="duplicates", n=2))
        await program.add_source(server.url)
        to_midnight = math.ceil(DAY - time.time() % DAY)
        midnight = time.time() + to_midnight
        ahead = tmp_path / "ahead"
        ahead.write_text(str(to_midnight - BEFORE))
        await program.start(ahead)

        async def some_are_stored() -> bool:
            return await tables.stored() > 100

        await eventually(some_are_stored)
        later = tmp_path / "later"
        later.write_text(str(to_midnight))
        later.replace(ahead)
        one_day = len(server.sent)
        for connection in server.hub.connections:
            connection.end()
        await eventually(lambda: server.hub.attempt_count == 2)
        await eventually(lambda: len(server.sent) > one_day + 100)
        server.hub.posts_left = 0
        await eventually(lambda: tables.has_all(server.sent))
        await program.stop()
        after_first = (await tables.outcomes())["duplicate"]
        await program.start(ahead)

        async def all_again() -> bool:
            more = (await tables.outcomes())["duplicate"] - after_first
            return more == len(server.sent)

        await eventually(all_again)
        await program.stop()
    found = await audit(tables, program.journal)
    assert found.tweets == set(server.sent)
    assert len(found.frames) > 3 * len(server.sent)
    days = await tables.rows("SELECT received_at::date, count(*) FROM tweets GROUP BY 1 ORDER BY 1")
    first = datetime.fromtimestamp(midnight - 1, UTC).date()
    assert [day for day, _ in days] == [first, datetime.fromtimestamp(midnight + 1, UTC).date()]
    assert all(count > 50 for _, count in days)
