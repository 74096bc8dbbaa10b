"""The file format of a backup: compressed lines of JSON, and the key of its credentials.

["twitterstream backup", {"format": 1, …}]
["table", "tracks", 12]                     the highest id given so far
{"id": 1, "value": "snow", …}               its rows
…
["end", {"tracks": 7, …}]                   rows of each table: without it the file is truncated
"""

import hashlib
import io
import os
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import BinaryIO, TypeAlias

import msgspec
import zstandard
from cryptography.fernet import Fernet, InvalidToken

from stream.errors import TwitterstreamError
from stream.vault import Credentials

FORMAT = 1
TITLE = "twitterstream backup"
LINE_MAX = 64 << 20  # bytes of a line
COMPRESSION_LEVEL = 6
READ_BATCH = 2000  # rows
# Costs about 0.1 s and 64 MiB a try (RFC 7914).
SCRYPT = {"n": 1 << 16, "r": 8, "p": 1, "maxmem": 128 << 20}


class SealedKey(msgspec.Struct, frozen=True):
    """The key as it is in the file, encrypted if there is a salt."""

    key: str
    salt: str = ""  # hexadecimal; empty: the key is not encrypted


def seal(key: bytes, passphrase: str | None) -> SealedKey:
    """Prepare a key for the file."""
    if passphrase is None:
        return SealedKey(key.decode())
    salt = os.urandom(16)
    return SealedKey(_derived(passphrase, salt).encrypt(key).decode(), salt.hex())


def unseal(sealed_key: SealedKey, passphrase: str | None) -> bytes:
    """The key. TwitterstreamError when the passphrase is missing or wrong."""
    if not sealed_key.salt:
        return sealed_key.key.encode()
    if passphrase is None:
        raise TwitterstreamError("This backup needs a passphrase: use --passphrase-file.")
    try:
        return _derived(passphrase, bytes.fromhex(sealed_key.salt)).decrypt(sealed_key.key)
    except InvalidToken:
        raise TwitterstreamError("The passphrase is wrong.") from None


def open_secrets(key: bytes, sealed: bytes) -> Credentials:
    """Decrypt a source's credentials, and where they may be sent, with the backup's key."""
    try:
        return Credentials.decode(Fernet(key).decrypt(sealed))
    except (InvalidToken, ValueError, msgspec.MsgspecError):
        raise TwitterstreamError("The credentials in this backup are damaged.") from None


def _derived(passphrase: str, salt: bytes) -> Fernet:
    found = hashlib.scrypt(passphrase.encode(), salt=salt, dklen=32, **SCRYPT)
    return Fernet(urlsafe_b64encode(found))


class Header(msgspec.Struct, frozen=True):
    """The header of a backup: what must be known before the rows are read."""

    made_at: datetime
    version: str  # of the program
    migration: str  # the newest one of the database
    key: SealedKey | None  # None: without credentials
    without: tuple[str, ...] = ()  # the sources whose credentials were left out
    format: int = FORMAT


class Title(msgspec.Struct, frozen=True, array_like=True, tag=TITLE):
    """The first line of a backup."""

    header: Header


class Table(msgspec.Struct, frozen=True, array_like=True, tag="table"):
    """The rows of a table follow."""

    name: str
    last: int | None  # the highest id given so far


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """The last line of a backup."""

    rows: dict[str, int]  # of each table


Part: TypeAlias = Table | list[bytes]  # a table begins, or some rows of it


class Writer:
    """Compresses lines into `sink`, which is called off the event loop."""

    def __init__(self, sink: Callable[[bytes], object], header: Header) -> None:
        self._sink = sink
        self._compressor = zstandard.ZstdCompressor(
            COMPRESSION_LEVEL, write_checksum=True
        ).compressobj()
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
        self._sink(self._compressor.flush())

    def _write(self, lines: list[bytes]) -> None:
        if lines and (data := self._compressor.compress(b"\n".join(lines) + b"\n")):
            self._sink(data)


class Reader:
    """Reads a backup; TwitterstreamError when it is damaged or not a backup."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        unpacked = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        self._lines = io.BufferedReader(unpacked, 1 << 20)
        self.header = self._header()

    def _header(self) -> Header:
        try:
            title = msgspec.json.decode(self._lines.readline(LINE_MAX), type=Title)
        except (msgspec.MsgspecError, zstandard.ZstdError):
            raise TwitterstreamError(f"{self.name} is not a backup of twitterstream.") from None
        if title.header.format > FORMAT:
            raise TwitterstreamError(
                f"{self.name} was written by a newer version; upgrade to read it."
            )
        return title.header

    def parts(self) -> Iterator[Part]:
        """Tables and batches of their rows, to the end of the file."""
        found: Counter[str] = Counter()
        table, rows = "", list[bytes]()
        try:
            while line := self._lines.readline(LINE_MAX):
                is_row = line.startswith(b"{")
                if is_row:
                    rows.append(line.rstrip())
                if rows and (not is_row or len(rows) == READ_BATCH):
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

    def _check(self, found: Counter[str], expected: dict[str, int]) -> None:
        if dict(found) != expected or self._lines.read(1):
            raise self._damaged()

    def _damaged(self) -> TwitterstreamError:
        return TwitterstreamError(f"{self.name} is damaged or truncated; nothing was restored.")
