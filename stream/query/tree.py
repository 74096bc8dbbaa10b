"""What a person wants to follow, as one tree for all kinds of tracks."""

from typing import Literal, TypeAlias

import msgspec

from stream.tweet import Box, LonLat

TrackKind = Literal["keyword", "user", "place", "query"]


class Term(msgspec.Struct, frozen=True, tag=True):
    """One word, canonical (lower case); `text` may be a whole address such as example.com/a."""

    text: str


class Phrase(msgspec.Struct, frozen=True, tag=True):
    """Words that stand next to each other, in this order (kind query only)."""

    text: str


class Entity(msgspec.Struct, frozen=True, tag=True):
    """A hashtag, mention or cashtag; `text` without its sigil, lower case."""

    kind: Literal["hashtag", "mention", "cashtag"]
    text: str


class User(msgspec.Struct, frozen=True, tag=True):
    """What belongs to one account: `relation` as the X operators from:, to:, retweets_of:.

    `any` (kind user): posts by the account, replies to it and reposts of it, as v1 `follow`
    delivers them. Exactly one of handle (lower case, no @) and id is set.
    """

    relation: Literal["any", "from", "to", "retweets_of"]
    handle: str | None = None
    id: str | None = None


class InBox(msgspec.Struct, frozen=True, tag=True):
    """A point inside, or a place that overlaps."""

    box: Box


class InRadius(msgspec.Struct, frozen=True, tag=True):
    """point_radius: within so many kilometres."""

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
    """All of them."""

    children: tuple["Node", ...]


class Or(msgspec.Struct, frozen=True, tag=True):
    """At least one of them."""

    children: tuple["Node", ...]


class Not(msgspec.Struct, frozen=True, tag=True):
    """Not this."""

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
    """One of the things that a track is satisfied with: what a network is asked for as one rule.

    `term` is the text that stands in matches.term. Alternatives with equal nodes ask for the same;
    their terms may differ in the order of the words.
    """

    term: str
    node: Node


class Query(msgspec.Struct, frozen=True):
    """A track's value, parsed: it matches when any alternative does."""

    kind: TrackKind
    alternatives: tuple[Alternative, ...]
