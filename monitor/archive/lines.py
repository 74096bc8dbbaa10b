"""Tweets as NDJSON: one object a line, the message as it came under `doc`."""

import msgspec
import pyarrow as pa
import zstandard

from monitor.archive.manifest import File
from monitor.archive.store import Store

SOME = 1000  # rows made at once
LEVEL = 3  # of zstd


class LinesFile:
    """A compressed file of lines on its way into the store."""

    def __init__(self, store: Store, path: str) -> None:
        self.rows = 0
        self._name = path.rpartition("/")[2]
        self._upload = store.upload(path)
        self._packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        self._encode = msgspec.json.Encoder().encode

    def add(self, rows: pa.Table) -> None:
        """These tweets, in order."""
        for start in range(0, rows.num_rows, SOME):
            lines = (self._line(row) for row in rows.slice(start, SOME).to_pylist())
            self._write(self._packer.compress(b"".join(lines)))
        self.rows += rows.num_rows

    def close(self) -> File:
        """Finish it; what it is."""
        self._write(self._packer.flush())
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
