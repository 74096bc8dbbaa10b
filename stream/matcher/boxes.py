"""Boxes on the map, to be asked which of them touch another: many of them, of any size."""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Generic, TypeVar

from stream.tweet import Box

T = TypeVar("T")

_FAN_OUT = 8
_SMALLEST = 2.0**-6  # degrees; boxes below it are of one class of size


class _Node(Generic[T]):
    """Up to `_FAN_OUT` entries and the box around them."""

    __slots__ = ("bounds", "entries")

    def __init__(self, entries: "list[tuple[Box, T | _Node[T]]]") -> None:
        self.entries = entries
        boxes = [box for box, _ in entries]
        self.bounds: Box = (
            min(box[0] for box in boxes),
            min(box[1] for box in boxes),
            max(box[2] for box in boxes),
            max(box[3] for box in boxes),
        )


class BoxIndex(Generic[T]):
    """Packed trees of boxes, one for each class of size.

    Sorting into tiles keeps neighbours together however crowded a city is; a world box does not
    blow up the bounds of small ones, since it stands in a tree of its own.
    """

    def __init__(self, boxes: Iterable[tuple[Box, T]]) -> None:
        classes: defaultdict[int, list[tuple[Box, T | _Node[T]]]] = defaultdict(list)
        for box, item in boxes:
            side = max(box[2] - box[0], box[3] - box[1], _SMALLEST)
            classes[math.frexp(side)[1]].append((box, item))
        self._roots = [_pack(entries) for entries in classes.values()]

    def touching(self, area: Box) -> list[T]:
        """The items whose boxes share at least a point with this one."""
        west, south, east, north = area
        found: list[T] = []
        waiting = list(self._roots)
        while waiting:
            for box, item in waiting.pop().entries:
                if box[0] <= east and box[2] >= west and box[1] <= north and box[3] >= south:
                    if isinstance(item, _Node):
                        waiting.append(item)
                    else:
                        found.append(item)
        return found


def _pack(entries: "list[tuple[Box, T | _Node[T]]]") -> _Node[T]:
    """Sort-tile-recursive packing: strips by longitude, tiles by latitude, then the next level."""
    while len(entries) > _FAN_OUT:
        strips = math.ceil(math.sqrt(len(entries) / _FAN_OUT))
        per_strip = math.ceil(len(entries) / strips)
        by_longitude = sorted(entries, key=lambda entry: entry[0][0] + entry[0][2])
        level: list[tuple[Box, T | _Node[T]]] = []
        for start in range(0, len(entries), per_strip):
            strip = by_longitude[start : start + per_strip]
            strip.sort(key=lambda entry: entry[0][1] + entry[0][3])
            for at in range(0, len(strip), _FAN_OUT):
                node = _Node(strip[at : at + _FAN_OUT])
                level.append((node.bounds, node))
        entries = level
    return _Node(entries)
