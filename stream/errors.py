"""Everything that can go wrong, as one tree.

`TwitterstreamError`       a sentence for a person: what is wrong, and what to do
├─ `ConfigError`           wrong use or wrong settings; exit code 2
├─ `InvalidQuery`          a track's value cannot be understood; the sentence is stored in its row
├─ `InvalidField`          one of the values of a request is wrong; `field` names it
├─ `Reject`                a frame cannot be stored; it is kept raw, under a reason of a closed list
├─ `JournalFull`           the disk budget is used up: the source pauses until there is room
├─ `DatabaseAway`          Postgres cannot do it now, but the same call may work later
├─ `RowRefused`            Postgres refuses the data itself: trying again would not help
├─ `InvalidPosition`       where a look-back should continue cannot be understood
├─ `ConnectError`          a connection failed or ended; `retry` says when to try again
└─ `Broken`                an invariant of our own is broken: the program stops with exit code 1
"""

from collections.abc import Callable
from typing import Literal


class TwitterstreamError(Exception):
    """Something a person should read; its text is a whole sentence with the remedy."""


class ConfigError(TwitterstreamError):
    """Wrong settings or wrong use."""


class InvalidQuery(TwitterstreamError):
    """An invalid query as a track's value; `span`: the part that is wrong, None: all of it."""

    def __init__(self, message: str, span: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.span = span


class InvalidField(TwitterstreamError):
    """A wrong value of a request; `field`: its name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


RejectReason = Literal[
    "too_large",  # longer than a frame may be
    "not_utf8",  # not valid UTF-8
    "not_json",  # torn, or not JSON
    "not_object",  # JSON, but not an object
    "too_deep",  # nested deeper than a parser's stack
    "no_id",  # a tweet without a usable id
    "bad_shape",  # not a message of its network, or a required part has the wrong type
    "refused",  # Postgres refuses the row
    "damaged",  # the disk did not give back what was written
]


class Reject(TwitterstreamError):
    """A frame that cannot be stored; `detail` is for programmers: where decoding fails."""

    def __init__(self, reason: RejectReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class JournalFull(TwitterstreamError):
    """The journal may not grow now; the text names the limit, the place and the remedy."""


class DatabaseAway(TwitterstreamError):
    """Postgres is away, restarting, read-only or failing over; try again later."""


class RowRefused(TwitterstreamError):
    """Postgres refuses one of the values it was given."""

    constraint = ""  # name of the constraint in sql/schema/tables.sql that refuses; empty: none


class InvalidPosition(TwitterstreamError):
    """A position to continue at that is not from this program; begin from the start instead."""


RetryMode = Literal[
    "network", "http", "rate_limit", "connection_limit", "drop", "final", "fault", "paused"
]
FailureCode = Literal[
    "",  # anything else; see the reason
    "credentials",  # the network does not accept them
    "clock",  # of this machine: so wrong that signatures are rejected
    "plan",  # the account's plan does not include this
    "quota",  # the account's quota or credits are used up
    "proxy",  # it is unreachable, or refuses to connect
    "foreign",  # another server answered: a firewall, a login page
]


class ConnectError(TwitterstreamError):
    """An attempt to connect that failed, or a connection that ended.

    `retry` chooses the delay:
    - `network`, `http`, `rate_limit`: the back-off policy of this name;
    - `connection_limit`: the network still counts the last connection as open;
    - `drop`: an open connection ended, so the first retry has no delay;
    - `final`: a person must act; the source is `failed`; retried every `retry_failed_interval`;
    - `fault`: an error in this program; the source is `failed`, but the next retry is sooner;
    - `paused`: a quota is used up; the source waits until `retry_at`.
    `retry_at`: seconds since 1970 before which the network asks clients not to reconnect.
    `code` distinguishes failures with different remedies.
    `status`: of the response, or the code that closed a WebSocket; 0: there was none.
    """

    def __init__(
        self,
        reason: str,
        retry: RetryMode,
        retry_at: float | None = None,
        code: FailureCode = "",
        status: int = 0,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry: RetryMode = retry
        self.retry_at = retry_at
        self.code: FailureCode = code
        self.status = status

    def reworded(self, words: Callable[[str], str]) -> "ConnectError":
        """The same error with a changed reason, such as one without credentials."""
        return ConnectError(words(self.reason), self.retry, self.retry_at, self.code, self.status)

    def with_status(self, status: int) -> "ConnectError":
        """The same error, with the status of the response."""
        return ConnectError(self.reason, self.retry, self.retry_at, self.code, status)


class BusAway(TwitterstreamError):
    """The bus cannot do it now; the same call may work later."""


class Broken(TwitterstreamError):
    """An invariant of our own data is broken; never caused by external input."""


class PositionMoved(Broken):
    """A journal's position is not where its writer has left it: another one has moved it."""


class CommitsLost(PositionMoved):
    """Postgres has lost commits that it had confirmed; the journal has what they stored."""


def is_broken(error: BaseException) -> bool:
    """Whether this error, or one of its group, must end the program."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_broken(each) for each in error.exceptions)
    return isinstance(error, Broken)


def unexpected(error: BaseException) -> str:
    """A sentence about an unexpected error; the details are in the log only."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"unexpected error in twitterstream ({type(error).__name__}); see its log"
