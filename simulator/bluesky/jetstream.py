"""Jetstream's endpoints: both subscriptions with their refusals and cursors, and the dictionary."""

import asyncio
from collections.abc import Sequence

from aiohttp import web

from simulator.bluesky.activity import Activity
from simulator.bluesky.dictionary import Compression, Dictionaries
from simulator.bluesky.event_log import EventLog, v2_info, v2_message
from simulator.bluesky.options import SEQ_END, BadOptions, read_cursor, v1_options, v2_options
from simulator.bluesky.subscription import Host, Subscription
from simulator.core import Core
from simulator.problems import answer
from simulator.settings import Settings

V1 = "/subscribe"
V2 = "/xrpc/network.bsky.jetstream.subscribeEvents"
DICTIONARY = "/xrpc/network.bsky.jetstream.getZstdDictionary"
HOST_SEQS = 1_000_003  # sequence numbers between two hosts
HOST_SHIFT = 1777  # µs between their times
SAMPLES = 1500  # posts that the dictionary is trained on
_CONNECT_FAULTS = ("403", "429-rate", "503", "warming-up", "cursor-too-old")
_HTML = "<html><head><title>{0}</title></head><body>{0}</body></html>"
_XRPC_FAULTS = {
    "429-rate": (429, "RateLimitExceeded", "Too Many Requests"),
    "warming-up": (503, "ServiceUnavailable", "service not ready: cursor replay warming up"),
    "cursor-too-old": (400, "CursorTooOld", "cursor too old: cursor below lookback floor"),
}


class JetstreamHosts:
    """All hosts; they serve one log under sequence numbers of their own."""

    def __init__(self, core: Core, log: EventLog) -> None:
        jetstream = core.settings.jetstream
        self.core = core
        self.log = log
        self.subscriptions: list[Subscription] = []
        self.started = False  # a client has come
        first = jetstream.first_seq
        base = int(core.now() * 1000) if first is None else first
        self.hosts = [
            Host(index, base + index * HOST_SEQS, index * HOST_SHIFT)
            for index in range(jetstream.hosts)
        ]
        self._trained: Dictionaries | None = None
        self._training = asyncio.Lock()

    def routes(self) -> Sequence[web.RouteDef]:
        return (
            web.get(V1, self._subscribe_v1),
            web.get(V2, self._subscribe_v2),
            web.get(DICTIONARY, self._dictionary),
        )

    async def dictionaries(self) -> Dictionaries:
        """The dictionaries; trained at their first use."""
        async with self._training:
            if self._trained is None:
                self._trained = await asyncio.to_thread(lambda: Dictionaries(_samples()))
        return self._trained

    async def _dictionary(self, request: web.Request) -> web.Response:
        if self._is_v1_only(self._host(request)):
            return web.Response(status=404, text="404 page not found\n")
        if self.core.faults.mode("no-dictionary"):
            return web.Response(status=503, text=_HTML.format(503), content_type="text/html")
        dictionary = (await self.dictionaries()).v2
        wanted = request.query.get("id")
        if wanted is not None and not wanted.isdecimal():
            message = "id must be an integer zstd dictionary ID"
            return answer(400, {"error": "InvalidRequest", "message": message})
        if wanted is not None and int(wanted) != dictionary.id:
            message = f"no dictionary with id {wanted}; current dictionary id is {dictionary.id}"
            return answer(404, {"error": "DictionaryNotFound", "message": message})
        headers = {
            "ETag": f'"zstd-dict-{dictionary.id}"',
            "Cache-Control": "public, max-age=31536000, immutable",
            "X-Zstd-Dictionary-Id": str(dictionary.id),
        }
        broken = self.core.faults.mode("bad-dictionary")
        body = b"This is no dictionary." if broken else dictionary.blob
        return web.Response(body=body, content_type="application/octet-stream", headers=headers)

    async def _subscribe_v1(self, request: web.Request) -> web.StreamResponse:
        if refused := self._refused(request, 1):
            return refused
        host = self._host(request)
        try:
            compressed = _wants_v1_compression(request)
            options = v1_options(request.query)
            start, _ = self._start(host, request.query.get("cursor", ""), 1)
        except BadOptions as bad:
            return self._refuse(request, 400, bad.name, str(bad), 1)
        compression = (await self.dictionaries()).v1 if compressed else None
        subscription = Subscription(self, request, host, 1, options, start, compression)
        subscription.waiting_for_hello = request.query.get("requireHello") == "true"
        return await self._serve(subscription, None)

    async def _subscribe_v2(self, request: web.Request) -> web.StreamResponse:
        if refused := self._refused(request, 2):
            return refused
        host = self._host(request)
        first = None
        try:
            compression = await self._v2_compression(request)
            options = v2_options(request.query)
            start, clamped = self._start(host, request.query.get("cursor", ""), 2)
        except BadOptions as bad:
            return self._refuse(request, 400, bad.name, str(bad), 2)
        if clamped:
            seq = host.first_seq + start
            message = f"requested timestamp cursor below retention floor; starting at seq {seq}"
            first = v2_info("OutdatedCursor", message)
        subscription = Subscription(self, request, host, 2, options, start, compression)
        return await self._serve(subscription, first)

    async def _v2_compression(self, request: web.Request) -> Compression | None:
        encoding = request.headers.get("Socket-Encoding", "")
        if request.query.get("compress") == "true" or "zstd" in encoding:
            raise BadOptions(
                "compress=true / Socket-Encoding: zstd is the /subscribe (v1) opt-in; this "
                "endpoint uses zstdDictionary=<id> with the dictionary from getZstdDictionary"
            )
        wanted = request.query.get("zstdDictionary", "")
        if not wanted:
            return None
        if not wanted.isdecimal() or not 0 < int(wanted) < 2**32:
            raise BadOptions("zstdDictionary must be a positive integer zstd dictionary ID")
        current = (await self.dictionaries()).v2
        if int(wanted) != current.id:
            raise BadOptions(
                f"unknown zstd dictionary id {wanted}; current dictionary id is {current.id} "
                "(fetch it via getZstdDictionary and reconnect)",
                "UnknownZstdDictionary",
            )
        return current

    def _host(self, request: web.Request) -> Host:
        transport = request.transport
        port = transport.get_extra_info("sockname")[1] if transport else 0
        return self.hosts[self.core.ports.index(port) if port in self.core.ports else 0]

    def _is_v1_only(self, host: Host) -> bool:
        old = self.core.faults.mode("v1-only")
        return old is not None and old.n in {None, host.index}

    def _refused(self, request: web.Request, wire: int) -> web.Response | None:
        """The answer to a request that gets no stream whatever its options are."""
        if wire == 2 and self._is_v1_only(self._host(request)):
            return self._refuse(request, 404, "", "404 page not found\n", 1)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return self._refuse(request, 426, "", "WebSocket protocol violation\n", 1)
        names = _CONNECT_FAULTS if wire == 2 else _CONNECT_FAULTS[:-1]
        armed = self.core.faults.take("connect", *names)
        if armed is None:
            return None
        if armed.fault in _XRPC_FAULTS:
            return self._refuse(request, *_XRPC_FAULTS[armed.fault], wire)
        status = int(armed.fault)
        self.core.note_attempt(status, request.path_qs[:500])
        return web.Response(status=status, text=_HTML.format(status), content_type="text/html")

    def _refuse(
        self, request: web.Request, status: int, name: str, message: str, wire: int
    ) -> web.Response:
        self.core.note_attempt(status, request.path_qs[:500])
        if wire == 1:
            return web.Response(status=status, text=message)
        return answer(status, {"error": name, "message": message})

    def _start(self, host: Host, text: str, wire: int) -> tuple[int, bool]:
        """Number of the first event, and whether a time cursor asked for older ones."""
        cursor = read_cursor(text)
        now = int(self.core.now() * 1e6)
        if cursor is None or (cursor >= SEQ_END and cursor > now):
            return self.log.tip, False
        memory = self.core.faults.mode("short-memory")
        floor = self.log.floor(now, (memory.n or 100) if memory else None)
        if cursor < SEQ_END:
            start = cursor - host.first_seq
            if start < floor and wire == 2:
                raise BadOptions(
                    f"cursor too old: cursor {cursor} below lookback floor "
                    f"{host.first_seq + floor}; re-backfill from your last seq",
                    "CursorTooOld",
                )
            return min(max(start, floor), self.log.tip), False
        micros = cursor - host.shift
        oldest = self.log.read(floor, 1)
        return max(self.log.at_time(micros), floor), micros < (oldest[0].witnessed if oldest else 0)

    async def _serve(
        self, subscription: Subscription, first: bytes | None
    ) -> web.WebSocketResponse:
        self.core.note_attempt(101, subscription.request.path_qs[:500])
        self.subscriptions.append(subscription)
        self.started = True
        self.core.wake()
        try:
            return await subscription.run(first)
        finally:
            self.subscriptions.remove(subscription)

    def disconnect(self, *, torn: bool) -> int:
        """End all streams, as at a shutdown or by a reset."""
        for subscription in self.subscriptions:
            if torn:
                subscription.close(1006, "")
            else:
                subscription.close(1001, "server shutting down")
        return len(self.subscriptions)


def _wants_v1_compression(request: web.Request) -> bool:
    encoding = request.headers.get("Socket-Encoding", "")
    wanted = request.query.get("compress") == "true" or "zstd" in encoding
    if wanted and "permessage-deflate" in request.headers.get("Sec-WebSocket-Extensions", ""):
        raise BadOptions(
            "choose one compression scheme: custom zstd (compress=true / Socket-Encoding: zstd) "
            "or RFC 7692 permessage-deflate, not both"
        )
    return wanted


def _samples() -> list[bytes]:
    """Messages to train a dictionary on."""
    core = Core(Settings(network="bluesky", seed=7))
    activity = Activity(core, EventLog(3600, 1 << 30))
    for number in range(SAMPLES):
        activity.post(1_780_000_000_000_000 + number * 40_000)
    return [v2_message(event, 10**12 + event.number, 0) for event in activity.log.events]
