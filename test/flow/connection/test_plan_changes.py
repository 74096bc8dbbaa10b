"""A connection whose tracks change: new rules for v2, a second connection for v1."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from servers import V2_TWEET as TWEET
from servers import send, status, trickle
from stream.config import XV1Settings
from stream.notes import EventNote, GapClosed, GapOpened

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.connection.conftest import MakeRig


async def test_without_tracks_it_is_idle_and_removes_its_rules(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(send(TWEET), speed=20)
    rig.server.rules = {"9": {"id": "9", "value": "other", "tag": "somebody else"}}
    async with rig.running("snow", "ice", until="streaming") as connection:
        assert len(rig.server.rules) == 3
        connection.set_plan(rig.plan())
        await eventually(lambda: connection.state.state == "idle")
        await eventually(lambda: list(rig.server.rules) == ["9"])
        await eventually(lambda: rig.server.open == 0)
        connection.set_plan(rig.plan("hail"))
        await eventually(lambda: connection.state.state == "streaming")
    opened, *_ = await rig.gaps()
    assert isinstance(opened, GapOpened)
    assert opened.cause == "idle"


async def test_v2_changes_its_rules_without_a_new_connection(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(trickle(0.05), speed=20)
    async with rig.running("snow", until="streaming") as connection:
        connection.set_plan(rig.plan("ice", "hail"))
        await eventually(
            lambda: sorted(rule["value"] for rule in rig.server.rules.values()) == ["hail", "ice"]
        )
    assert len(rig.server.connects) == 1
    assert [gap for gap in await rig.gaps() if isinstance(gap, GapClosed)] == []


async def test_v1_changes_its_filter_without_a_second_of_delivery_lost(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(speed=20)
    rig.network = "x_v1"
    rig.server.script = [trickle(0.02)]
    async with rig.running("snow", until="streaming") as connection:
        connection.set_plan(rig.plan("ice"))
        await eventually(lambda: len(rig.server.connects) == 2)
        await eventually(lambda: rig.server.open == 1)
        frames = connection.counters["frames"]
        await eventually(lambda: connection.counters["frames"] > frames + 5)
        assert rig.server.most_open == 2
    assert ["track=ice" in form for form in rig.server.forms] == [False, True]
    # The second "connecting" lets the writer know that the network's running counts begin at zero.
    states = ["connecting", "connected", "streaming", "connecting", "streaming", "idle"]
    assert await rig.states() == states
    assert [gap for gap in await rig.gaps() if isinstance(gap, GapClosed)] == []


async def test_v1_keeps_the_old_connection_when_the_new_filter_is_refused(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(speed=50)
    rig.network = "x_v1"
    rig.server.script = [trickle(0.02), status(406, "bad"), trickle(0.02)]
    async with rig.running("snow", until="streaming") as connection:
        connection.set_plan(rig.plan("ice"))
        await eventually(lambda: len(rig.server.connects) == 2)
        frames = connection.counters["frames"]
        await eventually(lambda: connection.counters["frames"] > frames + 5)
        assert connection.state.state == "streaming"
        connection.set_plan(rig.plan("hail"))
        await eventually(lambda: len(rig.server.connects) == 3)
        await eventually(lambda: rig.server.open == 1)
    events = [record.text for record in await rig.records() if isinstance(record, EventNote)]
    assert any("406" in text for text in events)


async def test_v1_waits_for_the_end_of_the_old_connection_when_x_closes_it_first(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    """X sends code 7 to the older of two connections: that is no reason to connect a third time."""
    rig = await make_rig(speed=20)
    rig.network = "x_v1"
    replaced = asyncio.Event()

    async def older(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"id":1,"text":"snow"}\r\n')
        await replaced.wait()
        return response

    async def newer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        replaced.set()
        await asyncio.sleep(0.2)
        await response.write(b'{"id":2,"text":"ice"}\r\n')
        await asyncio.Event().wait()
        return response

    rig.server.script = [older, newer]
    async with rig.running("snow", until="streaming") as connection:
        connection.set_plan(rig.plan("ice"))
        await eventually(lambda: connection.counters["frames"] == 2)
        assert connection.state.state == "streaming"
    assert len(rig.server.connects) == 2
    opened, closed, _ = await rig.gaps()
    assert isinstance(opened, GapOpened)
    assert opened.cause == "filter_change"
    assert isinstance(closed, GapClosed)


async def test_v1_leaves_two_attempts_for_real_failures(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(speed=50)
    rig.network = "x_v1"
    rig.settings = msgspec.structs.replace(
        rig.settings, x_v1=XV1Settings(debounce=0.1, debounce_max=1, delimited=False)
    )
    rig.server.script = [trickle(0.02)]
    began = rig.clock.time()
    async with rig.running("w0") as connection:
        for number in range(1, 4):
            await eventually(lambda: connection.state.state == "streaming")
            connection.set_plan(rig.plan(f"w{number}"))
            await eventually(lambda n=number: len(rig.server.connects) == n + 1)  # type: ignore[misc] # a default binds
    at = rig.server.connects
    assert at[2] - began < 300
    assert at[3] - at[0] >= 300


async def test_edits_are_coalesced_and_never_put_off_for_ever(make_rig: MakeRig) -> None:
    rig = await make_rig(speed=4)
    rig.network = "x_v1"
    rig.server.script = [trickle(0.02)]
    async with rig.running("w0", until="streaming") as connection:
        began = rig.clock.time()
        number = 0
        async with asyncio.timeout(90):
            while len(rig.server.connects) == 1:
                number += 1
                connection.set_plan(rig.plan(f"w{number}"))
                await asyncio.sleep(0.05)  # a fifth of a second; 2 s of rest would end the wait
    assert rig.server.connects[1] - began >= 9
    assert number > 5


async def test_when_x_refuses_all_rules_another_plan_helps_at_once(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(send(TWEET), speed=0.01)  # so slow that the back-off does not end
    rig.server.bad.add("snow")
    async with rig.running("snow", until="waiting") as connection:
        assert list(rig.refused[-1]) == [1]
        connection.set_plan(rig.plan("ice"))
        await eventually(lambda: connection.state.state == "streaming")
        await eventually(lambda: rig.refused[-1] == {})
