"""Posts independent of a protocol; wire_v1 and wire_v2 turn them into JSON.

All positions are offsets in code points, as both X formats count them.
"""

from typing import Literal

import msgspec

EPOCH_MS = 1288834974657  # X ids count milliseconds from here (X v1.1 reference §13)


class Author(msgspec.Struct, frozen=True):
    """One invented account, or a public organisation."""

    id: int
    handle: str
    name: str
    description: str
    location: str
    created_ms: int
    followers: int
    following: int
    posts: int
    verified: bool


class Media(msgspec.Struct, frozen=True):
    """One attachment."""

    id: int
    kind: Literal["photo", "video", "animated_gif"]
    width: int
    height: int
    duration_ms: int | None = None


class Link(msgspec.Struct, frozen=True):
    """A URL as written in the text, and its target."""

    start: int
    end: int
    short: str
    expanded: str
    display: str
    media: Media | None = None


class Tag(msgspec.Struct, frozen=True):
    """A hashtag or cashtag; `text` without its sigil."""

    start: int
    end: int
    text: str


class Mention(msgspec.Struct, frozen=True):
    """An account mentioned in the text."""

    start: int
    end: int
    who: Author


class Area(msgspec.Struct, frozen=True):
    """A named place: west, south, east, north in degrees."""

    id: str
    name: str
    full_name: str
    country: str
    country_code: str
    kind: Literal["city", "admin", "country", "poi"]
    box: tuple[float, float, float, float]


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """One post, independent of a network's JSON."""

    id: int
    author: Author
    text: str
    lang: str
    hashtags: tuple[Tag, ...] = ()
    cashtags: tuple[Tag, ...] = ()
    mentions: tuple[Mention, ...] = ()
    links: tuple[Link, ...] = ()
    area: Area | None = None
    point: tuple[float, float] | None = None  # longitude, latitude
    reply_to: int | None = None
    reply_to_author: Author | None = None
    quoted: "Post | None" = None
    reposted: "Post | None" = None
    edits: tuple[int, ...] = ()  # ids of earlier versions, oldest first
    app: str = "Web App"

    @property
    def created_ms(self) -> int:
        """Milliseconds since 1970 UTC, which X ids carry."""
        return (self.id >> 22) + EPOCH_MS

    @property
    def media(self) -> tuple[Media, ...]:
        """The attachments, in the order of the text."""
        return tuple(link.media for link in self.links if link.media)


class Constraints(msgspec.Struct, frozen=True, kw_only=True):
    """What a generated post must contain to match a filter or rule."""

    words: tuple[str, ...] = ()  # put into the text unchanged
    hashtags: tuple[str, ...] = ()
    cashtags: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()  # handles
    author: str | None = None  # handle or id
    reply_to: str | None = None
    repost_of: str | None = None
    link: str | None = None
    lang: str | None = None
    kind: Literal["retweet", "reply", "quote"] | None = None
    media: Literal["photo", "video"] | None = None
    point: tuple[float, float] | None = None
    area: str | None = None  # name of a place
    country: str | None = None
    verified: bool = False
    entities: tuple[str, ...] = ()  # entities of any text: hashtags, mentions, cashtags, links, geo
