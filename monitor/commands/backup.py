"""`backup` and `restore-backup`: settings, tracks and history in one file, without tweets."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click

from monitor.backup.create import make
from monitor.backup.format import SealedKey, seal
from monitor.backup.restore import Restored, restore
from stream import files
from stream.commands.context import Context, command, first_line, text_of_file
from stream.db import Database
from stream.errors import ConfigError, TwitterstreamError
from stream.store import sources

PASSPHRASE = click.option(
    "--passphrase-file",
    "passphrase_file",
    type=text_of_file,
    metavar="FILE",
    help="File whose first line is a passphrase for the credentials; - reads standard input.",
)


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@PASSPHRASE
@click.option("--without-credentials", is_flag=True, help="Leave out credentials.")
@command
async def backup(
    context: Context, file: Path | None, passphrase_file: str | None, without_credentials: bool
) -> None:
    """Back up tracks, sources and their history to FILE, without tweets.

    THE FILE IS A SECRET: it contains the credentials of the sources and the key that decrypts them.
    --passphrase-file encrypts that key with a passphrase. Without FILE, the backup is written to
    the current folder, with the time as its name.
    """
    if without_credentials and passphrase_file is not None:
        raise ConfigError(
            "Use either --without-credentials or --passphrase-file: without credentials there is"
            " nothing to encrypt."
        )
    path = file or Path(f"twitterstream-{datetime.now(UTC):%Y%m%d-%H%M%S}.backup")
    passphrase = _passphrase(passphrase_file)
    async with context.database() as database:
        box: SealedKey | None = None
        if not without_credentials and await _sealed(context, database):
            box = seal(context.vault.key(), passphrase)
        with _new(path) as target:
            header = await make(database, target.write, box)
    if header.without:
        context.out.print(f"Wrote {path}, without the credentials of the sources.")
    elif box is None:
        context.out.print(f"Wrote {path}; there were no credentials to include.")
    elif passphrase is None:
        context.out.print(f"Wrote {path}. Keep it secret: it decrypts the credentials.")
    else:
        context.out.print(f"Wrote {path}. Keep the passphrase in a different place.")


@click.command("restore-backup")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@PASSPHRASE
@click.option("--force", is_flag=True, help="Delete existing data first.")
@command
async def restore_backup(
    context: Context, file: Path, passphrase_file: str | None, force: bool
) -> None:
    """Restore FILE, written by `backup`, into a new database: everything or nothing.

    Ids stay the same, so archives and tracks still match. Stop the daemon of the old server before
    you start this one: a network serves only one of them.
    """
    passphrase = _passphrase(passphrase_file)
    async with context.database() as database:
        done = await restore(database, context.vault, file, passphrase, force=force)
    context.out.print(_summary(done))


def _passphrase(text: str | None) -> str | None:
    if text is None:
        return None
    if not (line := first_line(text)):
        raise ConfigError("The passphrase is empty: it is the first line of --passphrase-file.")
    return line


@contextlib.contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    """A new file that appears when it is complete."""
    if path.exists():
        raise TwitterstreamError(f"{path} exists already; choose another name.")
    try:
        with files.replacing(path) as file:
            yield file
    except OSError as error:
        raise TwitterstreamError(f"{path} cannot be written: {error.strerror}.") from error


async def _sealed(context: Context, database: Database) -> bool:
    """Whether there are credentials; all must be readable with this server's key."""
    async with database.acquire() as connection:
        rows = await sources.get_all(connection)
    sealed = [row for row in rows if row.secrets is not None]
    for row in sealed:
        try:
            context.vault.open(row.secrets or b"")
        except TwitterstreamError as error:
            raise TwitterstreamError(
                f"Source {row.name}: {error}. Or leave out credentials: --without-credentials."
            ) from error
    return bool(sealed)


def _summary(done: Restored) -> str:
    """Summarize what was restored, and what is left to do."""
    rows = done.rows
    text = (
        f"Restored from {done.header.made_at:%Y-%m-%d %H:%M} UTC: {rows['sources']:,} sources,"
        f" {rows['tracks']:,} tracks, {rows['track_days']:,} daily counts,"
        f" {rows['archives']:,} archived days. The old server's daemon must not run any more."
    )
    if names := done.header.without:
        text += (
            f"\nThe backup has no credentials for these sources, so they are disabled:"
            f" {', '.join(names)}. Enter them with `source secrets NAME --secrets FILE`, then run"
            " `source enable NAME`."
        )
    return text
