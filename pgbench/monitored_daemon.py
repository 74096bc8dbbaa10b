"""The daemon without the monitor, with it, or with its jobs failing or hanging in turn.

monitoring.py runs it in place of `twitterstream.py collect`.
"""

import asyncio
import itertools
import logging
import sys
from pathlib import Path
from typing import Literal, get_args

import uvloop

from monitor.commands.collect import CONNECTIONS
from monitor.jobs import PeriodicJob
from monitor.monitor import Monitor
from stream import logs
from stream.commands.context import Context
from stream.commands.daemon_runner import collect_until_stopped, database_when_ready
from stream.daemon import Daemon
from stream.db import Database

logger = logging.getLogger("pgbench")

Mode = Literal["without", "with", "raising", "hanging"]
TURN = 0.2  # seconds that each job is broken


def main() -> None:
    path, mode = sys.argv[1:]
    assert mode in get_args(Mode)
    uvloop.run(collect(Context(Path(path)), mode))


async def collect(context: Context, mode: str) -> None:
    """Like `twitterstream.py collect`, with the monitor as `mode` says."""

    async def monitor_companion(daemon: Daemon, database: Database) -> None:
        if mode == "without":
            return
        async with database.separate_pool(CONNECTIONS) as own, asyncio.TaskGroup() as group:
            monitor = Monitor(daemon, own, context.settings, context.config_path)
            group.create_task(monitor.run(), name="monitor")
            if mode != "with":
                group.create_task(break_in_turn(monitor.jobs, mode), name="faults")

    logs.set_up(context.settings)
    async with database_when_ready(context, migrate=False) as database:
        await collect_until_stopped(context, database, logger.info, [monitor_companion])


async def break_in_turn(jobs: list[PeriodicJob], mode: str) -> None:
    """Break one job after the other for a while and run it at once."""
    for job in itertools.cycle(jobs):
        work, job.work = job.work, raising if mode == "raising" else hanging
        job.run_soon()
        await asyncio.sleep(TURN)
        job.work = work


async def raising() -> None:
    raise RuntimeError("broken for the benchmark")


async def hanging() -> None:
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
