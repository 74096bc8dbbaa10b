"""A part of a tweet, made comparable: cheap for every tweet, exact for the few that may match."""

import re
from collections.abc import Callable, Collection
from typing import Literal

from stream.query.tokenize import (
    WORD,
    canonical,
    comparable,
    compared,
    composed,
    dense_runs,
    is_dense,
    is_verbatim,
    lowered,
    occurs,
    pieces,
    without_dense,
    without_selectors,
    without_tones,
    words,
)
from stream.tweet import Content, Field, Part

# Bytes of UTF-8: ASCII letters made small, everything but ASCII word characters a space.
_FOLD = bytes(
    ord(chr(code).lower()) if code < 128 and (chr(code).isalnum() or code == ord("_")) else 32
    for code in range(256)
)
# The same, but what is not ASCII sticks to the letters next to it: no space, no letter.
_FOLD_JOINED = bytes(folded if code < 128 else 1 for code, folded in enumerate(_FOLD))
_NOT_LEADING = bytes(range(0xC2))  # ASCII, and what follows the first byte of a character
_NOT_LEADING_DENSE = bytes(range(0xE0))  # the first dense characters are Thai
_GENERAL_PUNCTUATION = b"\xe2\x80"  # curly quotes, dashes, the ellipsis: no letter among them
_EMOJI = b"\xf0\x9f"  # U+1F000 to U+1FFFF: dense, all of them
_TONES = b"\xf0\x9f\x8f"  # and some emoji next to them
_ADDRESS = re.compile(r"https?://\S+")
# A link has these in its text, but not as its words; see `pieces`.
_ADDRESS_WORDS = frozenset(("http", "https", "www"))
_SIGILS: dict[Field, str] = {"hashtag": "#", "mention": "@", "cashtag": "$"}


def is_plain(term: str) -> bool:
    """Whether a compared term is one word that `NormalizedContent.words` can decide about."""
    return term not in _ADDRESS_WORDS and not is_dense(term) and words(term) == [term]


class NormalizedContent:
    """One part of one tweet. Everything beyond the constructor is worked out when asked for."""

    __slots__ = (
        "_bare_text",
        "_certain",
        "_folded",
        "_form",
        "_names",
        "_rough",
        "_sequences",
        "_texts",
        "_tokens",
        "_words",
        "blob",
        "content",
        "dense",
        "has_names",
        "part",
        "raw",
        "wide",
    )

    def __init__(self, part: Part, content: Content) -> None:
        self.part: Part = part
        self.content = content
        blob = content.text
        names = content.hashtags + content.mentions + content.cashtags + content.links
        names += content.descriptions
        self.has_names = bool(names)
        if names:
            blob = "\n".join((blob, *names))
        self.wide = False  # whether it may hold word characters beyond ASCII
        self.dense = False  # whether it may hold dense ones
        self._form: Callable[[str], str] = canonical  # `compared` where they differ
        if blob.isascii():
            self.raw = blob.encode("ascii")
        else:
            blob = without_selectors(composed(blob))
            self.raw = raw = blob.encode("utf-8", "replace")
            leading = raw.translate(None, _NOT_LEADING)
            # Most texts hold nothing beyond ASCII but curly quotes and the like, or emoji.
            harmless = raw.count(_GENERAL_PUNCTUATION)
            if len(leading) > harmless:
                self.dense = len(leading.translate(None, _NOT_LEADING_DENSE)) > harmless
                self.wide = len(leading) > harmless + raw.count(_EMOJI)
                if self.wide and (other := comparable(blob)) is not blob:
                    self._form = compared
                    blob = other
                    self.raw = blob.encode("utf-8", "replace")
        self.blob = blob
        self._bare_text: str | None = None
        self._folded: str | None = None
        self._names: set[tuple[Field, str]] | None = None
        self._rough: list[str] | None = None
        self._certain: set[str] | None = None
        self._words: set[str] | None = None
        self._tokens: set[str] | None = None
        self._texts: list[tuple[Field, str]] | None = None
        self._sequences: list[tuple[Field, str]] | None = None

    def rough_words(self) -> list[str]:
        """The ASCII words: exact unless the view is wide, and then at least all of them."""
        if self._rough is None:
            self._rough = self.raw.translate(_FOLD).decode("ascii").split()
        return self._rough

    def has_words(self, needed: Collection[str]) -> bool:
        """Whether all of these words stand in the text or the names, whole."""
        if self.wide and self._words is None:
            # Words with nothing but ASCII around them need no look at the other characters.
            if self._certain is None:
                self._certain = set(self.raw.translate(_FOLD_JOINED).decode("ascii").split())
            if self._certain.issuperset(needed):
                return True
        return self.words().issuperset(needed)

    def words(self) -> set[str]:
        """The words of all fields, those of the scheme of links included."""
        if self._words is None:
            if self.wide:
                blob = without_dense(self.blob) if self.dense else self.blob
                self._words = set(WORD.findall(lowered(blob)))
            else:
                self._words = set(self.rough_words())
        return self._words

    def dense_text(self) -> str:
        """The dense characters alone, a space between runs of them; and without skin tones."""
        dense = " ".join(dense_runs(self.blob))
        return f"{dense} {without_tones(dense)}" if _TONES in self.raw else dense

    def texts(self) -> list[tuple[Field, str]]:
        """Every field's compared text."""
        if self._texts is None:
            content = self.content
            texts: list[tuple[Field, str]] = [("text", self._form(content.text))]
            texts += [("hashtag", self._form(tag)) for tag in content.hashtags]
            texts += [("mention", self._form(name)) for name in content.mentions]
            texts += [("cashtag", self._form(tag)) for tag in content.cashtags]
            texts += [("link", self._form(link)) for link in content.links]
            texts += [("description", self._form(text)) for text in content.descriptions]
            self._texts = texts
        return self._texts

    def sequences(self) -> list[tuple[Field, str]]:
        """Every field's words in order, each between spaces."""
        if self._sequences is None:
            self._sequences = [(f, f" {' '.join(words(text))} ") for f, text in self.texts()]
        return self._sequences

    def has_term(self, term: str) -> bool:
        """Whether a term of kind keyword is met (X v1.1 reference §6)."""
        if term in self.words():
            if term not in _ADDRESS_WORDS:
                return True
        elif term.isascii() and term.isalnum():
            return False
        if is_verbatim(term):
            return any(occurs(term, text) for _, text in self.texts())
        if self._folded is None:
            self._folded = self._form(self.blob)
        if term.lstrip("#@$") not in self._folded:
            return False
        if self._tokens is None:
            self._tokens = set().union(*(_tokens(text, field) for field, text in self.texts()))
        return term in self._tokens

    def field_of(self, term: str) -> Field:
        """The most informative place of a term that is known to match.

        A tag or a mention that equals it, then the text without its addresses, then a link, then a
        description.
        """
        content = self.content
        if self.has_names:
            names = self.names()
            for field in _SIGILS:
                if (field, term) in names:
                    return field
        elif "://" not in content.text:
            return "text"
        if self._bare_text is None:
            self._bare_text = self._form(_ADDRESS.sub(" ", content.text))
        if _stands_in(term, "text", self._bare_text):
            return "text"
        rest = (f for f, each in self.texts() if f != "text" and _stands_in(term, f, each))
        return next(rest, "link")

    def has_entity(self, kind: Literal["hashtag", "mention", "cashtag"], text: str) -> bool:
        """Whether the network marks this tag or mention."""
        content = self.content
        if kind == "hashtag":
            return bool(content.hashtags) and (kind, text) in self.names()
        marked = content.mentions if kind == "mention" else content.cashtags
        return bool(marked) and (kind, text) in self.names()

    def names(self) -> set[tuple[Field, str]]:
        """The hashtags, mentions and cashtags, compared."""
        if self._names is None:
            content = self.content
            names: set[tuple[Field, str]] = {("hashtag", self._form(t)) for t in content.hashtags}
            names.update(("mention", self._form(name)) for name in content.mentions)
            names.update(("cashtag", self._form(tag)) for tag in content.cashtags)
            self._names = names
        return self._names


def _stands_in(term: str, field: Field, text: str) -> bool:
    if term not in text and text.isascii():
        return False
    # Not being part of a longer word is all that a plain word needs.
    as_is = term.isalnum() or is_verbatim(term) or is_plain(term)
    return occurs(term, text) if as_is else term in text and term in _tokens(text, field)


def _tokens(text: str, field: Field) -> set[str]:
    """Everything of one field that a term may equal."""
    found = {text, _SIGILS[field] + text} if field in _SIGILS else pieces(text)
    return found.union(*map(words, found))
