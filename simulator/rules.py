"""Does this post match this rule? (X v2 reference §4)"""

import math
import zlib
from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

from simulator.grammar import Group, Leaf, Tree, numbers, parse
from simulator.tokens import tokens
from simulator.view import View

Test: TypeAlias = Callable[[View], bool]

_VAGUE = frozenset(("lang", "is", "has", "sample", "point_radius", "bounding_box"))


class Rule(msgspec.Struct):
    """One rule of the app. It acts from `active` until `gone`, on the simulator's clock."""

    id: str
    value: str
    tag: str | None
    tree: Tree
    test: Test
    anchors: frozenset[str] | None  # a post without any of these keys cannot match
    active: float
    gone: float = math.inf


def make(number: str, value: str, tag: str | None, active: float) -> Rule:
    """Parse and compile; InvalidRule when X would refuse it."""
    tree = parse(value)
    return Rule(number, value, tag, tree, _compile(tree), _anchors(tree), active)


class Index:
    """Finds the rules that match; a post looks only at rules that it has a word of."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.by_key: dict[str, list[Rule]] = {}
        self.anywhere: list[Rule] = []
        for rule in rules:
            if rule.anchors is None:
                self.anywhere.append(rule)
            for key in rule.anchors or ():
                self.by_key.setdefault(key, []).append(rule)

    def matching(self, seen: View, now: float) -> list[Rule]:
        """The active rules that match, each once."""
        found = {id(rule): rule for rule in self.anywhere}
        for key in seen.keys & self.by_key.keys():
            for rule in self.by_key[key]:
                found[id(rule)] = rule
        return [
            rule for rule in found.values() if rule.active <= now < rule.gone and rule.test(seen)
        ]


def _compile(tree: Tree) -> Test:
    if isinstance(tree, Group):
        tests = [_compile(child) for child in tree.children]
        combine = all if tree.kind == "and" else any
        return lambda seen: combine(test(seen) for test in tests)
    test = _leaf_test(tree)
    return (lambda seen: not test(seen)) if tree.negated else test


def _leaf_test(leaf: Leaf) -> Test:
    if leaf.op in _BUILDERS:
        return _BUILDERS[leaf.op](leaf)
    key = _key(leaf)
    return lambda seen: key in seen.keys


def _phrase(leaf: Leaf) -> Test:
    words, near = tokens(leaf.value), leaf.near
    if near is None:
        return lambda seen: any(_within(words, run) for run in (*seen.runs, *seen.links))
    return lambda seen: any(_close(words, run, near) for run in seen.runs)


def _keyword(leaf: Leaf) -> Test:
    words = tokens(leaf.value)
    if len(words) == 1:
        return lambda seen: words[0] in seen.keys
    return lambda seen: any(_within(words, run) for run in seen.runs)  # a row of emoji


def _url(leaf: Leaf) -> Test:
    words = tokens(leaf.value)
    return lambda seen: any(_within(words, run) for run in seen.links)


def _sample(leaf: Leaf) -> Test:
    share = int(leaf.value)
    return lambda seen: zlib.crc32(b"%d" % seen.id) % 100 < share


def _bounding_box(leaf: Leaf) -> Test:
    west, south, east, north = numbers(leaf.value)
    return lambda seen: _in_box(seen, (west, south, east, north))


def _point_radius(leaf: Leaf) -> Test:
    lon, lat, km = numbers(leaf.value)
    return lambda seen: seen.point is not None and _distance(seen.point, (lon, lat)) <= km


_BUILDERS: dict[str, Callable[[Leaf], Test]] = {
    "phrase": _phrase,
    "keyword": _keyword,
    "url": _url,
    "sample": _sample,
    "bounding_box": _bounding_box,
    "point_radius": _point_radius,
}


def _key(leaf: Leaf) -> str:
    if leaf.op == "keyword":
        return leaf.value
    return leaf.op + leaf.value if leaf.op in "#@$" else f"{leaf.op}:{leaf.value.removeprefix('@')}"


def _within(words: list[str], run: list[str]) -> bool:
    if not words:
        return False
    length = len(words)
    return any(
        run[place : place + length] == words
        for place in range(len(run) - length + 1)
        if run[place] == words[0]
    )


def _close(words: list[str], run: list[str], near: int) -> bool:
    """Two words with at most `near` others between them; `near` - 2 when they stand reversed."""
    if len(words) != 2:
        return _within(words, run)
    first = [place for place, word in enumerate(run) if word == words[0]]
    second = [place for place, word in enumerate(run) if word == words[1]]
    return any(0 < b - a <= near + 1 or 0 < a - b <= near - 1 for a in first for b in second)


def _in_box(seen: View, box: tuple[float, float, float, float]) -> bool:
    west, south, east, north = box
    if seen.point is not None:
        return west <= seen.point[0] <= east and south <= seen.point[1] <= north
    if seen.box is None:
        return False
    return (
        seen.box[0] <= east
        and seen.box[2] >= west
        and seen.box[1] <= north
        and seen.box[3] >= south
    )


def _distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Kilometres on the sphere."""
    lon1, lat1, lon2, lat2 = map(math.radians, (*one, *other))
    half = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * 6371 * math.asin(math.sqrt(half))


def _anchors(tree: Tree) -> frozenset[str] | None:
    if isinstance(tree, Leaf):
        if tree.negated or tree.op in _VAGUE:
            return None
        if tree.op in {"phrase", "url", "keyword"}:
            return frozenset(tokens(tree.value)[:1])
        return frozenset((_key(tree),))
    inner = [_anchors(child) for child in tree.children]
    if tree.kind == "and":
        return min((keys for keys in inner if keys is not None), key=len, default=None)
    if None in inner:
        return None
    return frozenset().union(*(keys for keys in inner if keys is not None))
