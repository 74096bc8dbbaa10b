#!/usr/bin/env python3
"""The command line, and what only it may know: the program and its simulator together."""

import os
import sys
from pathlib import Path

# Called as ./twitterstream.py: go on in the environment that `make` has made, where there is one.
_PYTHON = Path(__file__).resolve().parent / ".venv" / "bin" / "python"
_MADE = _PYTHON.parent.parent / "pyvenv.cfg"  # without it, that Python would lead here again
if __name__ == "__main__" and sys.prefix == sys.base_prefix and _MADE.exists():
    os.execv(_PYTHON, [str(_PYTHON), *sys.argv])  # noqa: S606 - our own interpreter

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import TextIO
from urllib.parse import urlsplit

import click
import msgspec

from monitor.commands.alert import alert
from monitor.commands.archive import archive
from monitor.commands.backup import backup, restore_backup
from monitor.commands.running import watch
from simulator import server as simulator
from stream import logs, sources, tracks
from stream.commands.context import Context, command
from stream.commands.doctor import doctor
from stream.commands.importing import import_files
from stream.commands.running import collect_until_stopped, opened
from stream.commands.source import source
from stream.commands.status import status
from stream.commands.tools import check_config, dump, migrate, psql, version
from stream.commands.track import track
from stream.db import Database
from stream.errors import Broken, ConfigError, DatabaseAway, TwitterstreamError
from stream.tracks import NewTrack
from stream.tweet import NETWORK_NAMES
from stream.vault import parse_secrets
from web.commands.serving import pages, web
from web.commands.user import user

logger = logging.getLogger("twitterstream")

SIMULATED = "simulated"  # name of the source that `run` adds for a newcomer
SIMULATED_RATE = 20.0  # tweets a second: enough to watch, little enough to forget
SAMPLE_TRACKS = ("snow day,blizzard", "#news", "@nasa")
LOOK = (
    "SELECT received_at::time(0), author, left(text, 60) AS text "
    "FROM tweets ORDER BY received_at DESC LIMIT 10"
)


@click.group()
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file; left out, config.yaml if it is there.",
)
@click.pass_context
def cli(click_context: click.Context, config_path: Path | None) -> None:
    """Collect social streams into Postgres: every tweet stored once, credited to its tracks."""
    click_context.obj = Context(config_path)


for each in (migrate, status, doctor, source, track, import_files, psql, dump):
    cli.add_command(each)
cli.add_command(alert)
cli.add_command(archive)
cli.add_command(backup)
cli.add_command(restore_backup)
cli.add_command(check_config)
cli.add_command(version)
cli.add_command(web)
cli.add_command(user)


@cli.command()
@command
async def collect(context: Context) -> None:
    """Collect until stopped: what systemd runs."""
    logs.set_up(context.settings)
    async with opened(context, migrate=False) as database:
        await collect_until_stopped(context, database, logger.info, [watch(context)])


@cli.command()
@command
async def run(context: Context) -> None:
    """Collect, with what a newcomer needs: a database, its schema, simulated tweets to watch."""
    logs.set_up(context.settings)
    async with opened(context, migrate=True) as database:
        await _add_samples(context, database)
        async with _simulated(context, database):
            _say_how_to_look(context)
            beside = [watch(context), pages(context, click.echo)]
            await collect_until_stopped(context, database, _report, beside)
    click.echo("Stopped; everything that came in is safe.")


def _report(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {line}")


async def _add_samples(context: Context, database: Database) -> None:
    """For somebody who has just arrived: a source that needs no account, and three tracks."""
    async with database.acquire() as connection:
        if await sources.everything(connection):
            return
        await sources.add(
            connection,
            SIMULATED,
            "x_v2",
            "http://127.0.0.1:9000",
            None,
            context.vault.seal({"bearer_token": "simulated"}),
        )
        if not await tracks.everything(connection):
            for value in SAMPLE_TRACKS:
                await tracks.add(connection, NewTrack(value))
    click.echo(
        "No source is configured yet, so here is a simulated one: invented tweets, no account\n"
        f"needed. It is called {SIMULATED}; the sample tracks are {', '.join(SAMPLE_TRACKS)}.\n"
        "To connect X instead, in another terminal:\n"
        "    echo 'bearer_token: YOURS' |"
        " ./twitterstream.py source add x --network x_v2 --secrets -\n"
        f"    ./twitterstream.py source disable {SIMULATED}"
    )


@contextlib.asynccontextmanager
async def _simulated(context: Context, database: Database) -> AsyncIterator[None]:
    """The simulator, while the source made for it is enabled and no other daemon runs it."""
    async with database.acquire() as connection:
        row = await sources.named(connection, SIMULATED)
        collected = await sources.collected(connection)
    if row is None or not row.enabled or row.id in collected:
        yield
        return
    try:
        secrets = context.vault.open(row.secrets) if row.secrets else {}
    except TwitterstreamError:  # the daemon says so in the source's row
        yield
        return
    settings = simulator.Settings(
        network=row.network,
        port=urlsplit(row.url or "").port or 0,
        rate=SIMULATED_RATE,
        bearer_token=secrets.get("bearer_token"),
    )
    async with contextlib.AsyncExitStack() as opened_here:
        try:
            server = await opened_here.enter_async_context(simulator.serve(settings))
        except OSError:  # somebody else has the port
            anywhere = msgspec.structs.replace(settings, port=0)
            server = await opened_here.enter_async_context(simulator.serve(anywhere))
        if server.url != row.url:
            async with database.acquire() as connection:
                await sources.move(connection, row.id, server.url)
        yield


def _say_how_to_look(context: Context) -> None:
    config = f" --config {context.config_path}" if context.config_path else ""
    click.echo(f'Look at the tweets:  ./twitterstream.py{config} psql -c "{LOOK}"')
    click.echo("Ctrl-C ends it.")


@cli.command()
@click.option("--network", type=click.Choice(NETWORK_NAMES), required=True)
@click.option("--port", type=click.IntRange(0, 65535), default=9001, show_default=True)
@click.option("--rate", type=click.FloatRange(0), default=20, help="Tweets a second; 0: no limit.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--replay",
    type=click.Path(exists=True, dir_okay=False),
    help="Send the lines of this file (.ndjson, also .gz) instead of invented tweets.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME[:TIMES]",
    help="Misbehave; repeatable. " + ", ".join(sorted(simulator.FAULTS)),
)
@click.option(
    "--secrets",
    type=click.File("r", encoding="utf-8"),
    help="Credentials that clients must have, as for `source add`; left out, any will do.",
)
def simulate(
    network: simulator.NetworkName,
    port: int,
    rate: float,
    seed: int,
    replay: str | None,
    faults: tuple[str, ...],
    secrets: TextIO | None,
) -> None:
    """A local server that speaks a network's protocol, with faults on demand."""
    given: dict[str, str] = parse_secrets(secrets.read()) if secrets is not None else {}
    settings = simulator.Settings(
        network=network,
        port=port,
        rate=rate,
        seed=seed,
        replay=replay,
        faults=faults,
        bearer_token=given.get("bearer_token"),
        oauth=msgspec.convert(given, simulator.OAuth) if "consumer_key" in given else None,
    )
    click.echo(f"A simulated {network} on http://{settings.host}:{port}; Ctrl-C ends it.", err=True)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(simulator.run(settings))
    except (simulator.UnknownFault, msgspec.ValidationError) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise TwitterstreamError(f"The simulator cannot begin: {error}.") from error


def main() -> None:
    """Run a command; errors become one sentence and an exit code."""
    try:
        try:
            cli.main(standalone_mode=False)
        except BaseExceptionGroup as group:
            # Task groups wrap what ended them; one cause is enough for a person.
            raise _cause(group) from group
    except (click.exceptions.Abort, KeyboardInterrupt, asyncio.CancelledError):
        _fail("stopped at once; what was not stored yet is in the journal.", 1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ConfigError as error:
        _fail(str(error), 2)
    except Broken as error:
        _fail(f"Something that must never happen has happened: {error}", 1)
    except DatabaseAway as error:
        _fail(f"The database cannot be used: {error}. See `database` in the settings.", 1)
    except TwitterstreamError as error:
        _fail(str(error), 1)


def _cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(sentence: str, code: int) -> None:
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
