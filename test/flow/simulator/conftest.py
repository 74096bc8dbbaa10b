"""Clients of the simulated networks, as tests use them."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import aiohttp
import msgspec
import pytest

from simulator.server import Jetstream as JetstreamSettings
from simulator.server import Server, Settings, serve

STREAM = "/2/tweets/search/stream"


class App:
    """An app of X v2 with its token."""

    def __init__(self, server: Server, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http

    async def ask(
        self, method: str, path: str, body: object = None, **query: str
    ) -> tuple[int, dict[str, Any]]:
        """Status and answer of a request."""
        url = self.server.url + path
        async with self.http.request(method, url, json=body, params=query) as response:
            return response.status, json.loads(await response.text() or "{}")

    async def add(self, *values: str) -> None:
        rules = [{"value": value} for value in values]
        assert (await self.ask("POST", STREAM + "/rules", {"add": rules}))[0] == 201

    async def arm(self, fault: str, **more: float) -> int:
        return (await self.ask("POST", "/sim/faults", {"fault": fault, **more}))[0]

    @asynccontextmanager
    async def stream(
        self, accept_encoding: str = "gzip", **query: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = self.server.url + STREAM
        headers = {"Accept-Encoding": accept_encoding}
        async with self.http.get(url, params=query, headers=headers) as response:
            yield response


class RunApp(Protocol):
    """`async with app("cat", rate=0) as client`: a simulated X v2 with these rules and settings."""

    def __call__(self, *rules: str, **settings: object) -> AbstractAsyncContextManager[App]: ...


@pytest.fixture
def app() -> RunApp:
    @asynccontextmanager
    async def run(*rules: str, **settings: object) -> AsyncIterator[App]:
        wanted = msgspec.structs.replace(Settings(rate=200, bearer_token="T"), **settings)
        headers = {"Authorization": "Bearer T"}
        async with (
            serve(wanted) as server,
            aiohttp.ClientSession(headers=headers, auto_decompress=False) as http,
        ):
            client = App(server, http)
            if rules:
                await client.add(*rules)
            yield client

    return run


class Read(Protocol):
    """So many messages of a stream, without keep-alives."""

    async def __call__(
        self, response: aiohttp.ClientResponse, count: int
    ) -> list[dict[str, Any]]: ...


@pytest.fixture
def read() -> Read:
    async def messages(response: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < count:
            line = await response.content.readline()
            assert line.endswith(b"\r\n"), "the stream ended"
            if line.strip():
                found.append(json.loads(line))
        return found

    return messages


SUBSCRIBE = "/subscribe"
SUBSCRIBE_EVENTS = "/xrpc/network.bsky.jetstream.subscribeEvents"
DICTIONARY = "/xrpc/network.bsky.jetstream.getZstdDictionary"


class Jetstream:
    """A client of a simulated Bluesky."""

    def __init__(self, server: Server, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http
        self.sent = server.bluesky.activity.sent

    async def get(self, path: str, host: int = 0) -> tuple[int, Any]:
        """Status and body of a request: parsed JSON, or text."""
        async with self.http.get(self.server.urls[host] + path) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(text) if is_json else text

    async def arm(self, fault: str, **more: float) -> None:
        url = self.server.url + "/sim/faults"
        async with self.http.post(url, json={"fault": fault, **more}) as response:
            assert response.status == 200, await response.text()

    @asynccontextmanager
    async def stream(
        self, path: str, host: int = 0, **options: Any
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """An open stream; its query is part of the path."""
        url = self.server.urls[host] + path
        async with self.http.ws_connect(url, max_msg_size=0, **options) as socket:
            yield socket

    async def refused(self, path: str, **options: Any) -> tuple[int, str]:
        """Status and body of a refused upgrade."""
        key = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
        headers = key | options.pop("headers", {})
        async with self.http.get(self.server.url + path, headers=headers, **options) as response:
            return response.status, await response.text()


class RunJetstream(Protocol):
    """`async with bluesky(rate=0) as jetstream`: a simulated Bluesky with these settings."""

    def __call__(self, **settings: object) -> AbstractAsyncContextManager[Jetstream]: ...


@pytest.fixture
def bluesky() -> RunJetstream:
    @asynccontextmanager
    async def run(**settings: object) -> AsyncIterator[Jetstream]:
        names = {field for field in JetstreamSettings.__struct_fields__ if field in settings}
        inner = JetstreamSettings(**{name: settings.pop(name) for name in names})  # type: ignore[arg-type]  # by name
        wanted = msgspec.structs.replace(
            Settings(network="bluesky", rate=200, jetstream=inner), **settings
        )
        async with serve(wanted) as server, aiohttp.ClientSession() as http:
            yield Jetstream(server, http)

    return run


class Messages(Protocol):
    """So many messages of a WebSocket, parsed."""

    async def __call__(
        self, socket: aiohttp.ClientWebSocketResponse, count: int
    ) -> list[dict[str, Any]]: ...


@pytest.fixture
def messages() -> Messages:
    async def receive(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[dict[str, Any]]:
        return [json.loads((await socket.receive()).data) for _ in range(count)]

    return receive
