"""Tree → text: the canonical words for an alternative, as they stand in matches.term."""

from typing import assert_never

from stream.query.tree import (
    Alternative,
    And,
    AtPlace,
    Conversation,
    Entity,
    Has,
    InBox,
    InRadius,
    Is,
    Lang,
    Leaf,
    Link,
    Node,
    Not,
    Or,
    Phrase,
    Term,
    User,
)

_SIGILS = {"hashtag": "#", "mention": "@", "cashtag": "$"}


def alternative(node: Node) -> Alternative:
    """An alternative under its canonical term."""
    return Alternative(term_of(node), node)


def all_of(nodes: list[Node]) -> Node:
    """One node for all of these, the same whatever their order and however often they stand."""
    return _joined(And, nodes)


def any_of(nodes: list[Node]) -> Node:
    """One node for any of these, the same whatever their order and however often they stand."""
    return _joined(Or, nodes)


def _joined(join: type[And] | type[Or], nodes: list[Node]) -> Node:
    flat: list[Node] = []
    for node in nodes:
        flat.extend(node.children if isinstance(node, join) else (node,))
    by_term = {term_of(node): node for node in flat}
    children = tuple(by_term[term] for term in sorted(by_term, key=_order))
    return children[0] if len(children) == 1 else join(children)


def _order(term: str) -> tuple[bool, str]:
    return term.startswith("-"), term


def term_of(node: Node) -> str:
    """The node as the person could have written it, in the rule language."""
    match node:
        case And(children):
            return " ".join(
                f"({term_of(c)})" if isinstance(c, Or) else term_of(c) for c in children
            )
        case Or(children):
            return " OR ".join(term_of(child) for child in children)
        case Not(child):
            return f"-{term_of(child)}"
        case _:
            return _leaf(node)


def _leaf(leaf: Leaf) -> str:  # noqa: C901, PLR0911, PLR0912 - one line for each kind of leaf
    match leaf:
        case Term(text):
            return text
        case Phrase(text):
            return f'"{text}"'
        case Entity(kind, text):
            return _SIGILS[kind] + text
        case User(relation, handle, user_id):
            name = handle if handle is not None else user_id
            if relation == "any":
                return f"@{name}" if handle is not None else str(name)
            return f"{relation}:{name}"
        case InBox(box):
            return f"bounding_box:[{' '.join(map(number, box))}]"
        case InRadius(centre, km):
            return f"point_radius:[{' '.join(map(number, centre))} {number(km)}km]"
        case AtPlace(kind, text):
            return f"place_country:{text}" if kind == "country" else f'place:"{text}"'
        case Link(text):
            return f'url:"{text}"'
        case Lang(code):
            return f"lang:{code}"
        case Is(what):
            return f"is:{what}"
        case Has(what):
            return f"has:{what}"
        case Conversation(conversation_id):
            return f"conversation_id:{conversation_id}"
        case _:
            assert_never(leaf)


def number(value: float) -> str:
    """The shortest digits that mean this number: -74, 40.5."""
    return str(int(value)) if value == int(value) else repr(value)
