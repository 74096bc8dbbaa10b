"""Notes: states, gaps and events that the daemon itself writes into the journal, between frames.

So they reach Postgres in order and once, also when it is away at that moment.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from stream.errors import FailureCode

SourceState = Literal[
    "idle",
    "connecting",
    "connected",
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
    "refused",  # credentials, access level or request: a person must act
    "disk",
    "filter_change",  # a network that can only change its filter by reconnecting
    "idle",  # nothing to track
    "stopped",  # a person stopped the daemon or disabled the source
    "killed",  # the daemon ended without a clean stop, or another one took the source over
]
EventKind = Literal["state", "control", "journal", "daemon", "plan"]


class StateNote(msgspec.Struct, frozen=True, gc=False, tag="state"):
    """The state of a source's connection. `until` and times: seconds since 1970."""

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
    """Delivery resumed with a first byte.

    `recovered_from`: the network replays what it sent from then on, so only what lies before it is
    missing; None where networks never resend. `opened`: the gap that this ends; older versions did
    not write it.
    """

    ended: float
    recovered_from: float | None = None
    opened: GapOpened | None = None


class GapRefilled(msgspec.Struct, frozen=True, gc=False, tag="gap_refilled"):
    """What was posted in the gaps between two times has been read again; it precedes this note.

    `read_to`: seconds since 1970 by channel, as long as it is a part only.
    """

    began: float
    ended: float
    read_to: Mapping[str, float] | None = None


class TracksLapsed(msgspec.Struct, frozen=True, gc=False, tag="tracks_lapsed"):
    """The network does not deliver these tracks, or only parts of them, since `began`."""

    tracks: tuple[int, ...]
    began: float
    detail: str


class TracksCovered(msgspec.Struct, frozen=True, gc=False, tag="tracks_covered"):
    """The network delivers these tracks completely again; None: all tracks.

    `lapsed`: the latest beginning of what this ends, where this run of the daemon has recorded it.
    """

    tracks: tuple[int, ...] | None
    ended: float
    lapsed: float | None = None


class StreamOpened(msgspec.Struct, frozen=True, gc=False, tag="stream_opened"):
    """A connection of a network that can resume: cursors in the frames after it are of this host.

    `wire`: the version of the protocol.
    """

    host: str
    wire: str


class Alive(msgspec.Struct, frozen=True, gc=False, tag="alive"):
    """Bytes were received until `at`, although no frame was complete."""

    at: float


class EventNote(msgspec.Struct, frozen=True, gc=False, tag="event"):
    """Something the daemon did or found, for `events`."""

    kind: EventKind
    text: str
    at: float


class TracksInForce(msgspec.Struct, frozen=True, gc=False, tag="tracks_in_force"):
    """What follows may have come for tracks as they were at `at`, by the clock of Postgres.

    Only with a bus, where another daemon credits the tracks: it waits until it has read them.
    """

    at: float


class Passed(msgspec.Struct, frozen=True, gc=False, tag="passed"):
    """The frames up to here belong to other lanes of the source."""


Note: TypeAlias = (
    StateNote
    | GapOpened
    | GapClosed
    | GapRefilled
    | TracksLapsed
    | TracksCovered
    | StreamOpened
    | Alive
    | EventNote
    | TracksInForce
    | Passed
)


def marker(note: type[StreamOpened | TracksInForce]) -> bytes:
    """What the encoded notes of this type contain, to find them without decoding all."""
    return f'"type":"{note.__struct_config__.tag}"'.encode()


class MissedGap(msgspec.Struct, frozen=True):
    """A gap that has ended, in seconds since 1970, and how far it is refilled.

    `read_to`: see `GapRefilled`.
    """

    began: float
    ended: float
    read_to: Mapping[str, float] = {}
