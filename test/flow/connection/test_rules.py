"""The rules that X has become the rules that are wanted (X v2 reference §3)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import pytest

from simulator.server import Limits, serve
from simulator.server import Settings as SimulatorSettings
from stream.backoff import Clock
from stream.config import Settings, XV2Settings
from stream.errors import ConnectError
from stream.networks.base import Claim, Followed, Reporter
from stream.networks.http import Answer, Wire
from stream.networks.x_v2.plan import PREFIX, XV2Plan, plan
from stream.networks.x_v2.rules import Listed, Rules
from stream.query import Alternative, Query, Term
from stream.tweet import Source, SourceId, TrackId

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from simulator.server import Server
    from test.flow.connection.conftest import MakeRig, Steps

HEADERS = {"Authorization": "Bearer T"}


class Recorder(Wire):
    """The real wire, that also notes what was asked."""

    def __init__(self, source: Source, clock: Clock) -> None:
        super().__init__(source, clock, "")
        self.asked: list[str] = []

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        verb = next(iter(msgspec.json.decode(body))) if body else "list"
        self.asked.append(verb)
        return await super().ask(method, path, headers, body)


class Desk:
    """The rules of one source at a simulated X."""

    def __init__(self, server: Server, settings: Settings) -> None:
        source = Source(SourceId(1), "main", "x_v2", server.url, None, {}, enabled=True)
        clock = Clock()
        self.settings = settings
        self.said: list[str] = []
        self.refused: Mapping[TrackId, str] = {}
        self.wire = Recorder(source, clock)
        reporter = Reporter(self.said.append, self.note)
        self.rules = Rules(self.wire, HEADERS, settings, clock, reporter)

    def note(self, refused: Mapping[TrackId, str]) -> None:
        self.refused = refused

    def plan(self, *words: str) -> XV2Plan:
        followed = [
            Followed(TrackId(n), Query("keyword", (Alternative(word, Term(word)),)))
            for n, word in enumerate(words, 1)
        ]
        return plan(followed, self.settings)

    async def follow(self, *words: str) -> float:
        """Reconcile, for tracks 1, 2, …; what was asked before is forgotten."""
        self.wire.asked.clear()
        return await self.rules.reconcile(self.plan(*words))

    async def by_hand(self, *rules: dict[str, str]) -> None:
        """Another program adds rules."""
        body = msgspec.json.encode({"add": rules})
        headers = {**HEADERS, "Content-Type": "application/json"}
        await self.wire.ask("POST", "/2/tweets/search/stream/rules", headers, body)

    async def listed(self) -> Sequence[Listed]:
        return await self.rules.listing()

    async def values(self) -> list[str]:
        return sorted(rule.value for rule in await self.listed())


@contextlib.asynccontextmanager
async def desk(limits: Limits | None = None, **ours: int) -> AsyncIterator[Desk]:
    settings = Settings(x_v2=msgspec.convert(ours, XV2Settings))
    async with serve(SimulatorSettings(limits=limits or Limits())) as server:
        yield Desk(server, settings)


async def test_what_is_missing_is_added_and_what_is_obsolete_goes_afterwards() -> None:
    async with desk() as at:
        assert await at.follow("snow", "ice") == 0
        assert await at.values() == ["ice", "snow"]
        await at.follow("ice", "hail")
        assert at.wire.asked == ["list", "add", "delete"]
        assert await at.values() == ["hail", "ice"]
        assert all((rule.tag or "").startswith(PREFIX) for rule in await at.listed())


async def test_what_is_right_already_is_only_looked_at() -> None:
    async with desk() as at:
        await at.follow("snow", "ice")
        await at.follow("ice", "snow")
        assert at.wire.asked == ["list"]
        assert at.rules.confirmed


async def test_a_restart_finds_its_rules_by_their_tags() -> None:
    async with desk() as at:
        await at.follow("snow", "ice")
        reporter = Reporter(at.said.append, at.note)
        at.rules = Rules(at.wire, HEADERS, at.settings, Clock(), reporter)
        await at.follow("ice")
        assert at.wire.asked == ["list", "delete"]
        assert await at.values() == ["ice"]


async def test_rules_of_others_are_left_alone_and_mentioned_once() -> None:
    async with desk() as at:
        await at.by_hand({"value": "other"}, {"value": "another", "tag": "mine"})
        await at.follow("snow")
        await at.follow("ice")
        assert await at.values() == ["another", "ice", "other"]
        assert [said for said in at.said if "2 rules that are not ours" in said] == at.said


async def test_a_wanted_rule_of_others_is_adopted_and_believed_by_its_id() -> None:
    async with desk() as at:
        await at.by_hand({"value": "snow", "tag": "theirs"})
        await at.follow("snow")
        assert at.wire.asked == ["list"]
        [rule] = await at.listed()
        assert at.rules.believed(rule.id, at.plan("snow")) == (Claim(TrackId(1), "snow"),)
        assert at.rules.believed("999", at.plan("snow")) == ()
        assert at.said == []


async def test_a_duplicate_that_the_list_did_not_show_is_adopted_too() -> None:
    """Somebody else adds the rule between our look and our request."""
    async with desk() as at:
        await at.by_hand({"value": "snow", "tag": "theirs"})
        before, at.rules.listing = at.rules.listing, _nothing  # type: ignore[method-assign]
        await at.follow("snow")
        at.rules.listing = before  # type: ignore[method-assign]
        [rule] = await at.listed()
        assert at.rules.believed(rule.id, at.plan("snow")) == (Claim(TrackId(1), "snow"),)
        assert at.rules.confirmed
        assert at.refused == {}


async def _nothing() -> list[Listed]:
    return []


async def test_a_rule_that_x_refuses_harms_only_its_track() -> None:
    """X allows fewer characters than our setting says."""
    async with desk(Limits(rule_length=20)) as at:
        assert await at.follow("snow", "x" * 30, "ice") == 0
        assert await at.values() == ["ice", "snow"]
        assert list(at.refused) == [2]
        assert "X refuses this rule" in at.refused[TrackId(2)]
        await at.follow("snow", "x" * 30, "ice")
        assert at.wire.asked == ["list"]
        await at.follow("snow", "ice")
        assert at.refused == {}


async def test_when_x_refuses_every_rule_nothing_is_confirmed() -> None:
    async with desk(Limits(rule_length=5)) as at:
        await at.follow("x" * 30)
        assert not at.rules.confirmed
        assert list(at.refused) == [1]


async def test_a_packed_rule_that_x_refuses_is_halved_until_the_bad_part_is_found() -> None:
    words = [f"term{n}" for n in range(8)]
    async with desk(Limits(rule_length=80), max_rules=1) as at:
        at.rules.most = 1000  # only the packing shall be tight
        words[3] = "x" * 100
        rounds = 1
        while await at.follow(*words) > 0:
            rounds += 1
            assert rounds < 6
        found = " OR ".join(await at.values())
        assert all((word in found) == (word != words[3]) for word in words)
        assert list(at.refused) == [4]


async def test_at_the_cap_the_obsolete_rules_go_first() -> None:
    async with desk(Limits(rules=3), max_rules=3) as at:
        await at.follow("a1", "a2", "a3")
        await at.follow("a1", "b2", "b3")
        assert at.wire.asked == ["list", "delete", "add"]
        assert await at.values() == ["a1", "b2", "b3"]
        await at.follow("a1", "b2", "c3")
        assert at.refused == {}


async def test_slots_that_others_use_are_said_and_used_when_they_are_free_again() -> None:
    async with desk(Limits(rules=3), max_rules=3) as at:
        await at.by_hand({"value": "other"})
        await at.follow("a1", "a2", "a3")
        assert len(await at.values()) == 3
        assert list(at.refused) == [3]
        assert "1 of them by others" in at.refused[TrackId(3)]
        other = next(rule.id for rule in await at.listed() if rule.value == "other")
        await at.rules._delete([other])
        await at.follow("a1", "a2", "a3")
        assert await at.values() == ["a1", "a2", "a3"]
        assert at.refused == {}


async def test_many_rules_take_few_requests() -> None:
    async with desk() as at:
        await at.follow(*(f"word{n}" for n in range(250)))
        assert at.wire.asked == ["list", "add", "add", "add"]
        assert len(await at.values()) == 250


async def test_when_the_budget_is_spent_the_rest_waits_its_turn() -> None:
    async with desk(rule_changes=2) as at:
        wait = await at.follow(*(f"word{n}" for n in range(250)))
        assert 890 < wait <= 900
        assert len(await at.values()) == 200
        assert at.refused == {}


async def test_the_list_is_read_page_by_page() -> None:
    async with desk(Limits(rules=3000), max_rules=3000) as at:
        await at.follow(*(f"word{n}" for n in range(1500)))
        await at.follow(*(f"word{n}" for n in range(1500)))
        assert "add" not in at.wire.asked
        assert at.wire.asked.count("list") >= 2


async def test_a_list_that_is_no_list_is_an_error_of_the_server(
    make_rig: MakeRig, steps: Steps
) -> None:
    rig = await make_rig()
    rig.server.rule_step = steps.status(200, "<html>")
    connection = rig.connection("snow")
    with pytest.raises(ConnectError, match="cannot be read") as caught:
        await connection.client.prepare()
    assert caught.value.ladder == "http"
