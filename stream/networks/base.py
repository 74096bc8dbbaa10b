"""The interface of a network: plans, clients, streams, and what a client reports."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar

import msgspec

from stream.backoff import BackoffName, Clock
from stream.config import Settings
from stream.errors import ConnectError, InvalidPosition
from stream.matcher import Matcher
from stream.notes import StreamOpened
from stream.query import Query
from stream.tweet import EventPosition, Message, NetworkCursor, ReachHow, Source, TrackId

T = TypeVar("T")


class PlannedTrack(msgspec.Struct, frozen=True):
    """A track to include in a plan."""

    track_id: TrackId
    query: Query


class RuleOwner(msgspec.Struct, frozen=True):
    """A track that is credited when the network says that a rule matched."""

    track_id: TrackId
    term: str


class Plan(msgspec.Struct, frozen=True):
    """The union of all tracks, as one network can express it. Networks extend it.

    `refused`: tracks that this network cannot follow at all, each with a reason.
    `caveats`: tracks that it follows only in part, each with a reason.
    `rule_owners`: by the tag of a rule; used to credit tracks. Empty where the network never says
    which rule matched.
    `asked`: number of terms requested from the network; 0 when there is no need to connect.
    `how`: how the posts of each track are found that is not refused.
    """

    refused: Mapping[TrackId, str]
    caveats: Mapping[TrackId, str]
    rule_owners: Mapping[str, tuple[RuleOwner, ...]]
    asked: int = 0
    how: Mapping[TrackId, ReachHow] = {}


class ConnectionLimits(msgspec.Struct, frozen=True):
    """How long a network may be silent, and how often a client may connect."""

    silence: float  # seconds without a byte after which a connection is considered dead
    attempts: int  # connections …
    window: float  # … in this number of seconds
    reserve: int = 0  # attempts that filter changes leave for reconnecting after failures
    after_drop: BackoffName = "http"  # how connections that keep ending are retried


class Usage(msgspec.Struct, frozen=True):
    """How much of one of a network's limits a plan uses."""

    what: str  # rules, phrases
    used: int
    limit: int


class NothingAccepted(ConnectError):
    """The network refuses everything in the plan; a new plan may help at once."""


class Stream(Protocol):
    """One open connection."""

    @property
    def received(self) -> int:
        """Bytes received on this connection so far."""
        ...

    @property
    def keepalives(self) -> int:
        """Keep-alives received on this connection so far."""
        ...

    @property
    def opened(self) -> StreamOpened | None:
        """Host and wire of a network that can resume; None for all others."""
        ...

    @property
    def recovered_from(self) -> float | None:
        """When the first event happened, in seconds since 1970, if this connection resumes."""
        ...

    async def read(self) -> list[bytes] | None:
        """Wait for bytes; returns the complete messages among them, None at the end.

        The list is empty after a keep-alive or a part of a message. ConnectError (`drop`) when the
        connection breaks.
        """
        ...

    def rest(self) -> list[bytes]:
        """An incomplete last message, if there is one."""
        ...

    async def close(self) -> None:
        """Close the socket completely; never raises."""
        ...


class Client(Protocol):
    """The client of one source. Every call may be cancelled at any time."""

    connection_limits: ConnectionLimits

    def set_plan(self, plan: Plan) -> None:
        """Follow this plan from now on; `sync_filter` or the next connection applies it."""
        ...

    def owners_of_rule(self, rule: str) -> tuple[RuleOwner, ...]:
        """The tracks of a rule that the network names, by its tag or id."""
        ...

    def resume_after(self, cursor: NetworkCursor) -> None:
        """Resume after this event when connecting first; ignored where networks never resend."""
        ...

    async def prepare(self) -> None:
        """Prepare connecting; this is not an attempt. Raises ConnectError."""
        ...

    async def connect(self) -> Stream:
        """Connect with the current plan. Raises ConnectError."""
        ...

    async def sync_filter(self) -> None:
        """Keep the network's filter equal to the plan, while connected or idle.

        Returns when only a new connection can apply the plan.
        """
        ...

    def fatal_error_in(self, body: bytes) -> ConnectError | None:
        """The error if this message ends the connection, with the way to retry."""
        ...


class CoverageGap(msgspec.Struct, frozen=True):
    """A gap of some tracks: from `began` the network has no rule for a part of their queries."""

    tracks: tuple[TrackId, ...]
    began: float  # seconds since 1970
    why: str


class Reporter(Protocol):
    """Receives what a client reports about the network and the plan."""

    def record_event(self, text: str) -> None:
        """A sentence for `events`."""
        ...

    def report_refused(self, tracks: Mapping[TrackId, str]) -> None:
        """The network refuses these tracks; in part, if their reach is reported as well."""
        ...

    def report_reach(self, tracks: Mapping[TrackId, str]) -> None:
        """What this source delivers of these tracks, where the plan does not say it."""
        ...

    def report_stale(self, tracks: Mapping[TrackId, str]) -> None:
        """The network still delivers what these tracks no longer ask for."""
        ...

    def report_mismatch(self, sentence: str) -> None:
        """How the network differs from the plan, for an alert; empty: not at all."""
        ...

    def report_uncovered(self, gap: CoverageGap) -> None:
        """The network has no rule for something at the moment."""
        ...

    def report_covered(self, tracks: Sequence[TrackId] | None, at: float) -> None:
        """The network has rules again for these tracks; None: for all tracks."""
        ...


class SilentReporter:
    """Ignores all reports, for connection tests."""

    def record_event(self, text: str) -> None:
        """See `Reporter`."""

    def report_refused(self, tracks: Mapping[TrackId, str]) -> None:
        """See `Reporter`."""

    def report_reach(self, tracks: Mapping[TrackId, str]) -> None:
        """See `Reporter`."""

    def report_stale(self, tracks: Mapping[TrackId, str]) -> None:
        """See `Reporter`."""

    def report_mismatch(self, sentence: str) -> None:
        """See `Reporter`."""

    def report_uncovered(self, gap: CoverageGap) -> None:
        """See `Reporter`."""

    def report_covered(self, tracks: Sequence[TrackId] | None, at: float) -> None:
        """See `Reporter`."""


RawObject: TypeAlias = Mapping[str, msgspec.Raw]  # a JSON object, its values still text
# For imports: the messages in one recorded object, such as the posts of a page; None when it is not
# of this network.
Unfold: TypeAlias = Callable[[RawObject, bytes], Sequence[bytes] | None]


class Planner(Protocol):
    """Keeps the plan of one network current while tracks are added and removed."""

    def follow(self, track_id: TrackId, query: Query) -> None:
        """Add a track; it must not be in the plan already."""
        ...

    def drop(self, track_id: TrackId) -> None:
        """Remove a track, also one whose adding has failed half-way."""
        ...

    def plan(self) -> Plan:
        """The current plan; immutable."""
        ...

    def news(self) -> set[TrackId]:
        """Tracks whose refusals or caveats may differ between the last two plans."""
        ...


class PastPage(msgspec.Struct, frozen=True):
    """Some messages of earlier posts, for a look-back of a track; may hold none, to show progress.

    `messages`: when each happened or, of an author's history, was read (microseconds since 1970),
    and what `decode` reads, in the network's order.
    `resume`: where to go on after this page, also after a restart and on another host.
    `progress`: from 0 to 1; None: not known.
    `note`: a sentence about what the network does not have; empty: nothing is missing so far.
    """

    messages: Sequence[tuple[int, bytes]]
    resume: str
    progress: float | None = None
    note: str = ""


def decoded_progress(resume: str, kind: type[T]) -> T:
    """What a reader has kept in `PastPage.resume`; InvalidPosition when that is something else."""
    try:
        return msgspec.json.decode(resume, type=kind)
    except msgspec.DecodeError as error:
        raise InvalidPosition(f"not a position of this network: {error}") from error


# Its connection is open until it ends or is closed: `async with aclosing(…)`.
PastPages: TypeAlias = AsyncGenerator[PastPage, None]
# Told why a reader retries at the moment, and "" when it reads again.
ReportRetry: TypeAlias = Callable[[str], None]
# What the network replays since a time (seconds since 1970), or from where an earlier page ended,
# up to the time of the first call. Retries by itself; ConnectError when that does not help.
# InvalidPosition.
PastReader: TypeAlias = Callable[
    [Source, Settings, Clock, float, str | None, ReportRetry], PastPages
]
# The posts of one author (an id or handle), newest first, or from where an earlier page ended, back
# to a time (seconds since 1970; 0: all) or a little further. Retries by itself; ConnectError when
# that does not help. InvalidPosition.
AuthorPastReader: TypeAlias = Callable[
    [str, Settings, Clock, float, str | None, ReportRetry], PastPages
]
# Returns a sentence about the success; raises ConnectError.
ConnectionTest: TypeAlias = Callable[[Source, Settings, Clock], Awaitable[str]]
ClientFactory: TypeAlias = Callable[[Source, Settings, Clock, Reporter], Client]


class Network(msgspec.Struct, frozen=True):
    """The functions of one network's package."""

    planner: Callable[[Settings], Planner]
    decode: Callable[[bytes], Message]
    client: ClientFactory
    address: str  # its default address
    missing_credentials: Callable[[Mapping[str, str]], list[str]]  # their names
    connection_limits: Callable[[Settings], ConnectionLimits]
    usage: Callable[[Plan, Settings], list[Usage]]
    check_connection: ConnectionTest  # whether it would admit a source
    unfold: Unfold  # for imports
    delivers: Mapping[ReachHow, str]  # a sentence for each way in which it delivers
    # Whether it delivers every post: then only those that match are kept.
    unfiltered: bool = False
    may_match: Callable[[bytes, Matcher], bool] | None = None  # an undecoded message, cheaply
    # Of networks that can resume.
    event_position: Callable[[bytes], EventPosition | None] | None = None
    # Whether accounts with this handle must be looked up, as its messages name their ids only.
    looks_up_handle: Callable[[str], bool] | None = None
    hosts: Callable[[Settings], Sequence[str]] | None = None  # instead of `address`, tried in turn
    past: PastReader | None = None  # of networks that can replay what was posted
    author_past: AuthorPastReader | None = None  # of networks that list an author's posts
    # Of these: the handle or id of an account, as people write it; InvalidQuery.
    account_named: Callable[[str], str] | None = None
    test_opens_stream: bool = False  # then the test ends another stream with the same credentials

    def prefilter(self, matcher: Matcher) -> Callable[[bytes], bool] | None:
        """False for undecoded messages that match nothing; None: the network has no such test."""
        may_match = self.may_match
        return None if may_match is None else lambda body: may_match(body, matcher)

    def addresses(self, own: str | None, settings: Settings) -> Sequence[str]:
        """What a source connects to that has this address of its own, or none; in turn."""
        if own:
            return [own]
        return [self.address] if self.hosts is None else self.hosts(settings)

    def keeps_unmatched(self, settings: Settings) -> bool:
        """Whether tweets are stored that match no track, live and by imports."""
        return settings.keep_unmatched and not self.unfiltered

    def plan(self, followed: Sequence[PlannedTrack], settings: Settings) -> Plan:
        """The plan for exactly these tracks."""
        planner = self.planner(settings)
        for each in sorted(followed, key=lambda each: each.track_id):
            planner.follow(each.track_id, each.query)
        return planner.plan()
