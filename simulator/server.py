"""Serves one simulated network on one local port, and under /sim the API that controls it.

GET    /sim/status                 connections, counts, armed faults, the last 1000 attempts
GET    /sim/sent[?from=N]          ids of the posts sent, in order; ids deleted; on Bluesky also
                                   matching, edited, vanished, resynced, and accounts by status;
                                   on Mastodon uris of all public posts, matching and edited
POST   /sim/faults                 {"fault": "stall", "seconds": 3, "times": 1, "every": 9, "n": 5}
DELETE /sim/faults[/NAME]          disarm
POST   /sim/pace                   {"rate": 100, "posts": 5000}: from now on; posts null: no end
POST   /sim/emit[?verbatim=1]      the body's lines as messages, or its bytes exactly as they are;
                                   on Bluesky recorded lines as new events, or one raw message
POST   /sim/disconnect[?torn=1]    end all streams, cleanly or by a reset
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import cast

import msgspec
from aiohttp import web

from simulator.bluesky.simulation import Bluesky
from simulator.core import Simulation
from simulator.faults import FAULTS, Armed, UnknownFault, faults_of
from simulator.http_streams import HttpStreams
from simulator.hub import Hub
from simulator.mastodon.simulation import Mastodon
from simulator.problems import answer
from simulator.settings import Jetstream, Limits, NetworkName, OAuth, Settings

__all__ = [
    "FAULTS", "SIMULATIONS", "Jetstream", "Limits", "NetworkName", "OAuth", "Server", "Settings",
    "UnknownFault", "faults_of", "run", "serve",
]  # fmt: skip

REQUEST_LINE_BYTES = 1 << 20  # 10,000 DIDs are 400 kB
BODY_BYTES = 256 << 20  # /sim/emit accepts whole files


class Server:
    """A running simulator, as `serve` returns it."""

    def __init__(self, simulation: Simulation, host: str) -> None:
        self.simulation = simulation
        self.ports = tuple(simulation.core.ports)
        self.port = self.ports[0]
        self.urls = tuple(f"http://{host}:{port}" for port in self.ports)
        self.url = self.urls[0]

    @property
    def hub(self) -> Hub:
        """The state of a simulated X."""
        if not isinstance(self.simulation, HttpStreams):
            raise TypeError("This network does not stream over HTTP.")
        return self.simulation.hub

    @property
    def bluesky(self) -> Bluesky:
        """The simulated Bluesky."""
        if not isinstance(self.simulation, Bluesky):
            raise TypeError("This network is not Bluesky.")
        return self.simulation

    @property
    def mastodon(self) -> Mastodon:
        """The simulated Mastodon server."""
        if not isinstance(self.simulation, Mastodon):
            raise TypeError("This network is not Mastodon.")
        return self.simulation

    @property
    def sent(self) -> list[str]:
        """Ids of the posts sent so far, in order, without repetition."""
        return cast("list[str]", self.simulation.sent(0)["ids"])

    @property
    def connections(self) -> int:
        """Number of open streams."""
        return len(cast("list[object]", self.simulation.status()["connections"]))


@asynccontextmanager
async def serve(settings: Settings) -> AsyncIterator[Server]:
    """A simulator that runs inside the `async with`.

    OSError when the port is taken or the file to replay cannot be read.
    """
    simulation: Simulation = SIMULATIONS[settings.network](settings)
    runner = web.AppRunner(
        _app(simulation),
        # A client that disconnects must end its stream, even an idle one.
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=1,
        max_line_size=REQUEST_LINE_BYTES,
    )
    await runner.setup()
    try:
        hosts = settings.jetstream.hosts if settings.network == "bluesky" else 1
        for number in range(hosts):
            port = settings.port + number if settings.port else 0
            await web.TCPSite(runner, settings.host, port).start()
        simulation.core.ports.extend(cast("int", address[1]) for address in runner.addresses)
        yield Server(simulation, settings.host)
    finally:
        await close(runner)


async def close(runner: web.AppRunner) -> None:
    """Stop a server; what its clients have not read is discarded, so that no socket stays open."""
    for _ in range(2):  # iterations until a connection just accepted belongs to the server
        await asyncio.sleep(0)
    server = runner.server
    connections = [] if server is None else server.connections
    transports = [each.transport for each in connections if each.transport is not None]
    await runner.cleanup()
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0)  # sockets are closed in the next iteration of the event loop


SIMULATIONS: Mapping[NetworkName, Callable[[Settings], Simulation]] = {
    "x_v1": HttpStreams,
    "x_v2": HttpStreams,
    "bluesky": Bluesky,
    "mastodon": Mastodon,
}


def _app(simulation: Simulation) -> web.Application:
    app = web.Application(client_max_size=BODY_BYTES)
    app.add_routes((*Control(simulation).routes(), *simulation.routes()))

    async def date(request: web.Request, response: web.StreamResponse) -> None:
        del request
        response.headers["Date"] = formatdate(simulation.core.now(), usegmt=True)

    async def end_streams(app: web.Application) -> None:
        del app
        await simulation.shut_down()

    async def produce(app: web.Application) -> AsyncIterator[None]:
        del app
        async with asyncio.TaskGroup() as group:
            task = group.create_task(simulation.run(), name="producer")
            yield
            task.cancel()

    app.on_response_prepare.extend((simulation.decorate, date))
    app.on_shutdown.append(end_streams)
    app.cleanup_ctx.append(produce)
    return app


async def run(settings: Settings, serving: Callable[[str], None]) -> None:
    """Serve until cancelled; `serving` gets the address once it answers."""
    async with serve(settings) as server:
        serving(server.url)
        await asyncio.Event().wait()


class _Pace(msgspec.Struct, forbid_unknown_fields=True):
    rate: float | msgspec.UnsetType = msgspec.UNSET
    posts: int | msgspec.UnsetType | None = msgspec.UNSET


class Control:
    """Routes for tests and people. They need no credentials: the simulator serves one machine."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.core = simulation.core

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
        core = self.core
        return answer(
            200,
            {
                "network": core.settings.network,
                "rate": core.rate,
                "posts_left": core.posts_left,
                **self.simulation.status(),
                "attempts": list(core.attempts),
                "attempt_count": core.attempt_count,
                "armed": list(core.faults.armed.values()),
                "faults": faults_of(core.settings.network),
            },
        )

    async def _sent(self, request: web.Request) -> web.Response:
        start = request.query.get("from", "0")
        return answer(200, self.simulation.sent(int(start) if start.isdigit() else 0))

    async def _arm(self, request: web.Request) -> web.Response:
        try:
            self.core.faults.arm(msgspec.json.decode(await request.read(), type=Armed))
        except (msgspec.MsgspecError, UnknownFault) as error:
            return answer(400, {"error": str(error)})
        self.core.wake()
        return answer(200, {"armed": list(self.core.faults.armed.values())})

    async def _disarm(self, request: web.Request) -> web.Response:
        self.core.faults.clear(request.match_info.get("name"))
        return answer(200, {"armed": list(self.core.faults.armed.values())})

    async def _pace(self, request: web.Request) -> web.Response:
        try:
            pace = msgspec.json.decode(await request.read(), type=_Pace)
        except msgspec.MsgspecError as error:
            return answer(400, {"error": str(error)})
        if pace.rate is not msgspec.UNSET:
            self.core.rate = pace.rate
        if pace.posts is not msgspec.UNSET:
            self.core.posts_left = pace.posts
        self.core.wake()
        return answer(200, {"rate": self.core.rate, "posts_left": self.core.posts_left})

    async def _emit(self, request: web.Request) -> web.Response:
        verbatim = bool(request.query.get("verbatim"))
        count = self.simulation.emit(await request.read(), verbatim=verbatim)
        if count is None:
            return answer(409, {"error": "No client is connected."})
        return answer(200, {"messages": count})

    async def _disconnect(self, request: web.Request) -> web.Response:
        count = self.simulation.disconnect(torn=bool(request.query.get("torn")))
        return answer(200, {"connections": count})
