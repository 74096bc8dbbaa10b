"""The rules of one source at a simulated X, and all that is reported of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from simulator.faults import Armed
from simulator.server import Limits, serve
from simulator.server import Settings as SimulatorSettings
from stream.backoff import Clock
from stream.config import Settings, XV2Settings
from stream.networks.base import CoverageGap, PlannedTrack, SilentReporter
from stream.networks.http import NetworkHttp
from stream.networks.response import Response
from stream.networks.x_v2.plan import XV2Plan, XV2Planner
from stream.networks.x_v2.rule_diff import ListedRule
from stream.networks.x_v2.rule_sync import RuleSync
from stream.query import Alternative, Query, Term
from stream.tweet import Source, SourceId, TrackId

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from simulator.server import Server


HEADERS = {"Authorization": "Bearer T"}


class Recorder(NetworkHttp):
    """The real wire, that also notes what was asked."""

    def __init__(self, source: Source, clock: Clock) -> None:
        super().__init__(source, clock, "")
        self.asked: list[str] = []

    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Response:
        verb = next(iter(msgspec.json.decode(body))) if body else "list"
        self.asked.append(verb)
        return await super().request(method, path, headers, body)


def planned(followed: Sequence[PlannedTrack], settings: Settings) -> XV2Plan:
    """The plan for these tracks."""
    planner = XV2Planner(settings)
    for each in followed:
        planner.follow(each.track_id, each.query)
    return planner.plan()


class StillClock(Clock):
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.passed = 0.0
        self._began = super().time()

    def monotonic(self) -> float:
        return self.passed

    def time(self) -> float:
        return self._began + self.passed


class Reports(SilentReporter):
    """All that was said of the rules."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.refused_now: Mapping[TrackId, str] = {}
        self.reach_now: Mapping[TrackId, str] = {}
        self.stale_now: Mapping[TrackId, str] = {}
        self.troubles: list[str] = []
        self.gaps: list[CoverageGap] = []
        self.covered_at: list[tuple[Sequence[TrackId] | None, float]] = []

    def record_event(self, text: str) -> None:
        self.said.append(text)

    def report_refused(self, tracks: Mapping[TrackId, str]) -> None:
        self.refused_now = tracks

    def report_reach(self, tracks: Mapping[TrackId, str]) -> None:
        self.reach_now = tracks

    def report_stale(self, tracks: Mapping[TrackId, str]) -> None:
        self.stale_now = tracks

    def report_mismatch(self, sentence: str) -> None:
        self.troubles.append(sentence)

    def report_uncovered(self, gap: CoverageGap) -> None:
        self.gaps.append(gap)

    def report_covered(self, tracks: Sequence[TrackId] | None, at: float) -> None:
        self.covered_at.append((tracks, at))


class Desk:
    """The rules of one source at a simulated X."""

    def __init__(self, server: Server, settings: Settings) -> None:
        source = Source(SourceId(1), "main", "x_v2", server.url, None, {}, enabled=True)
        self.clock = StillClock()
        self.server = server
        self.settings = settings
        self.reported = Reports()
        self.http = Recorder(source, self.clock)
        self.rules = RuleSync(self.http, HEADERS, settings, self.clock, self.reported)

    @property
    def said(self) -> list[str]:
        return self.reported.said

    @property
    def refused(self) -> Mapping[TrackId, str]:
        return self.reported.refused_now

    def arm(self, fault: str, times: int = 1) -> None:
        self.server.hub.faults.arm(Armed(fault=fault, times=times))

    async def settled(self, *words: str, within: float = 3600) -> int:
        """Follow these, as often as it takes until nothing is left to be done; requests of change.

        Time passes meanwhile, as much as is waited for.
        """
        asked: list[str] = []
        end = self.clock.passed + within
        while True:
            wait = await self.follow(*words)
            asked += self.http.asked
            if not wait:
                return sum(verb != "list" for verb in asked)
            self.clock.passed += wait
            assert self.clock.passed < end, (wait, await self.values())

    def plan(self, *words: str) -> XV2Plan:
        """A track for each of these; a comma separates its alternatives."""
        followed = [
            PlannedTrack(TrackId(n), Query("keyword", tuple(map(_alternative, word.split(",")))))
            for n, word in enumerate(words, 1)
        ]
        return planned(followed, self.settings)

    async def follow(self, *words: str) -> float:
        """Reconcile, for tracks 1, 2, …; what was asked before is forgotten."""
        self.http.asked.clear()
        return await self.rules.reconcile(self.plan(*words))

    async def by_hand(self, *rules: dict[str, str]) -> None:
        """Another program adds rules."""
        body = msgspec.json.encode({"add": rules})
        headers = {**HEADERS, "Content-Type": "application/json"}
        await self.http.request("POST", "/2/tweets/search/stream/rules", headers, body)

    async def delete_by_hand(self, *ids: str) -> None:
        """Another program deletes rules."""
        body = msgspec.json.encode({"delete": {"ids": ids}})
        headers = {**HEADERS, "Content-Type": "application/json"}
        await self.http.request("POST", "/2/tweets/search/stream/rules", headers, body)

    async def listed(self) -> Sequence[ListedRule]:
        return await self.rules.listing()

    async def values(self) -> list[str]:
        return sorted(rule.value for rule in await self.listed())


def _alternative(word: str) -> Alternative:
    return Alternative(word, Term(word))


@contextlib.asynccontextmanager
async def desk(limits: Limits | None = None, **is_ours: int) -> AsyncIterator[Desk]:
    settings = Settings(x_v2=msgspec.convert(is_ours, XV2Settings))
    async with serve(SimulatorSettings(limits=limits or Limits())) as server:
        yield Desk(server, settings)
