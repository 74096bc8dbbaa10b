"""The page under /sim by which a test or a person drives a running simulator.

GET    /sim/status                 connections, counts, armed faults, the last 1000 attempts
GET    /sim/sent[?from=N]          ids of the posts sent, in order; ids deleted
POST   /sim/faults                 {"fault": "stall", "seconds": 3, "times": 1, "every": 9, "n": 5}
DELETE /sim/faults[/NAME]          disarm
POST   /sim/pace                   {"rate": 100, "posts": 5000}: from now on; posts null: no end
POST   /sim/emit[?verbatim=1]      the body's lines as messages, or its bytes exactly as they are
POST   /sim/disconnect[?torn=1]    end all streams, cleanly or by a reset
"""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from simulator.faults import FAULTS, Armed, UnknownFault
from simulator.hub import Hub
from simulator.problems import answer
from simulator.sent import id_of


class _Pace(msgspec.Struct, forbid_unknown_fields=True):
    rate: float | msgspec.UnsetType = msgspec.UNSET
    posts: int | msgspec.UnsetType | None = msgspec.UNSET


class Control:
    """Not part of any protocol, and without credentials: the simulator is for one machine."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def routes(self) -> Sequence[web.RouteDef]:
        return (
            web.get("/sim/status", self._status),
            web.get("/sim/sent", self._sent),
            web.post("/sim/faults", self._arm),
            web.delete("/sim/faults", self._disarm),
            web.delete("/sim/faults/{name}", self._disarm),
            web.post("/sim/pace", self._pace),
            web.post("/sim/emit", self._emit),
            web.post("/sim/disconnect", self._disconnect),
        )

    async def _status(self, request: web.Request) -> web.Response:
        del request
        hub = self.hub
        return answer(
            200,
            {
                "network": hub.settings.network,
                "rate": hub.rate,
                "posts_left": hub.posts_left,
                "sent": len(hub.sent),
                "others": hub.sent.others,
                "lines": hub.lines,
                "connections": [
                    {"id": c.id, "since": c.opened, "posts": c.posts, "waiting": c.size}
                    for c in hub.connections
                ],
                "attempts": list(hub.attempts),
                "attempt_count": hub.attempt_count,
                "armed": list(hub.faults.armed.values()),
                "faults": FAULTS,
            },
        )

    async def _sent(self, request: web.Request) -> web.Response:
        start = request.query.get("from", "0")
        ids = self.hub.sent.ids(int(start) if start.isdigit() else 0)
        deleted = [str(number) for number in self.hub.deleted]
        return answer(200, {"count": len(self.hub.sent), "ids": ids, "deleted": deleted})

    async def _arm(self, request: web.Request) -> web.Response:
        try:
            self.hub.faults.arm(msgspec.json.decode(await request.read(), type=Armed))
        except (msgspec.MsgspecError, UnknownFault) as error:
            return answer(400, {"error": str(error)})
        self.hub.stir()
        return answer(200, {"armed": list(self.hub.faults.armed.values())})

    async def _disarm(self, request: web.Request) -> web.Response:
        self.hub.faults.clear(request.match_info.get("name"))
        return answer(200, {"armed": list(self.hub.faults.armed.values())})

    async def _pace(self, request: web.Request) -> web.Response:
        try:
            pace = msgspec.json.decode(await request.read(), type=_Pace)
        except msgspec.MsgspecError as error:
            return answer(400, {"error": str(error)})
        if pace.rate is not msgspec.UNSET:
            self.hub.rate = pace.rate
        if pace.posts is not msgspec.UNSET:
            self.hub.posts_left = pace.posts
        self.hub.stir()
        return answer(200, {"rate": self.hub.rate, "posts_left": self.hub.posts_left})

    async def _emit(self, request: web.Request) -> web.Response:
        body = await request.read()
        hearing = self.hub.hearing()
        if not hearing:
            return answer(409, {"error": "Nobody is connected."})
        lines = [line.removesuffix(b"\r") for line in body.split(b"\n") if line.strip()]
        for connection in hearing:
            if request.query.get("verbatim"):
                connection.put_bytes(body)
            else:
                self.hub.send(connection, lines)
        self.hub.record(lines, [id_of(line) for line in lines])
        return answer(200, {"connections": len(hearing), "messages": len(lines)})

    async def _disconnect(self, request: web.Request) -> web.Response:
        count = len(self.hub.connections)
        for connection in self.hub.connections:
            connection.end(torn=bool(request.query.get("torn")))
        return answer(200, {"connections": count})
