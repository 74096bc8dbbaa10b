"""Reading a journal behind its writer, through sealed and compressed segments alike."""

import asyncio
from pathlib import Path
from typing import BinaryIO

from stream.errors import Broken
from stream.journal import segments
from stream.journal.journal import Journal
from stream.journal.segments import Segment
from stream.tweet import Frame

NEAR = 4 << 20  # bytes behind the end that are surely still in the page cache
CHUNK = 1 << 20  # bytes read at once


class Follower:
    """Reads on from a position; one per journal."""

    def __init__(self, journal: Journal, position: int) -> None:
        self.journal = journal
        self.position = position
        self._file: BinaryIO | None = None
        self._path = Path()
        self._start = -1  # of the open segment
        self._unread = 0  # bytes of the open segment that are not in the buffer yet
        self._buffer = b""
        self._taken = 0  # so much of the buffer is parsed

    async def read(self, max_frames: int, max_bytes: int) -> list[Frame]:
        """What is there behind the position, up to these limits; [] when nothing is."""
        segment = self.journal.segment_at(self.position)
        if segment is None:
            return []
        # Opened here and not in the thread: the keeper may exchange the file at any time.
        if segment.start != self._start:
            self._open(segment)
        end = segment.end
        limit = min(self.position + max_bytes, end)
        frames: list[Frame] = []
        while self.position < limit and len(frames) < max_frames:
            frame = self._next()
            if frame is not None:
                frames.append(frame)
            elif frames:
                break
            elif self.journal.end - self.position <= NEAR:
                self._load(end)
            else:
                # Far behind: from the disk, and through the decompressor.
                await asyncio.to_thread(self._load, end)
        return frames

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._start = -1

    def _open(self, segment: Segment) -> None:
        self.close()
        while self._file is None:
            try:
                self._path = segment.path
                self._file = segments.open_segment(self._path)
            except FileNotFoundError:
                if not segment.path.exists() and segment.packed:
                    raise Broken(f"{segment.path} is gone but was not stored yet") from None
        self._start = self._unread = segment.start
        self._buffer, self._taken = b"", 0
        self.position = max(self.position, segment.start)  # over the hole of a cut tail

    def _next(self) -> Frame | None:
        """The next record; None when the buffer does not hold the whole of it."""
        header, held = segments.HEADER, len(self._buffer) - self._taken
        if held < header.size:
            return None
        length, crc, stamp = header.unpack_from(self._buffer, self._taken)
        if held < header.size + length:
            return None
        begin = self._taken + header.size
        body = self._buffer[begin : begin + length]
        if not segments.intact(crc, stamp, body):
            raise Broken(f"{self.journal.folder} is damaged at position {self.position}")
        self._taken = begin + length
        self.position += header.size + length
        is_note = stamp >> segments.KIND_SHIFT == segments.NOTE
        return Frame(stamp & segments.TIME_MASK, body, self.position, is_note)

    def _load(self, end: int) -> None:
        """Put one more chunk into the buffer."""
        assert self._file is not None
        self._skip_to_position()
        data = segments.read(self._file, min(CHUNK, end - self._unread), self._path)
        if not data:
            raise Broken(f"{self._path} ends within the record at {self.position}")
        self._unread += len(data)
        self._buffer = self._buffer[self._taken :] + data
        self._taken = 0

    def _skip_to_position(self) -> None:
        """After opening a segment in its middle: pass over what is stored already."""
        assert self._file is not None
        while self._unread < self.position and not self._buffer:
            wanted = min(self.position - self._unread, CHUNK)
            step = len(segments.read(self._file, wanted, self._path))
            self._unread += step
            if not step:
                raise Broken(f"{self._path} ends before position {self.position}")
