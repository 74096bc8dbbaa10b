"""The data files of an export: one or several for each part, in the format that was asked for."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, Self, assert_never

from monitor.export import data_file
from monitor.export.data_file import DataFile
from monitor.export.hashed_file import Written
from stream.db import Executor
from stream.store import export_rows
from stream.store.export_columns import COLUMN_SETS, IDS, RECEIVED, ExportColumn, ExportTable
from stream.store.export_graphs import graph_tables
from stream.store.export_relations import RELATIONS
from stream.store.export_rows import Range, Selection
from stream.store.exports import Export, Format

COPY_KEYS = 50_000  # tweets of one COPY, which streams them
SUFFIXES: dict[Format, str] = {
    "csv": "csv",
    "excel": "csv",
    "xlsx": "xlsx",
    "ndjson": "ndjson",
    "received": "ndjson",
    "parquet": "parquet",
    "ids": "txt",
    "relations": "csv",
    "gexf": "csv",
}


class RowWriter(Protocol):
    """Writes rows of the tables into one file."""

    keys_max: int  # tweets read at a time

    async def add(self, connection: Executor, selection: Selection, keys: Range) -> int:
        """Append the rows of a range; returns how many."""

    async def close(self) -> None:
        """Write what comes after the last row."""


class CsvWriter:
    """CSV as Postgres writes it: UTF-8, a heading, times in UTC, and lists as JSON."""

    keys_max = COPY_KEYS

    def __init__(self, file: DataFile, table: ExportTable) -> None:
        self.file = file
        self.table = table
        file.write((",".join(column.name for column in table.columns) + "\n").encode())

    async def add(self, connection: Executor, selection: Selection, keys: Range) -> int:
        return await export_rows.copy_csv(connection, selection, keys, self.table, self.file.output)

    async def close(self) -> None:
        """There is nothing after the last row."""


class NdjsonWriter:
    """One JSON object a line."""

    keys_max = COPY_KEYS

    def __init__(self, file: DataFile, columns: Sequence[ExportColumn]) -> None:
        self.file = file
        self.columns = columns

    async def add(self, connection: Executor, selection: Selection, keys: Range) -> int:
        return await export_rows.copy_json(
            connection, selection, keys, self.columns, self.file.output
        )

    async def close(self) -> None:
        """There is nothing after the last row."""


class LineWriter:
    """One column, a line for each tweet: ids, or messages."""

    keys_max = COPY_KEYS

    def __init__(self, file: DataFile, columns: Sequence[ExportColumn]) -> None:
        self.file = file
        [self.column] = columns

    async def add(self, connection: Executor, selection: Selection, keys: Range) -> int:
        return await export_rows.copy_lines(
            connection, selection, keys, self.column, self.file.output
        )

    async def close(self) -> None:
        """There is nothing after the last row."""


def tables_of(export: Export) -> Sequence[ExportTable]:
    """What the files of each part have."""
    match export.format:
        case "relations":
            return RELATIONS
        case "gexf":
            return graph_tables(export.graph)
        case "ids":
            return (ExportTable("tweets", IDS),)
        case "received":
            return (ExportTable("tweets", RECEIVED),)
    return (ExportTable("tweets", COLUMN_SETS[export.columns]),)


def _row_writer(export: Export, file: DataFile, table: ExportTable) -> RowWriter:
    """The writer for the format of an export."""
    match export.format:
        case "csv" | "relations" | "gexf":
            return CsvWriter(file, table)
        case "ndjson":
            return NdjsonWriter(file, table.columns)
        case "received" | "ids":
            return LineWriter(file, table.columns)
    from monitor.export import tables  # noqa: PLC0415 - large libraries

    match export.format:
        case "excel":
            return tables.ExcelCsvWriter(file, table.columns)
        case "xlsx":
            return tables.XlsxWriter(file, table.columns, export.requested_at)
        case "parquet":
            return tables.ParquetWriter(file, table.columns)
    assert_never(export.format)


class PartFiles:
    """The files of a part that is being written: each tweet is added to all of them."""

    def __init__(self, folder: Path, export: Export, number: int) -> None:
        self.rows_are_tweets = not tables_of(export)[0].items  # in the first file
        self._open = ExitStack()
        self._writers: dict[str, tuple[DataFile, RowWriter]] = {}
        self.rows: dict[str, int] = {}
        for table in tables_of(export):
            path = part_path(folder, export, table.name, number)
            file = self._open.enter_context(DataFile(path))
            self._writers[table.name] = file, _row_writer(export, file, table)
            self.rows[table.name] = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def keys_max(self) -> int:
        return min(writer.keys_max for _, writer in self._writers.values())

    async def add(self, connection: Executor, selection: Selection, keys: Range) -> int:
        """Append the rows of a range; returns how many the first file got."""
        counts = []
        for name, (_, writer) in self._writers.items():
            counts.append(await writer.add(connection, selection, keys))
            self.rows[name] += counts[-1]
        return counts[0]

    async def finish(self) -> dict[str, Written]:
        """Give the files their names, durably."""
        written = {}
        for name, (file, writer) in self._writers.items():
            await writer.close()
            await file.settle()
            written[name] = await asyncio.to_thread(file.finish)
        return written


def part_name(export: Export, name: str, number: int) -> str:
    """The name of a part's file in the package."""
    return f"{name}-{number:04d}.{SUFFIXES[export.format]}"


def part_path(folder: Path, export: Export, name: str, number: int) -> Path:
    """Where the file of a part is until the package has it."""
    return folder / f"{part_name(export, name, number)}{data_file.SUFFIX}"
