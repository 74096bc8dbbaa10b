"""kind=keyword: space means and, comma means or (X v1.1 reference §6)."""

import re

from stream.errors import InvalidQuery
from stream.query.terms import all_of, term_of
from stream.query.tree import Alternative, Entity, Node, Phrase, Term
from stream.query.words import (
    DENSE_CHARACTERS,
    WORD,
    WORD_CHARACTERS,
    bare_address,
    canonical,
    is_dense,
    words,
)

_COMMAS = re.compile("[,，、،]")  # also the Chinese, Japanese and Arabic ones
_WIDE_SIGILS = str.maketrans("＃＠＄", "#@$")
_CORE = re.compile(
    f"[{WORD_CHARACTERS}{DENSE_CHARACTERS}](?:.*[{WORD_CHARACTERS}{DENSE_CHARACTERS}])?", re.DOTALL
)
_SIGILED = re.compile(f"[^{WORD_CHARACTERS}{DENSE_CHARACTERS}#@$]*([#@$])\\1*")
_HASHTAG = re.compile(f"[{WORD_CHARACTERS}]+")
_MENTION = re.compile(f"[{WORD_CHARACTERS}]+(?:[.@-]+[{WORD_CHARACTERS}]+)*")
_CASHTAG = re.compile(r"[a-z][a-z0-9]*(?:[._][a-z0-9]+)?")
_OPERATOR = re.compile(
    "-?(from|to|lang|is|has|url|place|place_country|retweets_of):", re.IGNORECASE
)


def keywords(value: str) -> list[Alternative]:
    """Every phrase between commas; empty ones are skipped."""
    found = [_phrase(phrase) for phrase in _COMMAS.split(value) if phrase.strip()]
    if not found:
        raise InvalidQuery("The value is empty: write at least one word to look for.")
    return found


def _phrase(phrase: str) -> Alternative:
    written = phrase.split()
    if "OR" in written[1:-1]:
        raise InvalidQuery(
            f"In {shown(phrase)} the OR would be looked for as a word: "
            "separate alternatives by commas, or make the track of kind query."
        )
    nodes = [node for text in written if (node := _word(text)) is not None]
    if not nodes:
        raise InvalidQuery(
            f"{shown(phrase)} holds no letter, digit or emoji, and networks leave out the rest: "
            "write a word."
        )
    # Equal phrases are one to the networks; a person finds the words in the order he wrote.
    term = " ".join(dict.fromkeys(term_of(node) for node in nodes))
    return Alternative(term, all_of(nodes))


def _word(written: str) -> Node | None:
    if written[0] == "-" and _CORE.match(written, 1):
        raise InvalidQuery(
            f"{shown(written)}: keywords cannot exclude words; make the track of kind query."
        )
    if _OPERATOR.match(written):
        raise InvalidQuery(
            f"{shown(written)} is no keyword: make the track of kind query for such operators."
        )
    return word(written)


def word(written: str) -> Node | None:
    """One written word, less the punctuation around it; None where nothing is left.

    `#x`, `@x` and `$x` become entities, which match only what the network marks as such.
    """
    text = canonical(written.translate(_WIDE_SIGILS))
    core = _CORE.search(text)
    if core is None:
        return None
    tail = text[core.end() :]
    if "+" in tail or "#" in tail:
        raise InvalidQuery(
            f"{shown(written)}: networks leave out the {tail!r} at its end, so that it would find "
            f"every {shown(core[0])}: choose another word, or write that one if you mean it."
        )
    if (sigil := _SIGILED.match(text)) and sigil.end() == core.start():
        return _entity(sigil[1], core[0], written)
    address = re.sub(r"\Ahttps?://", "", core[0])
    if address.startswith("www.") and bare_address(address) != address:
        raise InvalidQuery(
            f"{shown(written)} would never match, since networks leave out the www. of links: "
            f"write {shown(bare_address(address))}."
        )
    return Term(address)


def _entity(sigil: str, text: str, written: str) -> Node:
    if sigil == "#":
        if not _HASHTAG.fullmatch(text):
            raise InvalidQuery(
                f"{shown(written)} is no hashtag: it may hold letters, digits and _ only."
            )
        return Entity("hashtag", text)
    if sigil == "@":
        if not _MENTION.fullmatch(text):
            raise InvalidQuery(
                f"{shown(written)} is no account: write its handle, as @nasa, without more signs."
            )
        return Entity("mention", text)
    # $100 is a price, not a cashtag: it is looked for as it stands.
    return Entity("cashtag", text) if _CASHTAG.fullmatch(text) else Term(f"${text}")


def query_word(written: str) -> Node | None:
    """A bare word of kind query, where one that holds punctuation means the words in it, in order.

    X v2 reference §4: keywords are tokenized on punctuation, and such ones must be quoted.
    """
    node = word(written)
    if isinstance(node, Term) and not is_plain(node.text):
        return Phrase(node.text)
    return node


def is_plain(text: str) -> bool:
    """Whether a canonical text is one word without punctuation."""
    return is_dense(text) or words(text) == [text]


def is_something(text: str) -> bool:
    """Whether a canonical text holds anything that can be looked for."""
    return WORD.search(text) is not None or is_dense(text)


def shown(text: str) -> str:
    """A piece of the person's text inside a sentence, short."""
    text = " ".join(text.split())
    return f"'{text[:40]}…'" if len(text) > 41 else f"'{text}'"
