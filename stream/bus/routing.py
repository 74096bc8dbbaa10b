"""Which lanes of a source a frame belongs to. Pure, no I/O.

The native id of a tweet decides: the cell by the highest hash of cell and id (rendezvous hashing),
so that another cell takes over only its share of ids and all sources agree; the lane within the
cell by the id's hash. Lanes must neither miss nor repeat what concerns them:

- a tweet goes to one lane;
- what changes stored tweets goes to one lane of each cell: also to that which had the tweet's id
  before a cell was added;
- a note of the daemon and a message about the stream go to the first lane, which keeps the source's
  gaps and states; where cursors of the network belong to a new connection, every lane is told.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import groupby

from stream import jsontext
from stream.notes import StreamOpened
from stream.store.lanes import Lane
from stream.tweet import ControlNotice, Deletion, Frame, Message, Tweet, Withheld

_FIRST = (0,)
_OPENED = f'"type":"{StreamOpened.__struct_config__.tag}"'.encode()


class LaneRouter:
    """Finds the lanes of frames; `lanes` in the order of their cells and numbers."""

    def __init__(self, lanes: Sequence[Lane], decode: Callable[[bytes], Message]) -> None:
        self.lanes = lanes
        self._decode = decode
        self._all = tuple(range(len(lanes)))
        self._cells = [
            (cell.encode(), [index for index, _ in of_cell])
            for cell, of_cell in groupby(enumerate(lanes), key=lambda each: each[1].cell)
        ]

    def route(self, frame: Frame) -> Sequence[int]:
        """The indices of a frame's lanes."""
        if len(self.lanes) == 1 or frame.is_damage:
            return _FIRST
        if frame.is_note:
            return self._all if _OPENED in frame.body else _FIRST
        try:
            doc, _ = jsontext.sanitize_for_jsonb(frame.body)
            return self._lanes_of(self._decode(doc))
        except Exception:  # noqa: BLE001 - the writer decodes it again, and says what is wrong
            return _FIRST

    def _lanes_of(self, message: Message) -> Sequence[int]:
        match message:
            case Tweet(native_id=native_id):
                return (self._lane(native_id),)
            case ControlNotice():
                return _FIRST
            case Deletion(native_id=native_id) | Withheld(native_id=str(native_id)):
                number = _hash(b"", native_id)
                return tuple(lanes[number % len(lanes)] for _, lanes in self._cells)
            case _:
                return tuple(lanes[0] for _, lanes in self._cells)

    def _lane(self, native_id: str) -> int:
        _, lanes = max(self._cells, key=lambda each: _hash(each[0], native_id))
        return lanes[_hash(b"", native_id) % len(lanes)]


def _hash(cell: bytes, native_id: str) -> int:
    digest = blake2b(native_id.encode(), digest_size=8, key=cell).digest()
    return int.from_bytes(digest, "big")
