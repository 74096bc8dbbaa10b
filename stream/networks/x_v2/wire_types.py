"""JSON types of X v2: the fields of a post that are decoded; the stored bytes have all of them.

X v2 reference, "Messages in the stream". Every field has a default and may be null. Where the
specification and the wire use different names for one thing (`tweets`, `posts`), both are here.
Posts that twarc has flattened contain their author, media and referenced posts.
"""

import msgspec

from stream.networks.x_common import Id, Time


class Tag(msgspec.Struct, gc=False):
    """A hashtag or cashtag, without its sigil."""

    tag: str | None = None


class Mention(msgspec.Struct, gc=False):
    """An account named in the text."""

    username: str | None = None
    id: Id = None


class Link(msgspec.Struct, gc=False):
    """A link in the text, including links of media."""

    expanded_url: str | None = None
    display_url: str | None = None
    unwound_url: str | None = None


class Entities(msgspec.Struct, gc=False):
    """The entities that X found in a text."""

    hashtags: list[Tag] | None = None
    cashtags: list[Tag] | None = None
    mentions: list[Mention] | None = None
    urls: list[Link] | None = None


class Note(msgspec.Struct, gc=False):
    """The full text of a long post; its `text` is only the beginning."""

    text: str | None = None
    entities: Entities | None = None


class User(msgspec.Struct, gc=False):
    """An account in `includes`."""

    id: Id = None
    username: str | None = None
    verified: bool | None = None
    verified_type: str | None = None


class Media(msgspec.Struct, gc=False):
    """A photo or video in `includes`."""

    media_key: str | None = None
    type: str | None = None


class Attachments(msgspec.Struct, gc=False):
    """Which media and polls belong to a post."""

    media_keys: list[str] | None = None
    poll_ids: list[str] | None = None
    media: list[Media] | None = None


class Bounds(msgspec.Struct, gc=False):
    """The bounding box of a place: west, south, east, north."""

    bbox: list[float] | None = None


class Area(msgspec.Struct, gc=False):
    """A named place in `includes`."""

    id: str | None = None
    name: str | None = None
    full_name: str | None = None
    country_code: str | None = None
    geo: Bounds | None = None


class Point(msgspec.Struct, gc=False):
    """A point: longitude, latitude."""

    coordinates: list[float] | None = None


class Geo(Area, gc=False):
    """The place or point that a post names."""

    place_id: str | None = None
    coordinates: Point | None = None


class Withheld(msgspec.Struct, gc=False):
    """The countries in which a post is withheld."""

    country_codes: list[str] | None = None


class Post(msgspec.Struct, gc=False):
    """A post, or the reference to one (`type`, `id`)."""

    id: Id = None
    text: str | None = None
    author_id: Id = None
    created_at: Time = None
    lang: str | None = None
    conversation_id: Id = None
    in_reply_to_user_id: Id = None
    referenced_tweets: "list[Post] | None" = None
    referenced_posts: "list[Post] | None" = None
    type: str | None = None
    entities: Entities | None = None
    attachments: Attachments | None = None
    geo: Geo | None = None
    note_tweet: Note | None = None
    note_post: Note | None = None
    withheld: Withheld | None = None
    author: User | None = None
    in_reply_to_user: User | None = None


class Includes(msgspec.Struct, gc=False):
    """The accounts, posts, media and places that a post refers to."""

    users: list[User] | None = None
    media: list[Media] | None = None
    places: list[Area] | None = None
    tweets: list[Post] | None = None
    posts: list[Post] | None = None


class MatchingRule(msgspec.Struct, gc=False):
    """A rule that matched; it has no tag if it was created without one."""

    id: Id = None
    tag: str | None = None


class Envelope(msgspec.Struct, gc=False):
    """A message of the stream; a post without an envelope has `id` and `text` at this level.

    A v1.1 status has these, too, but also `id_str` or `user`.
    """

    data: Post | None = None
    includes: Includes | None = None
    matching_rules: list[MatchingRule] | None = None
    id: Id = None
    text: str | None = None
    author_id: Id = None
    id_str: Id = None
    user: User | None = None
