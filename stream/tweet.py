"""The program's vocabulary as types: Frame, Tweet, Match, and the other messages of a frame.

Everything here is plain data without behaviour. A network's `decode()` turns the bytes of one
frame into a `Message`; `Tweet` holds only what matching and the table's columns need, the whole
message stays in `Frame.body` and goes into Postgres as the bytes that came.
"""

from datetime import datetime
from typing import Literal, NewType, TypeAlias, get_args

import msgspec

NetworkName = Literal["x_v2", "x_v1", "bluesky", "mastodon"]
NETWORK_NAMES: tuple[NetworkName, ...] = get_args(NetworkName)
# How the posts of a track are found: by a filter of the network, by our matcher, or by both.
ReachHow = Literal["pushed", "decided", "both", "cannot"]

SourceId = NewType("SourceId", int)
# The part of a source that one writer stores. Lanes share the number space of sources: the first
# lane of a source has its id. `Lane.id` and the ids in keys of tweets, in runs (also of cursors),
# and in positions are of lanes; settings, names, gaps, states, journals and locks of collectors
# are of sources.
LaneId = NewType("LaneId", int)
TrackId = NewType("TrackId", int)
UserId = NewType("UserId", int)
TweetId = NewType("TweetId", int)  # our key, derived from the frame; see sql/schema/tables.sql
NativeId = NewType("NativeId", str)  # the network's own id, kept as text

TweetKind = Literal["original", "reply", "repost", "quote"]
MediaKind = Literal["photo", "video", "animated_gif", "audio"]
Field = Literal[  # where a term was found
    "text",
    "hashtag",
    "mention",
    "cashtag",
    "link",
    "description",  # alt texts, titles of links, options of polls
    "author",
    "reply",
    "place",
    "network",  # only the network itself says that it matches
]
Part = Literal["own", "reposted", "quoted"]

LonLat: TypeAlias = tuple[float, float]  # degrees
Box: TypeAlias = tuple[float, float, float, float]  # west, south, east, north; degrees


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One message exactly as received, and where the journal goes on after it."""

    received: int  # microseconds since 1970 UTC; strictly rising within a source
    body: bytes
    after: int  # the journal's position after this frame
    is_note: bool = False  # a Note of the daemon, not a message of the network
    is_damage: bool = False  # the rest of frames that were damaged on the disk


class Content(msgspec.Struct, frozen=True, gc=False):
    """One part of a tweet that carries text: its own, that of the reposted or the quoted tweet.

    `text` is the full text (extended_tweet, full_text, note_tweet); names and tags come without
    their sigil and as written; `links` are expanded, displayed and unwound addresses.
    `descriptions` are texts that belong to what is attached: alt texts of media, title and
    description of a link, options of a poll.
    """

    text: str = ""
    hashtags: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    mention_ids: tuple[str, ...] = ()
    cashtags: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    author: str | None = None  # handle, without @
    author_id: str | None = None


class Place(msgspec.Struct, frozen=True, gc=False):
    """The place that a tweet names: an area."""

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
    text: str = ""  # the text to show: for a repost the whole reposted text
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
    edited: bool = False  # a new version of a post that may be stored already
    server_id: str | None = None  # Mastodon: the id on the one server that sent it
    opted_out: bool = False  # its author asks search engines or bots to leave it alone


class Deletion(msgspec.Struct, frozen=True, gc=False):
    """Erase one tweet; may arrive before the tweet itself."""

    native_id: NativeId
    of_server: bool = False  # Mastodon: `native_id` is the id on the one server that sent it


class GeoScrub(msgspec.Struct, frozen=True, gc=False):
    """Remove the places of one author's tweets up to and including an id."""

    author_id: str
    up_to: int


class Withheld(msgspec.Struct, frozen=True, gc=False):
    """Hide one tweet, or all of one author, in these countries, and show it in all others.

    XX means everywhere, as for a protected account; no country at all means that it is shown again.
    """

    native_id: NativeId | None
    author_id: str | None
    countries: tuple[str, ...]


class AuthorDeletion(msgspec.Struct, frozen=True, gc=False):
    """An account was deleted: its tweets are erased."""

    author_id: str


AccountState = Literal["active", "deactivated", "suspended", "takendown", "deleted"]


class AccountStatus(msgspec.Struct, frozen=True, gc=False):
    """An account was hidden, deleted or shown again (Bluesky `account` events)."""

    author_id: str
    state: AccountState


class HandleChange(msgspec.Struct, frozen=True, gc=False):
    """The handle of an account may have changed; None: it has to be looked up."""

    author_id: str
    handle: str | None


class AuthorResync(msgspec.Struct, frozen=True, gc=False):
    """What is stored of this author may be out of date (Bluesky `sync` events)."""

    author_id: str


NoticeKind = Literal[
    "limit", "disconnect", "warning", "error", "edit", "account", "ignored", "unknown"
]


class ControlNotice(msgspec.Struct, frozen=True, gc=False):
    """A control message that changes no tweet: counted by kind; `events` keep the text.

    `number` of a `limit`: how many tweets the network has not delivered since it connected. Of a
    `disconnect`: the code of v1.1; its `text` begins with the `disconnect_type` of v2.
    """

    kind: NoticeKind
    text: str
    number: int = 0


Message: TypeAlias = (
    Tweet
    | Deletion
    | GeoScrub
    | Withheld
    | AuthorDeletion
    | AccountStatus
    | HandleChange
    | AuthorResync
    | ControlNotice
)


class Match(msgspec.Struct, frozen=True, gc=False):
    """A tweet belongs to a track, by this term, found in this field."""

    track_id: TrackId
    term: str
    field: Field
    part: Part = "own"


class EventPosition(msgspec.Struct, frozen=True):
    """Where an event stands in its network's stream."""

    seq: int | None  # its number, of one host and wire only
    time: int  # microseconds since 1970, by the clock of the host


class NetworkCursor(msgspec.Struct, frozen=True):
    """Where to resume a network that can: the newest event whose effects are committed."""

    host: str
    wire: str
    seq: int | None
    time: int


class BusPosition(msgspec.Struct, frozen=True):
    """A block on the bus: when the stream that has it was created, and its number there."""

    created: datetime
    sequence: int


class Source(msgspec.Struct, frozen=True):
    """One configured connection to a network: a row of `sources`, its credentials decrypted."""

    id: SourceId
    name: str
    network: NetworkName
    url: str | None  # base address; None: the network's own
    proxy: str | None
    secrets: dict[str, str]
    enabled: bool
    lanes: int = 1  # with a bus: how many writers of each database share its tweets

    def __repr__(self) -> str:
        # Credentials must not reach a log by way of a traceback.
        return f"Source(id={self.id}, name={self.name!r}, network={self.network!r})"
