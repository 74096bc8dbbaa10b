"""Writing a backup out of the tables, all of it as at one moment."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from monitor.backup.keys import Box
from monitor.backup.lines import Header, Writer
from monitor.backup.tables import LAST, MIGRATION, TABLES, Kept
from stream import __version__
from stream.db import Database, Executor

T = TypeVar("T")

ROWS = 5000  # at once

_SEALED = "SELECT name FROM sources WHERE secrets IS NOT NULL ORDER BY id"


class Run(Protocol):
    """Makes a call that waits for a disk or a network, beside the event loop."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


async def make(
    database: Database,
    sink: Callable[[bytes], object],
    key: Box | None,
    run: Run = asyncio.to_thread,
) -> Header:
    """Write everything to `sink`. Without a key the credentials are left out."""
    async with (
        database.patient() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        header = await _header(connection, key)
        writer = await run(partial(Writer, sink, header))
        for table in TABLES:
            await _add(connection, writer, table, run, secrets=key is not None)
        await run(writer.finish)
    return header


async def _header(connection: Executor, key: Box | None) -> Header:
    [row] = await connection.fetch(MIGRATION)
    sealed = [row["name"] for row in await connection.fetch(_SEALED)]
    return Header(
        made_at=datetime.now(UTC),
        version=__version__,
        migration=row["name"],
        key=key,
        without=() if key is not None else tuple(sealed),
    )


async def _add(
    connection: Executor, writer: Writer, table: Kept, run: Run, *, secrets: bool
) -> None:
    last = None
    if table.numbered:
        [row] = await connection.fetch(LAST, table.name)
        last = row["last"]
    await run(partial(writer.begin, table.name, last))
    cursor = await connection.cursor(table.rows)
    while rows := await cursor.fetch(ROWS):
        lines = [row["line"].encode() for row in rows]
        if table.name == "sources" and not secrets:
            lines = [_without_secrets(line) for line in lines]
        await run(partial(writer.add, lines))


def _without_secrets(line: bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(line) | {"secrets": None})
