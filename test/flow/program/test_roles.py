"""The work divided between processes: one collects, others write, the bus between them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from nats_servers import running_server

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from pathlib import Path

    from test.conftest import Eventually
    from test.flow.conftest import AuditBooks, OpenTables
    from test.flow.program.conftest import MakeProgram, Simulate


async def test_one_process_collects_and_another_one_stores(
    tmp_path: Path,
    database: str,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    audit: AuditBooks,
    eventually: Eventually,
) -> None:
    async with running_server(tmp_path / "nats") as nats, simulate(rate=200) as server:
        settings = {"bus": nats.url, "bus_replicas": 1}
        collector = make_program("collector", database, **settings)
        writer = make_program("writer", database, **settings)
        tables = open_tables(database)
        await tables.add_tracks("snow", "rain,sun")
        await collector.add_source_to(database, server.url, "x_v2")
        writer.data_dir.mkdir()
        shutil.copy(collector.data_dir / "secret.key", writer.data_dir)
        await collector.start(roles=["collect"])
        await writer.start(roles=["write"])
        await eventually(lambda: len(server.sent) > 1000)
        server.hub.posts_left = 0
        await eventually(lambda: tables.has_all(server.sent))
        await collector.stop()
        await writer.stop()
    found = await audit(tables, collector.journal)
    assert found.tweets == set(server.sent)
