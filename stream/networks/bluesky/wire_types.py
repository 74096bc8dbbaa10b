"""The parts of a Jetstream message that are looked at; everything else stays in the stored bytes.

Bluesky reference, "Events (v1)" and "v2 wire". Every field has a default and may be null, since
nothing upstream checks a post: any field may have any type. `$type` is hardly needed, so a post
without it is read as well: one Struct stands for all kinds of embeds, and one for both wires.
"""

import msgspec

Number = int | float | None


class Span(msgspec.Struct, gc=False, rename="camel"):
    """A part of the text, in bytes of UTF-8; the end is exclusive."""

    byte_start: Number = None
    byte_end: Number = None


class Feature(msgspec.Struct, gc=False):
    """What a part of the text is: a mention, a link or a hashtag."""

    did: str | None = None
    uri: str | None = None
    tag: str | None = None


class Facet(msgspec.Struct, gc=False):
    """A part of the text with its features."""

    index: Span | None = None
    features: list[Feature] | None = None


class Image(msgspec.Struct, gc=False):
    """An image with its description."""

    alt: str | None = None


class Blob(msgspec.Struct, gc=False):
    """A file."""


class Card(msgspec.Struct, gc=False):
    """The preview of a link."""

    uri: str | None = None
    title: str | None = None
    description: str | None = None


class Reference(msgspec.Struct, gc=False):
    """A reference to a record; with media beside it, the reference is one level deeper."""

    uri: str | None = None
    record: "Reference | None" = None


class Embed(msgspec.Struct, gc=False):
    """What is attached to a post: images, a gallery, a video, a link, a quoted post."""

    images: list[Image] | None = None
    items: list[Image] | None = None  # of a gallery
    video: Blob | None = None
    alt: str | None = None  # of the video
    presentation: str | None = None  # of the video: default or gif
    external: Card | None = None
    record: Reference | None = None
    media: "Embed | None" = None  # together with a quoted post


class Reply(msgspec.Struct, gc=False):
    """The posts that a reply belongs to."""

    root: Reference | None = None
    parent: Reference | None = None


class Post(msgspec.Struct, gc=False, rename="camel"):
    """A record of app.bsky.feed.post."""

    text: str | None = None
    created_at: str | None = None
    langs: list[str] | None = None
    tags: list[str] | None = None
    facets: list[Facet] | None = None
    reply: Reply | None = None
    embed: Embed | None = None


class Commit(msgspec.Struct, gc=False):
    """A record that was created, changed or deleted."""

    operation: str | None = None
    collection: str | None = None
    rkey: str | None = None
    record: Post | None = None


class Identity(msgspec.Struct, gc=False):
    """The handle of an account may have changed."""

    handle: str | None = None


class Account(msgspec.Struct, gc=False):
    """An account was hidden, deleted or shown again."""

    active: bool | None = None
    status: str | None = None


class Sync(msgspec.Struct, gc=False):
    """The chain of an author's commits is broken."""


class Event(Commit, gc=False):
    """A message of v1, or the payload of one of v2, which has a commit's fields itself."""

    type: str | None = msgspec.field(default=None, name="$type")
    did: str | None = None
    time_us: Number = None  # v1
    time: str | None = None  # v2
    kind: str | None = None  # v1
    commit: Commit | None = None  # v1
    identity: Identity | None = None
    account: Account | None = None
    sync: Sync | None = None
    name: str | None = None  # of an info
    message: str | None = None


class Envelope(Event, gc=False):
    """A message of either wire."""

    payload: Event | None = None
    error: str | None = None
