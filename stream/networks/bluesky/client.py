"""The client of Bluesky's Jetstream: WebSocket, hosts in turn, resuming, compression.

Jetstream reference: v2 wire by default, v1 where a host does not know v2. Nothing is sent: filters
are in the address, and a changed filter is a new connection that resumes.
"""

import asyncio
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

import msgspec

from stream.backoff import Clock
from stream.config import Settings
from stream.errors import ConnectError
from stream.networks.base import ConnectionLimits, Plan, Reporter, RuleOwner, SilentReporter
from stream.networks.bluesky.compression import Dictionaries, Dictionary
from stream.networks.bluesky.decode import urgent
from stream.networks.bluesky.event_position import event_position
from stream.networks.bluesky.hosts import Host, Hosts, Wire
from stream.networks.bluesky.plan import BlueskyPlan
from stream.networks.http import NetworkHttp
from stream.networks.response import Response, foreign_response
from stream.networks.websocket import WebSocketOptions, WebSocketStream, open_websocket
from stream.notes import StreamOpened
from stream.tweet import NetworkCursor, Source

ADDRESS = "https://jetstream.us-east.bsky.network"
PATHS: Mapping[Wire, str] = {
    "v2": "/xrpc/network.bsky.jetstream.subscribeEvents",
    "v1": "/subscribe",
}
COLLECTION = "app.bsky.feed.post"
SUBPROTOCOL = "xrpc.v1.json"

REWIND = 10_000_000  # microseconds before the last event, on another host or wire
DEBOUNCE = 2.0  # seconds after the last edit
ATTEMPTS, WINDOW = 60, 300.0  # our own limit: no server states one
TEST_CONNECT_TIMEOUT, TEST_POST_TIMEOUT = 4.0, 5.0  # seconds, of a test, with each host
SMALLEST_TIME = 10**15  # of cursors: smaller ones are sequence numbers


class _Problem(msgspec.Struct):
    """An error before the upgrade (Jetstream reference §7)."""

    error: str = ""
    message: str = ""


class BlueskyClient:
    """See `base.Client`."""

    def __init__(
        self, source: Source, settings: Settings, clock: Clock, reporter: Reporter
    ) -> None:
        self.clock = clock
        self.reporter = reporter
        self.settings = settings.bluesky
        self.connection_limits = connection_limits(settings)
        self.hosts = Hosts(source, settings.bluesky)
        self._source = source
        self._longest = settings.max_frame_bytes
        self._plan: BlueskyPlan | None = None
        self._in_force: tuple[str, ...] | None = None  # accounts
        self._changed = asyncio.Event()
        self.cursor: NetworkCursor | None = None  # of the newest event received
        self._stream: JetstreamStream | None = None  # the newest; None: its host is left
        self._floor = False  # the last cursor was too old: resume where the host begins
        self._dictionaries = Dictionaries(settings.bluesky.compression)

    def set_plan(self, plan: Plan) -> None:
        """See `base.Client`."""
        assert isinstance(plan, BlueskyPlan)
        self._plan = plan
        self._changed.set()

    def owners_of_rule(self, rule: str) -> tuple[RuleOwner, ...]:
        """Bluesky has no rules."""
        del rule
        return ()

    def resume_after(self, cursor: NetworkCursor) -> None:
        """See `base.Client`."""
        if self.cursor is None and cursor.time:
            self.cursor = cursor

    async def prepare(self) -> None:
        """See `base.Client`."""

    async def connect(self) -> "JetstreamStream":
        """See `base.Client`."""
        if self._stream is not None and not self._stream.is_sound:
            self._stream = None  # once: the next attempts rotate only if they fail
            self.hosts.rotate()
        try:
            return await self._connect(self.hosts.current)
        except ConnectError as error:
            if error.retry in ("network", "http"):
                self.hosts.rotate()
            raise

    async def _connect(self, host: Host) -> "JetstreamStream":
        dids = self._dids
        http = NetworkHttp(self._source, self.clock, host.address)
        dictionary = await self._dictionaries.of(host, http)
        cursor, since = self._resume_at(host)
        options = WebSocketOptions(
            self._longest,
            pings_prove_life=False,  # an open socket without posts is dead
            protocols=(SUBPROTOCOL,) if host.wire == "v2" else (),
            decode_message=None if dictionary is None else self._decompress(host, dictionary),
        )
        parameters = _parameters(host.wire, dids, cursor, dictionary)
        path = f"{PATHS[host.wire]}?{urlencode(parameters)}"
        opened = await open_websocket(http, path, {}, options)
        if isinstance(opened, Response):
            raise self._refusal(host, http, opened)
        self._in_force, self._floor = dids, False
        self._stream = JetstreamStream(self, opened, host, since)
        return self._stream

    def _decompress(self, host: Host, dictionary: Dictionary) -> Callable[[bytes], bytes]:
        def decompress(message: bytes) -> bytes:
            try:
                return dictionary.decompress(message)
            except ConnectError:
                self._dictionaries.reject(host)
                raise

        return decompress

    def _resume_at(self, host: Host) -> tuple[int | None, int | None]:
        """The cursor to ask for, and the time in microseconds that it stands for."""
        known = self.cursor
        if known is None or not known.time:
            return None, None
        same = (known.host, known.wire) == (host.name, host.wire) and not self._floor
        if same and host.wire == "v2" and known.seq is not None:
            return known.seq, known.time
        return max(known.time - REWIND, SMALLEST_TIME), known.time

    def _refusal(self, host: Host, http: NetworkHttp, response: Response) -> ConnectError:
        """The error for an answer that is no stream, with what to try next."""
        try:
            problem = msgspec.json.decode(response.body, type=_Problem)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            problem = _Problem(message=response.text()[:200])
        old = response.status == 404 and host.wire == "v2"
        own = old or problem.error or response.status in (400, 429) or response.status >= 500
        if response.is_page or not own:  # of a firewall or a login
            return foreign_response(response, self.clock.time(), "the stream").reworded(http.redact)
        if old:
            self.hosts.only_v1(host)
            return ConnectError(f"{host.name} does not know the v2 wire; v1 is used", "drop")
        if problem.error == "CursorTooOld":
            self._floor = True
            return ConnectError(f"{host.name} no longer has the events since then", "drop")
        if problem.error == "UnknownZstdDictionary":
            self._dictionaries.reject(host)
            return ConnectError(f"{host.name} has another dictionary for compression", "drop")
        text = f"{host.name} answered {response.status}: {problem.message or problem.error}"
        retry_at = response.retry_at(self.clock.time())
        return ConnectError(http.redact(text), "http", retry_at, status=response.status)

    def note_event(self, host: Host, body: bytes) -> int | None:
        """Remember where an event stands; its time in microseconds, None: it has no position."""
        position = event_position(body)
        if position is None:
            return None
        self.cursor = NetworkCursor(host.name, host.wire, position.seq, position.time)
        return position.time

    async def sync_filter(self) -> None:
        """Returns when the accounts have changed and the edits have paused. See `base.Client`."""
        while True:
            while self._plan is None or self._dids == self._in_force:
                self._changed.clear()
                await self._changed.wait()
            await self.clock.sleep(DEBOUNCE)
            if self._dids != self._in_force:
                return

    def fatal_error_in(self, body: bytes) -> ConnectError | None:
        """See `base.Client`."""
        if (notice := urgent(body)) is None:
            return None
        return ConnectError(f"Bluesky ended the stream: {notice.text}", "drop")

    @property
    def _dids(self) -> tuple[str, ...]:
        return () if self._plan is None else self._plan.dids


class JetstreamStream:
    """One connection. See `base.Stream`."""

    def __init__(
        self, client: BlueskyClient, socket: WebSocketStream, host: Host, since: int | None
    ) -> None:
        self._client = client
        self._socket = socket
        self._host = host
        self._since = since  # microseconds; what was asked for
        self._first: int | None = None  # time of the first event, microseconds
        self._heard_at = client.clock.monotonic()
        self._late_by = float("inf")  # seconds; of the newest event when it arrived
        self._late_checked_at = self._heard_at
        self._late = False

    @property
    def received(self) -> int:
        return self._socket.received

    @property
    def keepalives(self) -> int:
        return self._socket.keepalives

    @property
    def opened(self) -> StreamOpened:
        """See `base.Stream`."""
        return StreamOpened(self._host.name, self._host.wire)

    @property
    def recovered_from(self) -> float | None:
        """See `base.Stream`."""
        if self._since is None or self._first is None:
            return None
        return max(self._first, self._since) / 1e6

    @property
    def is_sound(self) -> bool:
        """Whether the next connection may be to the same host."""
        silent = self._client.clock.monotonic() - self._heard_at
        return not self._late and silent < self._client.connection_limits.silence

    async def read(self) -> list[bytes] | None:
        """See `base.Stream`. ConnectError, too, when the host lags behind."""
        if self._late:
            text = f"{self._host.name} delivers events that are {self._late_by:,.0f} s old"
            raise ConnectError(text, "drop")
        messages = await self._socket.read()
        if messages:
            self._heard_at = self._client.clock.monotonic()
            self._note(messages)
        return messages

    def rest(self) -> list[bytes]:
        """See `base.Stream`."""
        return self._socket.rest()

    async def close(self) -> None:
        """See `base.Stream`."""
        await self._socket.close()

    def _note(self, messages: list[bytes]) -> None:
        if self._first is None:
            times = (self._client.note_event(self._host, body) for body in messages)
            self._first = next((time for time in times if time is not None), None)
        newest = (self._client.note_event(self._host, body) for body in reversed(messages))
        time = next((time for time in newest if time is not None), None)
        if time is not None:
            self._check_age(self._client.clock.time() - time / 1e6)

    def _check_age(self, late_by: float) -> None:
        """Notice a host that lags: its events are old, and do not get younger."""
        settings, now = self._client.settings, self._client.clock.monotonic()
        if now - self._late_checked_at < settings.silence_timeout:
            return
        self._late = late_by > settings.late_by_max and late_by >= self._late_by
        self._late_by, self._late_checked_at = late_by, now


def _parameters(
    wire: Wire, dids: tuple[str, ...], cursor: int | None, dictionary: Dictionary | None
) -> list[tuple[str, str]]:
    """What to ask for. `kinds` and `maxMessageSizeBytes` stay out: they lose deletions."""
    names = ("collections", "dids") if wire == "v2" else ("wantedCollections", "wantedDids")
    parameters = [(names[0], COLLECTION), *((names[1], did) for did in dids)]
    if cursor is not None:
        parameters.append(("cursor", str(cursor)))
    if dictionary is not None:
        parameters.append(("zstdDictionary", str(dictionary.id)))
    return parameters


def connection_limits(settings: Settings) -> ConnectionLimits:
    """How often the client may connect, and how long Bluesky may be silent."""
    return ConnectionLimits(
        settings.bluesky.silence_timeout, ATTEMPTS, WINDOW, after_drop="resumable"
    )


def missing_credentials(secrets: Mapping[str, str]) -> list[str]:
    """Bluesky's stream needs no account."""
    del secrets
    return []


async def check_connection(source: Source, settings: Settings, clock: Clock) -> str:
    """Connect to one host after another until one sends a post; see `base.Network`."""
    client = BlueskyClient(source, settings, clock, SilentReporter())
    failure: ConnectError | None = None
    for _ in range(len(client.hosts) + 1):  # a host that does not know the v2 wire is asked again
        try:
            return await _first_post(client)
        except ConnectError as error:
            failure = error  # not the first, which may only say that the host is an old one
    assert failure is not None
    raise failure


async def _first_post(client: BlueskyClient) -> str:
    """Wait for a post on a new connection; returns a sentence."""
    try:
        async with client.clock.timeout(TEST_CONNECT_TIMEOUT):
            stream = await client.connect()
    except TimeoutError as error:
        text = f"{client.hosts.current.name} did not answer within {TEST_CONNECT_TIMEOUT:g} s"
        client.hosts.rotate()
        raise ConnectError(text, "network") from error
    try:
        async with client.clock.timeout(TEST_POST_TIMEOUT):
            await stream.read()
    except TimeoutError:
        text = f"{stream.opened.host} accepts connections, but sends nothing"
        client.hosts.rotate()
        raise ConnectError(text, "drop") from None
    finally:
        await stream.close()
    return f"Bluesky sends posts. Connected to {stream.opened.host}; no keys are needed."
