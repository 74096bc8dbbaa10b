"""Hashtags, mentions, cashtags and links in a text, by the rules of X's twitter-text.

Used for messages without the network's own lists, for tracks, and for highlighting: one set of
rules for all three. Pure, and linear in the text's length: a regular expression with all the rules
for links would take quadratic time on hostile texts. So a text is cut into runs of characters that
a domain may hold, and each run into labels, once.
"""

import functools
import re
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Literal, NamedTuple

from stream.entities.characters import LATIN_ACCENTS, has_letter, hashtag_characters

_CASHTAG = "[A-Za-z]{1,6}(?:[._][A-Za-z]{1,2})?"

# No part of a word or an address may precede a name, except the RT of an old repost.
_MENTION = re.compile(
    r"(?:(?<![A-Za-z0-9_!#$%&*@＠])|(?<![A-Za-z0-9_+~.-])[Rr][Tt]:?)"
    r"(?P<name>[@＠][A-Za-z0-9_]{1,20})(?P<list>/[A-Za-z][A-Za-z0-9_-]{0,24})?"
)
_NOT_AFTER_MENTION = re.compile(f"[@＠{LATIN_ACCENTS}]|://")
_CASHTAGS = re.compile(rf"(?<!\S)\$({_CASHTAG})(?=\s|[!'#%&()*+,\\./:;<=>?@\[\]^_{{|}}~$-]|\Z)")
_ONE_CASHTAG = re.compile(_CASHTAG)
_MAY_HOLD_ANY = re.compile(r"[#＃@＠$]|\S\.\S")
_SPACES = "\\t-\\r \x85\xa0\u1680\u180e\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_DIRECTIONS = "\u202a-\u202e\u061c\u200e\u200f\u2066-\u2069"  # which way letters run
_NO_CHARACTERS = "\ufffe\ufeff\uffff"
_PUNCTUATION = r"!'#%&()*+,\\/:;<=>?@\[\]\^{|}~$"  # less . - and _, which join
_RUN = re.compile(f"[^{_PUNCTUATION}{_SPACES}{_DIRECTIONS}{_NO_CHARACTERS}]+")
# Where a domain may begin; no part of a name or a tag may precede it.
_START = re.compile(rf"(?<![A-Za-z0-9@＠$#＃{_NO_CHARACTERS}])[^._-]")
_SCHEME = re.compile(rf"(?<![A-Za-z0-9@＠$#＃{_NO_CHARACTERS}])https?://\Z", re.IGNORECASE)
_SCHEME_LENGTH_MAX = len("https://") + 1  # and what precedes it
_ASCII_LABEL = re.compile("[0-9A-Za-z]+")
_PUNYCODE = re.compile("xn--[-0-9a-z]+", re.IGNORECASE)
_LATIN_LABELS = re.compile(rf"(?:[-A-Za-z0-9{LATIN_ACCENTS}]++\.)++")

_PATH_CHARACTERS = rf"[A-Za-z0-9!*';:=+,.$/%#\[\]\u2013_~@|&{LATIN_ACCENTS}\u0400-\u04ff-]"
_BRACKETS = (  # one pair within another at most
    rf"\((?:{_PATH_CHARACTERS}++\)|{_PATH_CHARACTERS}*+\({_PATH_CHARACTERS}++\)"
    rf"{_PATH_CHARACTERS}*+\))"
)
_PORT = re.compile(":[0-9]+")
_PATH = re.compile(f"/(?:{_PATH_CHARACTERS}++|{_BRACKETS})*+")
_NOT_LAST_IN_PATH = "!*';:,.$%[]\u2013~@|&"
_QUERY = re.compile(r"\?[A-Za-z0-9!?*'@();:&=+$/%#\[\]_.,~|-]++")
_NOT_LAST_IN_QUERY = "!?*'@();:+$%[].,~|"
_SHORTENED = re.compile(r"https?://t\.co/([a-z0-9]+)", re.IGNORECASE)

_LABEL_LENGTH_MAX = 63  # of a domain name
_SLUG_LENGTH_MAX = 40  # of t.co
_ADDRESS_LENGTH_MAX = 4096


class TextEntity(NamedTuple):
    """One entity: `text` without its sign; `begin` and `end` include it."""

    kind: Literal["hashtag", "mention", "list", "cashtag", "link"]
    begin: int
    end: int
    text: str


def entities_in(text: str) -> list[TextEntity]:
    """Find all entities of a text in order; of two that overlap, the first."""
    if _MAY_HOLD_ANY.search(text) is None:
        return []
    found = [TextEntity("link", begin, end, text[begin:end]) for begin, end in links(text)]
    found += _mentions(text)
    found += _hashtags(text)
    found += [TextEntity("cashtag", one.start(), one.end(), one[1]) for one in _cashtags(text)]
    found.sort(key=attrgetter("begin"))
    apart: list[TextEntity] = []
    for one in found:
        if not apart or one.begin >= apart[-1].end:
            apart.append(one)
    return apart


def leading_hashtag(text: str) -> str:
    """The part of a text that may follow a #, from its start."""
    found = _hashtag().match(f"#{text}")
    return found[1] if found else ""


def is_hashtag(text: str) -> bool:
    """Whether this can follow a # as a hashtag; digits alone cannot."""
    return leading_hashtag(text) == text and has_letter(text)


def is_cashtag(text: str) -> bool:
    """Whether this can follow a $ as a cashtag."""
    return _ONE_CASHTAG.fullmatch(text) is not None


@functools.cache
def _hashtag() -> re.Pattern[str]:
    characters = hashtag_characters()
    # What follows decides whether # begins a keycap emoji.
    return re.compile(
        f"(?:(?<![&{characters}])|(?<=[\ufe0e\ufe0f]))[#＃](?![\ufe0f\u20e3])([{characters}]++)"
    )


def _hashtags(text: str) -> Iterator[TextEntity]:
    if "#" not in text and "＃" not in text:
        return
    end = -1
    for found in _hashtag().finditer(text):
        # The character before a tag must not belong to another one.
        if found.start() == end or not has_letter(found[1]):
            continue
        end = found.end()
        if not text.startswith(("#", "＃", "://"), end):
            yield TextEntity("hashtag", found.start(), end, found[1])


def _mentions(text: str) -> Iterator[TextEntity]:
    if "@" not in text and "＠" not in text:
        return
    for found in _MENTION.finditer(text):
        if not _NOT_AFTER_MENTION.match(text, found.end()):
            kind: Literal["list", "mention"] = "list" if found["list"] else "mention"
            yield TextEntity(kind, found.start("name"), found.end(), found["name"][1:])


def _cashtags(text: str) -> Iterator[re.Match[str]]:
    return _CASHTAGS.finditer(text) if "$" in text else iter(())


def cashtags_in(text: str) -> tuple[str, ...]:
    """Find the cashtags of a text, each once, without their $."""
    return tuple(dict.fromkeys(found[1] for found in _cashtags(text)))


class Link(NamedTuple):
    """An address and its place in the text."""

    begin: int
    end: int


@functools.cache
def _top_level_domains() -> frozenset[str]:
    lines = Path(__file__).with_name("tlds.txt").read_text("utf-8").splitlines()
    return frozenset(" ".join(lines[1:]).split()) | {"onion"}


@functools.cache
def _longest_unicode_domain() -> int:
    return max(len(name) for name in _top_level_domains() if not name.isascii())


def links(text: str) -> Iterator[Link]:
    """Every address, in order. Takes linear time for any text."""
    if "." not in text:
        return
    taken = 0  # up to here, all belongs to what has been found
    for run in _RUN.finditer(text):
        if "." not in run[0]:
            continue
        domains = _Domains(text, run.start(), run.end())
        while (found := domains.next(taken)) is not None:
            begin, domain_begin, domain_end = found
            path_end, taken = _tail(text, domain_end)
            domain = text[domain_begin:domain_end]
            if taken - begin > _ADDRESS_LENGTH_MAX or not _may_be_domain(domain):
                continue
            if begin == domain_begin:
                has_path = path_end > domain_end
                yield from _without_scheme(text, begin, domain_end, taken if has_path else None)
            elif short := _SHORTENED.match(text, begin):
                if len(short[1]) <= _SLUG_LENGTH_MAX:
                    taken = _query_end(text, short.end())
                    yield Link(begin, taken)
            else:
                yield Link(begin, taken)


class _Domains:
    """The domains in one run of characters, from left to right."""

    def __init__(self, text: str, begin: int, end: int) -> None:
        self.text = text
        self.at = begin
        self.end = end
        self.fresh = True  # a scheme is possible only before the run
        dots = [at for at in range(begin, end) if text[at] == "."]
        self.begins = [begin, *(dot + 1 for dot in dots)]
        self.ends = [*dots, end]
        self.domain_ends = self._domain_ends()
        self.label = 0

    def _domain_ends(self) -> list[tuple[int, int]]:
        """For each label, where a domain ends in which others follow it; 0: there is none.

        The first end holds for any label, the second only for one without `_`.
        """
        found = [(0, 0)] * len(self.begins)
        for label in range(len(self.begins) - 2, -1, -1):
            following = label + 1
            begin, end = self.begins[following], self.ends[following]
            longer = 0
            if begin < end and self.text[begin] not in "-_":
                as_any, as_name = found[following]
                longer = as_any or (0 if "_" in self.text[begin:end] else as_name)
            if self.text[self.ends[label] - 1] in "._-":
                continue
            found[label] = (longer, longer or _top_level_end(self.text, begin, end))
        return found

    def next(self, taken: int) -> tuple[int, int, int] | None:
        """Where the next one begins with its scheme, without it, and where it ends."""
        if self.fresh:
            self.fresh = False
            if found := self._with_scheme(taken):
                return found
        # The characters before a domain must not belong to another one.
        at = max(self.at, taken + 1 if taken else 0)
        while start := _START.search(self.text, at, self.end):
            at = start.start()
            while self.ends[self.label] <= at:
                self.label += 1
            last = self.ends[self.label]
            as_any, as_name = self.domain_ends[self.label]
            underscore = self.text.rfind("_", at, last)
            if end := as_any or (0 if underscore >= 0 else as_name):
                self.at = end
                return at, at, end
            at = underscore + 1 if as_name and underscore >= 0 else last + 1
        self.at = self.end
        return None

    def _with_scheme(self, taken: int) -> tuple[int, int, int] | None:
        at = self.begins[0]
        window = max(at - _SCHEME_LENGTH_MAX, 0)
        scheme = _SCHEME.search(self.text[window:at])
        if scheme is None or self.text[at] in "._-":
            return None
        begin = window + scheme.start()
        as_any, as_name = self.domain_ends[0]
        end = as_any or (0 if "_" in self.text[at : self.ends[0]] else as_name)
        if not end or (begin <= taken and begin > 0):
            return None
        self.at = end
        return begin, at, end


def _tail(text: str, at: int) -> tuple[int, int]:
    """Find the end of an address's port and path, and the end of its query."""
    if port := _PORT.match(text, at):
        at = port.end()
    if path := _PATH.match(text, at):
        at += len(path[0].rstrip(_NOT_LAST_IN_PATH))
        return at, _query_end(text, at)
    return 0, _query_end(text, at)


def _query_end(text: str, at: int) -> int:
    query = _QUERY.match(text, at)
    kept = query[0].rstrip(_NOT_LAST_IN_QUERY) if query else ""
    return at + len(kept)


def _top_level_end(text: str, begin: int, end: int) -> int:
    """Find the end of a top-level domain that begins here; 0 if there is none."""
    if punycode := _PUNYCODE.match(text, begin, end):
        return punycode.end()
    if known := _ASCII_LABEL.match(text, begin, end):
        ends = [known.end()]
    else:
        ends = list(range(min(begin + _longest_unicode_domain(), end), begin, -1))
    for at in ends:
        if text[begin:at].lower() in _top_level_domains() and not _goes_on(text[at : at + 1]):
            return at
    return 0


def _goes_on(character: str) -> bool:
    return character != "" and (character in "@+-" or (character.isascii() and character.isalnum()))


def _may_be_domain(domain: str) -> bool:
    if domain[:4].lower() == "xn--" and not domain.isascii():
        return False
    return all(_encoded_length(label) <= _LABEL_LENGTH_MAX for label in domain.split("."))


def _encoded_length(label: str) -> int:
    if label.isascii() or len(label) > _LABEL_LENGTH_MAX:
        return len(label)
    return len("xn--") + len(label.encode("punycode", "replace"))


def _without_scheme(text: str, begin: int, end: int, path_end: int | None) -> Iterator[Link]:
    """Of a domain without a scheme, what is written in Latin letters; the last has the path."""
    if begin and text[begin - 1] in "-_./":
        return
    found: list[Link] = []
    at = begin
    while labels := _LATIN_LABELS.search(text, at, end):
        at = dot = labels.end()
        while dot > labels.start():
            if domain_end := _top_level_end(text, dot, end):
                found.append(Link(labels.start(), domain_end))
                at = domain_end
                break
            dot = text.rfind(".", labels.start(), dot - 1) + 1
    if found and path_end is not None:
        found[-1] = Link(found[-1].begin, path_end)
    yield from found
