"""The rows of a file against those of Postgres, one by one."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from monitor.archive.files import TYPES, Rows
from monitor.archive.manifest import ArchiveError
from monitor.archive.store import Store
from monitor.archive.tables import Table
from stream.db import Executor, Row

ROWS = 2000  # compared at once


async def compare(
    connection: Executor, table: Table, arguments: Sequence[object], store: Store, path: str
) -> None:
    """Hold a file against Postgres, row by row, inside a snapshot; ArchiveError at a difference.

    The rows come in binary and become Python's before they are columns: another way than the one
    by which the file was made.
    """
    rows = await asyncio.to_thread(Rows, store, path)
    cursor = await connection.cursor(table.fetched, *arguments)
    comparing: asyncio.Task[None] | None = None
    try:
        while (some := await asyncio.to_thread(rows.take, ROWS)).num_rows:
            records = await cursor.fetch(some.num_rows)
            if comparing is not None:
                await comparing
            comparing = asyncio.create_task(asyncio.to_thread(_same, table, records, some, path))
        if comparing is not None:
            await comparing
    finally:
        if comparing is not None:
            await asyncio.wait([comparing])
    if await cursor.fetch(1):
        raise ArchiveError(f"{path} lacks rows that Postgres has.")


def _same(table: Table, records: Sequence[Row], found: pa.Table, path: str) -> None:
    if found.num_rows != len(records):
        raise ArchiveError(f"{path} has rows that Postgres does not have.")
    columns: list[tuple[Any, ...]] = list(zip(*records, strict=True))
    for column, values in zip(table.columns, columns, strict=True):
        expected = pa.chunked_array([pa.array(values, TYPES[column.kind])])
        if not found.column(column.name).equals(expected):
            first = found.column(table.key[0])[0].as_py()
            raise ArchiveError(
                f"{path}: {column.name} is not as in Postgres, in the rows from {first} on."
            )
