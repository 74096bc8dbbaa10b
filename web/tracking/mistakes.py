"""Where in a value the mistake is that a sentence of `stream.query` speaks of."""

import re
from typing import NamedTuple

_AT = re.compile(r"[Cc]haracter (\d{1,5})")
_QUOTED = re.compile(r"'([^'…]+)(…?)'")
_NAMED = re.compile(r"(AND|-is:nullcast) ")  # what a sentence begins with, without quotes
_PIECE = re.compile(r"""["(\[]?[^\s()]*""")


class Marked(NamedTuple):
    """A value in three parts: the middle one is wrong."""

    before: str
    wrong: str
    after: str


def marked(value: str, sentence: str) -> Marked | None:
    """None where the sentence is about the whole value."""
    if at := _AT.search(sentence):
        begin = int(at[1]) - 1
        piece = _PIECE.match(value, begin)
        end = max(piece.end() if piece else begin, begin + 1)
    else:
        begin, end = _quoted(value, sentence)
    if not 0 <= begin < len(value):
        return None
    return Marked(value[:begin], value[begin:end], value[end:])


def _quoted(value: str, sentence: str) -> tuple[int, int]:
    """The first piece of the value that the sentence repeats; -1 when there is none."""
    if named := _NAMED.match(sentence):
        found = re.search(rf"(?<!\S){named[1]}(?!\S)", value)
        return found.span() if found else (-1, -1)
    for quoted in _QUOTED.finditer(sentence):
        # In the sentence spaces are single, and the rest of something long is left out.
        words = [re.escape(word) for word in quoted[1].split()]
        if words and (found := re.search(r"\s+".join(words), value)):
            return found.start(), len(value) if quoted[2] else found.end()
    return -1, -1
