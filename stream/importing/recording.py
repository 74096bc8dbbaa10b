"""One file or pipe of recorded messages, read in bounded memory: bytes in, frames out."""

import contextlib
import io
import os
import select
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from threading import Event

from stream.errors import Broken
from stream.importing.split import Splitter, may_begin
from stream.importing.sse import without_events
from stream.importing.unfold import Unfolder
from stream.importing.unpack import (
    STEP,
    Chunks,
    Damaged,
    NotRead,
    as_utf8,
    is_zip,
    unpacked,
    with_head,
)
from stream.journal import segments
from stream.tweet import NetworkName

CHUNK = 1 << 16  # bytes read at once
POLL_INTERVAL = 0.2  # seconds between two checks of whether to keep waiting for a pipe
SEARCHED = 1 << 20  # bytes in which a document must begin
STDIN = Path("-")
_LOCAL_HEADER = struct.Struct(
    "<8xH16xHH"
)  # of a file in a zip: method, two lengths of what follows


class Recording:
    """Yields frames in batches; blocking, so run it in a thread."""

    def __init__(self, path: Path, network: NetworkName, longest: int) -> None:
        self.name = "standard input" if path == STDIN else str(path)
        self.total: int | None = None  # bytes; None for a pipe
        self.done = 0  # bytes read
        self.stop = Event()  # stop reading now
        self._path = path
        self._longest = longest
        self._unfolder = Unfolder(network)
        self._first = b""  # the first unknown document, for a hint
        self._frames = 0

    def frames(self) -> Iterator[list[bytes]]:
        """Yield the frames of a recording; NotRead or Damaged after the last readable one."""
        with self._opened() as descriptor:
            chunks = self._unzipped(self._read(descriptor), descriptor)
            if self._path.name.endswith((segments.RAW, segments.COMPRESSED)):
                yield from self._records(unpacked(chunks))
            else:
                yield from self._documents(without_events(as_utf8(unpacked(chunks))))

    def trouble(self) -> str | None:
        """After reading: None if there were tweets, else a sentence that says why not."""
        if self._unfolder.understood:
            return None
        if not self._frames:
            return f"{self.name} is empty."
        return f"{self.name} contains no tweet: {self._unfolder.hint(self._first)}."

    # -- bytes ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        if self._path == STDIN:
            yield 0
            return
        # A FIFO that no program has opened for writing yet must not block here for ever.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(descriptor, True)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int) -> Chunks:
        status = os.fstat(descriptor)
        regular = stat.S_ISREG(status.st_mode)
        self.total = status.st_size if regular else None
        while regular or self._wait(descriptor):
            chunk = os.read(descriptor, CHUNK)
            if not chunk:
                return
            self.done += len(chunk)
            yield chunk

    def _wait(self, descriptor: int) -> bool:
        """Wait for a pipe; False when waiting was cancelled."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not self.stop.is_set():
            if poll.poll(POLL_INTERVAL * 1000):
                return True
        return False

    def _unzipped(self, chunks: Chunks, descriptor: int) -> Chunks:
        head, chunks = with_head(chunks)
        if not is_zip(head):
            return chunks
        if self.total is None:
            raise NotRead("it is a zip, which cannot be read from a pipe; unpack it first")
        return self._member(descriptor)

    def _member(self, descriptor: int) -> Chunks:
        """The content of a zip that holds a single file."""
        file = io.FileIO(descriptor, closefd=False)
        try:
            if not zipfile.is_zipfile(file):  # its end is missing, and the list of files with it
                yield from _cut_member(file)
                raise Damaged("it is a zip and ends too early")
            with zipfile.ZipFile(file) as archive:
                names = [each.filename for each in archive.infolist() if _is_content(each)]
                if len(names) != 1:
                    raise NotRead(
                        f"it is a zip of {len(names)} files; give one of them: "
                        "unzip -p ZIP NAME | ./twitterstream.py import - …"
                    )
                with archive.open(names[0]) as member:
                    assert isinstance(member, zipfile.ZipExtFile)
                    while chunk := member.read1(CHUNK):
                        self.done = file.tell()
                        yield chunk
        except (zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
            raise Damaged(f"it is a zip and cannot be unpacked ({error})") from error
        except (RuntimeError, NotImplementedError) as error:  # a password, an odd method
            raise NotRead(f"it is a zip that cannot be unpacked ({error})") from error

    # -- frames -----------------------------------------------------------------------------------

    def _documents(self, chunks: Chunks) -> Iterator[list[bytes]]:
        splitter = Splitter(self._longest)
        damage: Damaged | None = None
        try:
            for chunk in _begins(chunks):
                yield self._unfolded(splitter.feed(chunk))
        except Damaged as error:
            damage = error
        yield self._unfolded(splitter.end())
        if damage is not None:
            raise damage

    def _unfolded(self, documents: Iterator[bytes]) -> list[bytes]:
        frames: list[bytes] = []
        for document in documents:
            before = self._unfolder.understood
            frames += self._unfolder(document)
            if self._unfolder.understood == before and not self._first:
                self._first = document
        self._frames += len(frames)
        return frames

    def _records(self, chunks: Chunks) -> Iterator[list[bytes]]:
        """The frames of a journal's segment; without the daemon's own notes."""
        with io.BufferedReader(_Raw(chunks), CHUNK) as file:
            try:
                yield from self._batches(segments.records(file, self._path))
            except Broken as error:
                raise Damaged("a record of this journal is incomplete or damaged") from error

    def _batches(self, records: Iterator[tuple[int, int, bytes]]) -> Iterator[list[bytes]]:
        frames: list[bytes] = []
        size = 0
        try:
            for kind, _, body in records:
                if kind == segments.FRAME:
                    frames.append(body[: self._longest])
                    size += len(body)
                if size >= CHUNK:
                    yield self._noted(frames)
                    frames, size = [], 0
        finally:
            yield self._noted(frames)  # also what precedes the damage

    def _noted(self, frames: list[bytes]) -> list[bytes]:
        self._frames += len(frames)
        self._unfolder.understood += len(frames)  # they were received, whatever they contain
        return frames


def _is_content(member: zipfile.ZipInfo) -> bool:
    """Whether it is the user's file: the Finder of macOS adds its own."""
    name = PurePosixPath(member.filename)
    return not (
        member.is_dir() or name.parts[0] == "__MACOSX" or name.name.startswith(("._", ".DS_Store"))
    )


def _cut_member(file: io.FileIO) -> Chunks:
    """The readable part of the first file in a truncated zip."""
    file.seek(0)
    method, *lengths = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size).ljust(30, b"\0"))
    file.seek(sum(lengths), io.SEEK_CUR)
    if method != zipfile.ZIP_DEFLATED:
        return
    inner = zlib.decompressobj(-zlib.MAX_WBITS)
    while not inner.eof and (chunk := inner.unconsumed_tail or file.read(STEP)):
        yield inner.decompress(chunk, CHUNK)


class _Raw(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: "memoryview | bytearray", /) -> int:  # type: ignore[override]
        self._rest = self._rest or next(self._chunks, b"")
        given = self._rest[: len(target)]
        target[: len(given)] = given
        self._rest = self._rest[len(given) :]
        return len(given)


def _begins(chunks: Chunks) -> Chunks:
    """Check the beginning of a text: NotRead if it cannot be JSON."""
    text = b""
    while not may_begin(text) and len(text) < SEARCHED:
        chunk = next(chunks, None)
        if chunk is None:
            break
        text += chunk
    if text.strip() and not may_begin(text):
        raise NotRead(
            f"it contains no JSON; it begins with {text.lstrip()[:30].decode(errors='replace')!r}"
        )
    yield text
    yield from chunks
