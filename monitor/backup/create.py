"""Write a backup of the tables, all of it as of one moment."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from monitor.backup.format import Header, SealedKey, Writer
from stream import __version__
from stream.db import Database, Executor
from stream.store import backups
from stream.store.backups import BackupTable

T = TypeVar("T")


class Run(Protocol):
    """Runs a blocking call outside the event loop."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


async def make(
    database: Database,
    sink: Callable[[bytes], object],
    key: SealedKey | None,
    run: Run = asyncio.to_thread,
) -> Header:
    """Write everything to `sink`. Without a key the credentials are left out."""
    async with (
        database.long_running() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        header = await _header(connection, key)
        writer = await run(partial(Writer, sink, header))
        for table in backups.TABLES:
            await _add(connection, writer, table, run, secrets=key is not None)
        await run(writer.finish)
    return header


async def _header(connection: Executor, key: SealedKey | None) -> Header:
    sealed = await backups.sources_with_credentials(connection)
    return Header(
        made_at=datetime.now(UTC),
        version=__version__,
        migration=await backups.newest_migration(connection),
        key=key,
        without=() if key is not None else tuple(sealed),
    )


async def _add(
    connection: Executor, writer: Writer, table: BackupTable, run: Run, *, secrets: bool
) -> None:
    await run(partial(writer.begin, table.name, await backups.last_id(connection, table)))
    strip = table.name in backups.WITH_SECRETS and not secrets
    async for rows in backups.rows(connection, table):
        await run(partial(writer.add, [_without_secrets(row) for row in rows] if strip else rows))


def _without_secrets(line: bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(line) | {"secrets": None})
