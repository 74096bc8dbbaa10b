"""Compile an alternative of a query into a filter of statuses/filter. Pure.

X v1.1 reference §5 to §8: phrases whose words all occur, ids of accounts, boxes; all joined by OR.
A richer condition gets a filter that matches more, and the matcher decides.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

from stream import geo
from stream.query import And, Entity, InBox, InRadius, Link, Node, Or, Phrase, Term, User
from stream.query.tokenize import DENSE, WORD_CHARACTERS, has_signs, words
from stream.tweet import Box

SMALLEST_SIDE = 0.1  # degrees
_SIGILS = {"hashtag": "#", "mention": "@", "cashtag": "$"}
_CORE = re.compile(f"[{WORD_CHARACTERS}](?:.*[{WORD_CHARACTERS}])?")
_MARKED = re.compile("[#@$](?!\u20e3)")
_MENTIONED = ("any", "to", "retweets_of")  # what reaches us by a mention of the account

BY_HANDLE = (
    "The v1.1 stream follows accounts by id only; by a handle it sends what mentions the account: "
    "replies and reposts, but not its own posts. Give the account's id to have them too."
)
DENSE_WORDS = (
    "The v1.1 stream finds emoji and words of scripts without spaces only where spaces separate "
    "them."
)
SIGNS = "The v1.1 stream finds words with signs in them only where spaces separate them."
NO_FILTER = (
    "The v1.1 stream can search for words, account ids and boxes only, and this requires none of "
    "them."
)


class Filter(msgspec.Struct, frozen=True):
    """A filter: phrases, accounts and boxes, any of which may match."""

    track: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()
    locations: tuple[Box, ...] = ()

    def __or__(self, other: "Filter") -> "Filter":
        return Filter(
            tuple(dict.fromkeys(self.track + other.track)),
            tuple(dict.fromkeys(self.follow + other.follow)),
            tuple(dict.fromkeys(self.locations + other.locations)),
        )

    @property
    def size(self) -> int:
        """The number of phrases, accounts and boxes."""
        return len(self.track) + len(self.follow) + len(self.locations)


class CompiledFilter(msgspec.Struct, frozen=True):
    """A compiled filter, and its limitations."""

    filter: Filter
    caveats: tuple[str, ...] = ()


def find(node: Node, phrase_bytes: int) -> CompiledFilter | None:
    """The narrowest filter that includes every match; None when there is none.

    A phrase over `phrase_bytes` is left in: the plan refuses it and says why.
    """
    match node:
        case And(children):
            return _all(children, phrase_bytes)
        case Or(children):
            return _any([find(child, phrase_bytes) for child in children])
        case User(relation, handle, user_id):
            return _user(relation, handle, user_id)
        case InBox(box):
            return CompiledFilter(Filter(locations=_locations(box)))
        case InRadius(centre, km):
            return CompiledFilter(Filter(locations=_locations(geo.around(centre, km))))
        case _:
            text = _words(node)
            return CompiledFilter(Filter(track=(text,)), _caveats(text)) if text else None


def _caveats(phrase: str) -> tuple[str, ...]:
    # Tags and names are found wherever X marks them, in every script.
    terms = [word for word in phrase.split() if not _MARKED.match(word)]
    dense = (DENSE_WORDS,) if any(map(DENSE.search, terms)) else ()
    return (*dense, SIGNS) if any(map(has_signs, terms)) else dense


def _words(node: Node) -> str:
    """The words that a tweet must have for this leaf; empty when it is about something else."""
    match node:
        case Term(text):
            return text.replace(",", " ").strip()
        case Entity(kind, text):
            return _SIGILS[kind] + text
        case Phrase(text):
            return " ".join(dict.fromkeys(sorted(_phrase_words(text)))) or (
                text.replace(",", " ").strip()
            )
        case Link(text):
            return " ".join(dict.fromkeys(sorted(words(text))))
        case _:
            return ""


def _phrase_words(text: str) -> Iterator[str]:
    """The words of a phrase; words joined by signs count as one, or too much would match."""
    for piece in text.replace(",", " ").split():
        core = _CORE.search(piece)
        if core and has_signs(core[0]):
            yield core[0]
        else:
            yield from words(piece)


def _all(children: Sequence[Node], phrase_bytes: int) -> CompiledFilter | None:
    """Compile AND: words go into one phrase; otherwise the narrowest part is enough."""
    together = [text for child in children if (text := _words(child))]
    found = [each for child in children if (each := find(child, phrase_bytes)) is not None]
    if together:
        phrase = _phrase(together, phrase_bytes)
        return CompiledFilter(Filter(track=(phrase,)), _caveats(phrase))
    return min(found, key=lambda each: (len(each.caveats), each.filter.size), default=None)


def _phrase(texts: Sequence[str], phrase_bytes: int) -> str:
    """As many of the words as fit: fewer match more tweets. The first is always included."""
    distinct = sorted({word for text in texts for word in text.split()})
    phrase = ""
    for word in distinct:
        longer = f"{phrase} {word}".strip()
        if len(longer.encode()) <= phrase_bytes:
            phrase = longer
    return phrase or distinct[0]


def _any(parts: Sequence[CompiledFilter | None]) -> CompiledFilter | None:
    """Compile OR: the filter needs all parts."""
    whole, caveats = Filter(), dict[str, None]()
    for part in parts:
        if part is None:
            return None
        whole |= part.filter
        caveats.update(dict.fromkeys(part.caveats))
    return CompiledFilter(whole, tuple(caveats))


def _user(relation: str, handle: str | None, user_id: str | None) -> CompiledFilter | None:
    if user_id is not None:
        return CompiledFilter(Filter(follow=(user_id,))) if user_id.isdigit() else None
    if relation in _MENTIONED and handle is not None:
        return CompiledFilter(
            Filter(track=(f"@{handle}",)), (BY_HANDLE,) if relation == "any" else ()
        )
    return None


def _locations(box: Box) -> tuple[Box, ...]:
    """The boxes to ask for: none may cross the 180th meridian."""
    return tuple(map(_wide_enough, geo.halves(box)))


def _wide_enough(box: Box) -> Box:
    """The v1.1 stream requires sides of at least 0.1 degrees."""
    west, east = _apart(box[0], box[2], 180)
    south, north = _apart(box[1], box[3], 90)
    return west, south, east, north


def _apart(low: float, high: float, edge: float) -> tuple[float, float]:
    if high - low >= SMALLEST_SIDE:
        return low, high
    low = round(max((low + high - SMALLEST_SIDE) / 2, -edge), 5)
    high = round(low + SMALLEST_SIDE, 5)
    return (low, high) if high <= edge else (round(edge - SMALLEST_SIDE, 5), edge)
