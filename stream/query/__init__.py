"""Text → Query: what a person wants to follow, as one tree for all kinds of tracks."""

import re
from collections.abc import Callable
from functools import partial

from stream.errors import InvalidQuery
from stream.query.keywords import keywords
from stream.query.places import places
from stream.query.rules import rules
from stream.query.tree import (
    Alternative,
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
    Query,
    Term,
    TrackKind,
    User,
)
from stream.query.users import users

__all__ = [
    "MAX_ALTERNATIVES",
    "MAX_VALUE",
    "Alternative",
    "And",
    "AtPlace",
    "Conversation",
    "Entity",
    "Has",
    "InBox",
    "InRadius",
    "Is",
    "Lang",
    "Leaf",
    "Link",
    "Node",
    "Not",
    "Or",
    "Phrase",
    "Query",
    "Term",
    "TrackKind",
    "User",
    "parse",
]

MAX_VALUE = 4096  # characters
MAX_ALTERNATIVES = 500

# Postgres stores neither NUL nor lone surrogates, and control characters make a mess of terminals.
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

_PARSERS: dict[TrackKind, Callable[[str], list[Alternative]]] = {
    "keyword": keywords,
    "user": users,
    "place": places,
    "query": rules,
}


def parse(kind: TrackKind, value: str, *, may_only_narrow: bool = False) -> Query:
    """Understand a track's value; equal alternatives are kept once, in the order they were written.

    `may_only_narrow`: for a filter of what is there already, `lang:ja` alone will do.
    Raises `InvalidQuery`, and nothing else, with one sentence that names what is wrong and the
    remedy.
    """
    if len(value) > MAX_VALUE:
        raise InvalidQuery(
            f"The value is {len(value):,} characters long and may have {MAX_VALUE:,}: "
            "make several tracks of it."
        )
    if unwanted := _UNWANTED.search(value):
        raise InvalidQuery(
            f"Character {unwanted.start() + 1} is a control character or half a character "
            f"(U+{ord(unwanted[0]):04X}): remove it."
        )
    alternatives: dict[Node, Alternative] = {}
    narrowing = may_only_narrow and kind == "query"
    read = partial(rules, may_only_narrow=True) if narrowing else _PARSERS[kind]
    for each in read(value):
        alternatives.setdefault(each.node, each)
    if len(alternatives) > MAX_ALTERNATIVES:
        raise InvalidQuery(
            f"The value lists {len(alternatives):,} alternatives and may list "
            f"{MAX_ALTERNATIVES}: make several tracks of it."
        )
    return Query(kind, tuple(alternatives.values()))
