"""Opening a journal after whatever has happened to it: a stop, a kill, a loss of power."""

import os
import uuid
from itertools import pairwise
from pathlib import Path

import msgspec

from stream.errors import Broken
from stream.journal import segments
from stream.journal.segments import Segment


class Recovered(msgspec.Struct, frozen=True):
    """What there is in a journal's folder."""

    id: uuid.UUID
    segments: list[Segment]  # oldest first
    cut: int  # bytes of a torn tail that went
    last: int  # microseconds since 1970: the newest record; 0 when there is none


def recover(folder: Path) -> Recovered:
    """Mend what a crash left half-done, and take stock. Reads the raw segments whole."""
    for partial in folder.glob("*.partial"):
        partial.unlink()
    found: list[Segment] = []
    cut = 0
    for path in folder.glob(f"*{segments.RAW}"):
        if path.with_name(path.name + ".zst").exists():
            path.unlink()  # killed between the two steps of compressing
            continue
        good = segments.scan(path)
        cut += _cut(path, good)
        found.append(_segment(path, good))
    packed = folder.glob(f"*{segments.PACKED}")
    found.extend(_segment(path, segments.packed_length(path)) for path in packed)
    found.sort(key=lambda segment: segment.start)
    for before, after in pairwise(found):
        if before.end > after.start:
            raise Broken(f"{before.path} and {after.path} overlap; restore the folder.")
    return Recovered(_identity(folder / "id"), found, cut, _last(found))


def _cut(path: Path, good: int) -> int:
    """Cut a segment behind its last intact record; the number of bytes that went."""
    torn = path.stat().st_size - good
    if torn:
        os.truncate(path, good)
    return torn


def _segment(path: Path, length: int) -> Segment:
    start, stat = segments.start_of(path), path.stat()
    return Segment(path, start, start + length, stat.st_size, stat.st_mtime)


def _last(found: list[Segment]) -> int:
    return next((last for each in reversed(found) if (last := segments.last_time(each.path))), 0)


def _identity(path: Path) -> uuid.UUID:
    """The journal's name, made once; a copied folder keeps it, a new one gets another."""
    if not path.exists():
        partial = path.with_name("id.new")
        partial.write_text(str(uuid.uuid4()), encoding="ascii")
        partial.rename(path)
    return uuid.UUID(path.read_text(encoding="ascii").strip())
