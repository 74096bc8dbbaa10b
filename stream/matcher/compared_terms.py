"""A condition in the form in which it is compared with texts; its term stays as it was written."""

import operator

from stream.query import And, Entity, Leaf, Link, Node, Not, Or, Phrase, Term
from stream.query.tokenize import compared


def compared_terms(node: Node) -> Node:
    """The same condition, each text in it as `tokenize.compared` makes it.

    The node itself where nothing changes, which saves memory.
    """
    match node:
        case And(children) | Or(children):
            same = tuple(map(compared_terms, children))
            if all(map(operator.is_, same, children)):
                return node
            return And(same) if isinstance(node, And) else Or(same)
        case Not(child):
            return node if (other := compared_terms(child)) is child else Not(other)
        case leaf:
            return compared_leaf(leaf)


def compared_leaf(leaf: Leaf) -> Leaf:
    """The same for one leaf. A word with a half-space becomes the words around it, in order."""
    if not isinstance(leaf, Term | Phrase | Entity | Link) or leaf.text.isascii():
        return leaf
    same = " ".join(compared(leaf.text).split())
    if same in ("", leaf.text):
        return leaf
    match leaf:
        case Entity(kind, _):
            return Entity(kind, same)
        case Link():
            return Link(same)
        case _:
            return Phrase(same) if isinstance(leaf, Phrase) or " " in same else Term(same)
