"""Compile an alternative of a query into values of X rules. Pure.

X v2 reference, "Rule grammar". User text never goes into a rule unchanged: everything but plain
words is quoted, and quotes inside it are dropped.
"""

import re
from collections.abc import Iterator
from typing import TypeAlias, assert_never

import msgspec

from stream.entities import is_cashtag, is_hashtag
from stream.geo import around
from stream.networks.planning import parts, size
from stream.query import (
    And,
    AtPlace,
    Conversation,
    Entity,
    Has,
    InBox,
    InRadius,
    Is,
    Lang,
    Leaf,
    Link,
    Node,
    Not,
    Or,
    Phrase,
    Term,
    User,
)
from stream.query.tokenize import ADDRESS, DENSE, SIGN, WORD_CHARACTERS, has_signs
from stream.tweet import Box

SIDE = 40.0  # km; X requires box sides and radiuses under 25 miles (40.2 km)

DENSE_WORDS = (
    "X finds emoji and words of scripts without spaces only where it recognizes a separate word."
)
SIGNS = (
    "X ignores signs such as & and %: it also sends, and bills, posts with the same words "
    "without them, and those are not counted for this track."
)
NOTHING_POSITIVE = "X needs a word, phrase, tag, account, address or place to search."

_PLAIN = re.compile(f"[{WORD_CHARACTERS}]+")
_HANDLE = re.compile("[A-Za-z0-9_]{1,20}")
_ID = re.compile("[0-9]{1,20}")
_OPERATORS = frozenset({"or", "and", "not"})
_SIGILS = {"hashtag": "#", "mention": "@", "cashtag": "$"}


class Refused(Exception):
    """X cannot express a query; the text is the reason in the track's row."""


class Limits(msgspec.Struct, frozen=True):
    """How long a rule may be, and into how many boxes a place may be split."""

    length: int  # characters
    boxes: int


class Values(msgspec.Struct, frozen=True):
    """Rules of which any may match; if not `exact`, they also match other tweets."""

    texts: tuple[str, ...]
    exact: bool


class _Every(msgspec.Struct, frozen=True):
    """AND of compiled parts."""

    members: tuple["_Written", ...]


class _Either(msgspec.Struct, frozen=True):
    """OR of compiled parts."""

    members: tuple["_Written", ...]


_Written: TypeAlias = str | _Every | _Either


def values(node: Node, limits: Limits) -> Values:
    """The rules for one alternative. Raises Refused."""
    if not _anchored(node):
        raise Refused(NOTHING_POSITIVE)
    writer = _Writer(limits)
    written = writer.write(node)
    if written is None:
        raise Refused(NOTHING_POSITIVE)
    return Values(tuple(_fit(written, limits.length)), writer.exact)


def caveats(node: Node) -> list[str]:
    """The limitations of X for a query, in sentences."""
    texts = list(_looked_for(node))
    found = [DENSE_WORDS] if any(map(DENSE.search, texts)) else []
    return [*found, SIGNS] if any(map(has_signs, texts)) else found


def _looked_for(node: Node) -> Iterator[str]:
    match node:
        case And(children) | Or(children):
            for child in children:
                yield from _looked_for(child)
        case Term(text) | Phrase(text):
            yield text


def _anchored(node: Node) -> bool:
    """Whether every way to match contains a standalone operator, as X requires."""
    match node:
        case And(children):
            return any(_anchored(child) for child in children)
        case Or(children):
            return all(_anchored(child) for child in children)
        case Not() | Lang() | Is() | Has():
            return False
        case _:
            return True


class _Writer:
    """Writes a tree in X's operators; `exact` becomes False when something is omitted."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.exact = True

    def write(self, node: Node) -> _Written | None:
        """Compile a node; None when X cannot express it, so that the rule must match more."""
        match node:
            case And(children):
                members = [self.write(child) for child in children]
                return _joined(_Every, [each for each in members if each is not None])
            case Or(children):
                members = [self.write(child) for child in children]
                whole = [each for each in members if each is not None]
                return _joined(_Either, whole) if len(whole) == len(members) else None
            case Not(child):
                return self._without(child)
            case _:
                return self._leaf(node)

    def _without(self, node: Node) -> _Written | None:
        """X negates single operators only."""
        match node:
            case And() | Or() | Not() | InBox() | InRadius():
                self.exact = False
                return None
            case Term(text) | Phrase(text) if has_signs(text):
                # X would also exclude posts that contain the words without the signs.
                self.exact = False
                return None
            case _:
                written = self._leaf(node)
                texts = (written,) if isinstance(written, str) else written.members
                return _joined(_Every, [f"-{text}" for text in texts])

    def _leaf(self, leaf: Leaf) -> "str | _Either":  # noqa: C901, PLR0911, PLR0912 - by kind
        match leaf:
            case Term(text):
                self.exact &= not has_signs(text)
                return _term(text)
            case Phrase(text):
                self.exact &= not has_signs(text)
                return _quoted(text)
            case Entity(kind, text):
                return _SIGILS[kind] + _name(kind, text)
            case User(relation, handle, user_id):
                return _user(relation, handle, user_id)
            case InBox(box):
                return self._box(box)
            case InRadius((longitude, latitude), km):
                if km <= SIDE:
                    return f"point_radius:[{longitude:.5f} {latitude:.5f} {km:.3f}km]"
                self.exact = False
                return self._box(around((longitude, latitude), km))
            case AtPlace("country", text):
                return f"place_country:{_plain(text)}"
            case AtPlace(_, text):
                return f"place:{_quoted(text)}"
            case Link(text):
                return f"url:{_quoted(text)}"
            case Lang(code):
                return f"lang:{code}"
            case Is(what):
                return f"is:{what}"
            case Has(what):
                return f"has:{what}"
            case Conversation(conversation_id):
                return f"conversation_id:{_matching(_ID, conversation_id)}"
            case _:
                assert_never(leaf)

    def _box(self, box: Box) -> "str | _Either":
        found = parts(box, SIDE, self.limits.boxes)
        if found is None:
            width, height = size(box)
            most = self.limits.boxes
            raise Refused(
                f"The area is {width:,.0f} km by {height:,.0f} km: X takes boxes of less than 25 "
                f"miles (40 km) a side, and it would need more than {most} of them "
                "(x_v2.max_box_parts). Make the area smaller."
            )
        texts = [f"bounding_box:[{' '.join(f'{edge:.5f}' for edge in part)}]" for part in found]
        return texts[0] if len(texts) == 1 else _Either(tuple(texts))


def _joined(group: type[_Every] | type[_Either], members: list[_Written]) -> _Written | None:
    if not members:
        return None
    return members[0] if len(members) == 1 else group(tuple(members))


def _term(text: str) -> "str | _Either":
    """A word, or an address, which X finds as such and in the text (X v2 reference §4)."""
    if _PLAIN.fullmatch(text) and text not in _OPERATORS and not DENSE.search(text):
        return text
    if SIGN.match(text):
        raise Refused(
            f"X ignores {text[0]!r}, and would send every post with {text[1:]!r}: write a "
            'phrase in quotes, such as "only $100".'
        )
    quoted = _quoted(text)
    return _Either((f"url:{quoted}", quoted)) if ADDRESS.fullmatch(text) else quoted


def _user(relation: str, handle: str | None, user_id: str | None) -> "str | _Either":
    name = _matching(_HANDLE, handle) if handle is not None else _matching(_ID, user_id or "")
    if relation == "any":
        return _Either((f"from:{name}", f"to:{name}", f"retweets_of:{name}"))
    return f"{relation}:{name}"


def _name(kind: str, text: str) -> str:
    valid = {"hashtag": is_hashtag, "cashtag": is_cashtag}.get(kind, _HANDLE.fullmatch)
    if not valid(text):
        raise Refused(f"{text!r} is not a valid X name.")
    return text


def _plain(text: str) -> str:
    return _matching(_PLAIN, text)


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise Refused(f"{text!r} is not a valid X name.")
    return text


def _quoted(text: str) -> str:
    inner = " ".join(re.sub(r'["“”\\]', " ", text).split())
    if not inner:
        raise Refused(NOTHING_POSITIVE)
    return f'"{inner}"'


def _render(written: _Written) -> str:
    match written:
        case str():
            return written
        case _Every(members):
            return " ".join(
                f"({_render(each)})" if isinstance(each, _Either) else _render(each)
                for each in members
            )
        case _Either(members):
            return " OR ".join(_render(each) for each in members)


def _fit(written: _Written, length: int) -> list[str]:
    """The text of a rule; several alternatives when one would be too long."""
    text = _render(written)
    if len(text) <= length:
        return [text]
    halves = _halves(written)
    if halves is None:
        raise Refused(f"The rule would be {len(text):,} characters long; X allows {length:,}.")
    return [text for half in halves for text in _fit(half, length)]


def _halves(written: _Written) -> "tuple[_Written, _Written] | None":
    """Split into two that together match the same; None when there is no OR."""
    if isinstance(written, _Either):
        middle = len(written.members) // 2
        first = _joined(_Either, list(written.members[:middle]))
        second = _joined(_Either, list(written.members[middle:]))
        return (first, second) if first is not None and second is not None else None
    if isinstance(written, _Every):
        groups = [each for each in written.members if not isinstance(each, str)]
        longest = max(groups, key=lambda each: len(_render(each)), default="")
        halves = _halves(longest)
        if halves is not None:
            rest = [each for each in written.members if each is not longest]
            return _Every((*rest, halves[0])), _Every((*rest, halves[1]))
    return None
