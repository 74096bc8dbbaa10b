"""A server that does what a test tells it, a clock that runs faster, and a connection to watch."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from aiohttp import web

from stream.backoff import Backoff, Clock
from stream.config import JournalSettings, Settings, XV1Settings
from stream.connection import Connection
from stream.journal import Follower, Journal
from stream.networks.base import Followed, Plan
from stream.networks.table import NETWORKS
from stream.query import Alternative, Query, Term
from stream.tweet import (
    GapClosed,
    GapOpened,
    NetworkName,
    Note,
    Source,
    SourceId,
    StateNote,
    TrackId,
)

RULES = "/2/tweets/search/stream/rules"
SECRETS = {
    "bearer_token": "hidden-token",
    "consumer_key": "ck",
    "consumer_secret": "hidden-cs",
    "token": "at",
    "token_secret": "hidden-ts",
}
FASTEST_TIMEOUT = 0.2  # real seconds
Step = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FastClock(Clock):
    """Time that passes `speed` times as fast."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._began, self._wall = time.monotonic(), time.time()

    def monotonic(self) -> float:
        return (time.monotonic() - self._began) * self.speed

    def time(self) -> float:
        return self._wall + self.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        # A busy machine takes its real time for a real request.
        return asyncio.timeout(max(seconds / self.speed, FASTEST_TIMEOUT))


class Scripted:
    """Speaks as much of both APIs as a connection needs; the stream follows a script."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.url = ""
        self.script: list[Step] = []  # one for each connection; the last one goes on for ever
        self.connects: list[float] = []  # when, by the clock
        self.requests: list[web.Request] = []
        self.forms: list[str] = []
        self.open = 0
        self.most_open = 0
        self.rules: dict[str, dict[str, str]] = {}
        self.bad: set[str] = set()  # values of rules that are refused
        self.kills = 0
        self.rule_step: Step | None = None  # answers in place of the rules

    async def stream(self, request: web.Request) -> web.StreamResponse:
        self.connects.append(self.clock.time())
        self.requests.append(request)
        self.forms.append(await request.text())
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        try:
            return await step(request)
        finally:
            self.open -= 1

    async def list_rules(self, request: web.Request) -> web.StreamResponse:
        if self.rule_step is not None:
            return await self.rule_step(request)
        return web.json_response({"data": list(self.rules.values()), "meta": {}})

    async def change_rules(self, request: web.Request) -> web.StreamResponse:
        change = await request.json()
        errors = []
        for rule in change.get("add", ()):
            if rule["value"] in self.bad:
                errors.append({"value": rule["value"], "type": "x/problems/invalid-rules"})
                continue
            number = str(len(self.rules) + 1000)
            self.rules[number] = {"id": number, **rule}
        for number in change.get("delete", {}).get("ids", ()):
            self.rules.pop(number, None)
        return web.json_response({"meta": {"summary": {}}, "errors": errors}, status=201)

    async def kill(self, request: web.Request) -> web.StreamResponse:
        self.kills += 1
        return web.json_response({"data": {}})

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Scripted"]:
        app = web.Application()
        app.router.add_get("/2/tweets/search/stream", self.stream)
        app.router.add_get(RULES, self.list_rules)
        app.router.add_post(RULES, self.change_rules)
        app.router.add_delete("/2/connections/filtered_stream", self.kill)
        app.router.add_post("/1.1/statuses/filter.json", self.stream)
        runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()


def status(code: int, body: object = "", headers: Mapping[str, str] | None = None) -> Step:
    """Refuse the connection."""
    text = body if isinstance(body, str) else json.dumps(body)

    async def step(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers=headers)

    return step


def send(*chunks: bytes, then: str = "hold") -> Step:
    """Send these chunks; then `hold` the connection open, `close` it, or `abort` it."""

    async def step(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if then == "hold":
            await asyncio.Event().wait()
        if then == "abort":
            assert request.transport is not None
            request.transport.abort()
        return response

    return step


def trickle(every: float, count: int = 1_000_000) -> Step:
    """Send numbered tweets, one each so many real seconds."""

    async def step(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(1, count + 1):
            data = {"id": str(number), "text": "snow", "author_id": "5"}
            await response.write(json.dumps({"data": data}).encode() + b"\r\n")
            await asyncio.sleep(every)
        await asyncio.Event().wait()
        return response

    return step


class Rig:
    """One connection between a scripted server and a real journal."""

    def __init__(self, server: Scripted, journal: Journal, folder: Path, clock: Clock) -> None:
        self.server = server
        self.journal = journal
        self.folder = folder
        self.clock = clock
        self.settings = Settings(x_v1=XV1Settings(settle=2, settle_max=10, delimited=False))
        self.network: NetworkName = "x_v2"
        self.proxy: str | None = None
        self.secrets: dict[str, str] = SECRETS
        self.refused: list[Mapping[TrackId, str]] = []
        self.chance: Callable[[], float] = lambda: 0.0

    def plan(self, *words: str) -> Plan:
        """Follow these words, each by a track of its own, beginning at 1."""
        followed = [
            Followed(TrackId(n), Query("keyword", (Alternative(word, Term(word)),)))
            for n, word in enumerate(words, 1)
        ]
        return NETWORKS[self.network].plan(followed, self.settings)

    def connection(self, *words: str, url: str | None = None) -> Connection:
        source = Source(
            id=SourceId(1),
            name="main",
            network=self.network,
            url=url or self.server.url,
            proxy=self.proxy,
            secrets=self.secrets,
            enabled=True,
        )
        connection = Connection(
            source,
            NETWORKS[self.network],
            self.journal,
            self.settings,
            attempts_file=self.folder / "attempts",
            on_refused=self.refused.append,
            clock=self.clock,
            backoff=Backoff(self.chance),
        )
        connection.set_plan(self.plan(*words))
        return connection

    @contextlib.asynccontextmanager
    async def running(self, *words: str, url: str | None = None) -> AsyncIterator[Connection]:
        """Run a connection that follows these words."""
        connection = self.connection(*(words or ("snow",)), url=url)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(connection.run())
            try:
                yield connection
            finally:
                task.cancel()

    async def records(self) -> list[bytes | Note]:
        """All that is in the journal, in order."""
        found: list[bytes | Note] = []
        with contextlib.closing(Follower(self.journal, 0)) as follower:
            while batch := await follower.read(1000, 1 << 24):
                for frame in batch:
                    note = msgspec.json.decode(frame.body, type=Note) if frame.is_note else None
                    found.append(frame.body if note is None else note)
        return found

    async def frames(self) -> list[bytes]:
        return [record for record in await self.records() if isinstance(record, bytes)]

    async def states(self) -> list[str]:
        return [r.state for r in await self.records() if isinstance(r, StateNote)]

    async def waits(self) -> list[float]:
        """How long each wait was meant to be, in seconds."""
        return [
            record.until - record.at
            for record in await self.records()
            if isinstance(record, StateNote) and record.until is not None
        ]

    async def gaps(self) -> list[GapOpened | GapClosed]:
        return [r for r in await self.records() if isinstance(r, GapOpened | GapClosed)]


class MakeRig(Protocol):
    """A rig whose clock runs so many times as fast."""

    async def __call__(self, speed: float = 1.0) -> Rig: ...


@pytest.fixture
async def make_rig(tmp_path: Path) -> AsyncIterator[MakeRig]:
    async with contextlib.AsyncExitStack() as opened:
        settings = JournalSettings(min_free_bytes=0, min_free_percent=0)
        journal = opened.enter_context(Journal.open(tmp_path / "journal", settings))

        async def make(speed: float = 1.0) -> Rig:
            clock = FastClock(speed)
            server = await opened.enter_async_context(Scripted(clock).serving())
            return Rig(server, journal, tmp_path, clock)

        yield make


class Steps:
    """What a server can do with one attempt to connect."""

    status = staticmethod(status)
    send = staticmethod(send)
    trickle = staticmethod(trickle)


@pytest.fixture
def steps() -> Steps:
    return Steps()
