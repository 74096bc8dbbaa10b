"""A scripted server, a faster clock, and a connection to watch."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
import pytest
from aiohttp import web

from clocks import FastClock
from servers import Step, serving
from stream.backoff import Backoff, Clock
from stream.config import JournalSettings, Settings, XV1Settings
from stream.connection import ConnectionSupervisor
from stream.connection.recorder import ReportKind
from stream.journal import Journal, JournalReader
from stream.networks.base import Plan, PlannedTrack
from stream.networks.registry import NETWORKS
from stream.notes import GapClosed, GapOpened, Note, SourceState, StateNote
from stream.query import Alternative, Query, Term
from stream.tweet import NetworkName, Source, SourceId, TrackId

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually

RULES = "/2/tweets/search/stream/rules"
SECRETS = {
    "bearer_token": "hidden-token",
    "consumer_key": "ck",
    "consumer_secret": "hidden-cs",
    "token": "at",
    "token_secret": "hidden-ts",
}


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
        self.why = ""  # they are refused
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
        errors, created = [], []
        for rule in change.get("add", ()):
            if rule["value"] in self.bad:
                problem = {"value": rule["value"], "type": "x/problems/invalid-rules"}
                errors.append({**problem, "detail": self.why} if self.why else problem)
                continue
            number = str(len(self.rules) + 1000)
            self.rules[number] = {"id": number, **rule}
            created.append(self.rules[number])
        gone = [self.rules.pop(n, None) for n in change.get("delete", {}).get("ids", ())]
        answer = {"meta": {"summary": {"deleted": len(gone)}}, "data": created, "errors": errors}
        return web.json_response(answer, status=201)

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
        async with serving(app) as self.url:
            yield self


class Rig:
    """One connection between a scripted server and a real journal."""

    def __init__(
        self,
        server: Scripted,
        journal: Journal,
        folder: Path,
        clock: Clock,
        eventually: "Eventually",
    ) -> None:
        self.eventually = eventually
        self.server = server
        self.journal = journal
        self.folder = folder
        self.clock = clock
        self.settings = Settings(x_v1=XV1Settings(debounce=2, debounce_max=10, delimited=False))
        self.network: NetworkName = "x_v2"
        self.proxy: str | None = None
        self.secrets: dict[str, str] = SECRETS
        self.refused: list[Mapping[TrackId, str]] = []
        self.chance: Callable[[], float] = lambda: 0.0

    def note_network_report(self, kind: ReportKind, tracks: Mapping[TrackId, str]) -> None:
        """What the network says of tracks."""
        if kind == "refused":
            self.refused.append(tracks)

    def plan(self, *words: str) -> Plan:
        """Follow these words, each by a track of its own, beginning at 1."""
        followed = [
            PlannedTrack(TrackId(n), Query("keyword", (Alternative(word, Term(word)),)))
            for n, word in enumerate(words, 1)
        ]
        return NETWORKS[self.network].plan(followed, self.settings)

    def connection(self, *words: str, url: str | None = None) -> ConnectionSupervisor:
        source = Source(
            id=SourceId(1),
            name="main",
            network=self.network,
            url=url or self.server.url,
            proxy=self.proxy,
            secrets=self.secrets,
            enabled=True,
        )
        connection = ConnectionSupervisor(
            source,
            NETWORKS[self.network],
            self.journal,
            self.settings,
            attempts_file=self.folder / "attempts",
            on_tracks=self.note_network_report,
            clock=self.clock,
            backoff=Backoff(self.chance),
        )
        connection.set_plan(self.plan(*words))
        return connection

    @contextlib.asynccontextmanager
    async def running(
        self, *words: str, url: str | None = None, until: SourceState | None = None
    ) -> AsyncIterator[ConnectionSupervisor]:
        """Run a connection that follows these words, and wait `until` it has this state."""
        connection = self.connection(*(words or ("snow",)), url=url)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(connection.run())
            try:
                if until is not None:
                    await self.eventually(lambda: connection.state.state == until)
                yield connection
            finally:
                task.cancel()

    async def run(self, *words: str, until: SourceState, url: str | None = None) -> None:
        """Run a connection until it has this state, and end it."""
        async with self.running(*words, url=url, until=until):
            pass

    async def records(self) -> list[bytes | Note]:
        """All that is in the journal, in order."""
        found: list[bytes | Note] = []
        with contextlib.closing(JournalReader(self.journal, 0)) as reader:
            while batch := await reader.read(1000, 1 << 24):
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

    async def only_gap(self) -> GapOpened:
        """The one gap, which has not ended."""
        [gap] = await self.gaps()
        assert isinstance(gap, GapOpened)
        return gap


class MakeRig(Protocol):
    """A rig whose server follows this script, and whose clock runs so many times as fast."""

    async def __call__(self, *script: Step, speed: float = 1.0) -> Rig: ...


@pytest.fixture
async def make_rig(tmp_path: Path, eventually: "Eventually") -> AsyncIterator[MakeRig]:
    async with contextlib.AsyncExitStack() as opened:
        settings = JournalSettings(min_free_bytes=0, min_free_percent=0)
        journal = opened.enter_context(Journal.open(tmp_path / "journal", settings))

        async def make(*script: Step, speed: float = 1.0) -> Rig:
            clock = FastClock(speed)
            server = await opened.enter_async_context(Scripted(clock).serving())
            server.script = list(script)
            return Rig(server, journal, tmp_path, clock, eventually)

        yield make
