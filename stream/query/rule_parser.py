"""kind=query: a subset of the X rule language, read by the grammar in query.lark."""

import contextlib
import functools
import re
from pathlib import Path
from typing import cast

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken

from stream.errors import InvalidQuery
from stream.query.keywords import QUOTES, query_word, shown
from stream.query.operators import operator, phrase
from stream.query.spans import error_span, piece_at
from stream.query.tree import (
    Alternative,
    And,
    Has,
    Is,
    Lang,
    Node,
    Not,
    Or,
    all_of,
    alternative,
    any_of,
    term_of,
)

MAX_DEPTH = 20  # brackets within brackets

_BORDERS = re.compile(r'"[^"]*"|\[[^\]"]*\]|[()"]')
# Words between single quotes; 'n' in rock 'n' roll is none of them.
_SINGLE_QUOTED = re.compile(
    r"""\"[^\"]*\"|(?<![^\s(-])(?P<words>['‘][^'’\"()\s]+(?:\s+[^'’\"()\s]+)+['’])(?![^\s)])"""
)
_ALWAYS = re.compile("-is:nullcast", re.IGNORECASE)
_NOTHING = "-is:nullcast selects nothing by itself: add a word or an account."


def rules(value: str, *, may_only_narrow: bool = False) -> list[Alternative]:
    """The alternatives of one rule: the branches of its outermost OR, so that a match names one.

    Valid is what X accepts: every branch must contain something that selects tweets by itself
    (a word, an account, a place); `is:`, `has:`, `lang:` and what is excluded only narrow it.
    To look through what is stored, that is enough (`may_only_narrow`).
    """
    text = value.translate(QUOTES)
    if not text.strip():
        raise InvalidQuery("The value is empty: write a rule, such as (cat OR dog) lang:en.")
    _check_borders(text)
    _check_single_quotes(text)
    always = _ALWAYS.search(text)
    nothing = always.span() if always else None
    try:
        with error_span(nothing):
            root = cast("Node | None", _parser().parse(text))  # the builder's, not lark's tree
    except UnexpectedInput as error:
        raise _unexpected(error, text) from error
    if root is None:
        raise InvalidQuery(_NOTHING, nothing)
    branches = root.children if isinstance(root, Or) else (root,)
    for branch in branches if not may_only_narrow else ():
        _check_anchored(branch, text)
    return [alternative(branch) for branch in branches]


class _Builder(Transformer[Token, Node | None]):
    """Nodes out of the grammar's rules. None is a condition that every tweet meets."""

    def leaf(self, children: list[Token]) -> Node:
        [token] = children
        with _span_of(token):
            if token.type == "OPERATOR":
                return operator(token)
            if token.type == "QUOTED":
                return phrase(token)
            return _word(token)

    def always(self, _: list[Token]) -> None:
        return None

    def negated(self, children: tuple[Token, Node]) -> Node:
        _, child = children
        return Not(child)

    def negated_group(self, children: tuple[Token, Node | None]) -> Node:
        minus, child = children
        inside = shown(f"-({'' if child is None else term_of(child)})")
        with _span_of(minus):
            raise InvalidQuery(
                f"{inside} excludes a group in brackets, which X does not allow: put - before "
                "each word, such as -cat -dog."
            )

    def all_of(self, children: list[Node | None]) -> Node | None:
        nodes = [child for child in children if child is not None]
        return all_of(nodes) if nodes else None

    def any_of(self, children: list[Node | None]) -> Node:
        nodes = [child for child in children if child is not None]
        if len(nodes) < len(children):
            raise InvalidQuery(_NOTHING)
        return any_of(nodes)


def _span_of(token: Token) -> contextlib.AbstractContextManager[None]:
    """Errors in the block are in this token."""
    return error_span((token.start_pos or 0, token.end_pos or 0))


@functools.cache
def _parser() -> Lark:
    # The builder works while the rule is read, so that no tree is walked recursively.
    return Lark(
        Path(__file__).with_name("query.lark").read_text("utf-8"),
        parser="lalr",
        lexer="basic",
        transformer=_Builder(),
    )


def _word(written: str) -> Node:
    if written == "AND":
        raise InvalidQuery("AND is not needed, a space means the same: remove it, or quote it.")
    if written == "NOT":
        raise InvalidQuery(
            "NOT is written as - directly before the word, such as -cat: write that, or quote it."
        )
    node = query_word(written)
    if node is None:
        raise InvalidQuery(f"{shown(written)} contains no letter, digit or emoji: remove it.")
    return node


def _check_borders(text: str) -> None:
    """Check that quotes and brackets are paired; the error names the position."""
    opened: list[int] = []
    for border in _BORDERS.finditer(text):
        at = border.start() + 1
        if border[0] == '"':
            raise InvalidQuery(
                f'The quote at character {at} is never closed: add a ".', piece_at(text, at - 1)
            )
        if border[0] == "(":
            opened.append(at)
            if len(opened) > MAX_DEPTH:
                raise InvalidQuery(
                    f"At character {at} more than {MAX_DEPTH} brackets are open: use fewer levels.",
                    piece_at(text, at - 1),
                )
        elif border[0] == ")":
            if not opened:
                raise InvalidQuery(
                    f"The bracket at character {at} closes nothing: remove it.", border.span()
                )
            opened.pop()
    if opened:
        raise InvalidQuery(
            f"The bracket at character {opened[-1]} is never closed: add a ).",
            piece_at(text, opened[-1] - 1),
        )


def _check_single_quotes(text: str) -> None:
    for found in _SINGLE_QUOTED.finditer(text):
        if words := found["words"]:
            raise InvalidQuery(f'{shown(words)}: put a phrase in double quotes (").', found.span())


def _unexpected(error: UnexpectedInput, text: str) -> InvalidQuery:
    """What the grammar did not expect, in words."""
    at = error.pos_in_stream
    if at is None or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
        return InvalidQuery("The rule ends with OR or -: write what follows, or remove it.")
    what = text[at:].split(maxsplit=1)[0]
    if what[0] == "-":
        message = f"The - at character {at + 1} excludes nothing: write it directly before a word."
    elif what[0] == ")":
        message = f"Something is missing before the ) at character {at + 1}: write a word there."
    else:
        message = (
            f"At character {at + 1}, {shown(what)} is not allowed: OR needs a word on both sides, "
            "and - goes directly before one word."
        )
    return InvalidQuery(message, piece_at(text, at))


def _check_anchored(branch: Node, text: str) -> None:
    if loose := _loose(branch):
        term = term_of(loose)
        found = re.search(r"\s+".join(map(re.escape, term.split())), text, re.IGNORECASE)
        raise InvalidQuery(
            f"{shown(term)} only narrows what other words select: "
            "add a word, an account or a place.",
            found.span() if found else None,
        )


def _loose(node: Node) -> Node | None:
    """The part that would let through tweets of every topic, if there is one."""
    if isinstance(node, Is | Has | Lang | Not):
        return node
    if isinstance(node, And):
        return node if all(_loose(child) for child in node.children) else None
    if isinstance(node, Or):
        return next((loose for child in node.children if (loose := _loose(child))), None)
    return None
