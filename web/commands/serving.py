"""The pages beside the daemon, and `web`, which serves them alone."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

import click

from stream import logs
from stream.commands.context import Context, command
from stream.commands.running import STOPS, Companion
from stream.daemon import Daemon
from stream.db import Database
from stream.errors import ConfigError, DatabaseAway, TwitterstreamError
from web.accounts import invites, users
from web.app import build
from web.environment import missing
from web.server import Server

logger = logging.getLogger(__name__)

CONNECTIONS = 8  # for all pages together
RETRY = 1.0  # seconds between two attempts to reach the database


async def serve(context: Context, database: Database, say: Callable[[str], None]) -> None:
    """Serve until cancelled; `say` is told the address to open."""
    settings = context.settings
    async with database.beside(CONNECTIONS) as own:
        key = await _first_link(own)

        def opened(address: str) -> None:
            home = address + settings.web.base_path
            if key is None:
                say(f"Open the pages:  {home}/")
            else:
                say(f"Open the pages:  {home}/welcome?key={key}")
                say("(This link works once: it makes you the admin.)")

        await Server(lambda: build(own, settings, context.vault), settings.web.listen, opened).run()


async def _first_link(database: Database) -> str | None:
    """As long as nobody can log in: the key of the link that makes the first admin."""
    while True:
        try:
            async with database.transaction() as connection:
                if await users.there_are_any(connection):
                    return None
                return await invites.make(connection, None)
        except DatabaseAway:
            await asyncio.sleep(RETRY)


def pages(context: Context, say: Callable[[str], None]) -> Companion:
    """What runs beside a daemon: the pages, unless `web.listen` is empty."""

    async def beside(daemon: Daemon, database: Database) -> None:
        while not daemon.begun:  # noqa: ASYNC110 - until Postgres is there, and its schema fits
            await asyncio.sleep(RETRY / 10)
        if context.settings.web.listen and (lack := missing()):
            say(f"No pages. {lack}")  # collecting does without
        elif context.settings.web.listen:
            await serve(context, database, say)

    return beside


@click.command()
@command
async def web(context: Context) -> None:
    """Serve the pages and the API, and collect nothing: beside `collect`, as often as wanted."""
    if not context.settings.web.listen:
        raise ConfigError("`web.listen` is empty: name a host and a port, such as 127.0.0.1:8080.")
    if lack := missing():
        raise TwitterstreamError(lack)
    logs.set_up(context.settings)
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for each in STOPS:
        loop.add_signal_handler(each, stopped.set)
    async with context.database() as database, asyncio.TaskGroup() as group:
        serving = group.create_task(serve(context, database, click.echo), name="web")
        waiting = group.create_task(stopped.wait(), name="stop")
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        waiting.cancel()
    with contextlib.suppress(ValueError):
        for each in STOPS:
            loop.remove_signal_handler(each)
