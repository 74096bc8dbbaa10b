"""Whether a tree of conditions is met by one part of a tweet, and in which field."""

import re
from typing import assert_never

from stream import geo
from stream.matcher.normalized import NormalizedContent
from stream.query import (
    And,
    AtPlace,
    Conversation,
    Entity,
    Has,
    InBox,
    InRadius,
    Is,
    Lang,
    Link,
    Node,
    Not,
    Or,
    Phrase,
    Term,
    User,
)
from stream.query.operators import language
from stream.query.tokenize import canonical, is_verbatim, occurs, words
from stream.tweet import Box, Field, Tweet

# A handle is at most a domain name before another one.
_LEADING = re.compile(r"\s{0,8}@(\S{1,320})")
_WORD_CHARACTER = re.compile(r"\w")
_ALL_TEXTS: tuple[Field, ...] = ("text", "hashtag", "mention", "cashtag", "link", "description")


def find(
    node: Node, view: NormalizedContent, tweet: Tweet, views: list[NormalizedContent]
) -> Field | None:
    """Find where a node of a query matches in one of the `views` of a tweet; None if it does not.

    What is wanted must be in this part. What is excluded may be in none of them, since a
    repost's own text is cut short. The rest asks about the outer tweet, as X does.
    """
    if not _meets(node, view, tweet, views):
        return None
    # A node that only narrows has no place in the text; no valid query consists of such nodes.
    return _field(node, view, tweet, views) or "text"


def cheap_first(node: Node) -> Node:
    """Reorder a condition: what is quickly refuted first."""
    if isinstance(node, And):
        return And(tuple(sorted(map(cheap_first, node.children), key=_cost)))
    return Or(tuple(map(cheap_first, node.children))) if isinstance(node, Or) else node


def _cost(node: Node) -> int:
    match node:
        case Is() | Has() | Lang() | User() | Conversation():
            return 0
        case Term() | Entity():
            return 1
        case Not(child):
            return 1 + _cost(child)
        case _:
            return 2


def _meets(  # noqa: PLR0911 - one line for each kind of node
    node: Node, view: NormalizedContent, tweet: Tweet, views: list[NormalizedContent]
) -> bool:
    match node:
        case And(children):
            return all(_meets(child, view, tweet, views) for child in children)
        case Or(children):
            return any(_meets(child, view, tweet, views) for child in children)
        case Not(child):
            return not any(_meets(child, each, tweet, views) for each in views)
        case Term(text):
            return view.has_term(text)
        case Lang(code):
            return language(tweet.lang or "und") == code
        case Is():
            return _is(node, tweet)
        case Has():
            return _has(node, tweet)
        case _:
            return _leaf_field(node, view, tweet) is not None


def _field(
    node: Node, view: NormalizedContent, tweet: Tweet, views: list[NormalizedContent]
) -> Field | None:
    """The field of the first leaf that has one, in a matching node."""
    match node:
        case And(children):
            fields = (_field(child, view, tweet, views) for child in children)
            return next(filter(None, fields), None)
        case Or(children):
            met = next(child for child in children if _meets(child, view, tweet, views))
            return _field(met, view, tweet, views)
        case Term(text):
            return view.field_of(text)
        case Not() | Is() | Has() | Lang():
            return None
        case _:
            return _leaf_field(node, view, tweet)


def _leaf_field(  # noqa: PLR0911 - one line for each kind of leaf
    leaf: Phrase | Entity | Link | User | InBox | InRadius | AtPlace | Conversation,
    view: NormalizedContent,
    tweet: Tweet,
) -> Field | None:
    match leaf:
        case Entity(kind, text):
            return kind if view.has_entity(kind, text) else None
        case Link(text):
            return _sequence(text, view, ("link",))
        case Phrase(text):
            return _sequence(text, view, _ALL_TEXTS)
        case User():
            return _user(leaf, view, tweet)
        case InBox() | InRadius():
            where = area(tweet)
            return "place" if where is not None and is_inside(leaf, where) else None
        case AtPlace():
            return "place" if _at_place(leaf, tweet) else None
        case Conversation(conversation_id):
            return "reply" if tweet.conversation_id == conversation_id else None
        case _:
            assert_never(leaf)


def _sequence(text: str, view: NormalizedContent, fields: tuple[Field, ...]) -> Field | None:
    """The first field in which these words follow each other."""
    if is_verbatim(text):
        collapsed = ((field, " ".join(each.split())) for field, each in view.texts())
        return next((f for f, each in collapsed if f in fields and occurs(text, each)), None)
    wanted = words(text)
    if not view.words().issuperset(wanted):
        return None
    sequence = f" {' '.join(wanted)} "
    return next((f for f, each in view.sequences() if f in fields and sequence in each), None)


def _user(leaf: User, view: NormalizedContent, tweet: Tweet) -> Field | None:
    own = tweet.own
    match leaf.relation:
        case "from":
            return "author" if _same(leaf, own.author, own.author_id) else None
        case "to":
            return "reply" if _same(leaf, tweet.reply_to, tweet.reply_to_id) else None
        case "retweets_of":
            by = view.content if view.part == "reposted" else None
            return "author" if by and _same(leaf, by.author, by.author_id) else None
        case "any":
            return _any_relation(leaf, view, tweet)


def _any_relation(leaf: User, view: NormalizedContent, tweet: Tweet) -> Field | None:
    """Match an account as v1 `follow`: its posts, reposts and replies, and those to it (§8)."""
    content = view.content
    if view.part != "quoted" and _same(leaf, content.author, content.author_id):
        return "author"
    if view.part == "own":
        if _same(leaf, tweet.reply_to, tweet.reply_to_id):
            return "reply"
        if _same(leaf, *leading_mention(tweet)):
            return "mention"
    return None


def leading_mention(tweet: Tweet) -> tuple[str | None, str | None]:
    """Handle and id of the account that the text begins with: a reply without the button."""
    content = tweet.own
    if tweet.reply_to is not None or tweet.reply_to_id is not None or not content.mentions:
        return None, None
    beginning = _LEADING.match(content.text)
    if beginning is None:
        return None, None
    fitting = [
        (len(name), -at, name.lower())
        for at, name in enumerate(content.mentions)
        if (beginning[1] + " ").lower().startswith(name.lower())
        and not _WORD_CHARACTER.match((beginning[1] + " ")[len(name)])
    ]
    if not fitting:
        return None, None
    _, minus_at, handle = max(fitting)
    ids = content.mention_ids
    return handle, ids[-minus_at] if len(ids) == len(content.mentions) else None


def _same(leaf: User, handle: str | None, user_id: str | None) -> bool:
    if leaf.id is not None:
        return user_id == leaf.id
    if leaf.found and user_id == leaf.found:
        return True
    return handle is not None and handle.lower() == leaf.handle


def _at_place(leaf: AtPlace, tweet: Tweet) -> bool:
    if tweet.place is None or tweet.kind == "repost":
        return False
    if leaf.kind == "country":
        return (tweet.place.country or "").upper() == leaf.text
    return any(" ".join(canonical(name).split()) == leaf.text for name in tweet.place.names)


def _is(leaf: Is, tweet: Tweet) -> bool:
    match leaf.what:
        case "retweet":
            return tweet.kind == "repost"
        case "reply":
            replies = tweet.reply_to is not None or tweet.reply_to_id is not None
            return tweet.kind == "reply" or (replies and tweet.kind != "repost")
        case "quote":
            return tweet.kind == "quote" or (tweet.quoted is not None and tweet.kind != "repost")
        case "verified":
            return tweet.verified


def _has(leaf: Has, tweet: Tweet) -> bool:  # noqa: PLR0911 - one line for each
    match leaf.what:
        case "hashtags":
            return bool(tweet.own.hashtags)
        case "cashtags":
            return bool(tweet.own.cashtags)
        case "links":
            return bool(tweet.own.links)
        case "mentions":
            return bool(tweet.own.mentions or tweet.own.mention_ids)
        case "media":
            return bool(tweet.media)
        case "images":
            return "photo" in tweet.media
        case "video_link":
            return "video" in tweet.media
        case "geo":
            return tweet.point is not None or tweet.place is not None


def area(tweet: Tweet) -> Box | None:
    """The point a tweet was sent from, or else the box of its place; reposts have neither."""
    if tweet.kind == "repost":
        return None
    if tweet.point is not None:
        longitude, latitude = tweet.point
        return longitude, latitude, longitude, latitude
    return tweet.place.box if tweet.place else None


def is_inside(condition: InBox | InRadius, where: Box) -> bool:
    """Whether any point of the area lies in the box or circle."""
    if isinstance(condition, InBox):
        return geo.touch(condition.box, where)
    return geo.distance(condition.centre, where) <= condition.km
