"""What a daemon says of itself in its row of `daemons`, for `status`, Health, alerts and `doctor`.

It is written every two seconds, so everything in it is known without asking, and bounded by the
number of sources, lanes and servers. All fields have defaults: a row may be of another version.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import msgspec

from stream.tweet import LaneId, SourceId

Role = Literal["collect", "write", "web", "monitor"]
ROLES: frozenset[Role] = frozenset(get_args(Role))
CELL_ROLES: frozenset[Role] = frozenset({"write", "monitor"})

CONNECTING = "not connected yet"  # what fails before the first attempt to reach the bus has ended
MISSING_MAX = 8  # journals of a lane
REASON_MAX = 300  # characters


class _Report(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A part of the report."""


class MissingFrames(_Report, frozen=True, kw_only=True):
    """A lane waits for the frames of a journal from a position on; since when (Unix time)."""

    journal: str  # its id, in hex
    position: int
    since: float


class LaneReport(_Report, frozen=True, kw_only=True):
    """A lane that this daemon stores."""

    id: LaneId
    source: str = ""  # its name
    cell: str = ""
    number: int = 0
    lag: float = 0.0  # seconds that the oldest frame has waited, or since not all could be read
    blocks: int | None = None  # of the bus, after the one that was stored last; None: not known
    missing: Sequence[MissingFrames] = ()
    failing: str = ""  # why nothing can be read or stored


class JournalReport(_Report, frozen=True, kw_only=True):
    """A source whose journal this daemon sends to the bus."""

    source_id: SourceId
    source: str = ""
    collecting: bool = False  # False: it only sends what it collected before
    journal: str = ""
    end: int = 0  # positions of the journal
    stored: int = 0
    sent: int = 0
    lag: float = 0.0  # seconds that the oldest frame has waited for the bus
    resent: int = 0  # times that blocks were sent again since the start
    failing: str = ""  # why the bus does not take blocks


class ServerReport(_Report, frozen=True, kw_only=True):
    """A server of the bus, as far as it lets us ask."""

    version: str = ""
    jetstream: bool = True  # False: it stores nothing until it is restarted
    sync_always: bool = False  # every write is on its disk before it is acknowledged
    clock_offset: float = 0.0  # seconds that its clock is ahead of the daemon's
    bytes: int = 0  # of its store
    max_bytes: int = 0  # 0: no limit

    @property
    def unsynced(self) -> bool:
        """Whether it acknowledges what is not on its disk yet."""
        return self.jetstream and not self.sync_always


class BusReport(_Report, frozen=True, kw_only=True):
    """The bus as this daemon sees it."""

    failing: str = ""  # why it cannot be used
    remedy: str = ""
    since: float = 0.0  # it can be used, or not, since; Unix time
    created: str = ""  # of the stream: the same for all daemons on one bus
    messages: int = 0
    bytes: int = 0
    max_bytes: int = 0
    leader: str = ""
    replicas: Mapping[str, bool] = {}  # the stream's servers; whether each has all of it
    wanted: int = 0  # replicas, by the settings
    servers: Mapping[str, ServerReport] = {}  # empty: they do not let us ask

    @property
    def without_jetstream(self) -> list[str]:
        """The servers that store nothing, as JetStream is off on them."""
        return sorted(name for name, each in self.servers.items() if not each.jetstream)


class DaemonReport(_Report, frozen=True, kw_only=True):
    """A daemon: what it runs, and how that goes."""

    version: str = ""
    cell: str = ""  # that it works for
    at: float = 0.0  # this machine's clock, seconds since 1970
    key: str = ""  # a fingerprint of secret.key; empty: there is none
    settings: Mapping[str, str] = {}  # those that must be the same everywhere
    ready: Sequence[SourceId] = ()  # sources of others that it could collect at once
    lanes: Sequence[LaneReport] = ()
    journals: Sequence[JournalReport] = ()
    bus: BusReport | None = None


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DaemonReport).decode


def decode(stored: bytes) -> DaemonReport:
    """The report in a row; an empty one when another version wrote it in another form."""
    try:
        return _decode(stored)
    except msgspec.MsgspecError:
        return DaemonReport()
