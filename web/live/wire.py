"""What is said to a browser that watches, and what it may say."""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from stream.stored import StoredMatch, StoredTweet
from stream.tweet import Match
from web.marking import Segment, reason, segments
from web.problem import Code
from web.shown import ShownTweet, shown

LONGEST = 16 * 1024  # bytes of a message from a browser

Why: TypeAlias = Match | StoredMatch | None


class Watch(msgspec.Struct, frozen=True, tag="watch", tag_field="do"):
    """Show a track, or a query, or with neither everything; from this cursor on, or from now."""

    track: str | None = None
    query: str = ""
    cursor: str | None = None


class Pause(msgspec.Struct, frozen=True, tag="pause", tag_field="do"):
    """Show nothing until the next Watch."""


class Check(msgspec.Struct, frozen=True, tag="check", tag_field="do"):
    """Say whether this query can be understood."""

    query: str


Wish: TypeAlias = Watch | Pause | Check


class LiveTweet(msgspec.Struct, frozen=True):
    """A tweet, its text in pieces with the match marked, and why it is here."""

    tweet: ShownTweet | msgspec.Raw
    segments: Sequence[Segment]
    reason: str


class Tweets(msgspec.Struct, frozen=True, tag="tweets", tag_field="kind", kw_only=True):
    """Tweets of the view, and how it goes.

    `missed`: tweets of the view that were not sent, since the viewer was too slow; `skipped`: of
    all that is stored, those that were not looked at. `rate`: of the view, `all` of everything,
    each second. `away`: the database cannot be reached.
    """

    tweets: Sequence[msgspec.Raw]
    cursor: str
    rate: float
    all: float
    missed: int = 0
    skipped: int = 0
    away: bool = False


class Watching(msgspec.Struct, frozen=True, tag="watching", tag_field="kind"):
    """From here on the view is that of the last Watch; what it missed meanwhile follows."""

    cursor: str


class Checked(msgspec.Struct, frozen=True, tag="checked", tag_field="kind"):
    """What is wrong with the query; empty: nothing."""

    query: str
    message: str


class Refused(msgspec.Struct, frozen=True, tag="refused", tag_field="kind"):
    """The last wish cannot be."""

    code: Code
    message: str
    field: str | None


class Ended(msgspec.Struct, frozen=True, tag="ended", tag_field="kind"):
    """Nothing more comes; why."""

    code: Code
    message: str


Saying: TypeAlias = Tweets | Watching | Checked | Refused | Ended

encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Wish] = msgspec.json.Decoder(Wish)


def wish(text: str | bytes) -> Wish | None:
    """None for what is none."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Writer:
    """Writes tweets for browsers; one that many see is written once."""

    def __init__(self) -> None:
        self._tweets: dict[tuple[int, int | None], msgspec.Raw] = {}

    def write(self, tweet: StoredTweet, why: Why) -> bytes:
        credited = [why] if isinstance(why, StoredMatch) else []
        key = (tweet.id, credited[0].track_id if credited else None)
        if key not in self._tweets:
            self._tweets[key] = msgspec.Raw(encode(shown(tweet, credited)))
        if why is None:
            pieces, because = [Segment(tweet.text, marked=False)], ""
        else:
            pieces = segments(tweet.text, [why.term])
            because = reason(why.term, why.field, why.part)
        return encode(LiveTweet(self._tweets[key], pieces, because))
