"""What every command shares: settings, database access, input, output, and the event loop."""

import contextlib
import io
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import cached_property, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TextIO, TypeVar

import click
import msgspec
import uvloop

from stream import config, db, logs
from stream.config import Settings, exposure
from stream.errors import ConfigError, TwitterstreamError
from stream.postgres import Embedded
from stream.store import migrations
from stream.text import decoded
from stream.vault import Vault

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_CONFIG = Path("config.yaml")
PIPE_WIDTH = 200  # characters
# Commands about what is kept in the home database, with what each of them is about.
OF_HOME = {
    "export": "Exports are",
    "source": "Sources are",
    "track": "Tracks are",
    "user": "Users are",
}
FILE_BYTES_MAX = 1 << 20  # more is not a file of credentials


class Context:
    """The settings of this command, and what they give access to."""

    def __init__(self, config_path: Path | None) -> None:
        self.config_path = config_path

    @cached_property
    def out(self) -> "Console":
        """Where a command prints; made on first use, as a daemon prints nothing."""
        from rich.console import Console  # noqa: PLC0415 - 0.02 s, which a daemon saves

        # Lines written to a file or a pipe are not cut to a terminal's width.
        width = None if sys.stdout.isatty() else PIPE_WIDTH
        return Console(highlight=False, markup=False, soft_wrap=True, width=width)

    @cached_property
    def settings(self) -> Settings:
        """Read on first use, so that `version` works with a broken file.

        TwitterstreamError when they are those of a cell, and the command is about what home keeps.
        """
        found = config.load(self.config_file, os.environ)
        if found.cell:
            _require_command_of_cell(found.cell)
        return found

    @property
    def config_file(self) -> Path | None:
        """The settings file, if there is one."""
        if self.config_path is None and DEFAULT_CONFIG.exists():
            return DEFAULT_CONFIG
        return self.config_path

    @cached_property
    def data_dir(self) -> Path:
        return Path(self.settings.data_dir)

    @cached_property
    def vault(self) -> Vault:
        return Vault(self.data_dir)

    @cached_property
    def embedded(self) -> Embedded | None:
        """The embedded server, unless the settings name another database."""
        return None if self.settings.database else Embedded(self.data_dir)

    @contextlib.asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        """The database's URL; starts the embedded server if needed, and stops it afterwards."""
        if self.embedded is None:
            yield self.settings.database
        else:
            async with self.embedded.lease() as url:
                yield url

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[db.Database]:
        """The database, with the schema that this version needs.

        The embedded server is migrated automatically; others only by `migrate` and `run`.
        """
        async with self.url() as url, db.connect(url) as database:
            if self.embedded is not None:
                await migrations.migrate(database)
            await migrations.require_current(database)
            yield database

    def set_up_logging(self) -> None:
        """Configure logging, and log what the settings expose to others."""
        logs.set_up(self.settings)
        for warning in exposure.warnings(self.settings, self.config_file):
            logger.warning(warning)

    def print_json(self, value: object) -> None:
        """Print one JSON document on standard output."""
        click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def _require_command_of_cell(cell: str) -> None:
    running = click.get_current_context(silent=True)
    if running is None:
        return
    name = running.find_root().invoked_subcommand or ""
    if name in OF_HOME:
        raise TwitterstreamError(
            f"{OF_HOME[name]} kept in the home database: give this command with its settings."
            f" These are the settings of cell {cell}."
        )


def current() -> Context:
    """The Context of the running command; created from the option --config."""
    root = click.get_current_context().find_root()
    if not isinstance(root.obj, Context):
        root.obj = Context(root.obj)
    return root.obj


def command(
    function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]],
) -> Callable[P, R]:
    """Decorator: turn a coroutine that takes the Context first into a click command's function."""

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            # asyncio makes it a cancellation, so that the command ends in order.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return uvloop.run(function(current(), *args, **kwargs))

    return update_wrapper(call, function)


def not_counted(missing: Sequence[str]) -> str:
    """A sentence about cells that did not answer."""
    cells = "Cell" if len(missing) == 1 else "Cells"
    return f"{cells} {', '.join(missing)} cannot be used: the tweets there are not counted."


def data_output() -> TextIO:
    """Standard output as UTF-8, whatever the terminal's encoding."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="strict")
    return sys.stdout


def text_of_file(name: str) -> str:
    """Option type: the text of a file, or of standard input for `-`."""
    shown = "Standard input" if name == "-" else name
    try:
        data = _read(name)
    except OSError as error:
        raise ConfigError(f"{shown} cannot be read: {error.strerror}.") from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{shown} is longer than {FILE_BYTES_MAX:,} bytes.")
    try:
        return decoded(data)
    except UnicodeError:
        raise ConfigError(f"{shown} is neither UTF-8 nor UTF-16: save it as UTF-8.") from None


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
    with Path(name).open("rb") as file:
        return file.read(FILE_BYTES_MAX + 1)


def first_line(text: str) -> str:
    """The first line of a text, without its line ending."""
    return text.partition("\n")[0].removesuffix("\r")
