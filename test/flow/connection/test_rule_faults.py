"""Rules that X does not add, does not delete, forgets or changes: tried again and reported."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from rule_desk import desk
from servers import status
from simulator.faults import FAULTS
from simulator.server import Limits
from stream.errors import ConnectError
from stream.networks.x_v2.rule_sync import CHECK_AFTER
from stream.tweet import TrackId

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.connection.conftest import MakeRig


@pytest.mark.parametrize(
    "fault", ["delete-refused", "delete-ignored", "delete-partly", "delete-forgotten"]
)
async def test_rules_that_x_does_not_delete_are_retried_and_reported(fault: str) -> None:
    """Whatever X answers, the next listing decides. Until they are gone, their tracks say so."""
    async with desk() as at:
        await at.settled("snow", "ice", "hail")
        at.arm(fault, times=3)
        await at.follow("snow")
        at.clock.passed += CHECK_AFTER
        await at.follow("snow")
        assert len(await at.values()) > 1
        assert at.reported.stale_now
        assert all("still arrive and are charged" in why for why in at.reported.stale_now.values())
        assert set(at.reported.stale_now) <= {2, 3}
        assert "no track asks for any more" in at.reported.troubles[-1]
        assert at.said[-1] == at.reported.troubles[-1]
        if fault == "delete-refused":
            assert "The rule cannot be deleted" in at.reported.stale_now[TrackId(2)]
        assert await at.settled("snow") < 10
        assert await at.values() == ["snow"]
        assert at.reported.stale_now == {}
        assert at.reported.troubles[-1] == ""


@pytest.mark.parametrize("fault", ["add-refused", "add-partly", "add-forgotten"])
async def test_rules_that_x_does_not_add_are_retried_and_reported(fault: str) -> None:
    words = ("snow", "ice", "hail")
    async with desk() as at:
        at.arm(fault, times=2)
        await at.follow(*words)
        assert at.rules.confirmed == (fault != "add-refused")
        assert await at.settled(*words) < 8
        assert await at.values() == sorted(words)
        assert at.refused == {}
        assert all(not trouble for trouble in at.reported.troubles[-1:])


async def test_a_rule_that_x_keeps_forgetting_is_reported_and_costs_few_requests() -> None:
    async with desk() as at:
        at.arm("add-forgotten", times=1000)
        changes = 0
        while at.clock.passed < 3600:
            wait = await at.follow("snow")
            changes += sum(verb == "add" for verb in at.http.asked)
            at.clock.passed += wait
        assert 5 < changes < 20
        assert "X does not list this rule although it accepted it" in at.refused[TrackId(1)]
        assert at.reported.troubles == ["X has not added 1 rule that tracks ask for."]
        at.server.hub.faults.clear()
        await at.settled("snow")
        assert at.refused == {}
        assert at.reported.troubles[-1] == ""


async def test_rules_that_are_never_deleted_do_not_block_others() -> None:
    async with desk(max_rule_changes=20) as at:
        words = [f"word{n}" for n in range(30)]
        await at.settled("snow", *words)
        at.clock.passed += 900
        at.arm("delete-refused", times=1000)
        for n in range(90):
            await at.follow("snow", f"new{n // 30}")
            at.clock.passed += 10
            assert at.rules.budget.left(at.clock.passed) >= 5
        at.server.hub.faults.clear()
        assert f"new{2}" in await at.values()
        await at.settled("snow", within=20_000)
        assert await at.values() == ["snow"]


async def test_duplicated_and_changed_rules_are_corrected() -> None:
    words = ("snow", "ice", "hail", "rain")
    async with desk() as at:
        at.arm("add-duplicated")
        await at.follow(*words)
        assert len(await at.values()) == 8
        await at.settled(*words)
        assert await at.values() == sorted(words)
        at.clock.passed += 60
        at.arm("rules-meddled")
        assert await at.follow(*words) == CHECK_AFTER
        await at.settled(*words)
        assert await at.values() == sorted(["meddled too", *words])  # that one is tagged by others
        assert len(at.reported.gaps) == 1
        assert "lost" in at.reported.gaps[0].why
        assert len(at.reported.gaps[0].tracks) == 3
        assert 59 < at.reported.covered_at[-1][1] - at.reported.gaps[0].began < 65
        assert at.reported.covered_at[-1][0] == at.reported.gaps[0].tracks


async def test_with_all_faults_at_once_the_rules_become_the_plan() -> None:
    """Refused, forgotten, doubled, done by halves, meddled with; edits go on meanwhile."""
    faults = [name for name in FAULTS if name.startswith(("delete-", "add-", "rules-"))]
    assert len(faults) >= 9
    rng = random.Random(5)
    words: list[str] = []
    async with desk(Limits(rules=60), max_rules=40) as at:
        for _ in range(60):
            for fault in rng.sample(faults, 3):
                at.arm(fault, times=rng.randint(1, 3))
            words = [f"word{n}" for n in rng.sample(range(60), rng.randint(1, 40))]
            at.clock.passed += await at.follow(*words)
        at.server.hub.faults.clear()
        await at.settled(*words, within=20_000)
        assert sorted({*await at.values()} - {"meddled too"}) == sorted(words)
        assert at.refused == {}
        assert at.reported.stale_now == {}
        assert at.reported.troubles[-1] == ""


async def test_a_list_that_is_no_list_is_an_error_of_the_server(make_rig: MakeRig) -> None:
    rig = await make_rig()
    rig.server.rule_step = status(200, "<html>")
    connection = rig.connection("snow")
    with pytest.raises(ConnectError, match="a web page instead of") as caught:
        await connection.client.prepare()
    assert caught.value.retry == "http"
