"""Run the daemon for `collect` and `run`: wait for the database, handle signals, stop in order."""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, TypeAlias

from stream import db
from stream.cells.databases import Cells, open_cells
from stream.commands.context import Context
from stream.config import Settings
from stream.daemon import Daemon
from stream.daemon_report import CELL_ROLES, ROLES, Role
from stream.db import Database
from stream.errors import DatabaseAway, TwitterstreamError
from stream.store import migrations

if TYPE_CHECKING:
    from stream.bus.connection import Bus

logger = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed
Companion: TypeAlias = Callable[[Daemon, Database], Coroutine[None, None, None]]

RETRY = 1.0  # seconds between two attempts while Postgres is away
# New objects after which Python looks for garbage in reference cycles, of which there is little
# here. By its default it looks at the rows of a batch several times.
GC_THRESHOLD = 10_000


def _require_possible(settings: Settings, roles: frozenset[Role]) -> None:
    """TwitterstreamError for roles that a process of a cell cannot have."""
    if settings.cell and not roles <= CELL_ROLES:
        raise TwitterstreamError(
            f"A process of cell {settings.cell} writes and monitors: `run --role write --role"
            " monitor`. Collecting and the pages belong to the home database."
        )


@contextlib.asynccontextmanager
async def database_when_ready(
    context: Context, *, migrate: bool, roles: frozenset[Role] = ROLES
) -> AsyncIterator[Database]:
    """Wait for the database; migrate it if it is the embedded one, or if asked to.

    TwitterstreamError for roles that this process cannot have.
    """
    _require_possible(context.settings, roles)
    async with context.url() as url, db.connect(url) as database:
        last = ""
        while migrate or context.embedded is not None:
            try:
                await migrations.migrate(database)
            except DatabaseAway as error:
                if last != str(error):
                    last = str(error)
                    logger.warning("waiting for Postgres", extra={"why": last})
                await asyncio.sleep(RETRY)
                if context.embedded is not None:
                    await context.embedded.revive()
            else:
                break
        yield database


async def collect_until_stopped(
    context: Context,
    database: Database,
    report: Callable[[str], None],
    companions: Sequence[Companion],
    roles: frozenset[Role] = ROLES,
) -> None:
    """Run the daemon together with its companions, such as the monitor and the pages.

    The first stop signal ends them in order, a second one at once.
    """
    settings, vault = context.settings, context.vault
    async with _bus(settings) as bus, open_cells(settings.cells) as others:
        gc.freeze()  # what is imported stays
        gc.set_threshold(GC_THRESHOLD)
        cells = Cells(database, others)
        daemon = Daemon(database, settings, vault, report, context.embedded, roles, bus, cells)
        await _run(daemon, database, companions)


@contextlib.asynccontextmanager
async def _bus(settings: Settings) -> AsyncIterator["Bus | None"]:
    """The bus of the settings. Most installations have none, and need not import its client."""
    if not settings.bus:
        yield None
        return
    from stream.bus.connection import Bus  # noqa: PLC0415

    async with Bus(settings).connected() as bus:
        yield bus


async def _run(daemon: Daemon, database: Database, companions: Sequence[Companion]) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if daemon.stop.is_set():
            task.cancel()
        daemon.stop.set()

    for each in STOP_SIGNALS:
        loop.add_signal_handler(each, stop)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(each(daemon, database), name="companion of the daemon")
                for each in companions
            ]
            await daemon.run()
            for each_task in tasks:
                each_task.cancel()
    finally:
        for each in STOP_SIGNALS:
            loop.remove_signal_handler(each)
