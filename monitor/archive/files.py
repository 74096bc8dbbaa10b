"""Parquet files in the store: written from what COPY gives, and read back.

Memory is bounded by BLOCK: a few blocks are on their way at any time, whatever a day holds.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from msgspec import json

from monitor.archive.manifest import ArchiveError, File, mending
from monitor.archive.store import Missing, Store
from monitor.archive.tables import Kind, Table
from stream.db import Executor, copy_out

BLOCK = 16 << 20  # bytes of CSV; each becomes a row group
LEVEL = 3  # of zstd
# Neither occurs in JSON, which so needs no quoting; where a text has one, COPY quotes it.
DELIMITER, QUOTE = "\x1f", "\x01"

TYPES: dict[Kind, pa.DataType] = {
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "smallint": pa.int16(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("us", "UTC"),
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
}

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
# What Python can hold, in microseconds since 1970, as times are in a file.
EARLIEST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
LATEST = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // _MICROSECOND

Take = Callable[[pa.Table], None]


def schema(table: Table) -> pa.Schema:
    """The columns of a table in its files."""
    return pa.schema([(column.name, TYPES[column.kind]) for column in table.columns])


class TableFile:
    """A Parquet file on its way into the store."""

    def __init__(self, store: Store, path: str, table: Table) -> None:
        self.table = table
        self.rows = 0
        self._name = path.rpartition("/")[2]
        self._upload = store.upload(path)
        self._writer = pq.ParquetWriter(
            self._upload,
            schema(table),
            compression="zstd",
            compression_level=LEVEL,
            use_dictionary=table.few,
            write_statistics=table.narrow,
            write_page_checksum=True,
        )

    def add(self, rows: pa.Table) -> None:
        """One more row group."""
        if rows.num_rows:
            _check_times(self.table, rows)
            self._writer.write_table(rows)
            self.rows += rows.num_rows

    def close(self) -> File:
        """Finish it; what it is."""
        self._writer.close()
        self._upload.close()
        stored = self._upload.stored
        return File(self._name, self.rows, stored.bytes, stored.sha256)


def _check_times(table: Table, rows: pa.Table) -> None:
    """ArchiveError for times that could be written, and never be loaded into Postgres again."""
    for column in table.columns:
        if column.kind != "time":
            continue
        found = pc.min_max(rows.column(column.name).cast(pa.int64())).as_py()
        if found["min"] is not None and not (EARLIEST <= found["min"] <= found["max"] <= LATEST):
            raise ArchiveError(
                f"{column.name} of a row in {table.name} is before the year 1 or after the year"
                " 9999, which no file can hold: put it right in Postgres."
            )


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turn what is wrong with a file into a sentence that says what to do."""
    try:
        yield
    except Missing as error:
        raise ArchiveError(f"{error} {mending(path)}") from error
    except (pa.ArrowException, OSError, EOFError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ArchiveError(f"{path} is damaged: {first}. {mending(path)}") from error


def parse(table: Table, block: bytes) -> pa.Table:
    """What COPY wrote as columns; NULL and the empty text are different."""
    written = {c.name: TYPES["text" if c.kind == "texts" else c.kind] for c in table.columns}
    found = pyarrow.csv.read_csv(
        pa.BufferReader(block),
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, block_size=len(block) + 1, column_names=list(table.names)
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=DELIMITER, quote_char=QUOTE, newlines_in_values=True
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=written,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    for index, column in enumerate(table.columns):
        if column.kind == "texts":
            found = found.set_column(index, column.name, _lists(found.column(index)))
    return found


def _lists(texts: pa.ChunkedArray) -> pa.Array:
    if texts.null_count == len(texts):
        return pa.nulls(len(texts), TYPES["texts"])
    return pa.array(
        [None if t is None else json.decode(t) for t in texts.to_pylist()], TYPES["texts"]
    )


class Gatherer:
    """Takes what COPY gives and hands it on in blocks, parsed, while the next one comes."""

    def __init__(self, table: Table, take: Take) -> None:
        self.table = table
        self.take = take
        self._parts: list[bytes] = []
        self._bytes = 0
        self._working: asyncio.Task[None] | None = None

    async def add(self, data: bytes) -> None:
        """Some whole rows."""
        self._parts.append(data)
        self._bytes += len(data)
        if self._bytes >= BLOCK:
            await self._hand_on()

    async def finish(self) -> None:
        """All rows have come."""
        await self._hand_on()
        await self.settle()

    async def settle(self) -> None:
        """Wait for the block that is being worked on."""
        working, self._working = self._working, None
        if working is not None:
            await working

    async def _hand_on(self) -> None:
        await self.settle()
        if self._parts:
            parts, self._parts, self._bytes = self._parts, [], 0
            self._working = asyncio.create_task(asyncio.to_thread(self._work, parts))

    def _work(self, parts: list[bytes]) -> None:
        block = b"".join(parts)
        parts.clear()
        self.take(parse(self.table, block))


async def copied(
    connection: Executor, table: Table, arguments: Sequence[object], take: Take
) -> None:
    """Hand the rows on in order, in a thread, some thousands at a time."""
    gatherer = Gatherer(table, take)
    try:
        await copy_out(
            connection,
            table.copied,
            *arguments,
            output=gatherer.add,
            delimiter=DELIMITER,
            quote=QUOTE,
        )
        await gatherer.finish()
    finally:
        await asyncio.shield(gatherer.settle())


class Rows:
    """The rows of a file in order, as many at a time as are wanted."""

    def __init__(self, store: Store, path: str, columns: list[str] | None = None) -> None:
        self._columns = columns
        self._path = path
        with _readable(path):
            self._bytes = store.open(path)
            self._file = pq.ParquetFile(self._bytes, pre_buffer=False)
        self.number = self._file.metadata.num_rows
        self._groups = iter(range(self._file.num_row_groups))
        self._held = self._file.schema_arrow.empty_table()

    def take(self, number: int) -> pa.Table:
        """The next rows, at most so many and of one row group, which bounds their bytes; none at
        the end."""
        while not self._held.num_rows and (group := next(self._groups, None)) is not None:
            if self._columns is None:
                self._bytes.hold(*_place(self._file.metadata.row_group(group)))
            with _readable(self._path):
                self._held = self._file.read_row_group(group, self._columns, use_threads=False)
        taken, self._held = self._held.slice(0, number), self._held.slice(number)
        return taken


def _place(group: pq.RowGroupMetaData) -> tuple[int, int]:
    """Where a row group begins, and how long it is."""
    columns = [group.column(index) for index in range(group.num_columns)]
    starts = [
        min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset)
        for column in columns
    ]
    ends = [
        start + column.total_compressed_size for start, column in zip(starts, columns, strict=True)
    ]
    return min(starts), max(ends) - min(starts)
