"""The state of one simulated Mastodon server: statuses, tokens, and who listens to which channel.

Written from the Mastodon reference alone: documentation of 2026 and streaming/index.js of 4.6.
"""

import asyncio
import contextlib
import json
import re
import time
import unicodedata
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, cast

import msgspec
from aiohttp import web

from simulator.sockets import drop

PAGINGS = 300  # requests for timelines in 15 minutes
STATUSES_MAX = 50_000  # that timelines hold
PUBLIC = ("public", "public:local", "public:remote")
HASHTAG = ("hashtag", "hashtag:local")
_LATIN = re.compile("[\u00c0-\u017f]")

Status: TypeAlias = dict[str, object]
Channel: TypeAlias = tuple[str, ...]


class Token(msgspec.Struct):
    """An access token; `user` False: of an app without an account."""

    scopes: tuple[str, ...] = ("read:statuses",)
    user: bool = True


class Rules(msgspec.Struct):
    """What the site allows, and how fast its clocks run. Tests change it while it runs."""

    live_local: str = "public"  # or authenticated, disabled
    live_remote: str = "public"
    hashtag_local: str = "public"
    hashtag_remote: str = "public"
    has_lookup: bool = True  # GET /api/v1/statuses, since 4.3
    limited: frozenset[str] = frozenset()  # ids of statuses whose authors are limited here
    has_v2: bool = True  # older software has GET /api/v1/instance only
    websocket_status: int = 0  # answer this instead of upgrading
    is_mute: bool = False  # neither posts nor heartbeats
    has_only_deletes: bool = False  # feeds carry no posts, although the instance says otherwise
    is_paging_refused: bool = False  # answer 429 to every request for a timeline
    are_tokens_revoked: bool = False
    pagings: int = PAGINGS
    time_scale: float = 1.0
    streaming: str = ""  # address of another streaming host
    blocks: int = 0
    mutes: int = 0


class Listener:
    """A connection and its channels."""

    def __init__(self, token: str, *, is_socket: bool) -> None:
        self.token = token
        self.is_socket = is_socket
        self.channels: dict[Channel, None] = {}
        self.queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.opened = time.time()
        self.silent_until = 0.0  # monotonic
        self.request: web.Request | None = None

    @property
    def is_silent(self) -> bool:
        """Whether neither messages nor heartbeats are sent at the moment."""
        return time.monotonic() < self.silent_until

    def end(self, *, torn: bool = False) -> None:
        """End it: after what is queued, or by a reset."""
        if torn and self.request is not None:
            drop(self.request, reset=True)
        self.silent_until = 0.0
        self.queue.put_nowait(None)


def tag_key(tag: str) -> str:
    """The name under which a hashtag is listed."""
    text = unicodedata.normalize("NFKC", tag).lower()
    folded = _LATIN.sub(lambda found: unicodedata.normalize("NFD", found[0])[0], text)
    return "".join(c for c in folded if c.isalnum() or c in "_·" or unicodedata.combining(c))


class MastodonSite:
    """The server of one site; `publish`, `edit` and `delete` are what its users do."""

    def __init__(
        self,
        rules: Rules | None = None,
        tokens: Mapping[str, Token] | None = None,
        default: Token | None = None,
    ) -> None:
        self.rules = rules or Rules()
        self.tokens = dict(tokens or {})
        self.default = default  # what every other token is worth
        self.was_heard = False  # a client has subscribed to a channel
        self.statuses: dict[str, Status] = {}  # by id, oldest first
        self.sent: list[tuple[str, str]] = []  # event and id, each once, if anyone listened
        self.requests: deque[str] = deque(maxlen=1000)
        self.commands: list[Mapping[str, str]] = []
        self._listeners: list[Listener] = []
        self._last_id = 0

    # -- what its users do ------------------------------------------------------------------------

    def new_id(self, at: float | None = None) -> str:
        """An id: milliseconds since 1970 above 16 bits."""
        self._last_id = max(int((at or time.time()) * 1000) << 16, self._last_id + 1)
        return str(self._last_id)

    def publish(self, status: Status) -> None:
        """A new status; `id` must be set."""
        self.statuses[str(status["id"])] = status
        if len(self.statuses) > STATUSES_MAX:
            del self.statuses[next(iter(self.statuses))]
        self._send("update", status, status)

    def edit(self, status: Status) -> None:
        """A new version of a status."""
        self.statuses[str(status["id"])] = status
        self._send("status.update", status, status)

    def delete(self, status_id: str) -> None:
        """Delete a status, known or not."""
        self._send("delete", status_id, self.statuses.pop(status_id, None))

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    @property
    def open_listeners(self) -> Sequence[Listener]:
        """The open connections."""
        return tuple(self._listeners)

    @property
    def channels(self) -> set[Channel]:
        """All channels that have subscribers."""
        return {channel for each in self._listeners for channel in each.channels}

    def token(self, name: str) -> Token | None:
        """What a token is worth; None: not accepted."""
        if not name or self.rules.are_tokens_revoked:
            return None
        return self.tokens.get(name, self.default)

    def kill(self, token: str) -> None:
        """Revoke a token; its connections end."""
        self.tokens.pop(token, None)
        for listener in self._listeners:
            if listener.token == token:
                listener.end()

    def drop_all(self, *, torn: bool = False) -> None:
        """End all connections."""
        for listener in self._listeners:
            listener.end(torn=torn)

    def send_raw(self, message: str) -> None:
        """Send this message to every WebSocket."""
        for listener in self._listeners:
            if listener.is_socket:
                listener.queue.put_nowait(message)

    def _send(self, event: str, payload: Status | str, status: Status | None) -> None:
        if self.rules.is_mute or (self.rules.has_only_deletes and event != "delete"):
            return
        reached = False
        for listener in self._listeners:
            for channel in listener.channels:
                if self._carries(channel, event, status):
                    reached = True
                    listener.queue.put_nowait(_message(listener, channel, event, payload))
        if reached:
            self.sent.append((event, payload if isinstance(payload, str) else str(payload["id"])))

    def _carries(self, channel: Channel, event: str, status: Status | None) -> bool:
        """Whether a channel carries this; deletions also where feeds are switched off."""
        kind = channel[0]
        if event == "delete":
            return status is None or len(channel) == 1 or channel[1] in _tags(status)
        assert status is not None
        local, rules = is_local(status), self.rules
        if kind in HASHTAG:
            access = rules.hashtag_local if local else rules.hashtag_remote
        else:
            access = rules.live_local if local else rules.live_remote
        if access == "disabled" or status.get("visibility") != "public":
            return False
        if (kind.endswith(":local") and not local) or (kind.endswith(":remote") and local):
            return False
        if kind in HASHTAG:
            return channel[1] in _tags(status)
        account = cast("dict[str, object]", status["account"])
        answered = status.get("in_reply_to_account_id")
        return not status.get("reblog") and answered in (None, account["id"])

    # -- who listens ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Deliver to this listener meanwhile."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def command(self, listener: Listener, command: Mapping[str, str]) -> str | None:
        """Subscribe or unsubscribe; the error, if there is one. Success is silent."""
        self.commands.append(dict(command))
        stream, tag = command.get("stream", ""), tag_key(command.get("tag", ""))
        if stream not in PUBLIC + HASHTAG:
            return "Unknown stream type"
        if stream in HASHTAG and not tag:
            return "Missing tag name parameter"
        channel = (stream, tag) if stream in HASHTAG else (stream,)
        if command.get("type") == "subscribe":
            listener.channels[channel] = None
            self.was_heard = True
        else:
            listener.channels.pop(channel, None)
        return None

    def timeline(self, channel: Channel) -> list[Status]:
        """What a channel has carried, oldest first."""
        return [each for each in self.statuses.values() if self._carries(channel, "update", each)]


def _message(listener: Listener, channel: Channel, event: str, payload: Status | str) -> str:
    """One message: an object with a payload in a string, or the lines of an event."""
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    if not listener.is_socket:
        return f"event: {event}\ndata: {text}\n\n"
    message = {"stream": [*channel], "event": event, "payload": text}
    return json.dumps(message, ensure_ascii=False)


def is_local(status: Status) -> bool:
    """Whether the author has an account on this server."""
    account = cast("dict[str, object]", status["account"])
    return "@" not in str(account["acct"])


def _tags(status: Status) -> set[str]:
    tags = cast("list[dict[str, str]]", status.get("tags") or [])
    return {tag_key(tag["name"]) for tag in tags}
