"""The monitor beside the daemon, for `run` and `collect`."""

from monitor.watch import Monitor
from stream.commands.context import Context
from stream.commands.running import Companion
from stream.daemon import Daemon
from stream.db import Database

CONNECTIONS = 3  # for all chores together


def watch(context: Context) -> Companion:
    """What runs beside a daemon: the monitor, on connections of its own."""

    async def beside(daemon: Daemon, database: Database) -> None:
        async with database.beside(CONNECTIONS) as own:
            await Monitor(daemon, own, context.settings, context.config_path).run()

    return beside
