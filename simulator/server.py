"""One simulated network on one local port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import cast

from aiohttp import web

from simulator.control import Control
from simulator.faults import FAULTS, UnknownFault
from simulator.hub import Hub
from simulator.network import Network
from simulator.pump import Pump
from simulator.settings import Limits, NetworkName, OAuth, Settings
from simulator.x_v1 import XV1
from simulator.x_v2 import XV2

__all__ = [
    "FAULTS", "Limits", "NetworkName", "OAuth", "Server", "Settings", "UnknownFault", "run",
    "serve",
]  # fmt: skip

BODY_BYTES = 256 << 20  # /sim/emit may carry whole files


class Server:
    """A running simulator, for whoever started it."""

    def __init__(self, hub: Hub, host: str, port: int) -> None:
        self.hub = hub
        self.port = port
        self.url = f"http://{host}:{port}"

    @property
    def sent(self) -> list[str]:
        """The ids of the posts sent so far, in order, each once."""
        return self.hub.sent.ids()

    @property
    def connections(self) -> int:
        """Streams that are open now."""
        return len(self.hub.connections)


@asynccontextmanager
async def serve(settings: Settings) -> AsyncIterator[Server]:
    """A simulator that listens and sends inside the `async with`.

    OSError when the port is taken or the file to replay cannot be read, UnknownFault for a fault
    that there is not.
    """
    hub = Hub(settings)
    runner = web.AppRunner(
        _app(hub),
        # A client that goes must end its stream, even one that has nothing to write.
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=1,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        port = cast("int", runner.addresses[0][1])
        yield Server(hub, settings.host, port)
    finally:
        await runner.cleanup()


def _app(hub: Hub) -> web.Application:
    network: Network = XV1(hub) if hub.settings.network == "x_v1" else XV2(hub)
    app = web.Application(client_max_size=BODY_BYTES)
    app.add_routes((*network.routes(), *Control(hub).routes()))

    async def date(request: web.Request, response: web.StreamResponse) -> None:
        del request
        response.headers["Date"] = formatdate(hub.now(), usegmt=True)

    async def part(app: web.Application) -> None:
        del app
        for connection in hub.connections:
            connection.end()

    async def pump(app: web.Application) -> AsyncIterator[None]:
        del app
        async with asyncio.TaskGroup() as group:
            task = group.create_task(Pump(hub, network).run(), name="pump")
            yield
            task.cancel()

    app.on_response_prepare.extend((network.decorate, date))
    app.on_shutdown.append(part)
    app.cleanup_ctx.append(pump)
    return app


async def run(settings: Settings) -> None:
    """Serve until cancelled."""
    async with serve(settings):
        await asyncio.Event().wait()
