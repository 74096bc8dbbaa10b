"""What `collect` and `run` share: the daemon in a terminal or under systemd."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TypeAlias

from stream import db, migrations
from stream.commands.context import Context
from stream.daemon import Daemon
from stream.db import Database
from stream.errors import DatabaseAway

logger = logging.getLogger(__name__)

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # a closed terminal is a stop, too
Companion: TypeAlias = Callable[[Daemon, Database], Coroutine[None, None, None]]

RETRY = 1.0  # seconds between two attempts while Postgres is away


@contextlib.asynccontextmanager
async def opened(context: Context, *, migrate: bool) -> AsyncIterator[Database]:
    """The database, waited for; its schema made current for our own server, or when asked."""
    async with context.url() as url, db.connect(url) as database:
        said = ""
        while migrate or context.embedded is not None:
            try:
                await migrations.migrate(database)
            except DatabaseAway as error:
                if said != str(error):
                    said = str(error)
                    logger.warning("waiting for Postgres", extra={"why": said})
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
    beside: Sequence[Companion],
) -> None:
    """Run the daemon, and what watches and shows it beside it.

    The first of these signals stops it in order, a second one at once.
    """
    daemon = Daemon(database, context.settings, context.vault, report, context.embedded)
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if daemon.stop.is_set():
            task.cancel()
        daemon.stop.set()

    for each in STOPS:
        loop.add_signal_handler(each, stop)
    try:
        async with asyncio.TaskGroup() as group:
            companions = [
                group.create_task(each(daemon, database), name="beside the daemon")
                for each in beside
            ]
            await daemon.run()
            for companion in companions:
                companion.cancel()
    finally:
        for each in STOPS:
            loop.remove_signal_handler(each)
