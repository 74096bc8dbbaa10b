"""`collect` and what `run` shares with it: the daemon in a terminal or under systemd."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable

import click

from stream import db, logs, migrations
from stream.commands.context import Context, command
from stream.daemon import Daemon
from stream.db import Database
from stream.errors import DatabaseAway

logger = logging.getLogger(__name__)

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # a closed terminal is a stop, too
RETRY = 1.0  # seconds between two attempts while Postgres is away


@click.command()
@command
async def collect(context: Context) -> None:
    """Collect until stopped: what systemd runs."""
    logs.set_up(context.settings)
    async with opened(context, migrate=False) as database:
        await collect_until_stopped(context, database, logger.info)


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
            else:
                break
        yield database


async def collect_until_stopped(
    context: Context, database: Database, report: Callable[[str], None]
) -> None:
    """Run the daemon; the first of these signals stops it in order, a second one at once."""
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
        await daemon.run()
    finally:
        for each in STOPS:
            loop.remove_signal_handler(each)
