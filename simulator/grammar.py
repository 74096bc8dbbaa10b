"""Parses X v2 rules, and finds what a post must contain to match one (X v2 reference §4)."""

import math
import random
import re
from typing import Literal, TypeAlias

import msgspec

from simulator.payload import EMOJI, WORD
from simulator.posts import Constraints


class InvalidRule(ValueError):
    """The rule cannot be parsed; the text gives the reason."""


class Leaf(msgspec.Struct, frozen=True):
    """One operator; `value` is in lower case and without quotes. `near` belongs to "a b"~N."""

    op: str
    value: str
    negated: bool = False
    near: int | None = None


class Group(msgspec.Struct, frozen=True):
    """AND or OR of its children."""

    kind: Literal["and", "or"]
    children: tuple["Tree", ...]


Tree: TypeAlias = Leaf | Group

STAND_ALONE = frozenset(
    ("keyword", "phrase", "#", "@", "$", "from", "to", "retweets_of", "url", "conversation_id",
     "place", "place_country", "point_radius", "bounding_box")
)  # fmt: skip
_CLOSED = {
    "is": {"retweet", "reply", "quote", "verified", "nullcast"},
    "has": {"hashtags", "cashtags", "links", "mentions", "media", "images", "video_link", "geo"},
}
_CONJUNCTION = frozenset(("is", "has", "lang", "sample"))
_MAX_SIDE = 25  # miles

_LEXEME = re.compile(
    r"""\s*(?:
      (?P<open>\() | (?P<close>\)) | (?P<or>OR(?=[\s()]|$)) |
      (?P<minus>-)?
      (?: (?P<op>[a-z_]+):(?: "(?P<quoted>[^"]*)" | (?P<bracket>\[[^\]]*\]) | (?P<value>[^\s()"]+) )
        | "(?P<phrase>[^"]+)"(?:~(?P<near>\d+))?
        | (?P<word>[^\s()"]+) )
    )""",
    re.VERBOSE,
)
_KEYWORD = re.compile(f"(?:{WORD}|{EMOJI}|\u200d)+")
# As in twitter-text: some punctuation belongs to hashtags, and $BRK.B is a cashtag.
_ENTITY = re.compile(
    rf"#(?:{WORD}|[\u200c\u200d\u00b7\u05be\u05f3\u05f4\u30fb\uff5e\u301c\u3003\u0f0b\u0f0c])+"
    rf"|@{WORD}+|\$[a-z]{{1,6}}(?:[._][a-z]{{1,2}})?"
)


def parse(text: str) -> Tree:
    """Parse a rule into a tree; InvalidRule when X would refuse it."""
    parser = _Parser(text)
    tree = parser.alternatives()
    if parser.at < len(parser.lexemes):
        raise InvalidRule("Unmatched closing bracket.")
    if not any(leaf.op in STAND_ALONE and not leaf.negated for leaf in leaves(tree)):
        raise InvalidRule("A rule needs at least one standalone operator.")
    return tree


def leaves(tree: Tree) -> list[Leaf]:
    """All operators of a rule."""
    if isinstance(tree, Leaf):
        return [tree]
    return [leaf for child in tree.children for leaf in leaves(child)]


class _Parser:
    """Recursive descent: alternatives of sequences of single operators and bracketed groups."""

    def __init__(self, text: str) -> None:
        self.lexemes: list[re.Match[str]] = []
        self.at = 0
        place = 0
        text = text.rstrip()
        while place < len(text):
            found = _LEXEME.match(text, place)
            if found is None:
                raise InvalidRule(f"Unknown syntax at position {place + 1}.")
            self.lexemes.append(found)
            place = found.end()

    def alternatives(self) -> Tree:
        branches = [self._sequence()]
        while self._peek("or"):
            self.at += 1
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else Group("or", tuple(branches))

    def _sequence(self) -> Tree:
        parts: list[Tree] = []
        while self.at < len(self.lexemes) and not self._peek("or") and not self._peek("close"):
            parts.append(self._one())
        if not parts:
            raise InvalidRule("Missing operand next to OR or inside brackets.")
        return parts[0] if len(parts) == 1 else Group("and", tuple(parts))

    def _one(self) -> Tree:
        found = self.lexemes[self.at]
        self.at += 1
        if found["open"] is None:
            return _leaf(found)
        inside = self.alternatives()
        if not self._peek("close"):
            raise InvalidRule("A bracket is not closed.")
        self.at += 1
        return inside

    def _peek(self, kind: str) -> bool:
        return self.at < len(self.lexemes) and self.lexemes[self.at][kind] is not None


def _leaf(found: re.Match[str]) -> Leaf:
    negated = found["minus"] is not None
    if found["phrase"] is not None:
        near = int(found["near"]) if found["near"] else None
        if near is not None and near > 6:
            raise InvalidRule("The distance in a proximity operator is 6 at most.")
        return Leaf("phrase", found["phrase"].lower(), negated, near)
    if found["op"] is not None:
        value = found["quoted"] or found["bracket"] or found["value"] or ""
        return _operator(found["op"], value.lower(), negated)
    word = found["word"].lower()
    if word[0] in "#@$":
        if not _ENTITY.fullmatch(word):
            raise InvalidRule(f"{word} is not a hashtag, mention or cashtag.")
        return Leaf(word[0], word[1:], negated)
    if word == "-":
        raise InvalidRule("A bracketed group cannot be negated.")
    if not _KEYWORD.fullmatch(word):
        raise InvalidRule(f"The keyword {word} contains punctuation and must be quoted.")
    return Leaf("keyword", word, negated)


def _operator(op: str, value: str, negated: bool) -> Leaf:
    if op not in STAND_ALONE and op not in _CONJUNCTION:
        raise InvalidRule(f"Unknown operator {op}:.")
    if not value or (op in _CLOSED and value not in _CLOSED[op]):
        raise InvalidRule(f"The operator {op}: does not take {value or 'nothing'}.")
    if (op, value) == ("is", "nullcast") and not negated:
        raise InvalidRule("is:nullcast must be negated.")
    if op == "sample" and (negated or not value.isdigit() or not 1 <= int(value) <= 100):
        raise InvalidRule("sample: takes 1 to 100 and cannot be negated.")
    if op in {"bounding_box", "point_radius"}:
        _check_area(op, value)
    return Leaf(op, value, negated)


def numbers(value: str) -> list[float]:
    """The numbers of `[lon lat 16km]` or `[w s e n]`; miles are converted to kilometres."""
    parts = value.strip("[]").split()
    try:
        return [
            float(part[:-2]) * (1.609344 if part.endswith("mi") else 1.0)
            if part.endswith(("mi", "km"))
            else float(part)
            for part in parts
        ]
    except ValueError:
        raise InvalidRule(f"{value} does not contain the expected numbers.") from None


def _check_area(op: str, value: str) -> None:
    figures = numbers(value)
    if len(figures) != (4 if op == "bounding_box" else 3):
        raise InvalidRule(f"{op}: does not take {value}.")
    if op == "point_radius":
        if figures[2] > _MAX_SIDE * 1.609344:
            raise InvalidRule("The radius must be under 25 miles.")
        return
    west, south, east, north = figures
    # One degree of latitude is 69 miles; of longitude at most that.
    if west >= east or south >= north:
        raise InvalidRule("A bounding box goes west, south, east, north.")
    if (north - south) * 69 > _MAX_SIDE or (east - west) * 69 * _shrink(south, north) > _MAX_SIDE:
        raise InvalidRule("The sides of a bounding box must be under 25 miles.")


def _shrink(south: float, north: float) -> float:
    """How much narrower a degree of longitude is at the box's edge nearest the equator."""

    nearest = 0.0 if south <= 0 <= north else min(abs(south), abs(north))
    return math.cos(math.radians(nearest))


def constraints(tree: Tree, rng: random.Random) -> Constraints:
    """What a post must contain to match; alternatives are chosen at random."""
    wanted = Constraints()
    for leaf in _chosen(tree, rng):
        if not leaf.negated:
            wanted = _with_leaf(wanted, leaf)
    return wanted


def _chosen(tree: Tree, rng: random.Random) -> list[Leaf]:
    if isinstance(tree, Leaf):
        return [tree]
    if tree.kind == "or":
        return _chosen(rng.choice(tree.children), rng)
    return [leaf for child in tree.children for leaf in _chosen(child, rng)]


_LISTS = {"keyword": "words", "phrase": "words", "#": "hashtags", "$": "cashtags", "@": "mentions"}
_SINGLE = {
    "from": "author", "to": "reply_to", "lang": "lang",
    "place": "area", "place_country": "country",
}  # fmt: skip
_VALUES: dict[tuple[str, str], dict[str, object]] = {
    ("is", "retweet"): {"kind": "retweet"},
    ("is", "reply"): {"kind": "reply"},
    ("is", "quote"): {"kind": "quote"},
    ("is", "verified"): {"verified": True},
    ("has", "media"): {"media": "photo"},
    ("has", "images"): {"media": "photo"},
    ("has", "video_link"): {"media": "video"},
}


def _with_leaf(wanted: Constraints, leaf: Leaf) -> Constraints:
    if leaf.op in _LISTS:
        name = _LISTS[leaf.op]
        return _set(wanted, {name: (*getattr(wanted, name), leaf.value)})
    if leaf.op == "has" and ("has", leaf.value) not in _VALUES:
        return _set(wanted, {"entities": (*wanted.entities, leaf.value)})
    return _set(wanted, _single(leaf))


def _single(leaf: Leaf) -> dict[str, object]:
    match leaf.op:
        case "bounding_box":
            west, south, east, north = numbers(leaf.value)
            return {"point": ((west + east) / 2, (south + north) / 2)}
        case "point_radius":
            lon, lat, _ = numbers(leaf.value)
            return {"point": (lon, lat)}
        case "retweets_of":
            return {"repost_of": leaf.value, "kind": "retweet"}
        case "url":
            return {"link": leaf.value.replace(" ", "-")}
        case op if op in _SINGLE:
            return {_SINGLE[op]: leaf.value}
        case _:
            return _VALUES.get((leaf.op, leaf.value), {})


def _set(wanted: Constraints, changes: dict[str, object]) -> Constraints:
    return msgspec.structs.replace(wanted, **changes)
