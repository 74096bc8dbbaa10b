"""`backup` and `restore-backup`: the control plane in one file, for another server."""

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TextIO

import click

from monitor.backup.keys import Box, pack
from monitor.backup.making import make
from monitor.backup.restoring import Restored, restore
from stream import sources
from stream.commands.context import Context, command
from stream.db import Database
from stream.errors import ConfigError, TwitterstreamError

PASSPHRASE = click.option(
    "--passphrase-file",
    "passphrase_file",
    type=click.File("r", encoding="utf-8"),
    help="File whose first line is the passphrase of the credentials; - reads standard input.",
)


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@PASSPHRASE
@click.option("--without-credentials", is_flag=True, help="Leave the credentials out.")
@command
async def backup(
    context: Context, file: Path | None, passphrase_file: TextIO | None, without_credentials: bool
) -> None:
    """Tracks, sources and their history in one FILE, for another server. No tweets.

    THE FILE IS A SECRET: it holds the credentials of the sources, and the key that opens them. With
    --passphrase-file the key in it is of no use to who does not know the passphrase. Without FILE
    it is named after the time, and lies in this folder.
    """
    if without_credentials and passphrase_file is not None:
        raise ConfigError("Without credentials there is nothing that a passphrase could protect.")
    path = file or Path(f"twitterstream-{datetime.now(UTC):%Y%m%d-%H%M%S}.backup")
    passphrase = _passphrase(passphrase_file)
    async with context.database() as database:
        box: Box | None = None
        if not without_credentials and await _sealed(context, database):
            box = pack(context.vault.key(), passphrase)
        with _new(path) as target:
            header = await make(database, target.write, box)
    if header.without:
        context.out.print(f"{path} is written, without the credentials of the sources.")
    elif box is None:
        context.out.print(f"{path} is written; there were no credentials to be taken along.")
    elif passphrase is None:
        context.out.print(f"{path} is written. It is a secret: it opens the credentials.")
    else:
        context.out.print(f"{path} is written. Keep the passphrase elsewhere.")


@click.command("restore-backup")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@PASSPHRASE
@click.option("--force", is_flag=True, help="What this database has goes, and its history.")
@command
async def restore_backup(
    context: Context, file: Path, passphrase_file: TextIO | None, force: bool
) -> None:
    """Take FILE, which `backup` wrote, into a fresh database: everything or nothing.

    Numbers stay, so archives and tracks still fit together. Stop the daemon of the old server
    before this one's starts: a network serves only one of them.
    """
    passphrase = _passphrase(passphrase_file)
    async with context.database() as database:
        done = await restore(database, context.vault, file, passphrase, force=force)
    context.out.print(_summary(done))


def _passphrase(file: TextIO | None) -> str | None:
    if file is None:
        return None
    if not (line := file.readline().rstrip("\r\n")):
        raise ConfigError("The passphrase is empty: it is the first line of --passphrase-file.")
    return line


@contextlib.contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    """A file of our own, there when it is complete."""
    if path.exists():
        raise TwitterstreamError(f"{path} is there already; name another file.")
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        partial.rename(path)
    except OSError as error:
        raise TwitterstreamError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


async def _sealed(context: Context, database: Database) -> bool:
    """Whether there are credentials; what our own key does not open, no other server would."""
    async with database.acquire() as connection:
        rows = await sources.everything(connection)
    sealed = [row for row in rows if row.secrets is not None]
    for row in sealed:
        try:
            context.vault.open(row.secrets or b"")
        except TwitterstreamError as error:
            raise TwitterstreamError(
                f"Source {row.name}: {error}. Or leave the credentials out: --without-credentials."
            ) from error
    return bool(sealed)


def _summary(done: Restored) -> str:
    """What came back, and what is left to do."""
    rows = done.rows
    text = (
        f"Restored from {done.header.made_at:%Y-%m-%d %H:%M} UTC: {rows['sources']:,} sources,"
        f" {rows['tracks']:,} tracks, {rows['track_days']:,} days of counts,"
        f" {rows['archives']:,} archived days. The other server's daemon must not run any more."
    )
    if names := done.header.without:
        text += (
            f"\nCredentials were left out, so these sources are disabled: {', '.join(names)}. Give"
            " them by `source secrets NAME --secrets FILE`, then `source enable NAME`."
        )
    return text
