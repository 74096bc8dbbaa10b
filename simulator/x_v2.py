"""X API v2: filtered stream, its rules, and connections (X v2 reference)."""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

import msgspec
from aiohttp import web

from simulator import odd_v2, problems, wire_v2
from simulator.connection import Connection, Ear, Json
from simulator.faults import Armed
from simulator.hub import Hub
from simulator.outlet import Outlet
from simulator.posts import Post, Wish
from simulator.rulebook import Rulebook
from simulator.select import BadParameter, Selection, selection
from simulator.view import view
from simulator.window import Window

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

KEEP_ALIVE = 20  # seconds
STALL = 40  # seconds of silence in the fault of this name
SLOT_BUSY = 60  # seconds that the slot outlives its client in the fault of this name
QUOTA = 100  # posts in the fault of this name
EVERY = 5  # with the fault edits: every so many posts
STREAM = "/2/tweets/search/stream"
RULES = "/2/tweets/search/stream/rules"
_WINDOW = web.RequestKey("window", Window)


class XV2:
    """One app with its rules and its slots."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        limits = hub.settings.limits
        self.limits = limits
        self.keep_alive = hub.scaled(KEEP_ALIVE)
        self.stall = float(STALL)
        self.rulebook = Rulebook(limits, hub.scaled(limits.rule_delay))
        seconds = hub.scaled(limits.window)
        self.windows = {
            "stream": Window(limits.connects, seconds),
            "read": Window(limits.rule_reads, seconds),
            "change": Window(limits.rule_changes, seconds),
            "kill": Window(limits.kills, seconds),
            "other": Window(limits.rule_reads, seconds),
        }
        self.busy: list[float] = []  # until when the slots of vanished clients stay taken
        self.spent_posts = 0
        self.cuts = 0

    def routes(self) -> Sequence[web.RouteDef]:
        return (
            web.get(STREAM, self._guarded("stream", self._stream)),
            web.get(RULES, self._guarded("read", self._list)),
            web.post(RULES, self._guarded("change", self._change)),
            web.get(RULES + "/counts", self._guarded("other", self._counts)),
            web.get("/2/connections", self._guarded("other", self._connections)),
            web.delete("/2/connections", self._guarded("kill", self._kill)),
            web.delete("/2/connections/{endpoint}", self._guarded("kill", self._kill)),
        )

    def payload(self, post: Post) -> Json:
        return wire_v2.payload(post)

    def wish(self, rng: random.Random) -> Wish | None:
        return self.rulebook.wish(rng, self.hub.now())

    def oddity(self, armed: Armed) -> list[bytes]:
        return odd_v2.messages(armed, list(self.rulebook.rules.values()))

    def around(self, post: Post, count: int) -> tuple[list[bytes], list[Post], list[bytes]]:
        edits = self.hub.faults.mode("edits")
        if edits and post.reposted is None and count % (edits.n or EVERY) == 0:
            return [], [odd_v2.edited(post)], []
        return [], [], []

    def spent(self) -> list[bytes] | None:
        quota = self.hub.faults.mode("quota")
        if quota is None:
            self.spent_posts = 0
            return None
        self.spent_posts += 1
        if self.spent_posts < (quota.n or QUOTA):
            return None
        return [odd_v2.farewell("UpstreamOperationalDisconnect", "The usage cap is reached.")]

    def tally(self, connection: Connection) -> list[bytes]:
        del connection
        return []

    def too_slow(self) -> list[bytes]:
        return [odd_v2.farewell("SlowReader", "The client reads too slowly.")]

    def _guarded(self, window: str, handler: Handler) -> Handler:
        """Credentials first, then the window of this kind of request."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            request[_WINDOW] = self.windows[window]
            secret = self.hub.settings.bearer_token
            kind, _, token = request.headers.get("Authorization", "").partition(" ")
            if kind == "OAuth":
                return self._answered(
                    window,
                    problems.problem(
                        403, "unsupported-authentication", "Unsupported Authentication",
                        "OAuth 1.0a is not supported here; use an app-only bearer token.",
                    ),
                )  # fmt: skip
            if kind != "Bearer" or not token or secret not in {None, token}:
                return self._answered(window, problems.door("401"))
            if not self.windows[window].take():
                return self._answered(window, problems.door("429-rate"))
            return await handler(request)

        return guarded

    def _answered(self, window: str, answer: web.Response) -> web.Response:
        if window == "stream":
            self.hub.note(answer.status, _issue(answer))
        return answer

    async def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        """Rate limit headers on every answer (a signal of aiohttp)."""
        window = request.get(_WINDOW)
        if window is not None:
            response.headers["x-rate-limit-limit"] = str(window.limit)
            response.headers["x-rate-limit-remaining"] = str(window.remaining)
            response.headers["x-rate-limit-reset"] = str(int(window.reset) + 1)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = selection(request.query)
        except BadParameter as bad:
            refusal = problems.invalid(bad.name, bad.value, bad.message)
            return self._answered("stream", refusal)
        refused = self._refused()
        if refused is not None:
            return self._answered("stream", refused)
        connection = Connection(self._ear(wanted), self.hub.now())
        self.hub.join(connection)
        self.hub.note(200)
        try:
            return await Outlet(self.hub, self, connection, request).run()
        finally:
            self._vacate(connection)

    def _refused(self) -> web.Response | None:
        doors = ("401", "402", "403", "410", "429-connections", "429-quota", "429-rate", "503")
        if armed := self.hub.faults.take("door", *doors):
            return problems.door(armed.fault)
        quota = self.hub.faults.mode("quota")
        if quota is not None and self.spent_posts >= (quota.n or QUOTA):
            return problems.door("429-quota")
        if not self.rulebook.rules:
            return problems.no_rules()
        now = self.hub.now()
        self.busy = [until for until in self.busy if until > now]
        if len(self.hub.connections) + len(self.busy) >= self.limits.connections:
            return problems.door("429-connections")
        return None

    def _vacate(self, connection: Connection) -> None:
        busy = self.hub.faults.mode("slot-busy")
        if busy is not None and not connection.over:
            self.busy.append(self.hub.now() + self.hub.duration(busy, SLOT_BUSY))

    def _ear(self, wanted: Selection) -> Ear:
        def ear(payload: Json) -> bytes | None:
            matching = self.rulebook.matching(view(payload), self.hub.now())
            if not matching:
                return None
            cut = wanted.cut(payload)
            cut["matching_rules"] = [
                {"id": r.id} if r.tag is None else {"id": r.id, "tag": r.tag} for r in matching
            ]
            self.cuts += 1
            if self.hub.faults.mode("new-names") and self.cuts % 2:
                cut = odd_v2.renamed(cut)
            return msgspec.json.encode(cut)

        return ear

    async def _list(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        for name in query:
            if name not in {"ids", "max_results", "pagination_token"}:
                return problems.invalid(name, query[name], f"[{name}] is not one of ours.")
        count = query.get("max_results", "1000")
        start = query.get("pagination_token", "0")
        if not count.isdigit() or not 1 <= int(count) <= 1000 or not start.isdigit():
            return problems.invalid("max_results", count, "max_results is 1 to 1000.")
        ids = query["ids"].split(",") if "ids" in query else None
        page = self.rulebook.listed(ids, int(start), int(count), self.hub.now())
        return problems.answer(200, page)

    async def _counts(self, request: web.Request) -> web.StreamResponse:
        del request
        return problems.answer(200, self.rulebook.counts())

    async def _change(self, request: web.Request) -> web.StreamResponse:
        now = self.hub.now()
        dry = request.query.get("dry_run") == "true"
        try:
            if request.query.get("delete_all") == "true":
                body = self.rulebook.delete_all(now, dry=dry)
                return self._changed(200, body)
            change = msgspec.json.decode(await request.read(), type=_Change)
        except msgspec.MsgspecError as error:
            return problems.invalid("body", "", str(error))
        if (change.add is None) == (change.delete is None):
            return problems.invalid("body", "", "Either add or delete, and not both.")
        if change.add is not None:
            wanted = cast("list[Mapping[str, str]]", msgspec.to_builtins(change.add))
            return self._changed(*self.rulebook.add(wanted, now, dry=dry))
        gone = change.delete or _Delete()
        if (gone.ids is None) == (gone.values is None):
            return problems.invalid("delete", "", "Either ids or values.")
        by = "id" if gone.ids is not None else "value"
        return self._changed(
            200, self.rulebook.delete(gone.ids or gone.values or [], by, now, dry=dry)
        )

    def _changed(self, status: int, body: Json) -> web.Response:
        self.hub.stir()
        return problems.answer(status, body)

    async def _connections(self, request: web.Request) -> web.StreamResponse:
        del request
        shown = [
            {
                "id": connection.id,
                "endpoint_name": "filtered_stream",
                "connected_at": wire_v2.iso(int(connection.opened * 1000)),
            }
            for connection in self.hub.connections
        ]
        return problems.answer(200, {"data": shown, "meta": {"result_count": len(shown)}})

    async def _kill(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.match_info.get("endpoint", "")
        if endpoint not in {"", "all", "filtered_stream"}:
            return problems.invalid("endpoint_id", endpoint, "There is no such endpoint.")
        wanted: list[str] | None = None
        if not endpoint:
            try:
                wanted = msgspec.json.decode(await request.read(), type=_Kill).uuids
            except msgspec.MsgspecError as error:
                return problems.invalid("body", "", str(error))
        gone = [c for c in self.hub.connections if wanted is None or c.id in wanted]
        for connection in gone:
            connection.end()
            self.hub.leave(connection)
        count = len(gone) + (len(self.busy) if wanted is None else 0)
        if wanted is None:
            self.busy.clear()
        body = {"successful_kills": count, "failed_kills": 0, "results": []}
        return problems.answer(200, {"data": body})


class _Add(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    value: str
    tag: str | None = None


class _Delete(msgspec.Struct, forbid_unknown_fields=True):
    ids: list[str] | None = None
    values: list[str] | None = None


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    add: list[_Add] | None = None
    delete: _Delete | None = None


class _Kill(msgspec.Struct, forbid_unknown_fields=True):
    uuids: list[str]


def _issue(answer: web.Response) -> str:
    if answer.content_type != "application/json" or not isinstance(answer.body, bytes):
        return ""
    body = cast("Json", msgspec.json.decode(answer.body))
    return str(body.get("connection_issue", body.get("title", "")))
