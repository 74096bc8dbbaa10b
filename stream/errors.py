"""Everything that can go wrong, as one tree.

`TwitterstreamError`       a sentence for a person: what is wrong, and what to do
├─ `ConfigError`           wrong use or wrong settings; exit code 2
├─ `InvalidQuery`          a track's value cannot be understood; the sentence goes into its row
├─ `Reject`                a frame cannot be stored; it is kept raw, under a reason of a closed list
├─ `JournalFull`           the disk budget is used up: the source pauses until there is room
├─ `DatabaseAway`          Postgres cannot do it now, but the same call may work later
├─ `RowRefused`            Postgres refuses the data itself: trying again would not help
├─ `ConnectError`          a network did not let us in; says which ladder to climb
└─ `Broken`                an invariant of our own is broken: the program ends loudly, exit code 1
"""

from collections.abc import Callable
from typing import Literal, get_args


class TwitterstreamError(Exception):
    """Something a person should read; its text is a whole sentence with the remedy."""


class ConfigError(TwitterstreamError):
    """Wrong settings or wrong use."""


class InvalidQuery(TwitterstreamError):
    """A track's value that cannot be understood."""


RejectReason = Literal[
    "too_large",  # longer than a frame may be
    "not_utf8",  # bytes that are no UTF-8
    "not_json",  # torn, or no JSON at all
    "not_object",  # JSON, but no object
    "too_deep",  # nested deeper than a parser's stack
    "no_id",  # a tweet without a usable id
    "bad_shape",  # an object whose required parts have the wrong type
    "refused",  # Postgres refuses the row
]
REJECT_REASONS: tuple[RejectReason, ...] = get_args(RejectReason)


class Reject(TwitterstreamError):
    """A frame that cannot be stored; `detail` tells a programmer where it breaks."""

    def __init__(self, reason: RejectReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class JournalFull(TwitterstreamError):
    """The journal may not grow now; the sentence says which limit, where, and the remedy."""


class DatabaseAway(TwitterstreamError):
    """Postgres is away, restarting, read-only or failing over; try again later."""


class RowRefused(TwitterstreamError):
    """Postgres refuses one of the values it was given."""


Ladder = Literal["network", "http", "rate_limit", "slot", "drop", "final", "paused"]
FailureCode = Literal[
    "",  # anything else; the reason says it
    "credentials",  # the network does not accept them
    "clock",  # of this machine: wrong by so much that no signature is taken
    "plan",  # the account may not do this
    "quota",  # the account has had all that it paid for
]


class ConnectError(TwitterstreamError):
    """An attempt to connect that failed, or a connection that ended.

    `ladder` chooses the wait: the network's three back-off ladders, `slot` (the network thinks that
    the last connection is still open), `drop` (an open connection ended: come back at once),
    `final` (a person must act: the source is `failed`), or `paused` (a quota is spent: wait until
    `retry_at`, no retry loop).
    `retry_at` is a time in seconds since the epoch before which the network said not to come back.
    `code` tells those failures apart that a person mends in different ways.
    """

    def __init__(
        self,
        reason: str,
        ladder: Ladder,
        retry_at: float | None = None,
        code: FailureCode = "",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.ladder: Ladder = ladder
        self.retry_at = retry_at
        self.code: FailureCode = code

    def reworded(self, words: Callable[[str], str]) -> "ConnectError":
        """The same with a reason in other words, as without credentials."""
        return ConnectError(words(self.reason), self.ladder, self.retry_at, self.code)


class Broken(TwitterstreamError):
    """Our own data or state contradicts itself; never caused by what comes from outside."""
