"""X API v1.1: statuses/filter and statuses/sample (X v1.1 reference)."""

import random
from collections.abc import Sequence
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from simulator import odd_v1, wire_v1
from simulator.connection import Connection, Ear, Json
from simulator.faults import Armed
from simulator.filters import Filter, Refused, read
from simulator.hub import Hub
from simulator.oauth import Refused as NotSigned
from simulator.oauth import Verifier
from simulator.outlet import Outlet
from simulator.posts import Post, Wish
from simulator.track import Sieve, wish
from simulator.window import Window

KEEP_ALIVE = 30  # seconds
STALL = 100  # seconds of silence in the fault of this name
EVERY_DELETED = 10  # with the fault deletes: every so many posts
EVERY_LIMITED = 50  # with the fault limit: after every so many posts
WITHHELD = 7  # posts that one more limit message speaks of
FILTER = "/1.1/statuses/filter.json"
SAMPLE = "/1.1/statuses/sample.json"
_FORM = "application/x-www-form-urlencoded"

_DOORS = {
    "401": "Could not authenticate you.",
    "403": "Forbidden: this app may not use this endpoint.",
    "410": "Gone: this endpoint was removed.",
    "420": "Exceeded connection limit for user",
    "429-rate": "Too Many Requests",
    "503": "<html><head><title>503</title></head><body>Over capacity</body></html>",
}


class XV1:
    """One account, or with secrets of None any number of them."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.limits = hub.settings.limits
        self.keep_alive = hub.scaled(KEEP_ALIVE)
        self.stall = float(STALL)
        self.verifier = Verifier(hub.settings.oauth)
        self.window = Window(self.limits.v1_connects, hub.scaled(self.limits.v1_window))
        self.filters: dict[str, Filter] = {}  # by connection id
        self.tokens: dict[str, str] = {}  # by connection id

    def routes(self) -> Sequence[web.RouteDef]:
        return (
            web.post(FILTER, self._stream),
            web.get(FILTER, self._stream),
            web.get(SAMPLE, self._stream),
        )

    async def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        """Nothing stands in the headers but the clock."""

    def payload(self, post: Post) -> Json:
        return wire_v1.payload(post)

    def wish(self, rng: random.Random) -> Wish | None:
        wanted = [self.filters[c.id] for c in self.hub.hearing() if c.id in self.filters]
        return wish(rng.choice(wanted), rng) if wanted else None

    def oddity(self, armed: Armed) -> list[bytes]:
        return odd_v1.messages(armed)

    def around(self, post: Post, count: int) -> tuple[list[bytes], list[Post], list[bytes]]:
        deletes = self.hub.faults.mode("deletes")
        every = (deletes.n if deletes else None) or EVERY_DELETED
        if deletes is None or count % every:
            return [], [], []
        self.hub.deleted.append(post.id)
        message = odd_v1.deletion(post)
        early = count // every % 2
        return ([message], [], []) if early else ([], [], [message])

    def tally(self, connection: Connection) -> list[bytes]:
        limit = self.hub.faults.mode("limit")
        if limit is None or connection.posts % (limit.n or EVERY_LIMITED):
            return []
        connection.limited += WITHHELD
        return [odd_v1.limit(connection.limited)]

    def spent(self) -> list[bytes] | None:
        return None

    def too_slow(self) -> list[bytes]:
        return [odd_v1.disconnect(4)]

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        body = await request.text() if request.content_type == _FORM else ""
        parameters = [
            *parse_qsl(request.query_string, keep_blank_values=True),
            *parse_qsl(body, keep_blank_values=True),
        ]
        try:
            token = self._admitted(request, parameters)
            wanted = read(dict(parameters), self.limits, sample=request.path == SAMPLE)
        except Refused as refused:
            self.hub.note(refused.status, str(refused))
            kind = "text/html" if refused.status == 503 else "text/plain"
            return web.Response(status=refused.status, text=str(refused), content_type=kind)
        return await self._answer(request, wanted, token)

    def _admitted(self, request: web.Request, parameters: Sequence[tuple[str, str]]) -> str:
        """The token that signed; Refused for whatever keeps this request out."""
        # Refused attempts count too: a client with wrong keys must not come again and again.
        if not self.window.take():
            raise Refused(420, _DOORS["420"])
        if armed := self.hub.faults.take("door", *_DOORS):
            raise Refused(int(armed.fault[:3]), _DOORS[armed.fault])
        try:
            return self.verifier.verify(
                request.headers.get("Authorization", ""),
                request.method,
                # Behind a proxy that ends TLS the address was signed with https.
                [f"{scheme}://{request.host}{request.path}" for scheme in ("http", "https")],
                parameters,
                self.hub.now(),
            )
        except NotSigned as reason:
            raise Refused(401, str(reason)) from None

    async def _answer(self, request: web.Request, wanted: Filter, token: str) -> web.StreamResponse:
        connection = Connection(_ear(wanted), self.hub.now(), delimited=wanted.delimited)
        for older in self.hub.connections:
            if self.tokens.get(older.id) == token:
                older.put([odd_v1.disconnect(7)])
                older.end()
        self.filters[connection.id] = wanted
        self.tokens[connection.id] = token
        self.hub.join(connection)
        self.hub.note(200)
        try:
            return await Outlet(self.hub, self, connection, request).run()
        finally:
            del self.filters[connection.id]
            del self.tokens[connection.id]


def _ear(wanted: Filter) -> Ear:
    sieve = Sieve(wanted)

    def ear(payload: Json) -> bytes | None:
        return msgspec.json.encode(payload) if sieve.lets_through(payload) else None

    return ear
