"""Where in a track's value an error is, for pages that mark it."""

import contextlib
import re
from collections.abc import Iterator

from stream.errors import InvalidQuery

Span = tuple[int, int]

_PIECE = re.compile(r"""["(\[]?[^\s()]*""")


@contextlib.contextmanager
def error_span(span: Span | None) -> Iterator[None]:
    """Errors in the block are in this part of the value, unless they name a smaller one.

    What the block parses must be the whole value, or raise errors without a span.
    """
    try:
        yield
    except InvalidQuery as error:
        if error.span is None:
            error.span = span
        raise


def piece_at(value: str, begin: int) -> Span:
    """The word, bracket or quote at this place, with what is joined to it."""
    piece = _PIECE.match(value, begin)
    return begin, max(piece.end() if piece else begin, begin + 1)


def stripped(value: str, begin: int, end: int) -> Span:
    """This part of the value without the spaces around it."""
    part = value[begin:end]
    return begin + len(part) - len(part.lstrip()), begin + len(part.rstrip())


def split_spans(value: str, separator: str) -> Iterator[Span]:
    """The parts between separators that are not empty, without the spaces around them."""
    begin = 0
    for part in value.split(separator):
        if part.strip():
            yield stripped(value, begin, begin + len(part))
        begin += len(part) + len(separator)
