"""The HTTP side of a simulated Mastodon server: streaming, timelines, and what it says of itself.

Written from the Mastodon reference alone: documentation of 2026 and streaming/index.js of 4.6.
"""

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import msgspec
from aiohttp import WSMsgType, web

from simulator.core import Core
from simulator.mastodon.site import Listener, MastodonSite, Token, tag_key
from simulator.sockets import drop

PING = 30.0  # seconds; a socket without a pong since the last one is killed
THUMPED = ":thump\n"
THUMP = 15.0  # seconds between two comments of server-sent events
SILENCE_STEP = 0.02  # seconds
PAGE_MAX = 40  # statuses
LOOKUP_MAX = 20  # statuses
PAGING_WINDOW = 900.0  # seconds
NO_BINARY = b"The mastodon streaming server does not support binary messages"
PATHS = {
    "public": "public",
    "public/local": "public:local",
    "public/remote": "public:remote",
    "hashtag": "hashtag",
    "hashtag/local": "hashtag:local",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class MastodonApi:
    """The routes of one site."""

    def __init__(self, site: MastodonSite, core: Core | None = None) -> None:
        self.site = site
        self.core = core  # its faults refuse requests for a stream
        self.pages = 0  # requests for timelines that were answered
        self._pagings: deque[float] = deque()

    def app(self) -> web.Application:
        """The application that serves it."""
        app = web.Application(middlewares=[self._record])
        app.add_routes(self.routes())
        return app

    def routes(self) -> Sequence[web.RouteDef]:
        return (
            web.get("/api/v2/instance", self._instance),
            web.get("/api/v1/instance", self._old_instance),
            web.get("/api/v1/streaming", self._socket),
            web.get("/api/v1/streaming/health", self._health),
            web.get("/api/v1/streaming/{path:.+}", self._events),
            web.get("/api/v1/statuses", self._statuses),
            web.get("/api/v1/statuses/{id}", self._status),
            web.get("/api/v1/timelines/public", self._public),
            web.get("/api/v1/timelines/tag/{tag}", self._tag),
            web.get("/api/v1/accounts/verify_credentials", self._own_account),
            web.get("/api/v1/{list:blocks|mutes|domain_blocks}", self._hidden),
        )

    @web.middleware
    async def _record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.site.requests.append(request.path_qs)
        return await handler(request)

    async def _health(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text="OK")

    # -- what it says of itself -------------------------------------------------------------------

    async def _instance(self, request: web.Request) -> web.Response:
        rules = self.site.rules
        if not rules.has_v2:
            return _error(404, "Record not found")
        live = {"local": rules.live_local, "remote": rules.live_remote}
        hashtag = {"local": rules.hashtag_local, "remote": rules.hashtag_remote}
        return web.json_response(
            {
                "domain": "social.example",
                "version": "4.6.0",
                "configuration": {
                    "urls": {"streaming": rules.streaming or f"ws://{request.host}"},
                    "timelines_access": {"live_feeds": live, "hashtag_feeds": hashtag},
                },
            }
        )

    async def _old_instance(self, request: web.Request) -> web.Response:
        urls = {"streaming_api": f"ws://{request.host}"}
        return web.json_response({"uri": "social.example", "version": "3.5.0", "urls": urls})

    async def _own_account(self, request: web.Request) -> web.Response:
        refused = self._refuse(request, "read", "read:accounts", "profile")
        return refused or web.json_response({"id": "1", "username": "me", "acct": "me"})

    async def _hidden(self, request: web.Request) -> web.Response:
        what = request.match_info["list"]
        scope = "read:mutes" if what == "mutes" else "read:blocks"
        rules = self.site.rules
        number = {"blocks": rules.blocks, "mutes": rules.mutes}.get(what, 0)
        refused = self._refuse(request, "read", scope, "follow")
        return refused or web.json_response([{"id": str(n)} for n in range(number)])

    # -- tokens -----------------------------------------------------------------------------------

    def _token(self, request: web.Request) -> tuple[str, Token | None]:
        header = request.headers.get("Authorization", "")
        name = header.removeprefix("Bearer ") or request.query.get("access_token", "")
        return name, self.site.token(name)

    def _refuse(self, request: web.Request, *scopes: str) -> web.Response | None:
        """The answer of the REST API to a token without any of these scopes."""
        _, token = self._token(request)
        if token is None:
            return _error(401, "The access token is invalid")
        if not set(scopes).intersection(token.scopes):
            return _error(403, "This action is outside the authorized scopes")
        return None if token.user else _error(422, "This method requires an authenticated user")

    def _refuse_stream(self, request: web.Request) -> str:
        """What the streaming server says against a token; it checks no scope of public channels."""
        name, token = self._token(request)
        if not name:
            return "Missing access token"
        return "" if token is not None and token.user else "Invalid access token"

    def _fault(self, request: web.Request) -> web.Response | None:
        """The answer of an armed fault to a request for a stream."""
        armed = None if self.core is None else self.core.faults.take("connect")
        if armed is None:
            return None
        if armed.fault == "accept-close":
            drop(request, reset=False)
            return web.Response(status=500)
        status = int(armed.fault.partition("-")[0])
        self._note(status, armed.fault)
        if status == 503:
            return web.Response(status=503, text="<html>503</html>", content_type="text/html")
        return _error(status, "Too many requests" if status == 429 else "Refused")

    def _note(self, status: int, note: str = "") -> None:
        if self.core is not None:
            self.core.note_attempt(status, note)

    # -- WebSocket --------------------------------------------------------------------------------

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if status := self.site.rules.websocket_status:
            return web.Response(status=status, text="<html>proxy</html>", content_type="text/html")
        if (failed := self._fault(request)) is not None:
            return failed
        if refused := self._refuse_stream(request):
            self._note(401, refused)
            return web.Response(status=401, headers={"X-Error-Message": refused})
        self._note(200)
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        listener = Listener(self._token(request)[0], is_socket=True)
        listener.request = request
        if "stream" in request.query:
            self._command(listener, {"type": "subscribe", **request.query})
        ponged = asyncio.Event()
        ponged.set()
        with self.site.listening(listener):
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._write(listener, socket)),
                    group.create_task(self._ping(listener, socket, ponged)),
                ]
                await self._read(listener, socket, ponged)
                for task in tasks:
                    task.cancel()
        return socket

    async def _read(
        self, listener: Listener, socket: web.WebSocketResponse, ponged: asyncio.Event
    ) -> None:
        async for message in socket:
            match message.type:
                case WSMsgType.PONG:
                    ponged.set()
                case WSMsgType.PING if not self._is_silent(listener):
                    await socket.pong(message.data)
                case WSMsgType.BINARY:
                    await socket.close(code=1003, message=NO_BINARY)
                case WSMsgType.TEXT:
                    with contextlib.suppress(msgspec.MsgspecError):
                        command = msgspec.json.decode(message.data, type=dict[str, str])
                        self._command(listener, command)

    def _command(self, listener: Listener, command: dict[str, str]) -> None:
        if problem := self.site.command(listener, command):
            listener.queue.put_nowait(json.dumps({"error": problem, "status": 400}))

    async def _write(self, listener: Listener, socket: web.WebSocketResponse) -> None:
        with contextlib.suppress(ConnectionError):
            while (message := await listener.queue.get()) is not None:
                await _wait_silence(listener)
                await socket.send_str(message)
        await socket.close()

    async def _ping(
        self, listener: Listener, socket: web.WebSocketResponse, ponged: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(PING * self.site.rules.time_scale)
                if self._is_silent(listener):
                    continue
                if not ponged.is_set():
                    await socket.close()
                    return
                ponged.clear()
                await socket.ping()

    def _is_silent(self, listener: Listener) -> bool:
        return self.site.rules.is_mute or listener.is_silent

    # -- server-sent events -----------------------------------------------------------------------

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if (failed := self._fault(request)) is not None:
            return failed
        if refused := self._refuse_stream(request):
            self._note(401, refused)
            return _error(401, refused)
        stream = PATHS.get(request.match_info["path"])
        if stream is None:
            return _error(400, "Unknown channel requested")
        listener = Listener(self._token(request)[0], is_socket=False)
        command = {"type": "subscribe", "stream": stream, "tag": request.query.get("tag", "")}
        if problem := self.site.command(listener, command):
            return _error(400, problem)
        self._note(200)
        listener.request = request
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "private, no-store"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(b":)\n")
        with self.site.listening(listener), contextlib.suppress(ConnectionError):
            while True:
                text: str | None = THUMPED
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(THUMP * self.site.rules.time_scale):
                        text = await listener.queue.get()
                if text is None:
                    break
                if text != THUMPED:
                    await _wait_silence(listener)
                if text != THUMPED or not self._is_silent(listener):
                    await response.write(text.encode())
        return response

    # -- timelines --------------------------------------------------------------------------------

    async def _public(self, request: web.Request) -> web.Response:
        rules = self.site.rules
        if rules.live_local == rules.live_remote == "disabled":
            return _error(403, "This feed is disabled")
        stream = "public"
        if request.query.get("local") == "true":
            stream = "public:local"
        elif request.query.get("remote") == "true":
            stream = "public:remote"
        return self._timeline(request, (stream,))

    async def _tag(self, request: web.Request) -> web.Response:
        stream = "hashtag:local" if request.query.get("local") == "true" else "hashtag"
        return self._timeline(request, (stream, tag_key(request.match_info["tag"])))

    def _timeline(self, request: web.Request, channel: tuple[str, ...]) -> web.Response:
        """A page, newest first: the newest, or with `min_id` the oldest after that id."""
        if (refused := self._refuse(request, "read", "read:statuses")) is not None:
            return refused
        now, window = time.time(), PAGING_WINDOW * self.site.rules.time_scale
        while self._pagings and self._pagings[0] <= now - window:
            self._pagings.popleft()
        limit = self.site.rules.pagings
        is_over = self.site.rules.is_paging_refused or len(self._pagings) >= limit
        if not is_over:
            self._pagings.append(now)
            self.pages += 1
        reset = datetime.fromtimestamp(self._pagings[0] + window if self._pagings else now, UTC)
        headers = {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(limit - len(self._pagings)),
            "X-RateLimit-Reset": reset.isoformat().replace("+00:00", "Z"),
        }
        if is_over:
            return _error(429, "Too many requests", headers)
        number = min(int(request.query.get("limit", "20")), PAGE_MAX)
        found = self.site.timeline(channel)
        if "min_id" in request.query:
            found = [s for s in found if int(str(s["id"])) > int(request.query["min_id"])]
            found = sorted(found, key=lambda s: int(str(s["id"])))[:number]
        else:
            found = sorted(found, key=lambda s: int(str(s["id"])))[-number:]
        return web.json_response(found[::-1], headers=headers)

    # -- single statuses --------------------------------------------------------------------------

    async def _statuses(self, request: web.Request) -> web.Response:
        """Those of several statuses that exist and are not hidden; from 4.3 on."""
        if not self.site.rules.has_lookup:
            return _error(404, "Not Found")
        if (refused := self._refuse(request, "read", "read:statuses")) is not None:
            return refused
        ids = dict.fromkeys(request.query.getall("id[]", []))
        if len(ids) > LOOKUP_MAX:
            return _error(422, "Validation failed")
        shown = [each for each in ids if each not in self.site.rules.limited]
        return web.json_response([self.site.statuses[n] for n in shown if n in self.site.statuses])

    async def _status(self, request: web.Request) -> web.Response:
        if (refused := self._refuse(request, "read", "read:statuses")) is not None:
            return refused
        found = self.site.statuses.get(request.match_info["id"])
        return _error(404, "Record not found") if found is None else web.json_response(found)


async def _wait_silence(listener: Listener) -> None:
    """Wait until the connection may send again."""
    while listener.is_silent:  # noqa: ASYNC110 - the clock ends it as well
        await asyncio.sleep(SILENCE_STEP)


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": text}, status=status, headers=headers)
