#!/usr/bin/env python3
"""The command line: finds the command, runs it, and turns errors into sentences and exit codes."""

import os
import signal
import sys

# Until a command runs, Ctrl-C just ends the process: in the middle of an import KeyboardInterrupt
# would show a traceback, and in a callback of Python's own it would be lost.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from pathlib import Path

# Called as ./twitterstream.py: continue in the virtual environment that `make` created, if any.
_PYTHON = Path(__file__).resolve().parent / ".venv" / "bin" / "python"
_MADE = (
    _PYTHON.parent.parent / "pyvenv.cfg"
)  # without this file, that Python would run this line again
if __name__ == "__main__" and sys.prefix == sys.base_prefix and _MADE.exists():
    os.execv(_PYTHON, [str(_PYTHON), *sys.argv])  # noqa: S606 - our own interpreter

import asyncio
import importlib
import io

import click

from stream import __version__
from stream.errors import Broken, ConfigError, DatabaseAway, TwitterstreamError

# Where each command is defined. A module is imported when its command is called: `track list` does
# not import aiohttp, and `collect` does not load what only the web UI needs.
COMMANDS = {
    "alert": "monitor.commands.alert:alert",
    "archive": "monitor.commands.archive:archive",
    "backup": "monitor.commands.backup:backup",
    "check-config": "stream.commands.tools:check_config",
    "collect": "monitor.commands.collect:collect",
    "doctor": "stream.commands.doctor:doctor",
    "dump": "stream.commands.tools:dump",
    "export": "monitor.commands.export:export",
    "exports": "monitor.commands.export:exports",
    "import": "stream.commands.importing:import_files",
    "look-back": "monitor.commands.look_back:look_back",
    "migrate": "stream.commands.tools:migrate",
    "prove": "stream.commands.prove:prove",
    "psql": "stream.commands.tools:psql",
    "restore-backup": "monitor.commands.backup:restore_backup",
    "run": "composition:run",
    "simulate": "composition:simulate",
    "source": "stream.commands.source:source",
    "status": "stream.commands.status:status",
    "track": "stream.commands.track:track",
    "user": "web.commands.user:user",
    "web": "web.commands.serving:web",
    "webhooks": "monitor.commands.webhook:webhooks",
}


INTERRUPTED = 130  # exit code, as of a program that SIGINT ended


class LazyGroup(click.Group):
    """Imports the module of a command when it is called; `--help` imports all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = COMMANDS[cmd_name].partition(":")
        found = getattr(importlib.import_module(module), name)
        assert isinstance(found, click.Command)
        return found


@click.group(cls=LazyGroup)
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file (default: config.yaml, if it exists).",
)
@click.pass_context
def cli(ctx: click.Context, config_path: Path | None) -> None:
    """Collect social streams into Postgres: every tweet stored once, credited to its tracks."""
    ctx.obj = config_path  # commands.context.current makes the Context of it


@cli.command()
def version() -> None:
    """Print the version of this program."""
    click.echo(f"twitterstream {__version__}")


def main() -> None:
    """Run a command; errors become one sentence and an exit code."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack a character
    try:
        try:
            cli.main(standalone_mode=False)
        except BaseExceptionGroup as group:
            # Task groups wrap what ended them; one cause is enough for a person.
            raise _cause(group) from group
    except (click.exceptions.Abort, KeyboardInterrupt, asyncio.CancelledError):
        click.echo("Interrupted. What is not stored yet is in the journal.", err=True)
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ConfigError as error:
        _fail(str(error), 2)
    except Broken as error:
        _fail(f"Internal error, an invariant is broken: {error}", 1)
    except DatabaseAway as error:
        _fail(f"The database cannot be used: {error}. See `database` in the settings.", 1)
    except TwitterstreamError as error:
        _fail(str(error), 1)


def _open_standard_streams() -> None:
    """Replace closed ones: the next file that is opened would get their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(sentence: str, code: int) -> None:
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
