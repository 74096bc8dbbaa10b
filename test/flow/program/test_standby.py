"""Two daemons on one database: one collects, the other stands by, says so, and takes over."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from simulator.server import Limits

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.conftest import AuditBooks, Tables
    from test.flow.program.conftest import MakeProgram, Program, Simulate

TAKE_OVER = 10.0  # seconds; 30 are promised
LIMITS = Limits(resend=500, resend_bytes=4 << 20)


async def roles(program: Program) -> dict[int, str]:
    """What `status` says of each daemon, by process."""
    status = json.loads(await program.command("status", "--json"))
    return {daemon["pid"]: daemon["role"] for daemon in status["daemons"]}


@pytest.mark.parametrize("shared", [True, False], ids=["one data_dir", "a data_dir each"])
async def test_the_second_stands_by_and_takes_over(
    shared: bool,
    make_program: MakeProgram,
    database: str,
    tables: Tables,
    simulate: Simulate,
    audit: AuditBooks,
    eventually: Eventually,
) -> None:
    """Nothing is lost or stored twice, the change is a gap, and the first can come back."""
    first, second = make_program("first", database), make_program("second", database)
    await tables.add_tracks("snow", "rain,sun")
    async with simulate(rate=200, faults=("resend",), limits=LIMITS) as server:
        await first.add_source(server.url)
        if shared:
            second.share(first)
        else:
            second.data_dir.mkdir()
            shutil.copy(first.data_dir / "secret.key", second.data_dir)
        await first.start()
        await eventually(lambda: len(server.sent) > 200)
        await second.start()

        def known(role: str, program: Program) -> Callable[[], Awaitable[bool]]:
            async def met() -> bool:
                query = "SELECT role FROM daemons WHERE pid = %s"
                return await tables.rows(query, program.pid) == [(role,)]

            return met

        await eventually(known("standby", second))
        await eventually(known("collecting", first))
        assert await roles(second) == {first.pid: "collecting", second.pid: "standby"}
        assert server.hub.attempt_count == 1
        killed = await first.kill()
        await eventually(lambda: server.connections == 0)
        await eventually(lambda: server.connections == 1)
        assert time.time() - killed < TAKE_OVER
        await first.start()
        await eventually(known("collecting", second))
        await eventually(known("standby", first))
        assert await roles(second) == {first.pid: "standby", second.pid: "collecting"}
        assert server.connections == 1
        server.hub.posts_left = 0

        async def all_there() -> bool:
            return await tables.stored() == len(server.sent)

        await eventually(all_there)
        await first.stop()
        await second.stop()
    journals = {first.journal, second.journal}
    found = await audit(tables, *journals)
    assert found.tweets == set(server.sent)
    gaps = await tables.rows(
        "SELECT extract(epoch FROM began_at)::float, extract(epoch FROM ended_at)::float, cause"
        " FROM gaps ORDER BY began_at"
    )
    assert [cause for _, _, cause in gaps] == ["killed", "stopped"]
    assert gaps[0][0] <= killed <= gaps[0][1]


async def test_a_stop_hands_over_and_leaves_no_gap_open(
    make_program: MakeProgram,
    database: str,
    tables: Tables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    """The one that goes writes its last words while the other one may be streaming already."""
    first = make_program("first", database)
    second = make_program("second", database, count_every=0.5)
    await tables.add_tracks("snow", "rain,sun")
    async with simulate(rate=500) as server:
        await first.add_source(server.url)
        second.data_dir.mkdir()
        shutil.copy(first.data_dir / "secret.key", second.data_dir)
        await first.start()
        await eventually(lambda: len(server.sent) > 500)
        await second.start()
        await eventually(lambda: "another daemon collects" in second.log.read_text())
        await first.stop()
        sent = len(server.sent)
        await eventually(lambda: len(server.sent) > sent + 500)

        async def closed() -> bool:
            gaps = await tables.rows("SELECT cause, ended_at IS NULL FROM gaps")
            return gaps == [("stopped", False)]

        await eventually(closed)
        assert await tables.one("SELECT state FROM sources") == "streaming"
        await second.stop()
