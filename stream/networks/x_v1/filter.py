"""One alternative → what statuses/filter can look for. Pure.

X v1.1 reference §5 to §8: phrases whose words all occur, ids of accounts, boxes; all joined by OR.
Whatever is richer is asked for by a filter that lets through more, and the matcher decides.
"""

from collections.abc import Sequence

import msgspec

from stream.networks.planning import around
from stream.query import And, Entity, InBox, InRadius, Link, Node, Or, Phrase, Term, User
from stream.query.words import DENSE, words
from stream.tweet import Box

SMALLEST_SIDE = 0.1  # degrees
_SIGILS = {"hashtag": "#", "mention": "@", "cashtag": "$"}
_MENTIONED = ("any", "to", "retweets_of")  # what reaches us by a mention of the account

BY_HANDLE = (
    "The v1.1 stream follows accounts by id only; by a handle it sends what mentions the account: "
    "replies and reposts, but not its own posts. Give the account's id to have them too."
)
DENSE_WORDS = (
    "The v1.1 stream finds words of scripts without spaces only where they stand by themselves."
)
NO_FILTER = (
    "The v1.1 stream can look for words, account ids and boxes only, and this names none that "
    "every match must have."
)


class Filter(msgspec.Struct, frozen=True):
    """Things any of which is enough."""

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
        """How many things are looked for."""
        return len(self.track) + len(self.follow) + len(self.locations)


class Found(msgspec.Struct, frozen=True):
    """A filter, and what to say about it."""

    filter: Filter
    caveats: tuple[str, ...] = ()


def find(node: Node, phrase_bytes: int) -> Found | None:
    """The narrowest filter that lets through all that belongs; None when there is none.

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
            return Found(Filter(locations=(_wide_enough(box),)))
        case InRadius(centre, km):
            return Found(Filter(locations=(_wide_enough(around(centre, km)),)))
        case _:
            text = _words(node)
            caveats = (DENSE_WORDS,) if text and DENSE.search(text) else ()
            return Found(Filter(track=(text,)), caveats) if text else None


def _words(node: Node) -> str:
    """The words that a tweet must have for this leaf; empty when it is about something else."""
    match node:
        case Term(text):
            return text.replace(",", " ").strip()
        case Entity(kind, text):
            return _SIGILS[kind] + text
        case Phrase(text):
            return " ".join(dict.fromkeys(sorted(words(text)))) or text.replace(",", " ").strip()
        case Link(text):
            return " ".join(dict.fromkeys(sorted(words(text))))
        case _:
            return ""


def _all(children: Sequence[Node], phrase_bytes: int) -> Found | None:
    """Everything must hold: words go into one phrase; otherwise the narrowest part will do."""
    together = [text for child in children if (text := _words(child))]
    found = [each for child in children if (each := find(child, phrase_bytes)) is not None]
    if together:
        phrase = _phrase(together, phrase_bytes)
        caveats = (DENSE_WORDS,) if DENSE.search(phrase) else ()
        return Found(Filter(track=(phrase,)), caveats)
    return min(found, key=lambda each: (len(each.caveats), each.filter.size), default=None)


def _phrase(texts: Sequence[str], phrase_bytes: int) -> str:
    """As many of the words as fit: fewer let through more. The first stands in any case."""
    distinct = sorted({word for text in texts for word in text.split()})
    phrase = ""
    for word in distinct:
        longer = f"{phrase} {word}".strip()
        if len(longer.encode()) <= phrase_bytes:
            phrase = longer
    return phrase or distinct[0]


def _any(parts: Sequence[Found | None]) -> Found | None:
    """One of them is enough: all must be looked for."""
    whole, caveats = Filter(), dict[str, None]()
    for part in parts:
        if part is None:
            return None
        whole |= part.filter
        caveats.update(dict.fromkeys(part.caveats))
    return Found(whole, tuple(caveats))


def _user(relation: str, handle: str | None, user_id: str | None) -> Found | None:
    if user_id is not None:
        return Found(Filter(follow=(user_id,))) if user_id.isdigit() else None
    if relation in _MENTIONED and handle is not None:
        return Found(Filter(track=(f"@{handle}",)), (BY_HANDLE,) if relation == "any" else ())
    return None


def _wide_enough(box: Box) -> Box:
    """The v1.1 stream wants sides of at least 0.1 degrees."""
    west, east = _apart(box[0], box[2], 180)
    south, north = _apart(box[1], box[3], 90)
    return west, south, east, north


def _apart(low: float, high: float, edge: float) -> tuple[float, float]:
    if high - low >= SMALLEST_SIDE:
        return low, high
    low = round(max((low + high - SMALLEST_SIDE) / 2, -edge), 5)
    high = round(low + SMALLEST_SIDE, 5)
    return (low, high) if high <= edge else (round(edge - SMALLEST_SIDE, 5), edge)
