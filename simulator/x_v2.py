"""X API v2: filtered stream, its rules, and connections (X v2 reference)."""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

import msgspec
from aiohttp import web

from simulator import problems, wire_v2
from simulator.faults import Armed
from simulator.field_selection import BadParameter, Selection, read_selection
from simulator.hub import Connection, Encoder, Hub, RequestWindow
from simulator.payload import Json
from simulator.posts import Constraints, Post
from simulator.rulebook import FaultyRulebook, Rulebook
from simulator.rules import match_input
from simulator.stream_response import StreamingResponse

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

KEEP_ALIVE = 20  # seconds
STALL = 40  # seconds of silence in the fault of this name
SLOT_BUSY = 60  # seconds that the slot stays taken in the fault of this name
QUOTA = 100  # posts in the fault of this name
EDIT_EVERY = 5  # posts, with the fault edits
STREAM = "/2/tweets/search/stream"
RULES = "/2/tweets/search/stream/rules"
_WINDOW = web.RequestKey("window", RequestWindow)


class XV2:
    """Simulates one app with its rules and connection slots."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        limits = hub.settings.limits
        self.limits = limits
        self.keep_alive = hub.scaled(KEEP_ALIVE)
        self.stall = float(STALL)
        self.rulebook = Rulebook(limits, hub.scaled(limits.rule_delay))
        self.faulty_rulebook = FaultyRulebook(self.rulebook, hub.faults)
        seconds = hub.scaled(limits.window)
        self.windows = {
            "stream": RequestWindow(limits.connects, seconds),
            "read": RequestWindow(limits.rule_reads, seconds),
            "change": RequestWindow(limits.rule_changes, seconds),
            "kill": RequestWindow(limits.kills, seconds),
            "other": RequestWindow(limits.rule_reads, seconds),
        }
        self.busy: list[float] = []  # when the slots of disconnected clients become free
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

    def constraints(self, rng: random.Random) -> Constraints | None:
        return self.rulebook.constraints(rng, self.hub.now())

    def fault_messages(self, armed: Armed) -> list[bytes]:
        return wire_v2.messages(armed, list(self.rulebook.rules.values()))

    def extra_messages(self, post: Post, count: int) -> tuple[list[bytes], list[Post], list[bytes]]:
        edits = self.hub.faults.mode("edits")
        if edits and post.reposted is None and count % (edits.n or EDIT_EVERY) == 0:
            return [], [wire_v2.edited(post)], []
        return [], [], []

    def quota_messages(self) -> list[bytes] | None:
        quota = self.hub.faults.mode("quota")
        if quota is None:
            self.spent_posts = 0
            return None
        self.spent_posts += 1
        if self.spent_posts < (quota.n or QUOTA):
            return None
        return [wire_v2.farewell("UpstreamOperationalDisconnect", "The usage cap is reached.")]

    def limit_notices(self, connection: Connection) -> list[bytes]:
        del connection
        return []

    def slow_reader_messages(self) -> list[bytes]:
        return [wire_v2.farewell("SlowReader", "The client reads too slowly.")]

    def _guarded(self, window: str, handler: Handler) -> Handler:
        """Check credentials, then the rate limit of this kind of request."""

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
                return self._answered(window, problems.connect_fault("401"))
            if not self.windows[window].take():
                return self._answered(window, problems.connect_fault("429-rate"))
            return await handler(request)

        return guarded

    def _answered(self, window: str, answer: web.Response) -> web.Response:
        if window == "stream":
            self.hub.note_attempt(answer.status, _issue(answer))
        return answer

    async def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add rate limit headers (a signal of aiohttp)."""
        window = request.get(_WINDOW)
        if window is not None:
            response.headers["x-rate-limit-limit"] = str(window.limit)
            response.headers["x-rate-limit-remaining"] = str(window.remaining)
            response.headers["x-rate-limit-reset"] = str(int(window.reset) + 1)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = read_selection(request.query)
        except BadParameter as bad:
            refusal = problems.invalid(bad.name, bad.value, bad.message)
            return self._answered("stream", refusal)
        refused = self._refused()
        if refused is not None:
            return self._answered("stream", refused)
        connection = Connection(self._ear(wanted), self.hub.now())
        self.hub.join(connection)
        self.hub.note_attempt(200)
        try:
            return await StreamingResponse(self.hub, self, connection, request).run()
        finally:
            self._vacate(connection)

    def _refused(self) -> web.Response | None:
        doors = ("401", "402", "403", "410", "429-connections", "429-quota", "429-rate", "503")
        if armed := self.hub.faults.take("connect", *doors):
            return problems.connect_fault(armed.fault)
        quota = self.hub.faults.mode("quota")
        if quota is not None and self.spent_posts >= (quota.n or QUOTA):
            return problems.connect_fault("429-quota")
        if not self.rulebook.rules:
            return problems.no_rules()
        now = self.hub.now()
        self.busy = [end for end in self.busy if end > now]
        if len(self.hub.connections) + len(self.busy) >= self.limits.connections:
            return problems.connect_fault("429-connections")
        return None

    def _vacate(self, connection: Connection) -> None:
        busy = self.hub.faults.mode("slot-busy")
        if busy is not None and not connection.over:
            self.busy.append(self.hub.now() + self.hub.duration(busy, SLOT_BUSY))

    def _ear(self, wanted: Selection) -> Encoder:
        def encode(payload: Json) -> bytes | None:
            matching = self.rulebook.matching(match_input(payload), self.hub.now())
            if not matching:
                return None
            cut = wanted.project(payload)
            cut["matching_rules"] = [
                {"id": r.id} if r.tag is None else {"id": r.id, "tag": r.tag} for r in matching
            ]
            self.cuts += 1
            if self.hub.faults.mode("new-names") and self.cuts % 2:
                cut = wire_v2.renamed(cut)
            return msgspec.json.encode(cut)

        return encode

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
        self.faulty_rulebook.tamper(self.hub.now())
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
            added = self.rulebook.add(wanted, now, dry=True) if dry else None
            return self._changed(*(added or self.faulty_rulebook.add(wanted, now)))
        return self._delete(change.delete or _Delete(), now, dry=dry)

    def _delete(self, gone: "_Delete", now: float, *, dry: bool) -> web.Response:
        if (gone.ids is None) == (gone.values is None):
            return problems.invalid("delete", "", "Either ids or values.")
        if gone.ids is not None and not dry:
            return self._changed(*self.faulty_rulebook.delete(gone.ids, now))
        by = "id" if gone.ids is not None else "value"
        wanted = gone.ids or gone.values or []
        return self._changed(200, self.rulebook.delete(wanted, by, now, dry=dry))

    def _changed(self, status: int, body: Json) -> web.Response:
        self.hub.wake()
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
