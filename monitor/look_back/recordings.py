"""The recorded messages of some sources: journals on this machine, and their raw backup.

The daemon appends, compresses and trims these files meanwhile. Damaged bytes are skipped.
"""

import asyncio
import contextlib
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from monitor.archive.store import Missing, Store
from monitor.look_back.slices import JSON, Slice, Slices
from stream.errors import InvalidPosition
from stream.journal import read_id, recovery, segments
from stream.journal.segments import HEADER, Damaged
from stream.store.look_back_rows import SegmentCopy
from stream.tweet import Frame, NetworkName, SourceId

SLICE_FRAMES = 500
SLICE_BYTES = 1 << 20


class Part(msgspec.Struct, frozen=True):
    """A segment of a journal; on disk below `folder`, in the raw backup at `copy`, or both."""

    source_id: SourceId
    journal: uuid.UUID
    start: int
    end: int  # what follows is not read
    length: int  # of the whole segment
    folder: Path | None
    copy: str | None
    began: int = 0  # of its first frame, microseconds since 1970; 0: not known

    @property
    def place(self) -> tuple[int, str, int]:
        """Parts are read in this order."""
        return self.source_id, str(self.journal), self.start


def journal_ends(data_dir: Path, source_ids: Sequence[SourceId]) -> dict[uuid.UUID, int]:
    """The position after the last byte of each journal on this machine."""
    ends = {}
    for source_id in source_ids:
        found = _disk_segments(data_dir / "journal" / str(source_id))
        if found is not None:
            ends[found[0]] = max((end for _, end in found[1]), default=0)
    return ends


def parts(
    data_dir: Path,
    source_ids: Sequence[SourceId],
    copies: Sequence[SegmentCopy],
    limits: Mapping[uuid.UUID, int],
) -> list[Part]:
    """All segments of the journals of these sources, each journal up to its limit, in order."""
    found: dict[tuple[int, str, int], Part] = {}
    for each in copies:
        part = Part(
            each.source_id,
            each.journal,
            each.position,
            min(each.until, limits.get(each.journal, 0)),
            each.until - each.position,
            None,
            each.path,
            round(each.began_at.timestamp() * 1e6),
        )
        found[part.place] = part
    for source_id in source_ids:
        folder = data_dir / "journal" / str(source_id)
        for journal, all_segments in filter(None, [_disk_segments(folder)]):
            for start, end in all_segments:
                limit = min(end, limits.get(journal, 0))
                part = Part(source_id, journal, start, limit, end - start, folder, None)
                if (copied := found.get(part.place)) is not None:
                    part = msgspec.structs.replace(part, copy=copied.copy, began=copied.began)
                found[part.place] = part
    return [found[place] for place in sorted(found) if found[place].end > found[place].start]


def _disk_segments(folder: Path) -> tuple[uuid.UUID, list[tuple[int, int]]] | None:
    """The id of a journal, and start and end of its segments; None: there is no such journal."""
    journal = read_id(folder / "id")
    if journal is None:
        return None
    starts: dict[int, Path] = {}
    for path in segments.files(folder, segments.RAW, segments.COMPRESSED):
        starts[segments.start_of(path)] = path
    ends = [*list(starts)[1:], None]
    return journal, [
        (start, _end(path, start) if end is None else end)
        for (start, path), end in zip(starts.items(), ends, strict=True)
    ]


def _end(path: Path, start: int) -> int:
    try:
        if path.name.endswith(segments.COMPRESSED):
            return start + segments.content_length(path)
        return start + path.stat().st_size
    except FileNotFoundError:  # it has just been compressed
        return start + segments.content_length(path.with_name(path.name + ".zst"))


class Recordings:
    """Reads these parts; times are in microseconds since 1970.

    Frames from before `since` are left out, and those of each network from `until` on.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        networks: Mapping[SourceId, NetworkName],
        since: int,
        store: Store | None,
        until: Mapping[NetworkName, int] | None = None,
    ) -> None:
        self.parts = parts
        self.networks = networks
        self.since = since
        self.store = store
        self.until = until or {}
        self._damaged = 0  # bytes of this part that were skipped
        self._lost = False  # this part was deleted before it was read

    async def slices(self, resume: JSON) -> Slices:
        """All messages in order, from where an earlier slice ended; StoreError, InvalidPosition."""
        after = _place(resume)
        left = [part for part in self.parts if part.end > _begin(part, after)]
        total = sum(part.end - part.start for part in self.parts) or 1
        done = total - sum(part.end - _begin(part, after) for part in left)
        for number, part in enumerate(left):
            begin = _begin(part, after)
            note = ""
            following = left[number + 1] if number + 1 < len(left) else None
            if not (self._is_later(part) or await self._is_older(part, following)):
                self._damaged, self._lost = 0, False
                async for frames, at in self._read(part, begin):
                    progress = (done + at - begin) / total
                    yield self._slice(part, frames, at, progress)
                note = self._note(part)
            done += part.end - begin
            yield self._slice(part, [], part.end, done / total, note)

    def _slice(
        self, part: Part, frames: Sequence[Frame], at: int, progress: float, note: str = ""
    ) -> Slice:
        resume: JSON = [part.source_id, str(part.journal), at]
        network = self.networks[part.source_id]
        return Slice(part.source_id, network, frames, resume, min(progress, 1.0), note)

    def _note(self, part: Part) -> str:
        """What of this part could not be read."""
        name = f"{part.start:0{segments.DIGITS}d} of source {part.source_id}"
        if self._lost:
            return f"The journal's segment {name} is gone."
        if self._damaged:
            return f"{self._damaged:,} damaged bytes of the journal's segment {name} were skipped."
        return ""

    def _until(self, part: Part) -> int:
        return self.until.get(self.networks[part.source_id], sys.maxsize)

    def _is_later(self, part: Part) -> bool:
        """Whether all of a part is known to be from `until` on."""
        return part.began >= self._until(part)

    async def _is_older(self, part: Part, following: Part | None) -> bool:
        """Whether all of a part is older than the oldest wanted frame, by the one after it."""
        same = following is not None and following.journal == part.journal
        if not self.since or following is None or not same:
            return False
        if following.began:
            return following.began < self.since
        async for frames, _ in self._read(following, following.start, first=True):
            return bool(frames) and frames[0].received < self.since
        return False

    async def _read(
        self, part: Part, begin: int, *, first: bool = False
    ) -> AsyncIterator[tuple[list[Frame], int]]:
        """Frames of a part from a position on, and the position after them.

        `first`: only the first one, of any age.
        """
        frames: list[Frame] = []
        size = 0
        at, until = begin, self._until(part)
        async with self._file(part) as path:
            if path is None:
                self._lost = self._lost or not first
                return
            for frame in self._frames(part, path, begin):
                if frame.received >= until:
                    break
                at = frame.after
                if frame.is_damage:
                    self._damaged += 0 if first else len(frame.body)
                elif not frame.is_note and (first or frame.received >= self.since):
                    frames.append(frame)
                size += len(frame.body)
                if len(frames) == SLICE_FRAMES or size >= SLICE_BYTES or (first and frames):
                    yield frames, at
                    frames, size = [], 0
                    if first:
                        return
                    await asyncio.sleep(0)
        if frames:
            yield frames, at

    def _frames(self, part: Part, path: Path, begin: int) -> Iterator[Frame]:
        """The records of a segment after a position; none when it has just been deleted."""
        at = part.start
        try:
            with segments.open_segment(path) as file:
                for kind, received, body in segments.records(file, path):
                    at += HEADER.size + len(body)
                    if at > part.end:
                        return
                    if at > begin:
                        yield _frame(kind, received, body, at)
        except FileNotFoundError:  # it has just been compressed, or deleted
            again = path.with_name(path.name.removesuffix(".zst") + ".zst")
            if again == path:
                self._lost = True
                return
            yield from self._frames(part, again, begin)
        except Damaged:
            yield from self._salvaged(part, path, max(at, begin))

    def _salvaged(self, part: Part, path: Path, begin: int) -> Iterator[Frame]:
        """The intact records of a damaged segment, and its damaged bytes, from a position on."""
        data = recovery.content(path, part.length)
        for piece in recovery.pieces(data):
            at = part.start + piece.end
            if at <= begin or at > part.end:
                continue
            if not piece.stamp:
                body = data[piece.begin : piece.end]
                yield Frame(0, body, at, is_damage=True)
                continue
            body = data[piece.begin + HEADER.size : piece.end]
            kind, received = piece.stamp >> segments.KIND_SHIFT, piece.stamp & segments.TIME_MASK
            yield _frame(kind, received, body, at)

    @contextlib.asynccontextmanager
    async def _file(self, part: Part) -> AsyncIterator[Path | None]:
        """The file of a part; None when it is gone."""
        name = f"{part.start:0{segments.DIGITS}d}"
        if part.folder is not None:
            for suffix in (segments.RAW, segments.COMPRESSED):  # as it may be compressed just now
                if (path := part.folder / f"{name}{suffix}").exists():
                    yield path
                    return
        if part.copy is None or self.store is None:
            yield None
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}{segments.COMPRESSED}"
            try:
                await asyncio.to_thread(_fetch, self.store, part.copy, path)
            except Missing:
                yield None
                return
            yield path


def _frame(kind: int, received: int, body: bytes, after: int) -> Frame:
    return Frame(
        received,
        body,
        after,
        is_note=kind == segments.NOTE,
        is_damage=kind == segments.DAMAGE,
    )


def _fetch(store: Store, copy: str, path: Path) -> None:
    with path.open("wb") as file:
        for chunk in store.chunks(copy):
            file.write(chunk)


def _place(resume: JSON) -> tuple[int, str, int] | None:
    if resume is None:
        return None
    try:
        return msgspec.convert(resume, tuple[int, str, int])
    except msgspec.ValidationError as error:
        raise InvalidPosition(f"not a position in recordings: {error}") from error


def _begin(part: Part, after: tuple[int, str, int] | None) -> int:
    """From where a part is read; its end when it was read before."""
    if after is None or part.place[:2] > after[:2]:
        return part.start
    return part.end if part.place[:2] < after[:2] else max(part.start, min(after[2], part.end))
