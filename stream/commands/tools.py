"""`migrate`, `psql`, `dump`, `check-config`: tools for administrators."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import click

from stream import db
from stream.commands.context import Context, command, current
from stream.config import exposure
from stream.postgres import Embedded, client_environment
from stream.store import migrations


@click.command()
@command
async def migrate(context: Context) -> None:
    """Migrate the database to the schema of this version."""
    async with context.url() as url, db.connect(url) as database:
        done = await migrations.migrate(database)
    for migration in done:
        context.out.print(f"applied {migration.name}")
    context.out.print("The schema is up to date.")


# All arguments after the command's name are passed to the PostgreSQL tool.
_PASS_ON = {
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}


@click.command(context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@command
async def psql(context: Context, arguments: tuple[str, ...]) -> None:
    """Open psql on the database; ARGUMENTS are passed to psql."""
    await _pass_on(context, "psql", arguments)


@click.command(context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@command
async def dump(context: Context, arguments: tuple[str, ...]) -> None:
    """Dump the database to standard output with pg_dump; ARGUMENTS are passed to it."""
    await _pass_on(context, "pg_dump", (*arguments, "--no-owner"))  # `--help` must be first


_CONNECT_TIMEOUT = {"PGCONNECT_TIMEOUT": "10"}  # seconds; by default the tools wait without a limit


async def _pass_on(context: Context, tool: str, arguments: tuple[str, ...]) -> None:
    async with context.url() as url:
        # Ctrl-C is for the tool: psql cancels a query and continues.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
        process = await asyncio.create_subprocess_exec(
            str(_path(context, tool)),
            *arguments,
            env=_CONNECT_TIMEOUT | os.environ | client_environment(url),
        )
        sys.exit(await process.wait())


def _path(context: Context, tool: str) -> Path:
    """The installed tool if the database is external and it exists, otherwise the bundled one."""
    if context.embedded is None and (found := shutil.which(tool)):
        return Path(found)
    return (context.embedded or Embedded(context.data_dir)).psql_path.with_name(tool)


@click.command("check-config")
def check_config() -> None:
    """Check the settings, and report errors and risks."""
    context = current()
    settings = context.settings
    where = "the embedded PostgreSQL" if not settings.database else "your own PostgreSQL"
    context.out.print(
        f"The settings are valid. Data folder: {settings.data_dir}. Database: {where}."
    )
    for warning in exposure.warnings(settings, context.config_file):
        context.out.print(f"Warning: {warning}")
