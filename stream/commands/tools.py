"""`migrate`, `psql`, `dump`, `check-config`, `version`: small tools for administrators."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import click

from stream import __version__, db, migrations
from stream.commands.context import Context, command
from stream.postgres import Embedded, client_environment


@click.command()
@command
async def migrate(context: Context) -> None:
    """Bring the database to the schema of this program."""
    async with context.url() as url, db.connect(url) as database:
        done = await migrations.migrate(database)
    for migration in done:
        context.out.print(f"applied {migration.name}")
    context.out.print("The schema is up to date.")


# Everything behind the command's name belongs to the tool of PostgreSQL.
_PASS_ON = {
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}


@click.command(context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@command
async def psql(context: Context, arguments: tuple[str, ...]) -> None:
    """psql on the program's own database; all ARGUMENTS go to psql."""
    await _pass_on(context, "psql", arguments)


@click.command(context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@command
async def dump(context: Context, arguments: tuple[str, ...]) -> None:
    """pg_dump of the program's own database, to standard output; ARGUMENTS go to pg_dump."""
    await _pass_on(context, "pg_dump", ("--no-owner", *arguments))


_PATIENCE = {"PGCONNECT_TIMEOUT": "10"}  # seconds; without it the tools wait for ever


async def _pass_on(context: Context, tool: str, arguments: tuple[str, ...]) -> None:
    async with context.url() as url:
        # Ctrl-C belongs to the tool: psql ends a query by it, and goes on.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
        process = await asyncio.create_subprocess_exec(
            str(_path(context, tool)),
            *arguments,
            env=_PATIENCE | os.environ | client_environment(url),
        )
        sys.exit(await process.wait())


def _path(context: Context, tool: str) -> Path:
    """The administrator's own tool where there is one for his server, else the wheel's."""
    if context.embedded is None and (found := shutil.which(tool)):
        return Path(found)
    return (context.embedded or Embedded(context.data_dir)).psql_path.with_name(tool)


@click.command("check-config")
@click.pass_obj
def check_config(context: Context) -> None:
    """Read the settings, and say what is wrong with them."""
    settings = context.settings
    where = "the embedded PostgreSQL" if not settings.database else "your own PostgreSQL"
    context.out.print(f"The settings are fine. Data in {settings.data_dir}, tweets in {where}.")


@click.command()
def version() -> None:
    """The version of this program."""
    click.echo(f"twitterstream {__version__}")
