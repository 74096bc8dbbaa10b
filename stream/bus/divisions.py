"""Among which cells the frames of a journal are divided: a file beside its segments.

When a cell is added or removed, the frames that the journal has already stay where they belong:
else the new cell would store again what another one has stored. So the file keeps from which
position on which cells share the frames, as long as the journal has any of before.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from stream import files
from stream.store.lanes import HOME

FILE = "cells"

logger = logging.getLogger(__name__)


class Division(msgspec.Struct, frozen=True):
    """From a position of the journal on, these cells share the frames."""

    start: int
    cells: tuple[str, ...]


class Divisions(msgspec.Struct, frozen=True):
    """The divisions of all that a journal has, the newest last.

    `stored`: how far each cell has stored it, as of a while ago. `lost_from`: from there on, cells
    that were removed since may lack their frames, which others have to store.
    """

    found: tuple[Division, ...] = (Division(0, (HOME,)),)
    stored: Mapping[str, int] = {}
    lost_from: int | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells that share what is received now."""
        return self.found[-1].cells

    def since(self, cell: str) -> int:
        """The position of the first frame that can belong to this cell."""
        start = self.found[-1].start
        for each in reversed(self.found):
            if cell not in each.cells:
                break
            start = each.start
        return start

    def changed(self, cells: Sequence[str], start: int, end: int) -> "Divisions":
        """The same for a journal from `start` to `end`, whose next frames these cells share."""
        found, stored, lost_from = list(self.found), self.stored, self.lost_from
        if tuple(cells) != self.cells:
            lost = [stored.get(each, start) for each in self.cells if each not in cells]
            lost_from = min(lost, default=None)
            stored = {each: at for each, at in stored.items() if each in cells}
            found = [each for each in found if each.start < end]
            found.append(Division(end, tuple(cells)))
        elif stored and min(stored.values()) >= found[-1].start:
            lost_from = None  # others have stored it
        while len(found) > 1 and found[1].start <= start:
            del found[0]
        return Divisions(tuple(found), stored, lost_from)


UNDIVIDED = Divisions()


def divide(folder: Path, cells: Sequence[str], start: int, end: int) -> Divisions:
    """From now on these cells share the frames of the journal in this folder; durable."""
    before = _load(folder / FILE)
    after = before.changed(cells, start, end)
    if after != before:
        files.write(folder / FILE, msgspec.json.encode(after))
    return after


def note_stored(folder: Path, stored: Mapping[str, int]) -> None:
    """Remember how far each cell has stored the journal in this folder; durable."""
    found = msgspec.structs.replace(_load(folder / FILE), stored=stored)
    files.write(folder / FILE, msgspec.json.encode(found))


def _load(path: Path) -> Divisions:
    """What is on record; a journal without it is not divided."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Divisions)
    except FileNotFoundError:
        return UNDIVIDED
    except (OSError, msgspec.MsgspecError) as error:
        extra = {"file": str(path), "why": str(error)}
        logger.warning(
            "what the journal has is divided again; some may be stored twice", extra=extra
        )
        return UNDIVIDED
