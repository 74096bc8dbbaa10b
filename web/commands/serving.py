"""Serve the pages and the API: inside the daemon, or alone by the command `web`."""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import click
from aiohttp import web as web_server

from stream.backoff import supervised
from stream.cells.databases import open_cells
from stream.commands.context import Context, command
from stream.commands.daemon_runner import STOP_SIGNALS, Companion
from stream.daemon import Daemon
from stream.db import Database
from stream.errors import ConfigError, DatabaseAway, TwitterstreamError
from stream.store import users
from web.accounts import service
from web.app import build
from web.proxies import public_origin
from web.server import Server
from web.templating import missing

CONNECTIONS = 8  # for all pages together
RETRY = 1.0  # seconds between two attempts to reach the database


async def serve(context: Context, database: Database, say: Callable[[str], None]) -> None:
    """Serve until cancelled; `say` prints the address to open."""
    settings = context.settings
    if settings.cell:
        raise TwitterstreamError(
            f"`cell` is {settings.cell}: the pages are served by processes of the home database."
        )
    async with (
        database.separate_pool(CONNECTIONS) as own,
        open_cells(settings.cells, CONNECTIONS) as others,
    ):
        key = await _first_link(own)

        def opened(address: str) -> None:
            home = public_origin(settings, address) + settings.web.base_path
            if key is None:
                service.remove_first_admin_link(context.data_dir)
                say(f"Open the pages:  {home}/")
            else:
                _say_first_link(context, home, key, say)

        def application() -> web_server.Application:
            return build(
                own,
                settings,
                context.vault,
                config_file=context.config_file,
                other_cells=others,
            )

        await Server(application, settings.web.listen, opened).run()


def _say_first_link(context: Context, home: str, key: str, say: Callable[[str], None]) -> None:
    """Print the link on a terminal; elsewhere only where it is, since output may be logged."""
    link = f"{home}/welcome?key={key}"
    try:
        path: Path | None = service.write_first_admin_link(context.data_dir, link)
    except OSError as error:
        path = None
        say(f"Cannot write the file {service.FIRST_ADMIN_LINK_FILE}: {error.strerror}.")
    if sys.stdout.isatty():
        say(f"Open the pages:  {link}")
        say("(This is a one-time link that makes you the admin.)")
    else:
        say(f"Open the pages:  {home}/")
        remedy = path or "use `user add NAME --role admin`"
        say(f"One-time link that makes the first admin (keep it secret):  {remedy}")


async def _first_link(database: Database) -> str | None:
    """The key of the link that makes the first admin; None when there is one already."""
    while True:
        try:
            async with database.transaction() as connection:
                if await users.any_admin(connection):
                    return None
                return await service.new_invite(connection, None)
        except DatabaseAway:
            await asyncio.sleep(RETRY)


def pages(context: Context, say: Callable[[str], None]) -> Companion:
    """The pages as a companion of the daemon, unless `web.listen` is empty."""

    async def serve_pages(daemon: Daemon, database: Database) -> None:
        while daemon.begun_at is None:  # noqa: ASYNC110 - until Postgres is there, and its schema fits
            await asyncio.sleep(RETRY / 10)
        if context.settings.web.listen and (lack := missing()):
            say(f"The pages cannot be served. {lack}")  # collecting does without
        elif context.settings.web.listen:
            await supervised("the pages", lambda: serve(context, database, say))

    return serve_pages


@click.command()
@command
async def web(context: Context) -> None:
    """Serve the pages and the API without collecting. Run any number of instances."""
    if not context.settings.web.listen:
        raise ConfigError("`web.listen` is empty: set a host and a port, such as 127.0.0.1:8080.")
    if lack := missing():
        raise TwitterstreamError(lack)
    context.set_up_logging()
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for each in STOP_SIGNALS:
        loop.add_signal_handler(each, stopped.set)
    async with context.database() as database, asyncio.TaskGroup() as group:
        serving = group.create_task(serve(context, database, click.echo), name="web")
        waiting = group.create_task(stopped.wait(), name="stop")
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        waiting.cancel()
    with contextlib.suppress(ValueError):
        for each in STOP_SIGNALS:
            loop.remove_signal_handler(each)
