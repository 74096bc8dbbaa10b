"""The connection against both simulated APIs, which go wrong in every way they know."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
import pytest

from servers import V1_KEYS as KEYS
from simulator.faults import Armed, from_flag
from simulator.server import OAuth, Server, serve
from simulator.server import Settings as SimulatorSettings
from stream.config import XV1Settings
from stream.notes import GapClosed, GapOpened

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from stream.connection import ConnectionSupervisor
    from test.conftest import Eventually
    from test.flow.connection.conftest import MakeRig, Rig

SPEED = 50.0


@contextlib.asynccontextmanager
async def streaming(
    rig: Rig, eventually: Eventually, *faults: str, **settings: object
) -> AsyncIterator[tuple[Server, ConnectionSupervisor]]:
    """A simulator with these faults, and a connection that follows some of its words."""
    base = SimulatorSettings(
        network=rig.network,
        rate=300,
        time_scale=1 / SPEED,
        faults=faults,
        bearer_token=rig.secrets.get("bearer_token"),
        oauth=OAuth(**KEYS) if rig.network == "x_v1" else None,
    )
    async with (
        serve(msgspec.structs.replace(base, **settings)) as server,
        rig.running("the", "snow", "news", url=server.url) as connection,
    ):
        yield server, connection


def received(frames: list[bytes]) -> set[str]:
    """The ids of the tweets among these frames."""
    found = set()
    for frame in frames:
        with contextlib.suppress(ValueError):
            message = json.loads(frame)
            found.add(message.get("data", message).get("id_str") or message["data"]["id"])
    return found


WIRE = ["stall", "half-open", "reset", "cut", "close", "garbage", "torn-utf8", "unknown-kinds"]
DOORS = ["429-rate", "503", "accept-close"]


@pytest.mark.parametrize(
    "fault",
    [
        *WIRE,
        *DOORS,
        "burst",
        "operational-disconnect",
        "bare-problem",
        "data-errors",
        "402",
        "429-connections",
    ],
)
async def test_v2_streams_again_after_each_fault(
    make_rig: MakeRig, eventually: Eventually, fault: str
) -> None:
    rig = await make_rig(speed=SPEED * 4 if fault == "402" else SPEED)
    async with streaming(rig, eventually) as (server, connection):
        await eventually(lambda: connection.counters["frames"] > 20)
        server.hub.faults.arm(Armed(fault=fault, times=1, due=0))
        if fault in (*DOORS, "402", "429-connections"):
            server.hub.faults.arm(Armed(fault="close", times=1, due=0))
        await eventually(lambda: not server.hub.faults.armed)
        frames = connection.counters["frames"]
        await eventually(lambda: connection.counters["frames"] > frames + 200)
        assert connection.state.state == "streaming"
    gaps = await rig.gaps()
    assert sum(isinstance(gap, GapOpened) for gap in gaps) == 1 + sum(
        isinstance(gap, GapClosed) for gap in gaps
    )


@pytest.mark.parametrize(
    "fault", [*WIRE, "503", "accept-close", "burst", "420", "disconnect", "stall-warning"]
)
async def test_v1_streams_again_after_each_fault(
    make_rig: MakeRig, eventually: Eventually, fault: str
) -> None:
    rig = await make_rig(speed=SPEED)
    rig.network, rig.secrets = "x_v1", KEYS
    rig.settings = msgspec.structs.replace(rig.settings, x_v1=XV1Settings())  # delimited
    async with streaming(rig, eventually) as (server, connection):
        await eventually(lambda: connection.counters["frames"] > 20)
        server.hub.faults.arm(Armed(fault=fault, times=1, due=0))
        if fault in (*DOORS, "420"):
            server.hub.faults.arm(Armed(fault="close", times=1, due=0))
        await eventually(lambda: not server.hub.faults.armed)
        frames = connection.counters["frames"]
        await eventually(lambda: connection.counters["frames"] > frames + 200)
        assert connection.state.state == "streaming"


@pytest.mark.parametrize("network", ["x_v2", "x_v1"])
@pytest.mark.parametrize("mode", ["gzip", "split-chunks", "duplicates"])
async def test_however_it_is_sent_the_same_tweets_arrive(
    make_rig: MakeRig, eventually: Eventually, network: str, mode: str
) -> None:
    rig = await make_rig(speed=SPEED)
    if network == "x_v1":
        rig.network, rig.secrets = "x_v1", KEYS
        rig.settings = msgspec.structs.replace(rig.settings, x_v1=XV1Settings())
    async with streaming(rig, eventually, mode, posts=300, rate=0) as (server, connection):
        await eventually(lambda: server.hub.posts_left == 0)
        copies = 2 if mode == "duplicates" else 1
        await eventually(lambda: connection.counters["frames"] >= copies * len(server.sent))
    assert server.sent
    assert received(await rig.frames()) == set(server.sent)


async def test_with_a_server_that_resends_nothing_is_lost_over_many_resets(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(speed=SPEED)
    async with streaming(rig, eventually, "resend", "reset@0.4") as (server, connection):
        await eventually(lambda: connection.counters["connected"] >= 5)
        server.hub.faults.clear("reset")
        server.hub.posts_left = 0
        await eventually(lambda: connection.state.state == "streaming")
        frames = -1
        while frames != connection.counters["frames"]:
            frames = connection.counters["frames"]
            keepalives = connection.counters["keepalives"]
            await eventually(lambda k=keepalives: connection.counters["keepalives"] > k)  # type: ignore[misc] # a default binds
        sent = set(server.sent)
    assert len(sent) > 100
    assert sent <= received(await rig.frames())


async def test_a_slot_that_stays_taken_is_freed(make_rig: MakeRig, eventually: Eventually) -> None:
    rig = await make_rig(speed=SPEED)
    async with streaming(rig, eventually) as (server, connection):
        await eventually(lambda: connection.counters["frames"] > 20)
        server.hub.faults.arm(Armed(fault="slot-busy", seconds=3600))
        server.hub.faults.arm(from_flag("reset"))
        await eventually(lambda: connection.counters["waiting"] >= 2)
        await eventually(lambda: connection.state.state == "streaming")


async def test_v1_says_that_x_closed_the_api_and_v2_that_the_token_is_bad(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(speed=SPEED)
    async with streaming(rig, eventually, bearer_token="another") as (_, connection):
        await eventually(lambda: connection.state.state == "failed")
        assert "bearer_token" in connection.state.reason
    rig.network, rig.secrets = "x_v1", KEYS
    async with streaming(rig, eventually, "410") as (_, connection):
        await eventually(lambda: connection.state.state == "failed")
        assert "X has closed the v1.1 streaming API" in connection.state.reason


async def test_a_signature_refused_for_a_wrong_clock_is_reported_as_the_clock(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig()
    rig.network, rig.secrets = "x_v1", KEYS
    async with streaming(rig, eventually, "clock-skew") as (_, connection):
        await eventually(lambda: connection.state.state == "waiting")
        # The server's Date has no fractions of a second.
        assert re.search("clock of this machine is (599|600) s behind", connection.state.reason)
