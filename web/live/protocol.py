"""The JSON messages between the Live page and the server."""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from stream.store.feed import StoredMatch, StoredTweet
from stream.tweet import Match
from stream.tweet_view import TweetView, view_of
from web.authors import ShownAuthor, shown_author
from web.highlighting import Segment, reason, segments
from web.problem import Code

CLIENT_MESSAGE_MAX = 16 * 1024  # bytes

Why: TypeAlias = Match | StoredMatch | None


class Watch(msgspec.Struct, frozen=True, tag="watch", tag_field="do"):
    """Show a track, or a query, or with neither everything; from this cursor on, or from now."""

    track: str | None = None
    query: str = ""
    cursor: str | None = None


class Pause(msgspec.Struct, frozen=True, tag="pause", tag_field="do"):
    """Show nothing until the next Watch."""


class Check(msgspec.Struct, frozen=True, tag="check", tag_field="do"):
    """Say whether this query is valid."""

    query: str


ClientMessage: TypeAlias = Watch | Pause | Check


class LiveTweet(msgspec.Struct, frozen=True):
    """A tweet, its author, its text in segments with the match marked, and why it is shown."""

    tweet: TweetView | msgspec.Raw
    author: ShownAuthor
    segments: Sequence[Segment]
    reason: str


class Tweets(msgspec.Struct, frozen=True, tag="tweets", tag_field="kind", kw_only=True):
    """New tweets of the view, and its state.

    `missed`: tweets of the view that were not sent, since the viewer was too slow; `skipped`:
    stored tweets that were not examined. `rate`: of the view, `all` of everything, per second.
    `away`: the database cannot be reached. `incomplete`: the other databases that cannot be.
    """

    tweets: Sequence[msgspec.Raw]
    cursor: str
    rate: float
    all: float
    missed: int = 0
    skipped: int = 0
    away: bool = False
    incomplete: Sequence[str] = ()


class Watching(msgspec.Struct, frozen=True, tag="watching", tag_field="kind"):
    """From here on the view is that of the last Watch; what it missed meanwhile follows."""

    cursor: str


class Checked(msgspec.Struct, frozen=True, tag="checked", tag_field="kind"):
    """The error of a checked query; empty: none."""

    query: str
    message: str


class Refused(msgspec.Struct, frozen=True, tag="refused", tag_field="kind"):
    """Why the last message of the page cannot be followed."""

    code: Code
    message: str
    field: str | None


class Ended(msgspec.Struct, frozen=True, tag="ended", tag_field="kind"):
    """The connection ends; why."""

    code: Code
    message: str


ServerMessage: TypeAlias = Tweets | Watching | Checked | Refused | Ended

encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)


def decode_client_message(text: str | bytes) -> ClientMessage | None:
    """Decode a message of the browser; None if it is invalid."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class TweetEncoder:
    """Encodes tweets for browsers; one that several channels show is encoded once."""

    def __init__(self) -> None:
        self._tweets: dict[tuple[int, int | None], msgspec.Raw] = {}

    def encode(self, tweet: StoredTweet, why: Why) -> bytes:
        credited = [why] if isinstance(why, StoredMatch) else []
        key = (tweet.id, credited[0].track_id if credited else None)
        if key not in self._tweets:
            self._tweets[key] = msgspec.Raw(encode(view_of(tweet, credited)))
        if why is None:
            pieces, because = [Segment(tweet.text, marked=False)], ""
        else:
            pieces = segments(tweet.text, [why.term])
            late = isinstance(why, StoredMatch) and why.look_back
            because = reason(why.term, why.field, why.part, look_back=late)
        author = shown_author(tweet.network, tweet.author, tweet.author_id)
        return encode(LiveTweet(self._tweets[key], author, pieces, because))
