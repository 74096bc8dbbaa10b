"""What every command needs: the settings, the database, and a loop to run in."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import cached_property, update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click
import msgspec
import uvloop
from rich.console import Console

from stream import config, db, migrations
from stream.config import Settings
from stream.postgres import Embedded
from stream.vault import Vault

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_CONFIG = Path("config.yaml")
PIPE_WIDTH = 200  # characters


class Context:
    """The settings of this call, and the doors they open."""

    def __init__(self, config_path: Path | None) -> None:
        self.config_path = config_path
        # Into a file or a pipe lines are not cut to the width of a screen that is not there.
        width = None if sys.stdout.isatty() else PIPE_WIDTH
        self.out = Console(highlight=False, markup=False, soft_wrap=True, width=width)

    @cached_property
    def settings(self) -> Settings:
        """Read when the first command needs them, so that `version` works with a broken file."""
        path = self.config_path
        if path is None and DEFAULT_CONFIG.exists():
            path = DEFAULT_CONFIG
        return config.load(path, os.environ)

    @cached_property
    def data_dir(self) -> Path:
        return Path(self.settings.data_dir)

    @cached_property
    def vault(self) -> Vault:
        return Vault(self.data_dir)

    @cached_property
    def embedded(self) -> Embedded | None:
        """The embedded server, unless the settings name another."""
        return None if self.settings.database else Embedded(self.data_dir)

    @contextlib.asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        """The database's address; the embedded server runs while inside."""
        if self.embedded is None:
            yield self.settings.database
        else:
            async with self.embedded.lease() as url:
                yield url

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[db.Database]:
        """The database, with a schema that fits this program.

        Our own server is brought up to date by itself; somebody else's only by `migrate` and `run`.
        """
        async with self.url() as url, db.connect(url) as database:
            if self.embedded is not None:
                await migrations.migrate(database)
            await migrations.require_current(database)
            yield database

    def print_json(self, value: object) -> None:
        """For programs: one JSON document on standard output."""
        click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def command(
    function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]],
) -> Callable[P, R]:
    """Make a coroutine that takes the Context first into what click can call."""

    @click.pass_obj
    def call(context: Context, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return uvloop.run(function(context, *args, **kwargs))

    return update_wrapper(call, function)
