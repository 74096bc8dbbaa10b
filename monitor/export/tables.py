"""Files of exports that a library writes: for spreadsheets, and Parquet."""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from monitor.export.hashed_file import HashedFile
from stream.db import Executor, Row
from stream.spreadsheets import (
    BYTE_ORDER_MARK,
    EXACT_DIGITS,
    YEAR_MIN,
    csv_cell,
    csv_lines,
    xlsx_cell,
)
from stream.store import export_rows
from stream.store.export_columns import ExportColumn, Kind
from stream.store.export_rows import Range, Selection
from stream.workbooks import PlainSheet, new_workbook

ROWS_AT_ONCE = 2000  # in memory
TYPES: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "time": pa.timestamp("us", "UTC"),
    "texts": pa.list_(pa.string()),
    "integers": pa.list_(pa.int64()),
}
_COPY_BYTES = 1 << 20


def _text(value: object) -> str:
    """A value as a text for people: times in UTC, lists with a space between two."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list):
        return " ".join(str(each) for each in value if each is not None)
    return "" if value is None else str(value)


def _cell(value: object) -> str:
    """A value as a cell: a number below zero is none that would be calculated."""
    if isinstance(value, int | float) and abs(value) < 10**EXACT_DIGITS:
        return str(value)
    return csv_cell(_text(value))


class ExcelCsvWriter:
    """CSV that Excel opens as it is: nothing is calculated or rounded."""

    keys_max = ROWS_AT_ONCE

    def __init__(self, file: HashedFile, columns: Sequence[ExportColumn]) -> None:
        self.file = file
        self.columns = columns
        file.write(BYTE_ORDER_MARK.encode() + csv_lines([[column.name for column in columns]]))

    async def add(self, connection: Executor, selection: Selection, keys: Range) -> int:
        rows = await export_rows.fetch(connection, selection, keys, self.columns)
        self.file.write(csv_lines([_cell(value) for value in row.values()] for row in rows))
        return len(rows)

    async def close(self) -> None:
        """There is nothing after the last row."""


class XlsxWriter:
    """An Excel workbook, written row by row into temporary files."""

    keys_max = ROWS_AT_ONCE

    def __init__(
        self, file: HashedFile, columns: Sequence[ExportColumn], created: datetime
    ) -> None:
        self.file = file
        self.columns = columns
        self._folder = Path(tempfile.mkdtemp(prefix="xlsx-", dir=file.path.parent))
        self._path = self._folder / "book.xlsx"
        self._book = new_workbook(self._path)
        # The same bytes whenever it is written.
        self._book.set_properties({"created": created.astimezone(UTC).replace(tzinfo=None)})
        self._date = self._book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self._sheet = self._book.add_worksheet("Tweets", PlainSheet)
        self._sheet.freeze_panes(1, 0)
        for place, column in enumerate(columns):
            self._sheet.write_string(0, place, column.name)
        self._row = 0

    async def add(self, connection: Executor, selection: Selection, keys: Range) -> int:
        rows = await export_rows.fetch(connection, selection, keys, self.columns)
        await asyncio.to_thread(self._add, rows)
        return len(rows)

    def _add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._row += 1
            for place, value in enumerate(row.values()):
                self._write(place, value)

    def _write(self, place: int, value: object) -> None:
        if isinstance(value, datetime) and value.year >= YEAR_MIN:
            plain = value.astimezone(UTC).replace(tzinfo=None)
            self._sheet.write_datetime(self._row, place, plain, self._date)
        elif isinstance(value, int | float) and abs(value) < 10**EXACT_DIGITS:
            self._sheet.write_number(self._row, place, value)
        elif text := _text(value):
            self._sheet.write_string(self._row, place, xlsx_cell(text))

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._book.close()
        with self._path.open("rb") as book:
            while chunk := book.read(_COPY_BYTES):
                self.file.write(chunk)
        shutil.rmtree(self._folder)


class ParquetWriter:
    """Parquet: a row group for each batch of rows, so that memory is bounded."""

    keys_max = 5 * ROWS_AT_ONCE

    def __init__(self, file: HashedFile, columns: Sequence[ExportColumn]) -> None:
        self.columns = columns
        self._schema = pa.schema([(column.name, TYPES[column.kind]) for column in columns])
        self._writer = pq.ParquetWriter(pa.PythonFile(file, "w"), self._schema, compression="zstd")

    async def add(self, connection: Executor, selection: Selection, keys: Range) -> int:
        rows = await export_rows.fetch(connection, selection, keys, self.columns)
        if rows:
            await asyncio.to_thread(self._add, rows)
        return len(rows)

    def _add(self, rows: Sequence[Row]) -> None:
        columns = [
            pa.array([row[place] for row in rows], self._schema.field(place).type)
            for place in range(len(self._schema))
        ]
        self._writer.write_table(pa.table(columns, schema=self._schema))

    async def close(self) -> None:
        self._writer.close()
