"""The form of a backup: compressed lines of JSON.

["twitterstream backup", {"format": 1, …}]
["table", "tracks", 12]                     the highest number that was given
{"id": 1, "value": "snow", …}               its rows
…
["end", {"tracks": 7, …}]                   rows of each table: without it the file is cut
"""

import io
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import BinaryIO, TypeAlias

import msgspec
import zstandard

from monitor.backup.keys import Box
from stream.errors import TwitterstreamError

FORMAT = 1
TITLE = "twitterstream backup"
LONGEST = 64 << 20  # bytes of a line
LEVEL = 6
ROWS = 2000  # read at once


class Header(msgspec.Struct, frozen=True):
    """What must be known before the rows."""

    made_at: datetime
    version: str  # of the program
    migration: str  # the newest one of the database
    key: Box | None  # None: credentials were left out
    without: tuple[str, ...] = ()  # the sources whose credentials were
    format: int = FORMAT


class Title(msgspec.Struct, frozen=True, array_like=True, tag=TITLE):
    """The first line."""

    header: Header


class Table(msgspec.Struct, frozen=True, array_like=True, tag="table"):
    """The rows of a table follow."""

    name: str
    last: int | None  # the highest number that was given


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """The last line."""

    rows: dict[str, int]  # of each table


Part: TypeAlias = Table | list[bytes]  # a table begins, or some rows of it


class Writer:
    """Compresses lines into `sink`, which is called off the event loop."""

    def __init__(self, sink: Callable[[bytes], object], header: Header) -> None:
        self._sink = sink
        self._packed = zstandard.ZstdCompressor(LEVEL, write_checksum=True).compressobj()
        self._rows: Counter[str] = Counter()
        self._table = ""
        self._write([msgspec.json.encode(Title(header))])

    def begin(self, table: str, last: int | None) -> None:
        """The rows of this table follow."""
        self._table = table
        self._rows[table] = 0
        self._write([msgspec.json.encode(Table(table, last))])

    def add(self, rows: list[bytes]) -> None:
        self._rows[self._table] += len(rows)
        self._write(rows)

    def finish(self) -> None:
        self._write([msgspec.json.encode(End(dict(self._rows)))])
        self._sink(self._packed.flush())

    def _write(self, lines: list[bytes]) -> None:
        if lines and (data := self._packed.compress(b"\n".join(lines) + b"\n")):
            self._sink(data)


class Reader:
    """Reads a backup from its start; TwitterstreamError when it is none, or damaged."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        unpacked = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        self._lines = io.BufferedReader(unpacked, 1 << 20)
        self.header = self._header()

    def _header(self) -> Header:
        try:
            title = msgspec.json.decode(self._lines.readline(LONGEST), type=Title)
        except (msgspec.MsgspecError, zstandard.ZstdError):
            raise TwitterstreamError(f"{self.name} is no backup of twitterstream.") from None
        if title.header.format > FORMAT:
            raise TwitterstreamError(f"{self.name} is no backup that this version can read.")
        return title.header

    def parts(self) -> Iterator[Part]:
        """Tables and their rows, some at a time, to the very end."""
        found: Counter[str] = Counter()
        table, rows = "", list[bytes]()
        try:
            while line := self._lines.readline(LONGEST):
                is_row = line.startswith(b"{")
                if is_row:
                    rows.append(line.rstrip())
                if rows and (not is_row or len(rows) == ROWS):
                    found[table] += len(rows)
                    yield rows
                    rows = []
                if is_row:
                    continue
                control = msgspec.json.decode(line, type=Table | End)
                if isinstance(control, End):
                    self._check(found, control.rows)
                    return
                table = control.name
                found[table] = 0
                yield control
        except (msgspec.MsgspecError, zstandard.ZstdError):
            pass
        raise self._damaged()

    def _check(self, found: Counter[str], told: dict[str, int]) -> None:
        if dict(found) != told or self._lines.read(1):
            raise self._damaged()

    def _damaged(self) -> TwitterstreamError:
        return TwitterstreamError(f"{self.name} is damaged or cut off; nothing of it was taken.")
