"""The words of the program as types: Frame, Tweet, Match and the other things a frame can say.

Everything here is plain data without behaviour. A network's `decode()` turns the bytes of one
frame into a `Message`; `Tweet` holds only what matching and the table's columns need, the whole
message stays in `Frame.body` and goes into Postgres as the bytes that came.
"""

from datetime import datetime
from typing import Literal, NewType, TypeAlias, get_args

import msgspec

from stream.errors import FailureCode

NetworkName = Literal["x_v2", "x_v1"]
NETWORK_NAMES: tuple[NetworkName, ...] = get_args(NetworkName)

SourceId = NewType("SourceId", int)
TrackId = NewType("TrackId", int)
TweetId = NewType("TweetId", int)  # our key, derived from the frame; see sql/schema.sql
NativeId = NewType("NativeId", str)  # the network's own id, kept as text

TweetKind = Literal["original", "reply", "repost", "quote"]
MediaKind = Literal["photo", "video", "animated_gif"]
Field = Literal[
    "text", "hashtag", "mention", "cashtag", "link", "author", "reply", "place", "network"
]  # where a term was found; "network": only the network itself says that it matches
Part = Literal["own", "reposted", "quoted"]

LonLat: TypeAlias = tuple[float, float]  # degrees
Box: TypeAlias = tuple[float, float, float, float]  # west, south, east, north; degrees


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One message exactly as received, and where the journal goes on after it."""

    received: int  # microseconds since 1970 UTC; strictly rising within a source
    body: bytes
    after: int  # the journal's position behind this frame
    is_note: bool = False  # a Note of the daemon, not a message of the network


class Content(msgspec.Struct, frozen=True, gc=False):
    """One part of a tweet that carries text: its own, that of the reposted or the quoted tweet.

    `text` is the full text (extended_tweet, full_text, note_tweet); names and tags come without
    their sigil and as written; `links` are expanded, displayed and unwound addresses.
    """

    text: str = ""
    hashtags: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    mention_ids: tuple[str, ...] = ()
    cashtags: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    author: str | None = None  # handle, without @
    author_id: str | None = None


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a tweet says it is: a named area."""

    names: tuple[str, ...] = ()  # id, name, full name
    country: str | None = None  # ISO 3166 two-letter code, upper case
    box: Box | None = None


class Tweet(msgspec.Struct, frozen=True, gc=False):
    """What one network's decode() found in a frame."""

    native_id: NativeId
    kind: TweetKind
    own: Content
    reposted: Content | None = None
    quoted: Content | None = None
    text: str = ""  # the best text for a reader: a repost's is the whole reposted text
    url: str | None = None
    created_at: datetime | None = None  # claimed by the network; aware, UTC
    lang: str | None = None
    reply_to: str | None = None  # handle of the author replied to
    reply_to_id: str | None = None
    conversation_id: str | None = None
    point: LonLat | None = None
    place: Place | None = None
    media: tuple[MediaKind, ...] = ()
    verified: bool = False
    rules: tuple[str, ...] = ()  # tags and ids of the network's rules that matched
    withheld: tuple[str, ...] = ()  # country codes


class Deletion(msgspec.Struct, frozen=True, gc=False):
    """Erase one tweet; may come before the tweet itself."""

    native_id: NativeId


class GeoScrub(msgspec.Struct, frozen=True, gc=False):
    """Remove the places of one author's tweets up to and including an id."""

    author_id: str
    up_to: int


class Withheld(msgspec.Struct, frozen=True, gc=False):
    """Hide one tweet, or all of one author, in these countries, and show it in all others.

    XX is everywhere, for what the network may take back (a protected account, say); no country
    at all means that it is shown again.
    """

    native_id: NativeId | None
    author_id: str | None
    countries: tuple[str, ...]


class AuthorDeletion(msgspec.Struct, frozen=True, gc=False):
    """An account is gone: its tweets are erased."""

    author_id: str


NoticeKind = Literal[
    "limit", "disconnect", "warning", "error", "edit", "account", "relic", "unknown"
]


class Notice(msgspec.Struct, frozen=True, gc=False):
    """A control message that changes no tweet: counted by kind, the daemon's events keep the text.

    `limit` carries in `number` how many tweets the network has withheld since it connected. Of a
    `disconnect`, `number` is the code of v1.1, and `text` begins with the `disconnect_type` of v2.
    """

    kind: NoticeKind
    text: str
    number: int = 0


Message: TypeAlias = Tweet | Deletion | GeoScrub | Withheld | AuthorDeletion | Notice


class Match(msgspec.Struct, frozen=True, gc=False):
    """A tweet belongs to a track, by this term, found in this field."""

    track_id: TrackId
    term: str
    field: Field
    part: Part = "own"


SourceState = Literal[
    "idle",
    "connecting",
    "proving",
    "streaming",
    "waiting",
    "paused",
    "failed",
    "disabled",
    "importing",
]
GapCause = Literal[
    "network",  # the connection was lost or could not be made
    "http",  # the server answered with an error
    "rate_limit",
    "silence",  # an open connection without a byte
    "quota",
    "refused",  # credentials, plan or request: a person must act
    "disk",
    "filter_change",  # a network that can only change its filter by connecting anew
    "idle",  # nothing to follow
    "stopped",  # a person stopped the daemon or disabled the source
    "killed",  # the daemon ended without saying so
]
GAP_CAUSES: tuple[GapCause, ...] = get_args(GapCause)


class StateNote(msgspec.Struct, frozen=True, gc=False, tag="state"):
    """The connection of this source is now so. `until` and times: seconds since 1970."""

    state: SourceState
    reason: str
    at: float
    until: float | None = None
    code: FailureCode = ""


class GapOpened(msgspec.Struct, frozen=True, gc=False, tag="gap_opened"):
    """Delivery stopped after `began`, the time of the last byte."""

    began: float
    cause: GapCause
    detail: str


class GapClosed(msgspec.Struct, frozen=True, gc=False, tag="gap_closed"):
    """The first byte came again."""

    ended: float


class Alive(msgspec.Struct, frozen=True, gc=False, tag="alive"):
    """Bytes came until `at`, although none of them was a frame."""

    at: float


class EventNote(msgspec.Struct, frozen=True, gc=False, tag="event"):
    """Something the daemon did or found, for `events`."""

    kind: Literal["state", "control", "journal", "daemon", "plan"]
    text: str
    at: float


Note: TypeAlias = StateNote | GapOpened | GapClosed | Alive | EventNote
"""What the daemon itself writes into the journal between the frames, so that states and gaps
reach Postgres in order, once, and also when it is away at that moment."""


class Source(msgspec.Struct, frozen=True):
    """One configured connection to a network: a row of `sources`, its credentials decrypted."""

    id: SourceId
    name: str
    network: NetworkName
    url: str | None  # base address; None: the network's own
    proxy: str | None
    secrets: dict[str, str]
    enabled: bool

    def __repr__(self) -> str:
        # Credentials must not reach a log by way of a traceback.
        return f"Source(id={self.id}, name={self.name!r}, network={self.network!r})"
