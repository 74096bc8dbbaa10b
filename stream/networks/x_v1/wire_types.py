"""JSON types of X v1.1: the fields of a status that are decoded; the stored bytes have all of them.

X v1.1 reference, "Tweet object". Every field has a default and may be null: a message with a part
missing is still a tweet.
"""

import msgspec

from stream.networks.x_common import Id, Time


class Tag(msgspec.Struct, gc=False):
    """A hashtag or a symbol (cashtag), without its sigil."""

    text: str | None = None


class Mention(msgspec.Struct, gc=False):
    """An account named in the text."""

    screen_name: str | None = None
    id_str: str | None = None
    id: Id = None


class Unwound(msgspec.Struct, gc=False):
    """The target of a shortened link (enterprise streams only)."""

    url: str | None = None


class Link(msgspec.Struct, gc=False):
    """A link in the text."""

    expanded_url: str | None = None
    display_url: str | None = None
    unwound: Unwound | None = None


class Media(msgspec.Struct, gc=False):
    """A photo or video; it has the URLs of a link."""

    expanded_url: str | None = None
    display_url: str | None = None
    type: str | None = None


class Entities(msgspec.Struct, gc=False):
    """The entities that X found in a text."""

    hashtags: list[Tag] | None = None
    symbols: list[Tag] | None = None
    user_mentions: list[Mention] | None = None
    urls: list[Link] | None = None
    media: list[Media] | None = None


class Extended(msgspec.Struct, gc=False):
    """The full text of a tweet that is too long for the 140-character compatibility text."""

    full_text: str | None = None
    entities: Entities | None = None
    extended_entities: Entities | None = None


class User(msgspec.Struct, gc=False):
    """The author of a tweet."""

    id_str: str | None = None
    id: Id = None
    screen_name: str | None = None
    verified: bool | None = None
    withheld_in_countries: list[str] | None = None


class Point(msgspec.Struct, gc=False):
    """A point: longitude, latitude in `coordinates`; latitude, longitude in the older `geo`."""

    coordinates: list[float] | None = None


class Outline(msgspec.Struct, gc=False):
    """The area of a place; X sends one open ring of four corners, others send several polygons."""

    coordinates: list[list[list[float | list[float]]]] | None = None


class Area(msgspec.Struct, gc=False):
    """A named place."""

    id: str | None = None
    name: str | None = None
    full_name: str | None = None
    country_code: str | None = None
    bounding_box: Outline | None = None


class MatchingRule(msgspec.Struct, gc=False):
    """A rule of an enterprise stream that matched."""

    tag: str | None = None
    id_str: str | None = None
    id: Id = None


class Status(msgspec.Struct, gc=False):
    """A tweet; a control message has none of these fields."""

    id_str: str | None = None
    id: Id = None
    created_at: Time = None
    text: str | None = None
    full_text: str | None = None
    extended_tweet: Extended | None = None
    user: User | None = None
    entities: Entities | None = None
    extended_entities: Entities | None = None
    retweeted_status: "Status | None" = None
    quoted_status: "Status | None" = None
    is_quote_status: bool | None = None
    in_reply_to_status_id_str: str | None = None
    in_reply_to_status_id: Id = None
    in_reply_to_user_id_str: str | None = None
    in_reply_to_user_id: Id = None
    in_reply_to_screen_name: str | None = None
    coordinates: Point | None = None
    geo: Point | None = None
    place: Area | None = None
    lang: str | None = None
    withheld_in_countries: list[str] | None = None
    matching_rules: list[MatchingRule] | None = None
