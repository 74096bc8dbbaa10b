"""Which single thing a tweet must have before an alternative is worth looking at."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

from stream.matcher.places import bounds
from stream.query import (
    And,
    AtPlace,
    Conversation,
    Entity,
    InBox,
    InRadius,
    Link,
    Node,
    Not,
    Or,
    Phrase,
    Term,
    User,
)
from stream.query.words import DENSE, is_dense, words
from stream.tweet import Box


class Key(NamedTuple):
    """A thing a tweet can have; `value` is a `Box` for boxes and a text for the others.

    `run` is a run of dense characters inside a term; see `pairs` for how it is looked up.
    """

    kind: Literal["word", "run", "handle", "id", "box", "place", "country", "conversation"]
    value: str | Box


def count_keys(nodes: Iterable[Node]) -> Counter[Key]:
    """How often each key could be used: what many people look for is likely to be frequent."""
    counts: Counter[Key] = Counter()
    for node in nodes:
        counts.update(_all_keys(node))
    return counts


def _all_keys(node: Node) -> list[Key]:
    if isinstance(node, And | Or):
        return [key for child in node.children for key in _all_keys(child)]
    return _leaf_keys(node)


def needed_words(node: Node) -> tuple[str, ...]:
    """Words that a part of a tweet has if it meets the node; maybe not all of them."""
    children = node.children if isinstance(node, And) else (node,)
    keys = [key for child in children if not isinstance(child, Or) for key in _all_keys(child)]
    return tuple(key.value for key in keys if key.kind == "word" and isinstance(key.value, str))


def cover(node: Node, counts: Counter[Key]) -> list[Key]:
    """Keys of which a tweet must have at least one to meet the node, the rarest known.

    Empty where there are none: then every tweet has to be looked at.
    """
    if isinstance(node, And):
        covers = [found for child in node.children if (found := cover(child, counts))]
        return min(covers, key=lambda keys: _weight(keys, counts), default=[])
    if isinstance(node, Or):
        covers = [cover(child, counts) for child in node.children]
        return list({key for keys in covers for key in keys}) if all(covers) else []
    keys = _leaf_keys(node)
    return [min(keys, key=lambda key: _weight([key], counts))] if keys else []


def _weight(keys: list[Key], counts: Counter[Key]) -> tuple[int, int]:
    """Small for keys that few tweets have: seldom tracked, then long."""
    return sum(counts[key] for key in keys), -min(len(key.value) for key in keys)


def _leaf_keys(leaf: Node) -> list[Key]:
    """The things a tweet that meets the leaf has, all of them."""
    match leaf:
        case Term(text) | Phrase(text) | Entity(_, text) | Link(text):
            return _text_keys(text)
        case User(_, handle, user_id):
            return [Key("handle", handle) if handle is not None else Key("id", user_id or "")]
        case InBox() | InRadius():
            return [Key("box", bounds(leaf))]
        case AtPlace(kind, text):
            return [Key("country" if kind == "country" else "place", text)]
        case Conversation(conversation_id):
            return [Key("conversation", conversation_id)]
        case Not() | _:
            return []


def _text_keys(text: str) -> list[Key]:
    if not is_dense(text):
        return [Key("word", word) for word in words(text)]
    return [Key("run", run) for run in DENSE.findall(text)]


def pairs(run: str) -> list[str]:
    """Neighbouring dense characters, of which a text that holds the run has all; or the only one.

    X v1.1 reference §6 has no rule for scripts without word spaces. Looking up all pairs of a
    text finds the few runs that may stand in it.
    """
    return [run[at : at + 2] for at in range(len(run) - 1)] or [run]
