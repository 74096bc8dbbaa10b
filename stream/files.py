"""Write small files atomically and durably; measure the space of a file system.

A loss of power between a write and its fsync leaves a file empty or torn under its own name; one
without an fsync of the folder may lose the name.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

PARTIAL = ".partial"  # how the name of an unfinished file ends


@contextlib.contextmanager
def replacing(
    path: Path, *, exclusive: bool = False, prepare: Callable[[int], None] | None = None
) -> Iterator[BinaryIO]:
    """Write a new file, mode 0600, that replaces `path` at the end; on an error it is deleted.

    `exclusive` raises FileExistsError instead of replacing a file, also when another process makes
    it at the same moment. `prepare` may change the descriptor before the file has its name.
    """
    if path.exists() and not path.is_file():  # it would take the place of a device, as /dev/null
        raise FileExistsError(errno.EEXIST, "it is not a file", str(path))
    # A name of its own where two may write at once; else what a kill has left is replaced.
    own = f".{threading.get_native_id()}" if exclusive else ""
    partial = path.with_name(f"{path.name}{own}{PARTIAL}")
    partial.unlink(missing_ok=True)
    # O_EXCL follows no link: root may write in a folder of another account's.
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
            if prepare is not None:
                prepare(descriptor)
        if exclusive:
            path.hardlink_to(partial)
        else:
            partial.rename(path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write(path: Path, data: bytes) -> None:
    """Replace a file as a whole, durably."""
    with replacing(path) as file:
        file.write(data)


def sync_folder(folder: Path) -> None:
    """Make the names of new, renamed and removed files durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Disk(msgspec.Struct, frozen=True):
    """The space of a file system in bytes; what is reserved for root is neither used nor free."""

    total: int
    used: int
    free: int

    @property
    def free_percent(self) -> float:
        usable = self.used + self.free
        return 100.0 * self.free / usable if usable else 0.0

    def floor(self, min_bytes: float, percent: float) -> int:
        """How many bytes must stay free: the greater of a number and a percentage."""
        return max(int(min_bytes), int((self.used + self.free) * percent / 100))


def disk(path: Path | str) -> Disk:
    """The space of the file system of a path; OSError when it cannot be read."""
    found = os.statvfs(path)
    return Disk(
        total=found.f_blocks * found.f_frsize,
        used=(found.f_blocks - found.f_bfree) * found.f_frsize,
        free=found.f_bavail * found.f_frsize,
    )
