"""What in a tweet's text made it match, for eyes: the text in pieces, some of them marked.

A term is looked for as `stream.matcher` does, in the same canonical form; but here it matters
where it stands in the text as it was written, so every canonical character remembers that.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

import msgspec

from stream.query.words import (
    DENSE,
    WORD,
    WORD_CHARACTERS,
    bare_address,
    canonical,
    is_dense,
    occurs,
    words,
)
from stream.tweet import Field, Part

# What becomes one character when accents are joined with letters: a letter and its marks, or the
# parts of one Hangul syllable.
_CLUSTER = re.compile(
    f"[\uac00-\ud7a3]?[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]+|.(?:(?!\\w)[{WORD_CHARACTERS}])*",
    re.DOTALL,
)
_JOINED = re.compile(f"(?!\\w)[{WORD_CHARACTERS}]|[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]")
_ADDRESS = re.compile(r"https?://\S+")
_CHUNK = re.compile(r"\S+")
_CORE = re.compile(f"[{WORD_CHARACTERS}#@$](?:.*[{WORD_CHARACTERS}])?", re.DOTALL)
_SIGILS = {"#": "[#＃]", "@": "[@＠]", "$": "[$＄]"}
# A term as it stands in matches.term: quoted phrases, operators, brackets, and words.
_PIECE = re.compile(
    r'\(*(?P<sign>-?)(?P<name>[a-z_]+:)?(?:"(?P<quoted>[^"]*)"|\[[^\]]*\])|(?P<bare>\S+)'
)
_OPERATOR = re.compile("(?:from|to|retweets_of|place|place_country|lang|is|has|url):")

_FIELDS: dict[Field, str] = {
    "text": "the text", "hashtag": "a hashtag", "mention": "a mention",
    "cashtag": "a cashtag", "link": "a link",
}  # fmt: skip
_BESIDE_TEXT: dict[Field, str] = {
    "author": "by its author",
    "reply": "by whom it answers",
    "place": "by its place",
    "network": "by what the network says",
}
_PARTS: dict[Part, str] = {
    "own": "", "reposted": ", of the reposted tweet", "quoted": ", of the quoted tweet",
}  # fmt: skip

LONGEST_TERM = 100  # characters that a reason quotes
_Span = tuple[int, int]
_canonical = lru_cache(maxsize=20_000)(canonical)  # of clusters, which come again and again


class Segment(msgspec.Struct, frozen=True):
    """A piece of a text, and whether it is what was looked for."""

    text: str
    marked: bool


def segments(text: str, terms: Iterable[str]) -> list[Segment]:
    """The text in pieces: joined, they are the text. `terms`: as in matches.term."""
    bare = _ADDRESS.sub(lambda address: " " * len(address[0]), text)
    outside = _View(bare)
    whole = outside if bare == text else None
    found: list[_Span] = []
    for term in dict.fromkeys(terms):
        # Outside of addresses if it stands there, since that is what people read.
        spans = _spans(outside, term)
        if not spans and whole is not outside:
            whole = whole or _View(text)
            spans = _spans(whole, term)
        found += spans
    return list(_cut(text, _merged(found)))


def reason(term: str, field: Field, part: Part) -> str:
    """Why a tweet belongs to a track, in words."""
    of = _PARTS[part]
    term = term if len(term) <= LONGEST_TERM else f"{term[:LONGEST_TERM]}…"
    if field in _BESIDE_TEXT:
        return f"matched ‘{term}’ {_BESIDE_TEXT[field]}{of}"
    return f"matched ‘{term}’ in {_FIELDS.get(field, field)}{of}"


def _is_alike(text: str, same: str) -> bool:
    """Whether each character of the canonical form comes from the one at its own place."""
    return (
        len(text) == len(same)
        and unicodedata.is_normalized("NFC", text)
        and not _JOINED.search(text)
    )


class _View:
    """A text in canonical form, and where each of its characters comes from."""

    def __init__(self, text: str) -> None:
        self.text = canonical(text)
        self._starts: list[int] | None = None  # None: each from its own place
        if not text.isascii() and not _is_alike(text, self.text):
            self._trace(text)
        self.spaced = DENSE.sub(lambda run: " " * len(run[0]), self.text)

    def _trace(self, text: str) -> None:
        clusters = [(each.start(), _canonical(each[0])) for each in _CLUSTER.finditer(text)]
        self._starts = [at for at, same in clusters for _ in same]
        self._starts.append(len(text))
        if len(self._starts) - 1 != len(self.text):
            self.text = "".join(same for _, same in clusters)

    def original(self, begin: int, end: int) -> _Span:
        if self._starts is None:
            return begin, end
        # Up to where the next one begins: with all that has become the last one.
        return self._starts[begin], self._starts[end]


def _spans(view: _View, term: str) -> list[_Span]:
    """Where the parts of a term stand; read as a rule, or, should that find nothing, as words."""
    found: list[_Span] = []
    for piece in _PIECE.finditer(term):
        if piece["quoted"] is not None:
            if not piece["sign"] and piece["name"] in (None, "url:"):
                found += _phrase(view, piece["quoted"])
        elif piece["bare"] is not None:
            word = piece["bare"].lstrip("(").rstrip(")")
            if not (word == "OR" or word.startswith("-") or _OPERATOR.match(word)):
                found += _word(view, word)
    if not found:
        found = [span for word in term.split() for span in _word(view, word)]
    return [view.original(*span) for span in found]


def _phrase(view: _View, phrase: str) -> list[_Span]:
    """Where these words follow each other."""
    if is_dense(phrase):
        return list(_dense(view.text, phrase))
    wanted = words(phrase)
    runs = list(WORD.finditer(view.spaced)) if wanted else []
    return [
        (runs[at].start(), runs[at + len(wanted) - 1].end())
        for at in range(len(runs) - len(wanted) + 1)
        if all(run[0] == word for run, word in zip(runs[at:], wanted, strict=False))
    ]


def _word(view: _View, word: str) -> list[_Span]:
    """Where one word, tag, name or address stands."""
    if not word:
        return []
    if is_dense(word):
        found = list(_dense(view.text, word))
    else:
        found = [run.span() for run in WORD.finditer(view.spaced) if run[0] == word]
    return found or list(_named(view, word)) or list(_address(view, word))


def _dense(text: str, term: str) -> Iterator[_Span]:
    """Where a term stands that is looked for as a substring; any space in it is any space."""
    pattern = r"\s+".join(map(re.escape, term.split()))
    at, looking = 0, re.compile(pattern)
    while found := looking.search(text, at):
        begin, end = found.span()
        # With one neighbour on each side it is decided whether a longer word goes on there.
        around = " ".join(text[max(begin - 1, 0) : end + 1].split())
        if occurs(" ".join(term.split()), around):
            yield begin, end
        at = begin + 1


def _named(view: _View, word: str) -> Iterator[_Span]:
    """Where a tag or a name stands with its sigil."""
    if word[0] in _SIGILS and len(word) > 1:
        pattern = f"{_SIGILS[word[0]]}{re.escape(word[1:])}(?![{WORD_CHARACTERS}])"
        yield from (found.span() for found in re.finditer(pattern, view.text))


def _address(view: _View, word: str) -> Iterator[_Span]:
    """Where it stands between spaces, less punctuation around it, scheme and `www.`."""
    for chunk in _CHUNK.finditer(view.spaced):
        core = _CORE.search(chunk[0])
        if core is not None and bare_address(core[0]) == word:
            end = chunk.start() + core.end()
            yield end - len(word), end


def _merged(spans: list[_Span]) -> Iterator[_Span]:
    """The same characters, each once, in order."""
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
    at = 0
    for begin, end in spans:
        if at < begin:
            yield Segment(text[at:begin], marked=False)
        yield Segment(text[begin:end], marked=True)
        at = end
    if at < len(text):
        yield Segment(text[at:], marked=False)
