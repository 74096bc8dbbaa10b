"""Which lanes of a source a frame belongs to. Pure, no I/O.

The native id of a tweet decides: the cell by the highest hash of cell and id (rendezvous hashing),
so that another cell takes over only its share of ids and all sources agree; the lane within the
cell by the id's hash. Lanes must neither miss nor repeat what concerns them:

- a tweet goes to one lane, in a cell that was there when its frame was received. What was posted
  before a cell was added stays with the cells of before: a network may send it again, or its author
  edit it;
- what changes stored tweets goes to one lane of each cell: also to that which had the tweet's id
  before a cell was added;
- a note of the daemon and a message about the stream go to the first lane, which keeps the source's
  gaps and states; every lane is told when cursors of the network belong to a new connection, and
  when other tracks are in force.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import blake2b
from itertools import groupby, pairwise
from typing import TypeAlias

from stream import jsontext
from stream.bus.divisions import UNDIVIDED, Divisions
from stream.notes import StreamOpened, TracksInForce, marker
from stream.store.lanes import Lane
from stream.tweet import ControlNotice, Deletion, Frame, Message, Tweet, Withheld

_FIRST = (0,)
_FOR_ALL = marker(StreamOpened), marker(TracksInForce)

CellLanes: TypeAlias = tuple[bytes, list[int]]  # a cell's name, and the indices of its lanes


class LaneRouter:
    """Finds the lanes of frames; `lanes` in the order of their cells and numbers."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        decode: Callable[[bytes], Message],
        divisions: Divisions = UNDIVIDED,
    ) -> None:
        self.lanes = lanes
        self.divisions = divisions
        self._decode = decode
        self._all = tuple(range(len(lanes)))
        self._cells: list[CellLanes] = [
            (cell.encode(), [index for index, _ in of_cell])
            for cell, of_cell in groupby(enumerate(lanes), key=lambda each: each[1].cell)
        ]
        self._has_new_cells = any(each.takes_from for each in lanes)
        self._former = [
            (later.start, [each for each in self._cells if each[0].decode() in before.cells])
            for before, later in pairwise(divisions.found)
        ]

    def route(self, frame: Frame) -> Sequence[int]:
        """The indices of a frame's lanes."""
        if len(self.lanes) == 1 or frame.is_damage:
            return _FIRST
        if frame.is_note:
            return self._all if any(each in frame.body for each in _FOR_ALL) else _FIRST
        try:
            doc, _ = jsontext.sanitize_for_jsonb(frame.body)
            return self._lanes_of(self._decode(doc), frame.after)
        except Exception:  # noqa: BLE001 - the writer decodes it again, and says what is wrong
            return _FIRST

    def _lanes_of(self, message: Message, position: int) -> Sequence[int]:
        match message:
            case Tweet(native_id=native_id, created_at=created):
                return (_lane(native_id, self._cells_for(position, created)),)
            case ControlNotice():
                return _FIRST
            case Deletion(native_id=native_id) | Withheld(native_id=str(native_id)):
                number = _hash(b"", native_id)
                return tuple(lanes[number % len(lanes)] for _, lanes in self._cells)
            case _:
                return tuple(lanes[0] for _, lanes in self._cells)

    def _cells_for(self, position: int, created: datetime | None) -> list[CellLanes]:
        """The cells that share a post and the frame before this position, as far as they exist."""
        cells = next((cells for end, cells in self._former if position <= end), self._cells)
        if created is None or not self._has_new_cells:
            return cells
        at = max(created.timestamp(), 0.0)  # home takes what claims to be from before 1970, too
        return [each for each in cells if self.lanes[each[1][0]].takes_from <= at]


def _lane(native_id: str, cells: list[CellLanes]) -> int:
    _, lanes = max(cells, key=lambda each: _hash(each[0], native_id))
    return lanes[_hash(b"", native_id) % len(lanes)]


def _hash(cell: bytes, native_id: str) -> int:
    digest = blake2b(native_id.encode(), digest_size=8, key=cell).digest()
    return int.from_bytes(digest, "big")
