"""What every network offers to the rest of the program."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

from stream.backoff import Clock
from stream.config import Settings
from stream.errors import ConnectError
from stream.query import Query
from stream.tweet import Message, Source, TrackId


class Followed(msgspec.Struct, frozen=True):
    """A track that shall be followed now."""

    track_id: TrackId
    query: Query


class Claim(msgspec.Struct, frozen=True):
    """When the network says that this rule matched, the tweet belongs to this track."""

    track_id: TrackId
    term: str


class Plan(msgspec.Struct, frozen=True):
    """The union of all tracks, as one source's network can express it. Networks extend it.

    `refused`: tracks that this network cannot follow at all, each with its sentence.
    `caveats`: tracks that it follows only in part, each with its sentence.
    `claims`: by the tag of a rule; believed for attribution. Empty where the network never says
    which rule matched.
    `asked`: how many things the network is asked for; 0 when there is nothing to connect for.
    """

    refused: Mapping[TrackId, str]
    caveats: Mapping[TrackId, str]
    claims: Mapping[str, tuple[Claim, ...]]
    asked: int = 0


class Pace(msgspec.Struct, frozen=True):
    """How long a network may be silent, and how often one may connect."""

    silence: float  # seconds without a byte after which a connection is dead
    attempts: int  # connections ...
    window: float  # ... in so many seconds
    reserve: int = 0  # attempts that a change of the filter leaves for real failures


class Usage(msgspec.Struct, frozen=True):
    """How much of one of a network's limits a plan takes."""

    what: str  # rules, phrases
    used: int
    most: int


class NothingAccepted(ConnectError):
    """The network refuses all that the plan asks for; another plan may help at once."""


class Stream(Protocol):
    """One open connection."""

    @property
    def received(self) -> int:
        """Bytes so far."""
        ...

    @property
    def keepalives(self) -> int:
        """Keep-alives so far."""
        ...

    async def read(self) -> list[bytes] | None:
        """Wait for bytes; the whole messages among them, None at the end.

        The list is empty after a keep-alive or a part of a message. ConnectError (`drop`) when the
        connection breaks.
        """
        ...

    def rest(self) -> list[bytes]:
        """The beginning of a message that never came to its end, if there is one."""
        ...

    async def close(self) -> None:
        """Close the socket completely; never raises."""
        ...


class Client(Protocol):
    """One source's conversation with its network. Every call may be cancelled at any time."""

    pace: Pace

    def set_plan(self, plan: Plan) -> None:
        """Follow this from now on; `tend` puts it in force."""
        ...

    def believed(self, rule: str) -> tuple[Claim, ...]:
        """To whom a tweet belongs that the network sent for this rule, by its tag or id."""
        ...

    async def prepare(self) -> None:
        """Do what must be done before connecting; costs no attempt. Raises ConnectError."""
        ...

    async def connect(self) -> Stream:
        """Connect with the plan of this moment. Raises ConnectError."""
        ...

    async def tend(self) -> None:
        """Keep the plan in force, for as long as a connection is open or none is needed.

        Returns when only a new connection can bring it in force.
        """
        ...

    def verdict(self, body: bytes) -> ConnectError | None:
        """Whether this message ends the connection, and how to come back then."""
        ...


class Reporter(msgspec.Struct, frozen=True):
    """What a client can tell: a sentence for `events`, and which tracks its network refused."""

    say: Callable[[str], None]
    refused: Callable[[Mapping[TrackId, str]], None]


Planner: TypeAlias = Callable[[Sequence[Followed], Settings], Plan]
# A sentence about what went well; ConnectError says what did not.
Trial: TypeAlias = Callable[[Source, Settings, Clock], Awaitable[str]]
ClientFactory: TypeAlias = Callable[[Source, Settings, Clock, Reporter], Client]


class Network(msgspec.Struct, frozen=True):
    """The doors of one network's package."""

    plan: Planner
    decode: Callable[[bytes], Message]
    client: ClientFactory
    address: str  # where the network itself is
    missing: Callable[[Mapping[str, str]], list[str]]  # names of credentials that are not given
    pace: Callable[[Settings], Pace]
    usage: Callable[[Plan, Settings], list[Usage]]
    trial: Trial  # whether it would let this source in
    trial_opens: bool = False  # a stream, which ends another one with the same credentials
