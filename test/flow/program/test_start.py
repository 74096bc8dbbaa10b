"""Starting the program: what it loads, and an embedded server that dies meanwhile."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from stream.commands.context import Context
from stream.commands.daemon_runner import database_when_ready
from stream.daemon import Daemon
from stream.postgres import Embedded
from stream.postgres.process import postmaster

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.program.conftest import Collect


class Falls(Embedded):
    """A server that is killed as soon as it runs."""

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[str]:
        async with super().lease() as url:
            kill(self)
            yield url


def kill(embedded: Embedded) -> None:
    found = postmaster(embedded._at.cluster)
    assert found is not None
    found.kill()
    found.wait()


async def test_its_own_server_may_die_while_the_program_starts(
    tmp_path: Path, eventually: "Eventually"
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"data_dir": str(tmp_path / "data")}))
    context = Context(config)
    embedded = context.embedded = Falls(tmp_path / "data", {"fsync": "off"})
    async with database_when_ready(context, migrate=True) as database:
        kill(embedded)
        daemon = Daemon(database, context.settings, context.vault, lambda _: None, embedded)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(daemon.run())
            await eventually(lambda: daemon.begun_at is not None)
            daemon.stop.set()
            await running


async def test_a_daemon_that_collects_loads_no_large_libraries(collect: "Collect") -> None:
    """What only archives, exports or pages need stays out of its memory."""
    async with collect("snow", rate=100) as run:
        await run.stored(0)
        mapped = Path(f"/proc/{run.program.pid}/maps").read_text()
        assert "msgspec" in mapped
        for library in ("pyarrow", "duckdb", "numpy", "argon2"):
            assert library not in mapped
        await run.program.stop()
