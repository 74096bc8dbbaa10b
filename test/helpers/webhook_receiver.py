"""A receiver of webhooks on a port of its own, that can be slow, refuse, or answer anything."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from standardwebhooks import Webhook


class Received(msgspec.Struct, frozen=True):
    """One request."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def message(self) -> dict[str, Any]:
        return msgspec.json.decode(self.body, type=dict[str, Any])

    @property
    def type(self) -> str:
        return str(self.message["type"])

    @property
    def texts(self) -> list[str]:
        return [each["text"] for each in self.message["data"].get("tweets", [])]

    def verify(self, secret: str) -> Any:
        """WebhookVerificationError unless it is signed with this secret."""
        return Webhook(secret).verify(self.body, self.headers)


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def ok(_: web.Request) -> web.StreamResponse:
    return web.Response(text="thanks")


def status(number: int, **headers: str) -> Answer:
    """Answers with this status."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=number, text="an answer", headers=headers)

    return answer


async def hang(_: web.Request) -> web.StreamResponse:
    """Never answers."""
    await asyncio.Event().wait()
    raise AssertionError


class Receiver:
    """Keeps what it gets; `answer` is what it answers with."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/hook"
        self.received: list[Received] = []
        self.answer: Answer = ok

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(headers, await request.read()))
        return await self.answer(request)

    def of(self, type_: str) -> list[Received]:
        return [each for each in self.received if each.type == type_]

    @property
    def texts(self) -> list[str]:
        """Of all tweets, in the order in which they came."""
        return [text for each in self.received for text in each.texts]


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A running receiver."""
    receiver = Receiver(0)
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)  # 0: for ever
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [address] = runner.addresses
    receiver.port = address[1]
    receiver.url = f"http://127.0.0.1:{receiver.port}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()
