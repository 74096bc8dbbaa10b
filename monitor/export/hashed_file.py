"""A file that an export writes: complete and durable under its name, with its checksum."""

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from stream.files import PARTIAL, sync_folder


class Written(msgspec.Struct, frozen=True):
    """Size and checksum of a finished file."""

    bytes: int
    sha256: str


class HashedFile:
    """A new file, mode 0600, that gets its name when it is finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
        self._file: BinaryIO = self._open()
        self._hash = hashlib.sha256()
        self.bytes = 0

    def _open(self) -> BinaryIO:
        self._partial.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        return os.fdopen(os.open(self._partial, flags, 0o600), "wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def write(self, data: bytes) -> int:
        self._note(data)
        return self._file.write(data)

    def _note(self, data: bytes) -> None:
        self._hash.update(data)
        self.bytes += len(data)

    @property
    def closed(self) -> bool:
        return self._file.closed

    def tell(self) -> int:
        return self.bytes

    def close(self) -> None:
        """Does nothing: `finish` does."""

    def flush(self) -> None:
        """Does nothing: `finish` does."""

    def finish(self) -> Written:
        """Give it its name, durably."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._partial.rename(self.path)
        sync_folder(self.path.parent)
        return Written(self.bytes, self._hash.hexdigest())
