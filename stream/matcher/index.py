"""Find the alternatives that a tweet may meet: by keys that it must have, runs in it, and boxes.

A key is a property that a tweet must have before an alternative is checked.
"""

import math
from collections import Counter
from operator import add
from typing import Generic, Literal, NamedTuple, TypeVar

from stream import geo
from stream.query import (
    And,
    AtPlace,
    Conversation,
    Entity,
    InBox,
    InRadius,
    Link,
    Node,
    Not,
    Or,
    Phrase,
    Term,
    User,
)
from stream.query.tokenize import DENSE, is_dense, words
from stream.tweet import Box

T = TypeVar("T")

EMOJI_BEGIN = "\U0001f000"  # the range that most emoji are in; Han characters lie beyond it


class Key(NamedTuple):
    """A property that a tweet can have; `value` is a `Box` for boxes and a text for the others.

    `run` is a run of dense characters inside a term; UnspacedTextIndex looks it up.
    """

    kind: Literal["word", "run", "handle", "id", "box", "place", "country", "conversation"]
    value: str | Box


def all_keys(node: Node) -> list[Key]:
    """All keys of a node; keys that many alternatives use are likely to be frequent."""
    if isinstance(node, And | Or):
        return [key for child in node.children for key in all_keys(child)]
    return _leaf_keys(node)


def needed_words(node: Node) -> tuple[str, ...]:
    """Words that a part of a tweet has if it meets the node; maybe not all of them."""
    children = node.children if isinstance(node, And) else (node,)
    keys = [key for child in children if not isinstance(child, Or) for key in all_keys(child)]
    return tuple(key.value for key in keys if key.kind == "word" and isinstance(key.value, str))


def cover(node: Node, counts: Counter[Key]) -> list[Key]:
    """Keys of which a tweet must have at least one to meet the node, the rarest known.

    Empty where there are none: then every tweet has to be looked at.
    """
    if isinstance(node, And):
        covers = [found for child in node.children if (found := cover(child, counts))]
        return min(covers, key=lambda keys: _weight(keys, counts), default=[])
    if isinstance(node, Or):
        covers = [cover(child, counts) for child in node.children]
        return list({key for keys in covers for key in keys}) if all(covers) else []
    if isinstance(node, InBox | InRadius | User):
        return _leaf_keys(node)  # a tweet touches a part of the box, or names the handle or the id
    keys = _leaf_keys(node)
    return [min(keys, key=lambda key: _weight([key], counts))] if keys else []


def _weight(keys: list[Key], counts: Counter[Key]) -> tuple[int, int]:
    """Small for keys that few tweets have: seldom tracked, then long."""
    return sum(counts[key] for key in keys), -min(len(key.value) for key in keys)


def _leaf_keys(leaf: Node) -> list[Key]:
    """The keys of a leaf: a tweet that meets it has all; of boxes and users, at least one."""
    match leaf:
        case Term(text) | Phrase(text) | Entity(_, text) | Link(text):
            return _text_keys(text)
        case User(_, handle, user_id, found):
            ids = [Key("id", each) for each in (user_id, found) if each]
            return ids if handle is None else [Key("handle", handle), *ids]
        case InBox() | InRadius():
            return [Key("box", box) for box in bounds(leaf)]
        case AtPlace(kind, text):
            return [Key("country" if kind == "country" else "place", text)]
        case Conversation(conversation_id):
            return [Key("conversation", conversation_id)]
        case Not() | _:
            return []


def _text_keys(text: str) -> list[Key]:
    if not is_dense(text):
        return [Key("word", word) for word in words(text)]
    return [Key("run", run) for run in DENSE.findall(text)]


class UnspacedTextIndex(Generic[T]):
    """Items by the run of dense characters that a text must hold.

    X v1.1 reference §6 has no rule for scripts without word spaces. Each run is kept under one pair
    of neighbours in it, the one that fewest others have: the pairs of a text find the few runs that
    it may hold.
    """

    def __init__(self) -> None:
        self._by_pair: dict[str, list[tuple[str, T]]] = {}
        self._pairs: dict[str, str] = {}  # under which pair a run is kept
        self._numbers: Counter[str] = Counter()  # items of a run
        self._counts: Counter[str] = Counter()  # runs that have a pair
        self._lone = 0  # runs of a single character
        self._with_emoji = 0  # runs with an emoji of the highest range

    def __bool__(self) -> bool:
        return bool(self._by_pair)

    @property
    def has_emoji(self) -> bool:
        """Whether a text of nothing but emoji may hold any of the runs."""
        return self._with_emoji > 0

    def add(self, run: str, item: T) -> None:
        self._numbers[run] += 1
        if run not in self._pairs:
            pairs = _pairs(run)
            self._counts.update(pairs)
            self._pairs[run] = min(pairs, key=self._counts.__getitem__)
            self._lone += len(run) == 1
            self._with_emoji += max(run) >= EMOJI_BEGIN
        self._by_pair.setdefault(self._pairs[run], []).append((run, item))

    def remove(self, run: str, item: T) -> None:
        pair = self._pairs[run]
        kept = self._by_pair[pair]
        kept.remove((run, item))
        if not kept:
            del self._by_pair[pair]
        self._numbers[run] -= 1
        if not self._numbers[run]:
            del self._numbers[run], self._pairs[run]
            self._lone -= len(run) == 1
            self._with_emoji -= max(run) >= EMOJI_BEGIN
            self._counts.subtract(pairs := _pairs(run))
            for each in pairs:
                if not self._counts[each]:
                    del self._counts[each]

    def standing_in(self, dense: str) -> list[T]:
        """The items whose runs are in this text of dense characters."""
        there = self._by_pair.keys() & map(add, dense, dense[1:])
        if self._lone:
            there |= self._by_pair.keys() & dense
        return [item for pair in there for run, item in self._by_pair[pair] if run in dense]


def _pairs(run: str) -> list[str]:
    """Neighbouring dense characters: a text that holds the run has all. Or its only character."""
    return [run[at : at + 2] for at in range(len(run) - 1)] or [run]


_WORLD = 512.0  # degrees; the side of the largest cell, which holds every box
_SMALLEST = 2.0**-6  # degrees; boxes below it are kept as if they had this side


class _Cell(Generic[T]):
    """A square of the map, and the boxes of about its size whose centres lie in it."""

    __slots__ = ("cells", "entries")

    def __init__(self) -> None:
        self.entries: list[tuple[Box, T]] = []
        self.cells: dict[tuple[int, int], _Cell[T]] = {}  # its quarters, where there is something


class BoxIndex(Generic[T]):
    """A loose quadtree: each box lies in one cell, at least as large as itself, by its centre.

    So a box touches nothing that is farther from its cell than half of the cell's side, and adding
    or removing one touches only the cells on the way to it. A world box does not get into the way
    of small ones, since it lies in a cell near the root.
    """

    def __init__(self) -> None:
        self._root = _Cell[T]()
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def add(self, box: Box, item: T) -> None:
        cell = self._root
        for quarter in _way(box):
            cell = cell.cells.setdefault(quarter, _Cell())
        cell.entries.append((box, item))
        self._number += 1

    def remove(self, box: Box, item: T) -> None:
        """ValueError when it is not there."""
        cells, way = [self._root], _way(box)
        for quarter in way:
            if quarter not in cells[-1].cells:
                raise ValueError("no such box")
            cells.append(cells[-1].cells[quarter])
        cells[-1].entries.remove((box, item))
        self._number -= 1
        for parent, quarter, cell in zip(cells[-2::-1], way[::-1], cells[:0:-1], strict=True):
            if cell.entries or cell.cells:
                break
            del parent.cells[quarter]

    def touching(self, area: Box) -> list[T]:
        """The items whose boxes share at least a point with this one."""
        west, south, east, north = area
        found: list[T] = []
        waiting = [(self._root, -_WORLD / 2, -_WORLD / 2, _WORLD)]
        while waiting:
            cell, left, low, side = waiting.pop()
            for box, item in cell.entries:
                if box[0] <= east and box[2] >= west and box[1] <= north and box[3] >= south:
                    found.append(item)
            half = side / 2
            slack = half / 2
            for (column, row), quarter in cell.cells.items():
                x, y = left + column * half, low + row * half
                if (
                    x - slack <= east
                    and x + half + slack >= west
                    and y - slack <= north
                    and y + half + slack >= south
                ):
                    waiting.append((quarter, x, y, half))
        return found


def _way(box: Box) -> list[tuple[int, int]]:
    """The quarters on the way from the root to the cell of a box."""
    side = max(box[2] - box[0], box[3] - box[1], _SMALLEST)
    depth = max(round(math.log2(_WORLD)) - math.frexp(side)[1], 0)
    x, y = ((box[0] + box[2]) / 2 / _WORLD + 0.5, (box[1] + box[3]) / 2 / _WORLD + 0.5)
    way: list[tuple[int, int]] = []
    if not (0 <= x < 1 and 0 <= y < 1):  # off the map: the root holds it
        return way
    for _ in range(depth):
        x, y = x * 2, y * 2
        column, row = int(x), int(y)
        way.append((column, row))
        x, y = x - column, y - row
    return way


def bounds(condition: InBox | InRadius) -> list[Box]:
    """Boxes of which one touches everything that the condition can meet."""
    whole = (
        condition.box
        if isinstance(condition, InBox)
        else geo.around(condition.centre, condition.km)
    )
    found = list(geo.halves(whole))
    for west, south, east, north in tuple(found):
        # What lies on the 180th meridian may be written either way.
        if east == 180:
            found.append((-180.0, south, -180.0, north))
        if west == -180:
            found.append((180.0, south, 180.0, north))
    return found
