"""kind=query: a subset of the X rule language, read by the grammar in query.lark."""

import functools
import re
from pathlib import Path
from typing import cast

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken

from stream.errors import InvalidQuery
from stream.query.keywords import query_word, shown
from stream.query.operators import operator, phrase
from stream.query.terms import all_of, alternative, any_of, term_of
from stream.query.tree import Alternative, And, Has, Is, Lang, Node, Not, Or

MAX_DEPTH = 20  # brackets within brackets

_STRAIGHT_QUOTES = str.maketrans("“”„‟«»＂", '"' * 7)
_BORDERS = re.compile(r'"[^"]*"|\[[^\]"]*\]|[()"]')
_NOTHING = "-is:nullcast selects nothing by itself: add a word or an account beside it."


def rules(value: str, *, may_only_narrow: bool = False) -> list[Alternative]:
    """The alternatives of one rule: the branches of its outermost OR, so that a match names one.

    Valid is what X accepts: in every branch something must stand that selects tweets by itself
    (a word, an account, a place); `is:`, `has:`, `lang:` and what is excluded only narrow it.
    To look through what is stored, that is enough (`may_only_narrow`).
    """
    text = value.translate(_STRAIGHT_QUOTES)
    if not text.strip():
        raise InvalidQuery("The value is empty: write a rule, such as (cat OR dog) lang:en.")
    _check_borders(text)
    try:
        root = cast("Node | None", _parser().parse(text))  # the builder's, not lark's tree
    except UnexpectedInput as error:
        raise InvalidQuery(_explain(error, text)) from error
    if root is None:
        raise InvalidQuery(_NOTHING)
    branches = root.children if isinstance(root, Or) else (root,)
    for branch in branches if not may_only_narrow else ():
        _check_anchored(branch)
    return [alternative(branch) for branch in branches]


class _Builder(Transformer[Token, Node | None]):
    """Nodes out of the grammar's rules. None is a condition that every tweet meets."""

    def leaf(self, children: list[Token]) -> Node:
        [token] = children
        if token.type == "OPERATOR":
            return operator(token)
        if token.type == "QUOTED":
            return phrase(token)
        return _word(token)

    def always(self, _: list[Token]) -> None:
        return None

    def negated(self, children: list[Node]) -> Node:
        [child] = children
        return Not(child)

    def negated_group(self, children: list[Node | None]) -> Node:
        [child] = children
        inside = shown(f"-({'' if child is None else term_of(child)})")
        raise InvalidQuery(
            f"{inside} excludes a group in brackets, which X does not allow: put the - before "
            "each word, as -cat -dog."
        )

    def all_of(self, children: list[Node | None]) -> Node | None:
        nodes = [child for child in children if child is not None]
        return all_of(nodes) if nodes else None

    def any_of(self, children: list[Node | None]) -> Node:
        nodes = [child for child in children if child is not None]
        if len(nodes) < len(children):
            raise InvalidQuery(_NOTHING)
        return any_of(nodes)


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
        raise InvalidQuery("AND is not needed, a space means it: leave it out, or quote it.")
    node = query_word(written)
    if node is None:
        raise InvalidQuery(f"{shown(written)} holds no letter, digit or emoji: leave it out.")
    return node


def _check_borders(text: str) -> None:
    """Quotes and brackets come in pairs; says where one is alone."""
    opened: list[int] = []
    for border in _BORDERS.finditer(text):
        at = border.start() + 1
        if border[0] == '"':
            raise InvalidQuery(f'The quote at character {at} is never closed: add a ".')
        if border[0] == "(":
            opened.append(at)
            if len(opened) > MAX_DEPTH:
                raise InvalidQuery(
                    f"At character {at} more than {MAX_DEPTH} brackets are open: write it flatter."
                )
        elif border[0] == ")":
            if not opened:
                raise InvalidQuery(f"The bracket at character {at} closes nothing: remove it.")
            opened.pop()
    if opened:
        raise InvalidQuery(f"The bracket at character {opened[-1]} is never closed: add a ).")


def _explain(error: UnexpectedInput, text: str) -> str:
    at = error.pos_in_stream
    if at is None or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
        return "The rule ends after an OR or a -: write what should follow, or remove it."
    what = text[at:].split(maxsplit=1)[0]
    if what[0] == "-":
        return f"The - at character {at + 1} excludes nothing: write it right before a word."
    if what[0] == ")":
        return f"Something is missing before the ) at character {at + 1}: write a word there."
    return (
        f"At character {at + 1}, {shown(what)} cannot stand: an OR needs a word on both sides, "
        "and a - stands right before one word."
    )


def _check_anchored(branch: Node) -> None:
    if loose := _loose(branch):
        raise InvalidQuery(
            f"{shown(term_of(loose))} only narrows what other words select: "
            "add a word, an account or a place beside it."
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
