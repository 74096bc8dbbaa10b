"""The posts of one account as its own server, a PDS, lists them, newest first."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

import msgspec

from stream.backoff import Clock
from stream.config.settings import BlueskySettings
from stream.errors import ConnectError
from stream.networks.bluesky.account_requests import body_as, get
from stream.networks.bluesky.decode import POSTS
from stream.networks.response import Response, foreign_response
from stream.text import plain
from stream.tweet import AccountState

LIST_RECORDS = "/xrpc/com.atproto.repo.listRecords"
PAGE_POSTS = 100  # the most that a server lists at once
PAGE_BYTES_MAX = 16 << 20

# A key made of the time: microseconds since 1970, and the number of the clock.
_TID_DIGITS = "234567abcdefghijklmnopqrstuvwxyz"
_TID = re.compile(f"[2-7a-j][{_TID_DIGITS}]{{12}}")
_TID_CLOCK_BITS = 10

_HIDDEN: Mapping[str, tuple[AccountState, str]] = {
    "RepoDeactivated": ("deactivated", "the account is deactivated"),
    "RepoSuspended": ("suspended", "the account is suspended"),
    "RepoTakendown": ("takendown", "the account was taken down"),
}


class AccountHidden(ConnectError):
    """The server hides the account, and so its posts."""

    def __init__(self, reason: str, state: AccountState) -> None:
        super().__init__(reason, "final", status=400)
        self.state: AccountState = state


class StoredPost(msgspec.Struct):
    """A post as its author's server keeps it."""

    uri: str
    cid: str  # names the version
    value: msgspec.Raw

    @property
    def rkey(self) -> str:
        """Its key among the posts of its author; rises with time."""
        return self.uri.rpartition("/")[2]

    @property
    def written_at(self) -> float | None:
        """When it was written, in seconds since 1970, by its key; None: the key has no time."""
        if not _TID.fullmatch(self.rkey):
            return None
        number = 0
        for digit in self.rkey:
            number = number * len(_TID_DIGITS) + _TID_DIGITS.index(digit)
        return (number >> _TID_CLOCK_BITS) / 1e6


class _Listed(msgspec.Struct):
    records: list[StoredPost]
    cursor: str | None = None


class PostPage(msgspec.Struct, frozen=True):
    """Posts of an account.

    `cursor`: where the next page begins; empty: this is the last one.
    `next_at`: seconds since 1970 before which the server answers no further request; None: at once.
    """

    posts: list[StoredPost]
    cursor: str
    next_at: float | None = None

    @property
    def oldest_at(self) -> float:
        """When its last post was written, in seconds since 1970; infinite: not known."""
        at = self.posts[-1].written_at if self.posts else None
        return math.inf if at is None else at


class _ListError(msgspec.Struct):
    error: str = ""


class Repository:
    """The posts of one account on one server. Raises ConnectError."""

    def __init__(self, settings: BlueskySettings, clock: Clock, did: str, server: str) -> None:
        self.did = did
        self._server = server
        self._clock = clock
        self._public_only = not settings.private_hosts

    async def page(self, cursor: str) -> PostPage:
        """The posts older than this cursor; empty: the newest ones."""
        query = {"repo": self.did, "collection": POSTS, "limit": str(PAGE_POSTS)}
        path = f"{LIST_RECORDS}?{urlencode(query | ({'cursor': cursor} if cursor else {}))}"
        response = await get(
            self._clock,
            self._server,
            path,
            public_only=self._public_only,
            max_bytes=PAGE_BYTES_MAX,
        )
        if response.status != 200:
            raise self._refusal(response)
        try:
            # Strictly: what is left out here would look like a post that was deleted or emptied.
            listed = msgspec.json.decode(response.body, type=_Listed)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            text = f"{self._server} answered with a list of posts that cannot be read: {error}"
            raise ConnectError(plain(text), "http", code="foreign") from error
        used_up = response.headers.get("ratelimit-remaining") == "0"
        next_at = response.retry_at(self._clock.time()) if used_up else None
        return PostPage(listed.records, (listed.cursor or "") if listed.records else "", next_at)

    def _refusal(self, response: Response) -> ConnectError:
        now = self._clock.time()
        if response.status == 400:
            error = body_as(response, _ListError).error
            text = f"{self._server} does not list the posts of {self.did}"
            if error in _HIDDEN:
                state, why = _HIDDEN[error]
                return AccountHidden(f"{text}: {why}", state)
            why = "the account is deleted, or has moved to another server"
            return ConnectError(f"{text}: {why}", "final", status=400)
        if response.status == 429:
            text = f"{self._server} answered 429: too many requests"
            return ConnectError(text, "rate_limit", response.retry_at(now), status=429)
        return foreign_response(response, now, "com.atproto.repo.listRecords")


def message_of(did: str, post: StoredPost, operation: str, now: float) -> bytes:
    """A post as the message of Jetstream, v2 wire, with which it would have come.

    It lacks what the author's server does not know: the number of the event and of the revision.
    """
    payload = {
        "$type": "network.bsky.jetstream.subscribeEvents#commit",
        "did": did,
        "time": datetime.fromtimestamp(now, UTC)
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z"),
        "operation": operation,
        "collection": POSTS,
        "rkey": post.rkey,
        "record": post.value,
        "cid": post.cid,
    }
    return msgspec.json.encode({"$type": "message", "payload": payload})
