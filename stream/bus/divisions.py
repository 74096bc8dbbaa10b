"""Among which cells the frames of a journal are divided: a file beside its segments.

When a cell is added or removed, the frames that the journal has already stay where they belong:
else the new cell would store again what another one has stored. So the file keeps from which
position on which cells share the frames, as long as the journal has any of before.
"""

import logging
from collections.abc import Sequence
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
    """The divisions of all that a journal has, the newest last."""

    found: tuple[Division, ...] = (Division(0, (HOME,)),)

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells that share what is received now."""
        return self.found[-1].cells

    @property
    def has_lost_cells(self) -> bool:
        """Whether frames belonged to a cell that is not there any more: others take them over."""
        return any(not set(each.cells) <= set(self.cells) for each in self.found)

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
        found = list(self.found)
        if tuple(cells) != self.cells:
            found = [each for each in found if each.start < end]
            found.append(Division(end, tuple(cells)))
        while len(found) > 1 and found[1].start <= start:
            del found[0]
        return Divisions(tuple(found))


UNDIVIDED = Divisions()


def divide(folder: Path, cells: Sequence[str], start: int, end: int) -> Divisions:
    """From now on these cells share the frames of the journal in this folder; durable."""
    before = _load(folder / FILE)
    after = before.changed(cells, start, end)
    if after != before:
        files.write(folder / FILE, msgspec.json.encode(after))
    return after


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
