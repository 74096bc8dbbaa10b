"""The parts of a v2 post that are looked at; everything else stays in the stored bytes.

X v2 reference, "Messages in the stream". Every field has a default and may be null. Where the
specification and the wire use different names for one thing (`tweets`, `posts`), both are here.
Posts that twarc has flattened carry their author, media and referenced posts inside themselves.
"""

import msgspec

from stream.networks.x_fields import Id


class Tag(msgspec.Struct, gc=False):
    """A hashtag or cashtag, without its sigil."""

    tag: str | None = None


class Mention(msgspec.Struct, gc=False):
    """An account named in the text."""

    username: str | None = None
    id: Id = None


class Link(msgspec.Struct, gc=False):
    """An address in the text; those of media are among them."""

    expanded_url: str | None = None
    display_url: str | None = None
    unwound_url: str | None = None


class Entities(msgspec.Struct, gc=False):
    """What X found in one text."""

    hashtags: list[Tag] | None = None
    cashtags: list[Tag] | None = None
    mentions: list[Mention] | None = None
    urls: list[Link] | None = None


class Note(msgspec.Struct, gc=False):
    """The whole of a long post, whose `text` is only its beginning."""

    text: str | None = None
    entities: Entities | None = None


class User(msgspec.Struct, gc=False):
    """An account among the includes."""

    id: Id = None
    username: str | None = None
    verified: bool | None = None
    verified_type: str | None = None


class Media(msgspec.Struct, gc=False):
    """A picture or film among the includes."""

    media_key: str | None = None
    type: str | None = None


class Attachments(msgspec.Struct, gc=False):
    """Which media belong to a post."""

    media_keys: list[str] | None = None
    media: list[Media] | None = None


class Bounds(msgspec.Struct, gc=False):
    """West, south, east, north."""

    bbox: list[float] | None = None


class Area(msgspec.Struct, gc=False):
    """A named place among the includes."""

    id: str | None = None
    name: str | None = None
    full_name: str | None = None
    country_code: str | None = None
    geo: Bounds | None = None


class Point(msgspec.Struct, gc=False):
    """Longitude, latitude."""

    coordinates: list[float] | None = None


class Geo(Area, gc=False):
    """Where a post says it is."""

    place_id: str | None = None
    coordinates: Point | None = None


class Withheld(msgspec.Struct, gc=False):
    """Where a post is hidden."""

    country_codes: list[str] | None = None


class Post(msgspec.Struct, gc=False):
    """A post, or the reference to one (`type`, `id`)."""

    id: Id = None
    text: str | None = None
    author_id: Id = None
    created_at: str | None = None
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
    """What the post refers to."""

    users: list[User] | None = None
    media: list[Media] | None = None
    places: list[Area] | None = None
    tweets: list[Post] | None = None
    posts: list[Post] | None = None


class Rule(msgspec.Struct, gc=False):
    """A rule that matched; one made without a tag has none here."""

    id: Id = None
    tag: str | None = None


class Envelope(msgspec.Struct, gc=False):
    """One message; `id`, `text` and `author_id` stand here when a flattened post has none."""

    data: Post | None = None
    includes: Includes | None = None
    matching_rules: list[Rule] | None = None
    id: Id = None
    text: str | None = None
    author_id: Id = None
