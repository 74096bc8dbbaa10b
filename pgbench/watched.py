"""The daemon with its monitor, without it, or with each of its chores out of order in turn.

Run by monitoring.py, in the place of `twitterstream.py collect`.
"""

import asyncio
import itertools
import logging
import sys
from pathlib import Path
from typing import Literal, get_args

import uvloop

from monitor.chores import Chore
from monitor.commands.running import CONNECTIONS
from monitor.watch import Monitor
from stream import logs
from stream.commands.context import Context
from stream.commands.running import collect_until_stopped, opened
from stream.daemon import Daemon
from stream.db import Database

logger = logging.getLogger("pgbench")

Mode = Literal["without", "with", "raising", "hanging"]
TURN = 0.2  # seconds that each chore is out of order, again and again


def main() -> None:
    path, mode = sys.argv[1:]
    assert mode in get_args(Mode)
    uvloop.run(collect(Context(Path(path)), mode))


async def collect(context: Context, mode: str) -> None:
    """As `twitterstream.py collect`, but for what watches it."""

    async def beside(daemon: Daemon, database: Database) -> None:
        if mode == "without":
            return
        async with database.beside(CONNECTIONS) as own, asyncio.TaskGroup() as group:
            monitor = Monitor(daemon, own, context.settings, context.config_path)
            group.create_task(monitor.run(), name="monitor")
            if mode != "with":
                group.create_task(break_in_turn(monitor.chores, mode), name="faults")

    logs.set_up(context.settings)
    async with opened(context, migrate=False) as database:
        await collect_until_stopped(context, database, logger.info, [beside])


async def break_in_turn(chores: list[Chore], mode: str) -> None:
    """One chore after the other fails for a while, at once and as often as it can."""
    for chore in itertools.cycle(chores):
        work, chore.work = chore.work, raising if mode == "raising" else hanging
        chore.hurry()
        await asyncio.sleep(TURN)
        chore.work = work


async def raising() -> None:
    raise RuntimeError("out of order, for the benchmark")


async def hanging() -> None:
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
