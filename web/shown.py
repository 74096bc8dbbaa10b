"""A stored tweet as people and programs see it: one shape for pages, API and live views."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from stream.stored import StoredMatch, StoredTweet
from stream.tweet import Field, Part


class ShownMatch(msgspec.Struct, frozen=True):
    """Why the tweet belongs to a track; the number of the track, as text."""

    track: str
    term: str
    field: Field
    part: Part


class ShownTweet(msgspec.Struct, frozen=True, omit_defaults=False):
    """Keys are text: a browser would round them."""

    id: str
    network: str
    native_id: str
    url: str | None
    kind: str
    lang: str | None
    author: str | None
    author_id: str | None
    text: str
    created_at: datetime | None
    received_at: datetime
    matches: Sequence[ShownMatch]


def shown(tweet: StoredTweet, matches: Iterable[StoredMatch]) -> ShownTweet:
    """`matches`: those with tracks that the reader may see, and no others."""
    return ShownTweet(
        str(tweet.id),
        tweet.network,
        tweet.native_id,
        tweet.url if (tweet.url or "").startswith(("https://", "http://")) else None,
        tweet.kind,
        tweet.lang,
        tweet.author,
        tweet.author_id,
        tweet.text,
        tweet.created_at,
        tweet.received_at,
        [ShownMatch(str(m.track_id), m.term, m.field, m.part) for m in matches],
    )
