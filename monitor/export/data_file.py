"""A data file of an export on the disk: gzip, compressed while its rows are read.

A package takes over what is compressed: an entry of a zip has the same data as a gzip file.
"""

import asyncio
import gzip
import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from monitor.export.hashed_file import HashedFile, Written

SUFFIX = ".gz"
COMPRESSION = 3  # of zlib: 4 and more take much longer for little
BATCH_BYTES = 1 << 20  # that are compressed at a time
COPY_BYTES = 1 << 20  # at a time
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # of gzip, without name and time
_TRAILER = struct.Struct("<LL")  # of gzip: checksum and size, modulo 2³²
_ENTRY = struct.Struct("<26xHH")  # of a zip: its header ends with the lengths of what follows


class DataFile(HashedFile):
    """A new gzip file; its size and checksum are those of the data in it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._deflate = zlib.compressobj(COMPRESSION, wbits=-zlib.MAX_WBITS)
        self._crc = 0
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._thread: asyncio.Future[int] | None = None  # that compresses the batch before
        self._file.write(_HEADER)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._thread.cancel()  # so that what becomes of it does not matter
        super().__exit__(kind, error, trace)

    def write(self, data: bytes) -> int:
        self._note(data)
        self._crc = zlib.crc32(data, self._crc)
        self._file.write(self._deflate.compress(data))
        return len(data)

    async def output(self, data: bytes) -> None:
        """Write what COPY sends: a thread compresses it, while Postgres sends more."""
        self._batch.append(data)
        self._batch_bytes += len(data)
        if self._batch_bytes >= BATCH_BYTES:
            await self._wait()
            batch = b"".join(self._batch)
            self._batch.clear()
            self._batch_bytes = 0
            self._thread = asyncio.ensure_future(asyncio.to_thread(self.write, batch))

    async def settle(self) -> None:
        """Write the rest of it."""
        await self._wait()
        await asyncio.to_thread(self.write, b"".join(self._batch))

    async def _wait(self) -> None:
        if self._thread is not None:
            await self._thread

    def finish(self) -> Written:
        self._file.write(self._deflate.flush())
        self._file.write(_TRAILER.pack(self._crc, self.bytes & 0xFFFFFFFF))
        return super().finish()


def has(path: Path, sha256: str) -> bool:
    """Whether a gzip file has the data with this checksum."""
    try:
        with gzip.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except (OSError, EOFError, zlib.error):
        return False


def add_entry(
    package: zipfile.ZipFile, output: HashedFile, info: zipfile.ZipInfo, path: Path, size: int
) -> None:
    """Append a gzip file to a package that is written to `output`, compressed as it is.

    `size`: of the data in it.
    """
    with path.open("rb") as file:
        file.seek(-_TRAILER.size, os.SEEK_END)
        info.compress_size = file.tell() - len(_HEADER)
        info.CRC, _ = _TRAILER.unpack(file.read())
        info.file_size = size
        info.header_offset = output.tell()
        output.write(info.FileHeader())
        file.seek(len(_HEADER))
        _copy(file, output.write, info.compress_size)
    package.filelist.append(info)
    package.NameToInfo[info.filename] = info
    package.start_dir = output.tell()


def take_entry(package: Path, name: str, path: Path) -> None:
    """Make an entry of a package a gzip file again; KeyError, BadZipFile."""
    with (
        zipfile.ZipFile(package) as entries,
        package.open("rb") as file,
        HashedFile(path) as output,
    ):
        info = entries.getinfo(name)
        file.seek(info.header_offset)
        file.seek(sum(_ENTRY.unpack(file.read(_ENTRY.size))), os.SEEK_CUR)
        output.write(_HEADER)
        _copy(file, output.write, info.compress_size)
        output.write(_TRAILER.pack(info.CRC, info.file_size & 0xFFFFFFFF))
        output.finish()


def _copy(file: BinaryIO, write: Callable[[bytes], object], size: int) -> None:
    while chunk := file.read(min(size, COPY_BYTES)):
        write(chunk)
        size -= len(chunk)
