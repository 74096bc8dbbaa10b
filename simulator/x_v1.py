"""X API v1.1: statuses/filter and statuses/sample (X v1.1 reference)."""

import random
from collections.abc import Sequence
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from simulator import wire_v1
from simulator.faults import Armed
from simulator.filters import Filter, FilterMatcher, FilterRefused, constraints, read_filter
from simulator.generator import make_account
from simulator.hub import Connection, Encoder, Hub, RequestWindow
from simulator.oauth import InvalidSignature, Verifier
from simulator.payload import Json
from simulator.posts import Constraints, Post
from simulator.stream_response import StreamingResponse

KEEP_ALIVE = 30  # seconds
STALL = 100  # seconds of silence in the fault of this name
POSTS_PER_DELETION = 10  # with the fault deletes: every so many posts
POSTS_PER_LIMIT = 50  # with the fault limit: after every so many posts
WITHHELD = 7  # posts that each limit message adds
FILTER = "/1.1/statuses/filter.json"
SAMPLE = "/1.1/statuses/sample.json"
ACCOUNT = "/1.1/account/verify_credentials.json"
_FORM = "application/x-www-form-urlencoded"

_CONNECT_FAULTS = {
    "401": "Could not authenticate you.",
    "403": "Forbidden: this app may not use this endpoint.",
    "410": "Gone: this endpoint was removed.",
    "420": "Exceeded connection limit for user",
    "429-rate": "Too Many Requests",
    "503": "<html><head><title>503</title></head><body>Over capacity</body></html>",
}

# The body of refused requests (§11: text or HTML, never JSON).
_PAGE = """<html>
<head><title>Error {status}</title></head>
<body>
<h2>HTTP ERROR: {status}</h2>
<p>Problem accessing '{path}'. Reason:
<pre>    {reason}</pre>
</body>
</html>
"""


class XV1:
    """Simulates one account; with secrets of None, any account."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.limits = hub.settings.limits
        self.keep_alive = hub.scaled(KEEP_ALIVE)
        self.stall = float(STALL)
        self.verifier = Verifier(hub.settings.oauth)
        self.window = RequestWindow(self.limits.v1_connects, hub.scaled(self.limits.v1_window))
        self.filters: dict[str, Filter] = {}  # by connection id
        self.tokens: dict[str, str] = {}  # by connection id

    def routes(self) -> Sequence[web.RouteDef]:
        return (
            web.post(FILTER, self._stream),
            web.get(FILTER, self._stream),
            web.get(SAMPLE, self._stream),
            web.get(ACCOUNT, self._account),
        )

    async def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add no headers (the server adds Date)."""

    def payload(self, post: Post) -> Json:
        return wire_v1.payload(post)

    def constraints(self, rng: random.Random) -> Constraints | None:
        wanted = [self.filters[c.id] for c in self.hub.active() if c.id in self.filters]
        return constraints(rng.choice(wanted), rng) if wanted else None

    def fault_messages(self, armed: Armed) -> list[bytes]:
        return wire_v1.messages(armed)

    def extra_messages(self, post: Post, count: int) -> tuple[list[bytes], list[Post], list[bytes]]:
        deletes = self.hub.faults.mode("deletes")
        every = (deletes.n if deletes else None) or POSTS_PER_DELETION
        if deletes is None or count % every:
            return [], [], []
        self.hub.deleted.append(post.id)
        message = wire_v1.deletion(post)
        early = count // every % 2
        return ([message], [], []) if early else ([], [], [message])

    def limit_notices(self, connection: Connection) -> list[bytes]:
        limit = self.hub.faults.mode("limit")
        if limit is None or connection.posts % (limit.n or POSTS_PER_LIMIT):
            return []
        connection.limited += WITHHELD
        return [wire_v1.limit(connection.limited)]

    def quota_messages(self) -> list[bytes] | None:
        return None

    def slow_reader_messages(self) -> list[bytes]:
        return [wire_v1.disconnect(4)]

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        parameters = await _parameters(request)
        try:
            self._count_attempt()
            token = self._admitted(request, parameters)
            wanted = read_filter(dict(parameters), self.limits, sample=request.path == SAMPLE)
        except FilterRefused as refused:
            self.hub.note_attempt(refused.status, str(refused))
            return _refusal(request, refused)
        return await self._answer(request, wanted, token)

    async def _account(self, request: web.Request) -> web.StreamResponse:
        """Whose keys these are; clients ask before they open a stream."""
        try:
            token = self._admitted(request, await _parameters(request))
        except FilterRefused as refused:
            return _refusal(request, refused)
        return web.json_response(wire_v1.user(make_account(f"of_{token}"[:15], "The account")))

    def _count_attempt(self) -> None:
        """Count a stream request; refused ones count too, so wrong keys are limited."""
        if not self.window.take():
            raise FilterRefused(420, _CONNECT_FAULTS["420"])

    def _admitted(self, request: web.Request, parameters: Sequence[tuple[str, str]]) -> str:
        """The token that signed the request; FilterRefused when it is not accepted."""
        if armed := self.hub.faults.take("connect", *_CONNECT_FAULTS):
            raise FilterRefused(int(armed.fault[:3]), _CONNECT_FAULTS[armed.fault])
        try:
            return self.verifier.verify(
                request.headers.get("Authorization", ""),
                request.method,
                # Behind a proxy that ends TLS the address was signed with https.
                [f"{scheme}://{request.host}{request.path}" for scheme in ("http", "https")],
                parameters,
                self.hub.now(),
            )
        except InvalidSignature as reason:
            raise FilterRefused(401, str(reason)) from None

    async def _answer(self, request: web.Request, wanted: Filter, token: str) -> web.StreamResponse:
        connection = Connection(_ear(wanted), self.hub.now(), delimited=wanted.delimited)
        for older in self.hub.connections:
            if self.tokens.get(older.id) == token:
                older.put([wire_v1.disconnect(7)])
                older.end()
        self.filters[connection.id] = wanted
        self.tokens[connection.id] = token
        self.hub.join(connection)
        self.hub.note_attempt(200)
        try:
            return await StreamingResponse(self.hub, self, connection, request).run()
        finally:
            del self.filters[connection.id]
            del self.tokens[connection.id]


async def _parameters(request: web.Request) -> list[tuple[str, str]]:
    """Those of the address and those of the form: all of them are signed."""
    body = await request.text() if request.content_type == _FORM else ""
    return [
        *parse_qsl(request.query_string, keep_blank_values=True),
        *parse_qsl(body, keep_blank_values=True),
    ]


def _refusal(request: web.Request, refused: FilterRefused) -> web.Response:
    status, text = refused.status, str(refused)
    if status in (401, 403, 410):
        text = _PAGE.format(status=status, path=request.path, reason=text)
    kind = "text/html" if status in (401, 403, 410, 503) else "text/plain"
    return web.Response(status=status, text=text, content_type=kind)


def _ear(wanted: Filter) -> Encoder:
    sieve = FilterMatcher(wanted)

    def encode(payload: Json) -> bytes | None:
        return msgspec.json.encode(payload) if sieve.matches(payload) else None

    return encode
