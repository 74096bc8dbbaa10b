"""A parsed query as one tree for all kinds of tracks, and its canonical text."""

from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias, assert_never

import msgspec

from stream.tweet import Box, LonLat

TrackKind = Literal["keyword", "user", "place", "query"]


class Term(msgspec.Struct, frozen=True, tag=True):
    """One word, canonical (lower case); `text` may be a whole address such as example.com/a."""

    text: str


class Phrase(msgspec.Struct, frozen=True, tag=True):
    """Adjacent words in this order (kind query only)."""

    text: str


class Entity(msgspec.Struct, frozen=True, tag=True):
    """A hashtag, mention or cashtag; `text` without its sigil, lower case."""

    kind: Literal["hashtag", "mention", "cashtag"]
    text: str


class User(msgspec.Struct, frozen=True, tag=True):
    """What belongs to one account: `relation` as the X operators from:, to:, retweets_of:.

    `any` (kind user): posts by the account, replies to it and reposts of it, as v1 `follow`
    delivers them. Exactly one of handle (lower case, no @) and id is set.
    `found`: the id that a network has found for the handle; empty: no account has the handle.
    """

    relation: Literal["any", "from", "to", "retweets_of"]
    handle: str | None = None
    id: str | None = None
    found: str | None = None  # None: not looked up


class InBox(msgspec.Struct, frozen=True, tag=True):
    """bounding_box: a point inside, or a place that overlaps."""

    box: Box


class InRadius(msgspec.Struct, frozen=True, tag=True):
    """point_radius: within a distance of a point, in kilometres."""

    centre: LonLat
    km: float


class AtPlace(msgspec.Struct, frozen=True, tag=True):
    """place: or place_country:."""

    kind: Literal["name", "country"]
    text: str


class Link(msgspec.Struct, frozen=True, tag=True):
    """url: words of an address."""

    text: str


class Lang(msgspec.Struct, frozen=True, tag=True):
    """lang: BCP 47, lower case."""

    code: str


class Is(msgspec.Struct, frozen=True, tag=True):
    """is:retweet, is:reply, is:quote, is:verified."""

    what: Literal["retweet", "reply", "quote", "verified"]


class Has(msgspec.Struct, frozen=True, tag=True):
    """has:hashtags and so on."""

    what: Literal[
        "hashtags", "cashtags", "links", "mentions", "media", "images", "video_link", "geo"
    ]


class Conversation(msgspec.Struct, frozen=True, tag=True):
    """conversation_id:."""

    id: str


class And(msgspec.Struct, frozen=True, tag=True):
    """AND: all children match."""

    children: tuple["Node", ...]


class Or(msgspec.Struct, frozen=True, tag=True):
    """OR: at least one child matches."""

    children: tuple["Node", ...]


class Not(msgspec.Struct, frozen=True, tag=True):
    """NOT: the child does not match."""

    child: "Node"


Leaf: TypeAlias = (
    Term
    | Phrase
    | Entity
    | User
    | InBox
    | InRadius
    | AtPlace
    | Link
    | Lang
    | Is
    | Has
    | Conversation
)
Node: TypeAlias = Leaf | And | Or | Not


class Alternative(msgspec.Struct, frozen=True):
    """One alternative of a track; a network gets it as one rule.

    `term` is the text in matches.term. Alternatives with equal nodes ask for the same;
    their terms may differ in the order of the words.
    """

    term: str
    node: Node


class Query(msgspec.Struct, frozen=True):
    """A track's value, parsed: it matches when any alternative does."""

    kind: TrackKind
    alternatives: tuple[Alternative, ...]


def terms_of(query: Query) -> Iterator[Leaf]:
    """The leaves that a tweet can match by: all but the excluded ones."""
    waiting: list[Node] = [each.node for each in reversed(query.alternatives)]
    while waiting:
        match waiting.pop():
            case And(children) | Or(children):
                waiting += reversed(children)
            case Not():
                pass
            case leaf:
                yield leaf


# -- accounts whose ids are looked up ------------------------------------------------------------


def handles_in(query: Query) -> frozenset[str]:
    """The handles of accounts in a query, those of excluded accounts as well."""
    return frozenset(
        leaf.handle
        for each in query.alternatives
        for leaf in _users(each.node)
        if leaf.handle is not None
    )


def with_ids(query: Query, ids: Mapping[str, str]) -> Query:
    """The query with the ids that a network has found for handles; empty: it has no such handle.

    The terms stay as they were written.
    """
    if not ids:
        return query
    return Query(
        query.kind,
        tuple(Alternative(each.term, _with_ids(each.node, ids)) for each in query.alternatives),
    )


def _with_ids(node: Node, ids: Mapping[str, str]) -> Node:
    match node:
        case And(children):
            return And(tuple(_with_ids(child, ids) for child in children))
        case Or(children):
            return Or(tuple(_with_ids(child, ids) for child in children))
        case Not(child):
            return Not(_with_ids(child, ids))
        case User(relation, str(handle)) if handle in ids:
            return User(relation, handle, found=ids[handle])
        case _:
            return node


def _users(node: Node) -> Iterator[User]:
    match node:
        case And(children) | Or(children):
            for child in children:
                yield from _users(child)
        case Not(child):
            yield from _users(child)
        case User():
            yield node


# -- canonical text ------------------------------------------------------------------------------

_SIGILS = {"hashtag": "#", "mention": "@", "cashtag": "$"}


def alternative(node: Node) -> Alternative:
    """An alternative under its canonical term."""
    return Alternative(term_of(node), node)


def all_of(nodes: list[Node]) -> Node:
    """One node for all of these, independent of order and repetition."""
    return _joined(And, nodes)


def any_of(nodes: list[Node]) -> Node:
    """One node for any of these, independent of order and repetition."""
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
