"""Highlight what made a tweet match: its text in segments, some of them marked.

A term is found as `stream.matcher` finds it, in the same compared form; but here its place in the
text as written matters, so every compared character knows where it comes from.
"""

import contextlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache

import msgspec

from stream.entities import entities_in
from stream.errors import InvalidQuery
from stream.matcher.compared_terms import compared_leaf
from stream.query import (
    Entity,
    Has,
    Is,
    Lang,
    Leaf,
    Link,
    Phrase,
    Term,
    TrackKind,
    parse,
    terms_of,
)
from stream.query.tokenize import (
    DENSE,
    TONE,
    WORD,
    WORD_CHARACTERS,
    bare_address,
    comparable,
    compared,
    cuts,
    is_verbatim,
    words,
)
from stream.tweet import Field, Part

# What becomes one character when accents are joined with letters: a letter and its marks, the
# parts of one Hangul syllable, or a kana of half width and its mark.
_CLUSTER = re.compile(
    f"[\uff66-\uff9d][\uff9e\uff9f]|[\uac00-\ud7a3]?[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]+|"
    f".(?:(?!\\w)[{WORD_CHARACTERS}]|(?<=[\u0900-\u0dff])[\u200c\u200d])*",
    re.DOTALL,
)
_JOINED = re.compile(f"(?!\\w)[{WORD_CHARACTERS}]|[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]")
_ADDRESS = re.compile(r"https?://\S+")
_CHUNK = re.compile(r"\S+")
_CORE = re.compile(f"[{WORD_CHARACTERS}#@$](?:.*[{WORD_CHARACTERS}])?", re.DOTALL)
_SIGILS = {"hashtag": "#", "mention": "@", "cashtag": "$"}
_TERM_KINDS: tuple[TrackKind, ...] = ("query", "keyword")  # matches.term does not say which

_FIELDS: dict[Field, str] = {
    "text": "the text", "hashtag": "a hashtag", "mention": "a mention",
    "cashtag": "a cashtag", "link": "a link",
    "description": "a description of media or a link",
}  # fmt: skip
_NOT_IN_TEXT: dict[Field, str] = {
    "author": "by its author",
    "reply": "by the account it replies to",
    "place": "by its place",
    "network": "according to the network",
}
_PARTS: dict[Part, str] = {
    "own": "", "reposted": ", of the reposted tweet", "quoted": ", of the quoted tweet",
}  # fmt: skip

QUOTED_TERM_MAX = 100  # characters of a term that a reason quotes
_Span = tuple[int, int]
_compared = lru_cache(maxsize=20_000)(compared)  # of clusters, which are repeated often


class Segment(msgspec.Struct, frozen=True):
    """A piece of a text, and whether it matched."""

    text: str
    marked: bool


def segments(text: str, terms: Iterable[str]) -> list[Segment]:
    """The text in segments: joined, they are the text. `terms`: as in matches.term."""
    bare = _ADDRESS.sub(lambda address: " " * len(address[0]), text)
    outside = _Canonical(bare)
    whole = outside if bare == text else None
    found: list[_Span] = []
    for term in dict.fromkeys(terms):
        # Outside of links if it is there, since that is what people read.
        spans = _spans(outside, term)
        if not spans and whole is not outside:
            whole = whole or _Canonical(text)
            spans = _spans(whole, term)
        found += spans
    return list(_cut(text, _merged(found)))


def reason(term: str, field: Field, part: Part, *, look_back: bool = False) -> str:
    """Why a tweet matched a track, in words; `look_back`: the track's look-back found it."""
    of = f"{_PARTS[part]}, found by look-back" if look_back else _PARTS[part]
    shown = term if len(term) <= QUOTED_TERM_MAX else f"{term[:QUOTED_TERM_MAX]}…"
    if _only_narrows(term):
        return f"matched ‘{shown}’{of}"
    if field in _NOT_IN_TEXT:
        return f"matched ‘{shown}’ {_NOT_IN_TEXT[field]}{of}"
    return f"matched ‘{shown}’ in {_FIELDS.get(field, field)}{of}"


def _is_alike(text: str, same: str) -> bool:
    """Whether each character of the compared form comes from the one at the same place."""
    return (
        len(text) == len(same)
        and unicodedata.is_normalized("NFC", text)
        and comparable(text) == text
        and not _JOINED.search(text)
    )


class _Canonical:
    """A text in compared form, with the position in the original of each character."""

    def __init__(self, text: str) -> None:
        self.written = text
        self.text = compared(text)
        self._starts: list[int] | None = None  # None: each from the same place
        if not text.isascii() and not _is_alike(text, self.text):
            self._trace(text)
        self.spaced = DENSE.sub(lambda run: " " * len(run[0]), self.text)

    def _trace(self, text: str) -> None:
        clusters = [(each.start(), _compared(each[0])) for each in _CLUSTER.finditer(text)]
        self._starts = [at for at, same in clusters for _ in same]
        self._starts.append(len(text))
        if len(self._starts) - 1 != len(self.text):
            self.text = "".join(same for _, same in clusters)

    @cached_property
    def names(self) -> dict[str, list[_Span]]:
        """Where hashtags, mentions and cashtags are in the text as written."""
        found: defaultdict[str, list[_Span]] = defaultdict(list)
        for each in entities_in(self.written):
            if each.kind in _SIGILS:
                name = _SIGILS[each.kind] + compared(each.text)
                found[name].append((each.begin, each.end))
        return found

    def original(self, begin: int, end: int) -> _Span:
        """The part of the text as written that this part of the compared text comes from."""
        if self._starts is None:
            return begin, end
        # Up to where the next one begins: with all that became the last one.
        return self._starts[begin], self._starts[end]


@lru_cache(maxsize=10_000)  # terms are repeated often
def _parsed(kind: TrackKind, term: str) -> list[Leaf]:
    """The parts of a term, read as a value of this kind; none when it is invalid as such."""
    with contextlib.suppress(InvalidQuery):
        return [*map(compared_leaf, terms_of(parse(kind, term, may_only_narrow=True)))]
    return []


@lru_cache(maxsize=10_000)
def _only_narrows(term: str) -> bool:
    """Whether a filter, such as `lang:en -is:retweet`, looks for nothing in the text."""
    try:
        query = parse("query", term, may_only_narrow=True)
    except InvalidQuery:
        return False
    return all(isinstance(leaf, Is | Has | Lang) for leaf in terms_of(query))


def _readings(term: str) -> Iterator[list[Leaf]]:
    """The parts of a term: read as a rule, as keywords, or as plain words; the likeliest first."""
    for kind in _TERM_KINDS:
        yield _parsed(kind, term)
    yield [compared_leaf(Term(word)) for word in term.split()]


def _spans(text: _Canonical, term: str) -> list[_Span]:
    """Find the parts of a term in the text."""
    if _only_narrows(term):
        return []
    for leaves in _readings(term):
        if found := [span for leaf in leaves for span in _leaf(text, leaf)]:
            return found
    return []


def _leaf(text: _Canonical, leaf: Leaf) -> Iterable[_Span]:
    match leaf:
        case Term(word):
            return _word(text, word)
        case Phrase(phrase) | Link(phrase):
            return [text.original(*span) for span in _phrase(text, phrase)]
        case Entity("mention", name) if "." in name or "@" in name:
            # Of a network whose names are domains: entities of X end at the dot.
            return [text.original(*span) for span in _verbatim(text.text, f"@{name}")]
        case Entity(kind, name):
            return text.names.get(_SIGILS[kind] + name, ())
        case _:
            return ()


def _phrase(text: _Canonical, phrase: str) -> list[_Span]:
    """Find words that follow each other in the compared text."""
    if is_verbatim(phrase):
        return list(_verbatim(text.text, phrase))
    wanted = words(phrase)
    runs = list(WORD.finditer(text.spaced)) if wanted else []
    return [
        (runs[at].start(), runs[at + len(wanted) - 1].end())
        for at in range(len(runs) - len(wanted) + 1)
        if all(run[0] == word for run, word in zip(runs[at:], wanted, strict=False))
    ]


def _word(text: _Canonical, word: str) -> list[_Span]:
    """Find a word or an address in the compared text."""
    if is_verbatim(word):
        found = list(_verbatim(text.text, word))
    else:
        found = [run.span() for run in WORD.finditer(text.spaced) if run[0] == word]
    return [text.original(*span) for span in found or _address(text, word)]


def _verbatim(text: str, term: str) -> Iterator[_Span]:
    """Where a term is that is matched verbatim: any space in it is any space, and an emoji without
    a skin tone is found in all of them."""
    between = "" if TONE.search(term) else f"{TONE.pattern}*"
    pattern = r"\s+".join(
        "".join(re.escape(character) + between for character in word) for word in term.split()
    )
    at, compiled = 0, re.compile(pattern)
    while found := compiled.search(text, at):
        begin, end = found.span()
        if not (cuts(text, begin) or cuts(text, end)):
            yield begin, end
        at = begin + 1


def _address(text: _Canonical, word: str) -> Iterator[_Span]:
    """Where it is between spaces, without punctuation around it, scheme and `www.`."""
    for chunk in _CHUNK.finditer(text.spaced):
        core = _CORE.search(chunk[0])
        if core is not None and bare_address(core[0]) == word:
            end = chunk.start() + core.end()
            yield end - len(word), end


def _merged(spans: list[_Span]) -> Iterator[_Span]:
    """The spans in order, overlapping ones joined."""
    begin = end = -1
    for low, high in sorted(spans):
        if low > end:
            if begin < end:
                yield begin, end
            begin, end = low, high
        end = max(end, high)
    if begin < end:
        yield begin, end


def _cut(text: str, spans: Iterable[_Span]) -> Iterator[Segment]:
    """The text in segments, those at these spans marked."""
    at = 0
    for begin, end in spans:
        if at < begin:
            yield Segment(text[at:begin], marked=False)
        yield Segment(text[begin:end], marked=True)
        at = end
    if at < len(text):
        yield Segment(text[at:], marked=False)
