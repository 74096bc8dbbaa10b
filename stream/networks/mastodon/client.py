"""The client of one Mastodon server: channels over a WebSocket, or server-sent events instead.

Mastodon reference §1 to §4. Channels are subscribed to and unsubscribed from on the open WebSocket,
so a changed plan interrupts nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from urllib.parse import quote

import msgspec

from stream.backoff import Clock
from stream.config import Settings
from stream.errors import ConnectError
from stream.networks.base import (
    ConnectionLimits,
    NothingAccepted,
    Plan,
    Reporter,
    RuleOwner,
)
from stream.networks.gap_interface import RefillPage
from stream.networks.http import NetworkHttp
from stream.networks.http_stream import HttpStream, open_stream
from stream.networks.mastodon.account_check import account_sentences, describe_access
from stream.networks.mastodon.deletion_lookup import DeletionLookup
from stream.networks.mastodon.plan import Channel, Choice, MastodonPlan, choose_channels
from stream.networks.mastodon.refill import Refill
from stream.networks.mastodon.server import HOW_TO_GET_A_TOKEN, ServerApi, ServerInfo, refusal
from stream.networks.mastodon.server_sent_events import BEGINNING, EventFraming, MergedStreams
from stream.networks.mastodon.watched_stream import WatchedStream
from stream.networks.response import Response
from stream.networks.websocket import WebSocketOptions, WebSocketStream, open_websocket
from stream.notes import MissedGap
from stream.tweet import NetworkCursor, Source

ADDRESS = "https://mastodon.social"
PATH = "/api/v1/streaming"
WINDOW = 300.0  # seconds; servers count requests in windows of 5 minutes
DEBOUNCE = 1.0  # seconds; edits in quick succession make one change of channels
REFRESH_INTERVAL = 600.0  # seconds; a server may switch its feeds off
EVENTS_FOR = 3600.0  # seconds until the WebSocket is tried again after it failed
DEAD_WEBSOCKETS_MAX = 2  # WebSockets without a byte before server-sent events are used
EVENT_CHANNELS_MAX = 8  # responses open at once; each is a connection
_FINAL = (401, 403)


class MastodonClient:
    """See `base.Client`."""

    def __init__(
        self, source: Source, settings: Settings, clock: Clock, reporter: Reporter
    ) -> None:
        self.clock = clock
        self.reporter = reporter
        self.source = source
        self.limits = settings.mastodon
        self.connection_limits = connection_limits(settings)
        self.http = NetworkHttp(source, clock, ADDRESS)
        token = source.secrets.get("access_token", "").strip()
        self.api = ServerApi(self.http, token)
        self.refill = Refill(self.api, settings.mastodon.max_refill_pages)
        lookups = settings.mastodon.max_deletion_lookups
        self.deletion_lookup = DeletionLookup(self.api, lookups) if lookups else None
        self.server: ServerInfo | None = None
        self.choice = Choice()
        self._missing = missing_credentials(source.secrets)
        self._longest = settings.max_frame_bytes
        self._plan: MastodonPlan | None = None
        self._changed = asyncio.Event()
        self._socket: WebSocketStream | None = None  # the newest
        self._in_force: frozenset[Channel] = frozenset()
        self._dead_websockets = 0
        self._events_until = float("-inf")
        self._checked_account = False

    def set_plan(self, plan: Plan) -> None:
        """See `base.Client`."""
        assert isinstance(plan, MastodonPlan)
        self._plan = plan
        self._choose()
        self._changed.set()

    def owners_of_rule(self, rule: str) -> tuple[RuleOwner, ...]:
        """A channel says nothing about tracks."""
        del rule
        return ()

    def resume_after(self, cursor: NetworkCursor) -> None:
        """Mastodon sends nothing again; see `missed`."""

    def missed(self, gaps: Sequence[MissedGap], until: float) -> AsyncIterator[RefillPage]:
        """See `gap_interface.RefillingClient`."""
        return self.refill.pages(self.channels, gaps, until)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels that the current plan needs on this server."""
        return self.choice.channels

    # -- connecting -------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Ask what the server offers, and say what it does not. See `base.Client`."""
        if self._missing:
            text = f"this source needs the secret access_token. {HOW_TO_GET_A_TOKEN}"
            raise ConnectError(text, "final", code="credentials")
        self.server = await self.api.info()
        self._choose()
        if not self.choice.channels:
            why = next(iter(self.choice.refused.values()), "no track can be followed here")
            raise NothingAccepted(f"{self.server.name}: {why}", "final")

    def _choose(self) -> None:
        """Choose the channels for the plan, as far as both are known."""
        if self._plan is None or self.server is None:
            return
        self.choice = choose_channels(self._plan, self.server.offer, self.limits.max_hashtags)
        self.reporter.report_refused(self.choice.refused)
        self.reporter.report_reach(self.choice.reach)

    async def connect(self) -> WatchedStream:
        """See `base.Client`."""
        assert self.server is not None
        self._note_dead_websocket()
        http = NetworkHttp(
            msgspec.structs.replace(self.source, url=self.server.streaming), self.clock, ADDRESS
        )
        channels = self.choice.channels
        if self.clock.monotonic() >= self._events_until:
            socket = await self._open_websocket(http)
            if socket is not None:
                self._socket, self._in_force = socket, frozenset()
                try:
                    await self._subscribe(socket, channels)
                except BaseException:
                    await socket.close()
                    raise
                return self._watched(socket)
        self._socket = None
        try:
            events = await self._open_events(http, channels)
        except ConnectError:
            self._events_until = float("-inf")  # no better than the WebSocket
            raise
        self._in_force = frozenset(channels)
        return self._watched(events)

    def _watched(self, stream: WebSocketStream | MergedStreams) -> WatchedStream:
        assert self.server is not None
        return WatchedStream(stream, self.clock, self.reporter, self.server.name, self._has_feed)

    def _has_feed(self) -> bool:
        return any(not channel.tag for channel in self._in_force)

    async def _open_websocket(self, http: NetworkHttp) -> WebSocketStream | None:
        """None when something on the way cannot do WebSockets."""
        options = WebSocketOptions(self._longest)
        answer = await open_websocket(http, PATH, self.api.headers, options)
        if isinstance(answer, WebSocketStream):
            return answer
        error = refusal(answer, self.clock.time()).reworded(http.redact)
        if error.retry == "rate_limit" or error.code == "credentials":
            raise error
        if answer.status >= 500:  # maybe the server has a problem, and not its WebSocket alone
            self._dead_websockets += 1
            if self._dead_websockets < DEAD_WEBSOCKETS_MAX:
                raise error
        self._use_events(f"the WebSocket could not be opened: {error.reason}")
        return None

    def _note_dead_websocket(self) -> None:
        """Count connections on which nothing arrived, not even a ping."""
        last, self._socket = self._socket, None
        if last is None:
            return
        if last.received or last.keepalives:
            self._dead_websockets = 0
            return
        self._dead_websockets += 1
        if self._dead_websockets >= DEAD_WEBSOCKETS_MAX:
            self._use_events("nothing arrives over the WebSocket")

    def _use_events(self, why: str) -> None:
        self._dead_websockets = 0
        self._events_until = self.clock.monotonic() + EVENTS_FOR
        self.reporter.record_event(f"using server-sent events for an hour: {why}")

    async def _open_events(self, http: NetworkHttp, channels: Sequence[Channel]) -> MergedStreams:
        if len(channels) > EVENT_CHANNELS_MAX:
            text = (
                f"only {EVENT_CHANNELS_MAX} of {len(channels)} channels can be followed without a"
                " WebSocket"
            )
            self.reporter.record_event(text)
        async with contextlib.AsyncExitStack() as opened:
            streams: list[HttpStream] = []
            for channel in channels[:EVENT_CHANNELS_MAX]:
                stream = await self._open_event_stream(http, channel)
                opened.push_async_callback(stream.close)
                streams.append(stream)
            opened.pop_all()
            return MergedStreams(streams)
        raise AssertionError("returned or raised")

    async def _open_event_stream(self, http: NetworkHttp, channel: Channel) -> HttpStream:
        framing = EventFraming(self._longest, _names(channel))
        answer = await open_stream(
            http, "GET", _event_path(channel), self.api.headers, framing, beginning=BEGINNING
        )
        if isinstance(answer, Response):
            raise refusal(answer, self.clock.time()).reworded(http.redact)
        return answer

    # -- channels of the open connection ----------------------------------------------------------

    async def _subscribe(self, socket: WebSocketStream, channels: Iterable[Channel]) -> None:
        """Make these the channels of an open WebSocket; new ones first."""
        wanted = frozenset(channels)
        for channel in sorted(wanted - self._in_force):
            await socket.send(_command("subscribe", channel))
        for channel in sorted(self._in_force - wanted):
            await socket.send(_command("unsubscribe", channel))
        self._in_force = wanted

    async def sync_filter(self) -> None:
        """Follow the plan, and what the server offers. See `base.Client`.

        Returns when only new responses can change the channels of server-sent events.
        """
        await self._check_account()
        while True:
            self._changed.clear()
            if self._socket is not None and self.choice.channels:
                with contextlib.suppress(ConnectError):  # reading finds the same
                    await self._subscribe(self._socket, self.choice.channels)
            elif self._in_force and self._in_force != frozenset(self.choice.channels):
                return
            try:
                async with self.clock.timeout(REFRESH_INTERVAL):
                    await self._changed.wait()
                await self.clock.sleep(DEBOUNCE)
            except TimeoutError:
                await self._refresh()

    async def _refresh(self) -> None:
        """Look again at what the server offers."""
        if self.server is None or self._missing:
            return
        with contextlib.suppress(ConnectError):  # the connection goes on with what was known
            self.server = await self.api.info()
            self._choose()

    async def _check_account(self) -> None:
        """Say once what the account of the token hides."""
        if self._checked_account or self._missing or self.server is None:
            return
        with contextlib.suppress(ConnectError):  # additional information only
            for sentence in await account_sentences(self.api):
                self.reporter.record_event(sentence)
            self._checked_account = True

    def fatal_error_in(self, body: bytes) -> ConnectError | None:
        """A refused subscription; the server leaves the socket open. See `base.Client`."""
        if not body.startswith(b'{"error"'):
            return None
        try:
            error = msgspec.json.decode(body, type=_StreamError)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if error.status not in _FINAL:
            return None
        text = self.http.redact(f"the server refuses a channel ({error.status}: {error.error})")
        return ConnectError(text, "final", code="credentials")


class _StreamError(msgspec.Struct):
    error: str
    status: int = 0


def _names(channel: Channel) -> tuple[str, ...]:
    return (channel.stream, channel.tag) if channel.tag else (channel.stream,)


def _command(kind: str, channel: Channel) -> str:
    command = {"type": kind, "stream": channel.stream}
    if channel.tag:
        command["tag"] = channel.tag
    return msgspec.json.encode(command).decode()


def _event_path(channel: Channel) -> str:
    path = f"{PATH}/{channel.stream.replace(':', '/')}"
    return f"{path}?tag={quote(channel.tag, safe='')}" if channel.tag else path


def connection_limits(settings: Settings) -> ConnectionLimits:
    """How often the client may connect, and how long a server may be silent."""
    limits = settings.mastodon
    return ConnectionLimits(limits.silence_timeout, limits.connect_attempts, WINDOW)


def missing_credentials(secrets: Mapping[str, str]) -> list[str]:
    """Names of missing secrets; a token that is not valid in a header counts as missing."""
    token = secrets.get("access_token", "").strip()
    return [] if token and token.isascii() and token.isprintable() else ["access_token"]


async def check_connection(source: Source, settings: Settings, clock: Clock) -> str:
    """Read what the collector reads before it connects, and one post; opens no stream."""
    del settings
    if missing_credentials(source.secrets):
        text = "the access_token is missing, or contains characters that no token has"
        raise ConnectError(text, "final", code="credentials")
    http = NetworkHttp(source, clock, ADDRESS)
    return await describe_access(ServerApi(http, source.secrets["access_token"].strip()))
