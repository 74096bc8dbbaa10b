"""The lines of a file, byte for byte, a chunk at a time so that its size does not matter."""

import asyncio
import gzip
from pathlib import Path
from typing import BinaryIO, cast

CHUNK = 1 << 20  # bytes


class Replay:
    """Reads a plain or gzipped file of one message a line; blank lines are skipped."""

    def __init__(self, path: str, *, loop: bool = False) -> None:
        self.path = Path(path)
        self.loop = loop
        self.file: BinaryIO | None = None
        self.lines: list[bytes] = []
        self.at = 0
        self.rest = b""
        self.done = False

    async def take(self, count: int) -> list[bytes]:
        """Up to so many lines; none at the end of the file."""
        while self.at >= len(self.lines) and not self.done:
            # Inflating and reading block, and the streams must not wait for them.
            self.lines = await asyncio.to_thread(self._more)
            self.at = 0
        lines = self.lines[self.at : self.at + count]
        self.at += len(lines)
        return lines

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()

    def _more(self) -> list[bytes]:
        if self.file is None:
            self.file = self._open()
        chunk = self.file.read(CHUNK)
        if not chunk:
            last, self.rest = self.rest, b""
            self.done = not self.loop
            self.file.seek(0)
            return _whole([last])
        lines = (self.rest + chunk).split(b"\n")
        self.rest = lines.pop()
        return _whole(lines)

    def _open(self) -> BinaryIO:
        if self.path.suffix == ".gz":
            return cast("BinaryIO", gzip.open(self.path, "rb"))
        return self.path.open("rb")


def _whole(lines: list[bytes]) -> list[bytes]:
    return [line for line in (line.removesuffix(b"\r") for line in lines) if line.strip()]
