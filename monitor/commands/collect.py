"""`collect`: the daemon with its monitor."""

import logging

import click

from monitor.monitor import Monitor
from stream.commands.context import Context, command
from stream.commands.daemon_runner import Companion, collect_until_stopped, database_when_ready
from stream.daemon import Daemon
from stream.db import Database

logger = logging.getLogger(__name__)

CONNECTIONS = 3  # for all jobs together


def monitor_companion(context: Context) -> Companion:
    """The monitor as a companion of a daemon, on connections of its own."""

    async def run_monitor(daemon: Daemon, database: Database) -> None:
        async with database.separate_pool(CONNECTIONS) as own:
            await Monitor(daemon, own, context.settings, context.config_path).run()

    return run_monitor


@click.command()
@command
async def collect(context: Context) -> None:
    """Collect until stopped: what systemd runs."""
    context.set_up_logging()
    async with database_when_ready(context, migrate=False) as database:
        await collect_until_stopped(context, database, logger.info, [monitor_companion(context)])
