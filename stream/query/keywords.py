"""kind=keyword: space means and, comma means or (X v1.1 reference §6); quotes make a phrase."""

import re
from collections.abc import Callable

from stream.entities import is_cashtag, is_hashtag, leading_hashtag
from stream.errors import InvalidQuery
from stream.query.spans import error_span, piece_at, stripped
from stream.query.tokenize import (
    DENSE,
    DENSE_CHARACTERS,
    KEYCAP,
    SIGN,
    SIGN_CHARACTERS,
    WORD,
    WORD_CHARACTERS,
    bare_address,
    canonical,
    is_dense,
    is_verbatim,
    words,
)
from stream.query.tree import Alternative, Entity, Node, Phrase, Term, all_of, term_of

QUOTES = str.maketrans("“”„‟«»＂", '"' * 7)
_COMMAS = ",，、،"  # also the Chinese, Japanese and Arabic ones
_ALTERNATIVE = re.compile(f'(?:"[^"]*"|[^"{_COMMAS}])+')
# 1,000 is one number, and 911,112 perhaps two.
_THOUSANDS = re.compile(
    rf'"[^"]*"|(?<![\w{_COMMAS}])(?P<number>\d{{1,3}}(?:[{_COMMAS}]\d{{3}})+)(?![{_COMMAS}]?\d)'
)
_PIECE = re.compile(r'"(?P<quoted>[^"]*)"|[^\s"]+')
_WIDE_SIGILS = str.maketrans("＃＠＄", "#@$")
_JOINED = {
    "OR": "separate alternatives by commas",
    "AND": "remove it, a space means the same",
    "NOT": "remove what is to be excluded",
}
_SINGLE_QUOTES = re.compile(r"'[^']+'")
# .NET and A- are not net and a; but a row of dots, or a line of dashes, is punctuation.
_DOT_BEFORE = re.compile(r"(?:\A|[^.…])(\.)\Z", re.DOTALL)
_DASH_AFTER = re.compile(r"\A([-‐‑])(?![-‐‑])")
_INSIDE = WORD_CHARACTERS + DENSE_CHARACTERS
_CORE = re.compile(f"(?:{KEYCAP}|[{_INSIDE}])(?:.*[{_INSIDE}])?", re.DOTALL)
_SIGILED = re.compile(f"[^{_INSIDE}#@$]*([#@$])\\1*(?!\u20e3)")
_SIGNS = re.compile(f"[{SIGN_CHARACTERS}](?:.*[{SIGN_CHARACTERS}])?", re.DOTALL)
_SIGNS_OF_NUMBER = re.compile(f"[<>=~{SIGN_CHARACTERS}](?:.*[<>=~{SIGN_CHARACTERS}])?", re.DOTALL)
_JOINS = re.compile(r"[&+/|=<>~×÷-]+")  # between two words, where networks and people skip them
_AROUND = re.compile(
    f"\\A[^{_INSIDE}{SIGN_CHARACTERS}]+|[^{_INSIDE}{SIGN_CHARACTERS}]+\\Z", re.DOTALL
)
_RULE_SYNTAX = re.compile('[:()"]')
_OPERATOR = re.compile(
    "-?(from|to|lang|is|has|url|place|place_country|retweets_of):", re.IGNORECASE
)
_DOMAIN = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]"
# X: up to 15 letters, digits and _, some old ones 20. Elsewhere a name is a domain of its own
# (name.bsky.social), or is followed by one (name@server).
_HANDLE = re.compile(rf"[a-z0-9_]{{1,20}}|{_DOMAIN}|[a-z0-9_]+(?:[a-z0-9_.-]*[a-z0-9_])?@{_DOMAIN}")
_HANDLE_LENGTH = 253  # characters; the longest domain


def keywords(value: str) -> list[Alternative]:
    """Every phrase between commas; empty ones are skipped."""
    text = value.translate(QUOTES)
    if text.count('"') % 2:
        at = text.rindex('"')
        raise InvalidQuery(
            f'The quote at character {at + 1} is never closed: add a ", or remove it.',
            piece_at(text, at),
        )
    for each in _THOUSANDS.finditer(text):
        if number := each["number"]:
            raise InvalidQuery(
                f"In {shown(number)} the comma would separate alternatives, and each part of the "
                "number would match: put it in quotes, or a space after the comma.",
                each.span(),
            )
    found = []
    for each in _ALTERNATIVE.finditer(text):
        if each[0].strip():
            with error_span(stripped(text, *each.span())):
                found.append(_alternative(text, *each.span()))
    if not found:
        raise InvalidQuery("The value is empty: write at least one word.")
    return found


def _alternative(text: str, begin: int, end: int) -> Alternative:
    written = text[begin:end]
    pieces = list(_PIECE.finditer(text, begin, end))
    _check_joined(pieces, written)
    nodes: list[Node] = []
    for at, piece in enumerate(pieces):
        with error_span(piece.span()):
            node = quoted(piece["quoted"], word) if piece["quoted"] is not None else _word(piece[0])
        if node is not None:
            nodes.append(node)
        elif not (0 < at < len(pieces) - 1 and _JOINS.fullmatch(piece[0])):
            _check_signs(piece[0], written, written)
    if not nodes:
        raise InvalidQuery(
            f"{shown(written)} contains no letter, digit or emoji, and networks ignore the rest: "
            "write a word."
        )
    # Equal phrases are one to the networks; people see the words in their own order.
    term = " ".join(dict.fromkeys(term_of(node) for node in nodes))
    return Alternative(term, all_of(nodes))


def _check_joined(pieces: list[re.Match[str]], written: str) -> None:
    """Refuse OR, AND and NOT, which would be searched as words here."""
    found = [piece[0] for piece in pieces]
    for name, remedy in _JOINED.items():
        if name in (found[:-1] if name == "NOT" else found[1:-1]):
            raise InvalidQuery(
                f"In {shown(written)} the {name} would be searched as a word: {remedy}, "
                "or use a track of kind query."
            )
    if len(pieces) > 1 and _SINGLE_QUOTES.fullmatch(canonical(written).strip()):
        raise InvalidQuery(f'{shown(written)}: put a phrase in double quotes (").')


def _word(written: str) -> Node | None:
    if written[0] == "-" and _CORE.match(written, 1):
        raise InvalidQuery(
            f"{shown(written)}: keywords cannot exclude words. Use a track of kind query."
        )
    if _OPERATOR.match(written):
        raise InvalidQuery(
            f"{shown(written)} is not a keyword. Use a track of kind query for operators."
        )
    return word(written)


def word(written: str) -> Node | None:
    """One written word, less the punctuation around it; None where nothing is left.

    `#x`, `@x` and `$x` become entities, which match only what the network marks as such.
    """
    text = canonical(written.translate(_WIDE_SIGILS))
    sigil = _SIGILED.match(text)
    if sigil and sigil[1] == "#" and (tag := _hashtag(text[sigil.end() :], written)):
        return tag
    core = _CORE.search(text)
    if core is None or not is_something(core[0]):
        return None
    before, after = text[: core.start()], text[core.end() :]
    if sigil and sigil[1] != "#" and sigil.end() == core.start():
        _check_signs(after, core[0], written)
        return _name(sigil[1], core[0], written)
    _check_signs(before, core[0], written)
    _check_signs(after, core[0], written)
    for sign in (_DOT_BEFORE.search(before), _DASH_AFTER.search(after)):
        if sign is not None:
            raise _left_out(sign[1], core[0], written)
    address = re.sub(r"\Ahttps?://", "", core[0])
    if address.startswith("www.") and bare_address(address) != address:
        raise InvalidQuery(
            f"{shown(written)} would never match, because networks omit the www. of links: "
            f"write {shown(bare_address(address))}."
        )
    return Term(address)


def quoted(inside: str, as_word: Callable[[str], Node | None]) -> Node:
    """Parse the text between quotes: words in this order, or just one word."""
    whole = " ".join(canonical(inside).split())
    text = _AROUND.sub("", whole)
    if not is_something(text):
        raise InvalidQuery(f"The quoted {shown(inside)} contains no word: write one, or remove it.")
    if " " not in text and not _OPERATOR.match(text):
        node = as_word(text if " " in whole else whole)
        if node is not None:
            return node
    if len(words(text)) + len(DENSE.findall(text)) == 1:
        _check_signs(text, text, inside)
    return Phrase(text)


def _hashtag(text: str, written: str) -> Entity | None:
    """The hashtag that a text after a # begins with; None where it begins with none."""
    tag = leading_hashtag(text)
    if not tag:
        return None
    rest = text[len(tag) :]
    if _CORE.search(rest):
        raise InvalidQuery(f"{shown(written)} is not a hashtag: use letters, digits and _ only.")
    _check_signs(rest, f"#{tag}", written)
    if not is_hashtag(tag):
        raise InvalidQuery(
            f"{shown(written)} would never match, because a hashtag needs at least one letter: "
            f"write {shown(tag)} to search for it as a word."
        )
    return Entity("hashtag", tag)


def _name(sigil: str, text: str, written: str) -> Node:
    if sigil == "@":
        if not is_handle(text):
            raise InvalidQuery(
                f"{shown(written)} is not an account: write its handle, such as @nasa, without "
                "other signs."
            )
        return Entity("mention", text)
    if is_cashtag(text):
        return Entity("cashtag", text)
    if text[0].isalpha():
        raise InvalidQuery(
            f"{shown(written)} would never match, because a cashtag has up to 6 letters, such as "
            f"$AAPL or $BRK.B: write {shown(text)} to search for it as a word."
        )
    # $100 is a price, not a cashtag: it is searched literally.
    return Term(f"${text}")


def is_handle(text: str) -> bool:
    """Whether a name in lower case, without its @, can be that of an account on some network."""
    return len(text) <= _HANDLE_LENGTH and _HANDLE.fullmatch(text) is not None


def _check_signs(rest: str, whole: str, written: str) -> None:
    """Refuse signs around a word that networks ignore: they would match much more."""
    bare = " ".join(SIGN.sub(" ", whole).split())
    signs = (_SIGNS_OF_NUMBER if bare[:1].isdigit() else _SIGNS).search(rest)
    if signs is None or not is_something(canonical(bare)):
        return
    raise _left_out(signs[0], bare, written)


def _left_out(signs: str, bare: str, written: str) -> InvalidQuery:
    wildcard = " There are no wildcards." if "*" in signs else ""
    return InvalidQuery(
        f"{shown(written)}: networks ignore {signs!r}, so it would match every "
        f"{shown(bare)}: choose another word, or write that one if you mean it.{wildcard}"
    )


def query_word(written: str) -> Node | None:
    """A bare word of kind query, where one that holds punctuation means the words in it, in order.

    X v2 reference §4: keywords are tokenized on punctuation, and such ones must be quoted.
    """
    node = word(written)
    if not isinstance(node, Term):
        return node
    bare = is_plain(node.text) or is_verbatim(node.text)
    # Without quotes, its term would be read as an operator or a group.
    return Phrase(node.text) if not bare or _RULE_SYNTAX.search(node.text) else node


def is_plain(text: str) -> bool:
    """Whether a canonical text is one word without punctuation."""
    return is_dense(text) or words(text) == [text]


def is_something(text: str) -> bool:
    """Whether a canonical text contains anything searchable."""
    return WORD.search(text) is not None or is_dense(SIGN.sub(" ", text))


def shown(text: str) -> str:
    """Quote a piece of the user's text for a sentence, shortened."""
    text = " ".join(text.split())
    return f"'{text[:40]}…'" if len(text) > 41 else f"'{text}'"
