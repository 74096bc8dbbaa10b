"""The files of an archive: Parquet from the output of COPY, read back as well, and NDJSON.

Memory is bounded by BLOCK_BYTES: a few blocks exist at a time, however large a day is.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import zstandard
from msgspec import json

from monitor.archive.manifest import ArchiveError, File, repair_hint
from monitor.archive.store import Missing, Store
from stream.db import Executor, copy_out
from stream.store.day_snapshot import Kind, Table

BLOCK_BYTES = 16 << 20  # bytes of CSV; each becomes a row group
NDJSON_BATCH_ROWS = 1000  # encoded at a time
COMPRESSION_LEVEL = 3  # of zstd
# Neither occurs in JSON, which therefore needs no quoting; COPY quotes a text that has one.
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
# The range of Python in microseconds since 1970, as times are in a file.
EARLIEST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
LATEST = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // _MICROSECOND

Take = Callable[[pa.Table], None]


def schema(table: Table) -> pa.Schema:
    """The columns of a table in its files."""
    return pa.schema([(column.name, TYPES[column.kind]) for column in table.columns])


class TableWriter:
    """A Parquet file that is being written into the store."""

    def __init__(self, store: Store, path: str, table: Table) -> None:
        self.table = table
        self.rows = 0
        self._name = path.rpartition("/")[2]
        self._upload = store.upload(path)
        self._writer = pq.ParquetWriter(
            self._upload,
            schema(table),
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            use_dictionary=[column.name for column in table.columns if column.repetitive],
            write_statistics=[column.name for column in table.columns if not column.wide],
            write_page_checksum=True,
        )

    def add(self, rows: pa.Table) -> None:
        """Write another row group."""
        if rows.num_rows:
            _check_times(self.table, rows)
            self._writer.write_table(rows)
            self.rows += rows.num_rows

    def close(self) -> File:
        """Finish the file; returns its entry in the manifest."""
        self._writer.close()
        self._upload.close()
        stored = self._upload.stored
        return File(self._name, self.rows, stored.bytes, stored.sha256)


def _check_times(table: Table, rows: pa.Table) -> None:
    """ArchiveError for times that could be written but not be restored into Postgres."""
    for column in table.columns:
        if column.kind != "time":
            continue
        found = pc.min_max(rows.column(column.name).cast(pa.int64())).as_py()
        if found["min"] is not None and not (EARLIEST <= found["min"] <= found["max"] <= LATEST):
            raise ArchiveError(
                f"{column.name} of a row in {table.name} is before the year 1 or after the year"
                " 9999, which no file can hold. Correct it in Postgres."
            )


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turn errors of a file into an ArchiveError that says what to do."""
    try:
        yield
    except Missing as error:
        raise ArchiveError(f"{error} {repair_hint(path)}") from error
    except (pa.ArrowException, OSError, EOFError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ArchiveError(f"{path} is damaged: {first}. {repair_hint(path)}") from error


def parse(table: Table, block: bytes) -> pa.Table:
    """The columns of what COPY wrote; NULL and the empty text differ."""
    written = {c.name: TYPES["text" if c.kind == "texts" else c.kind] for c in table.columns}
    found = pyarrow.csv.read_csv(
        pa.BufferReader(block),
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, block_size=len(block) + 1, column_names=list(table.column_names)
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


class BlockParser:
    """Parses the output of COPY in blocks, each in a thread while the next one is received."""

    def __init__(self, table: Table, take: Take) -> None:
        self.table = table
        self.take = take
        self._parts: list[bytes] = []
        self._bytes = 0
        self._parsing: asyncio.Task[None] | None = None

    async def add(self, data: bytes) -> None:
        """Add some whole rows."""
        self._parts.append(data)
        self._bytes += len(data)
        if self._bytes >= BLOCK_BYTES:
            await self._parse_next()

    async def finish(self) -> None:
        """Parse the last block of an NDJSON file."""
        await self._parse_next()
        await self.wait()

    async def wait(self) -> None:
        """Wait until the current block is parsed."""
        parsing, self._parsing = self._parsing, None
        if parsing is not None:
            await parsing

    async def _parse_next(self) -> None:
        await self.wait()
        if self._parts:
            parts, self._parts, self._bytes = self._parts, [], 0
            self._parsing = asyncio.create_task(asyncio.to_thread(self._parse, parts))

    def _parse(self, parts: list[bytes]) -> None:
        block = b"".join(parts)
        parts.clear()
        self.take(parse(self.table, block))


async def copy_rows(
    connection: Executor, table: Table, arguments: Sequence[object], take: Take
) -> None:
    """Pass the rows to `take` in order, in a thread, some thousands at a time."""
    parser = BlockParser(table, take)
    try:
        await copy_out(
            connection,
            table.copy_query,
            *arguments,
            output=parser.add,
            delimiter=DELIMITER,
            quote=QUOTE,
        )
        await parser.finish()
    finally:
        await asyncio.shield(parser.wait())


def with_added_columns(table: Table, rows: pa.Table) -> pa.Table:
    """Rows of a file with the columns that older files lack."""
    for column in table.columns:
        if column.added and column.name not in rows.column_names:
            rows = rows.append_column(column.name, pa.array([False] * rows.num_rows, pa.bool_()))
    return rows


class RowReader:
    """Reads the rows of a file in order."""

    def __init__(self, store: Store, path: str, columns: list[str] | None = None) -> None:
        self._columns = columns
        self._path = path
        with _readable(path):
            self._bytes = store.open(path)
            self._file = pq.ParquetFile(self._bytes, pre_buffer=False)
        self.total = self._file.metadata.num_rows
        self._groups = iter(range(self._file.num_row_groups))
        self._buffered = self._file.schema_arrow.empty_table()

    def take(self, number: int) -> pa.Table:
        """The next rows, at most `number`; none at the end.

        All of them are of one row group, which bounds their size.
        """
        while not self._buffered.num_rows and (group := next(self._groups, None)) is not None:
            if self._columns is None:
                self._bytes.prefetch(*_extent(self._file.metadata.row_group(group)))
            with _readable(self._path):
                self._buffered = self._file.read_row_group(group, self._columns, use_threads=False)
        taken, self._buffered = self._buffered.slice(0, number), self._buffered.slice(number)
        return taken


def _extent(group: pq.RowGroupMetaData) -> tuple[int, int]:
    """The start and the length of a row group in its file."""
    columns = [group.column(index) for index in range(group.num_columns)]
    starts = [
        min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset)
        for column in columns
    ]
    ends = [
        start + column.total_compressed_size for start, column in zip(starts, columns, strict=True)
    ]
    return min(starts), max(ends) - min(starts)


def records(rows: pa.Table) -> Sequence[tuple[object, ...]]:
    """RowReader for the driver, with JSON as bytes."""
    columns = [
        [value.encode() for value in rows[name].to_pylist()]
        if name == "doc"
        else rows[name].to_pylist()
        for name in rows.column_names
    ]
    return list(zip(*columns, strict=True))


class NdjsonWriter:
    """A compressed file of lines that is being written into the store."""

    def __init__(self, store: Store, path: str) -> None:
        self.rows = 0
        self._name = path.rpartition("/")[2]
        self._upload = store.upload(path)
        self._compressor = zstandard.ZstdCompressor(
            level=COMPRESSION_LEVEL, write_checksum=True
        ).compressobj()
        self._encode = msgspec.json.Encoder().encode

    def add(self, rows: pa.Table) -> None:
        """Write these tweets, in order."""
        for start in range(0, rows.num_rows, NDJSON_BATCH_ROWS):
            lines = (self._line(row) for row in rows.slice(start, NDJSON_BATCH_ROWS).to_pylist())
            self._write(self._compressor.compress(b"".join(lines)))
        self.rows += rows.num_rows

    def close(self) -> File:
        """Finish the file; returns its entry in the manifest."""
        self._write(self._compressor.flush())
        self._upload.close()
        stored = self._upload.stored
        return File(self._name, self.rows, stored.bytes, stored.sha256)

    def _line(self, row: dict[str, object]) -> bytes:
        # Numbers above 2^53 do not survive every reader, so the key is text.
        doc = msgspec.Raw(str(row["doc"]).encode())
        return self._encode(row | {"id": str(row["id"]), "doc": doc}) + b"\n"

    def _write(self, data: bytes) -> None:
        if data:
            self._upload.write(data)
