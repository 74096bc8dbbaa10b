"""Parse a track's value of any kind into a Query."""

import re
import unicodedata
from collections.abc import Callable

from stream.errors import InvalidQuery
from stream.query.keywords import keywords
from stream.query.operands import places, users
from stream.query.spans import piece_at
from stream.query.tree import Alternative, Node, Query, TrackKind

MAX_VALUE = 4096  # characters
MAX_ALTERNATIVES = 500

# Postgres stores neither NUL nor lone surrogates, and control characters make a mess of terminals.
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

# Characters that are not seen, or that change the order in which others are: with them two values
# look equal, or one looks like another. Joiners, variation selectors and tags stay, as scripts and
# emoji need them; so does the space without width between letters from Thai to Khmer.
_SPACED_BY_IT = "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff"
_INVISIBLE = re.compile(
    "[\xad\u061c\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001]"
    f"|(?<![{_SPACED_BY_IT}])\u200b|\u200b(?![{_SPACED_BY_IT}])"
)


def _rules(value: str, *, may_only_narrow: bool = False) -> list[Alternative]:
    from stream.query.rule_parser import rules  # noqa: PLC0415 - the grammar: only `query` needs it

    return rules(value, may_only_narrow=may_only_narrow)


_PARSERS: dict[TrackKind, Callable[[str], list[Alternative]]] = {
    "keyword": keywords,
    "user": users,
    "place": places,
    "query": _rules,
}


def parse(kind: TrackKind, value: str, *, may_only_narrow: bool = False) -> Query:
    """Parse a track's value; equal alternatives are kept once, in the order they were written.

    `may_only_narrow`: for a filter of what is there already, `lang:ja` alone is enough.
    Raises `InvalidQuery`, and nothing else, with one sentence that names what is wrong and the
    remedy.
    """
    if len(value) > MAX_VALUE:
        raise InvalidQuery(
            f"The value is {len(value):,} characters long; the limit is {MAX_VALUE:,}. "
            "Split it into several tracks."
        )
    if unwanted := _UNWANTED.search(value):
        raise InvalidQuery(
            f"Character {unwanted.start() + 1} is a control character or an unpaired surrogate "
            f"(U+{ord(unwanted[0]):04X}): remove it.",
            unwanted.span(),
        )
    if invisible := _INVISIBLE.search(value):
        raise InvalidQuery(
            f"Character {invisible.start() + 1} (U+{ord(invisible[0]):04X}, "
            f"{unicodedata.name(invisible[0], 'unassigned').capitalize()}) is invisible: type the "
            "value instead of pasting it.",
            piece_at(value, invisible.start()),
        )
    alternatives: dict[Node, Alternative] = {}
    narrowing = may_only_narrow and kind == "query"
    found = _rules(value, may_only_narrow=True) if narrowing else _PARSERS[kind](value)
    for each in found:
        alternatives.setdefault(each.node, each)
    if len(alternatives) > MAX_ALTERNATIVES:
        raise InvalidQuery(
            f"The value lists {len(alternatives):,} alternatives; the limit is "
            f"{MAX_ALTERNATIVES}. Split it into several tracks."
        )
    return Query(kind, tuple(alternatives.values()))
