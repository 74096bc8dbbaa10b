"""Networks that stream over one long HTTP response (X v1.1 and v2), as the server runs them."""

from collections.abc import Sequence

from aiohttp import web

from simulator.hub import Hub, Network, id_of
from simulator.payload import Json
from simulator.producer import Producer
from simulator.settings import Settings
from simulator.x_v1 import XV1
from simulator.x_v2 import XV2


class HttpStreams:
    """One simulated X: its state, its protocol, its producer."""

    def __init__(self, settings: Settings) -> None:
        self.core = self.hub = Hub(settings)
        self.network: Network = XV1(self.hub) if settings.network == "x_v1" else XV2(self.hub)

    def routes(self) -> Sequence[web.RouteDef]:
        return self.network.routes()

    async def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        await self.network.decorate(request, response)

    async def run(self) -> None:
        await Producer(self.hub, self.network).run()

    def status(self) -> Json:
        return {
            "sent": len(self.hub.sent),
            "others": self.hub.sent.others,
            "lines": self.hub.lines,
            "connections": [
                {"id": c.id, "since": c.opened, "posts": c.posts, "waiting": c.size}
                for c in self.hub.connections
            ],
        }

    def sent(self, start: int) -> Json:
        return {
            "count": len(self.hub.sent),
            "ids": self.hub.sent.ids(start),
            "deleted": [str(number) for number in self.hub.deleted],
        }

    def emit(self, body: bytes, *, verbatim: bool) -> int | None:
        active = self.hub.active()
        if not active:
            return None
        lines = [line.removesuffix(b"\r") for line in body.split(b"\n") if line.strip()]
        for connection in active:
            if verbatim:
                connection.put_bytes(body)
            else:
                self.hub.send(connection, lines)
        self.hub.record_sent(lines, [id_of(line) for line in lines])
        return len(lines)

    def disconnect(self, *, torn: bool) -> int:
        count = len(self.hub.connections)
        for connection in self.hub.connections:
            connection.end(torn=torn)
        return count

    async def shut_down(self) -> None:
        self.disconnect(torn=False)
