"""A tweet as JSON for readers: the API, downloads, live views and sinks."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from stream.store.feed import StoredMatch, StoredTweet
from stream.tweet import Field, NetworkName, Part


class MatchView(msgspec.Struct, frozen=True):
    """Why the tweet matches a track; `track`: its id as text, empty for a query.

    `look_back`: a look-back of the track found it, not the stream.
    """

    track: str
    term: str
    field: Field
    part: Part
    look_back: bool = False


class TweetView(msgspec.Struct, frozen=True, omit_defaults=False):
    """A tweet as JSON; its id is text, since a browser would round the number."""

    id: str
    network: NetworkName
    native_id: str
    url: str | None
    kind: str
    lang: str | None
    author: str | None
    author_id: str | None
    text: str
    created_at: datetime | None
    received_at: datetime
    matches: Sequence[MatchView]


def view_of(tweet: StoredTweet, matches: Iterable[StoredMatch]) -> TweetView:
    """The tweet with these matches: only those of tracks that the reader may see."""
    return TweetView(
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
        match_views(matches),
    )


def match_views(matches: Iterable[StoredMatch]) -> list[MatchView]:
    return [MatchView(str(m.track_id), m.term, m.field, m.part, m.look_back) for m in matches]
