"""One connection against a server that follows a script: states, gaps, waits, shutdown."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from aiohttp import web

from stream.config import XV1Settings
from stream.tweet import Alive, EventNote, GapClosed, GapOpened, StateNote, TrackId

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.connection.conftest import MakeRig, Steps

TWEET = b'{"data":{"id":"7","text":"snow","author_id":"5"}}\r\n'
BUSY = {
    "title": "ConnectionException",
    "connection_issue": "TooManyConnections",
    "type": "https://api.x.com/2/problems/streaming-connection",
}


async def test_messages_reach_the_journal_as_they_came(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig()
    rig.server.script = [steps.send(b'{"a":1}\r\n{"b"', b":2}\r", b"\n\r\n")]
    async with rig.running() as connection:
        await eventually(lambda: connection.counters["frames"] == 2)
        assert connection.state.state == "streaming"
    assert await rig.frames() == [b'{"a":1}', b'{"b":2}']
    assert await rig.states() == ["connecting", "proving", "streaming", "idle"]


async def test_the_request_says_who_we_are(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig()
    rig.server.script = [steps.send(TWEET)]
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "streaming")
    headers = rig.server.requests[0].headers
    assert headers["User-Agent"].startswith("twitterstream/")
    assert headers["Authorization"] == "Bearer hidden-token"


# -- gaps -----------------------------------------------------------------------------------------


async def test_the_first_start_has_no_gap_and_the_next_one_has_the_time_between(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig()
    rig.server.script = [steps.send(TWEET)]
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "streaming")
        assert await rig.gaps() == []
    [stopped] = await rig.gaps()
    assert isinstance(stopped, GapOpened)
    assert stopped.cause == "stopped"
    last = rig.journal.last_at
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "streaming")
    _, killed, closed, _ = await rig.gaps()
    assert isinstance(killed, GapOpened)
    assert (killed.cause, killed.began) == ("killed", last)
    assert isinstance(closed, GapClosed)


async def test_a_lost_connection_is_a_gap_from_the_last_byte_to_the_first(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig(speed=50)
    rig.server.script = [
        steps.send(TWEET, then="abort"),
        steps.status(503, "<html>"),
        steps.send(TWEET),
    ]
    async with rig.running() as connection:
        await eventually(lambda: connection.counters["frames"] == 2)
    opened, closed, _ = await rig.gaps()
    assert isinstance(opened, GapOpened)
    assert isinstance(closed, GapClosed)
    assert opened.cause == "network"  # the first cause, not the 503 that came later
    assert closed.ended - opened.began >= 5


async def test_a_source_that_never_gets_in_has_a_gap_from_its_first_attempt(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig()
    began = rig.clock.time()
    rig.server.script = [steps.status(403, {"detail": "not enrolled"})]
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "failed")
    [opened] = await rig.gaps()
    assert isinstance(opened, GapOpened)
    assert opened.cause == "refused"
    assert opened.began == pytest.approx(began, abs=2)


async def test_keep_alives_keep_a_quiet_stream_open_and_are_noted_every_ten_seconds(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(speed=100)

    async def quiet(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"\r\n")
            await asyncio.sleep(0.05)

    rig.server.script = [quiet]
    began = rig.clock.time()
    async with rig.running() as connection:
        await eventually(lambda: rig.clock.time() - began > 100)
        assert connection.state.state == "streaming"
        assert connection.counters["keepalives"] > 10
    assert len(rig.server.connects) == 1
    alive = [record.at for record in await rig.records() if isinstance(record, Alive)]
    assert 2 <= len(alive) <= 11
    assert all(after - before >= 10 for before, after in itertools.pairwise(alive))


async def test_a_process_that_was_suspended_listens_again_before_it_speaks_of_silence(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig(speed=100)
    rig.server.script = [steps.send(TWEET)]
    began = time.monotonic()  # before the last byte: so what follows takes two windows at least
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "streaming")
        rig.clock._began -= 3600  # type: ignore[attr-defined] # an hour passes unseen
        await eventually(lambda: len(rig.server.connects) == 2)
    assert time.monotonic() - began >= 2 * 0.27


async def test_a_refused_connection_is_said_in_the_words_of_the_system(
    make_rig: MakeRig, eventually: Eventually, unused_tcp_port: int
) -> None:
    rig = await make_rig()
    async with rig.running(url=f"http://127.0.0.1:{unused_tcp_port}") as connection:
        await eventually(lambda: connection.state.state == "waiting")
        assert connection.state.reason.endswith(f"127.0.0.1:{unused_tcp_port}: Connection refused")


# -- waits ----------------------------------------------------------------------------------------


async def test_retry_after_is_honoured_when_it_is_later_than_the_ladder(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig(speed=400)
    rig.server.script = [steps.status(503, headers={"Retry-After": "100"}), steps.send(TWEET)]
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "streaming")
    first, second = rig.server.connects[:2]
    assert second - first >= 100


async def test_ladders_begin_anew_only_after_thirty_seconds_of_life(
    make_rig: MakeRig, eventually: Eventually, steps: Steps
) -> None:
    rig = await make_rig(speed=200)

    async def live(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(5):
            await response.write(b"\r\n")
            await asyncio.sleep(0.04)  # 8 s each
        return response

    failing = steps.status(503)
    rig.server.script = [failing, failing, steps.send(TWEET, then="close"), failing, live, failing]
    async with rig.running():
        await eventually(lambda: len(rig.server.connects) == 7)
    # Rounded: at this speed a wait is noted a moment, a hundredth of a second, after it began.
    first, second, third, fourth, *_ = [round(wait, 1) for wait in await rig.waits()]
    assert 5 <= first < 10
    assert 10 <= second < 20
    # After a drop the first retry is free; a short life does not reset the ladder.
    assert 20 <= third < 40
    assert 5 <= fourth < 10  # a long one does


async def test_a_final_refusal_is_not_tried_again(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    # Not faster: the time that a request takes must not look like a clock that is wrong.
    rig = await make_rig(speed=200)
    rig.server.script = [steps.status(401, {"title": "Unauthorized"})]
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "failed")
        began = rig.clock.time()
        await eventually(lambda: rig.clock.time() - began > 600)
        assert "bearer_token" in connection.state.reason
    assert len(rig.server.connects) == 1


async def test_a_spent_quota_pauses_until_midnight_and_is_a_gap_of_its_own_kind(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig()
    capped = {"title": "UsageCapExceeded", "period": "Daily", "type": "x/problems/usage-capped"}
    rig.server.script = [steps.status(429, capped, {"x-rate-limit-remaining": "49"})]
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "paused")
        assert connection.state.until is not None
        assert connection.state.until >= rig.clock.time() // 86_400 * 86_400 + 86_400
    [opened] = await rig.gaps()
    assert isinstance(opened, GapOpened)
    assert opened.cause == "quota"


async def test_a_taken_slot_is_asked_for_again_and_then_freed(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig(speed=200)
    busy = steps.status(429, BUSY)
    rig.server.script = [busy, busy, busy, steps.send(TWEET)]
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "streaming")
    assert rig.server.kills == 1
    waits = [later - sooner for sooner, later in itertools.pairwise(rig.server.connects)]
    assert len(waits) == 3
    for wait, least in zip(waits, (5, 10, 20), strict=True):
        assert wait >= least
    events = [record.text for record in await rig.records() if isinstance(record, EventNote)]
    assert any("stuck connection" in text for text in events)


async def test_the_attempt_budget_survives_a_crash_loop(
    make_rig: MakeRig, steps: Steps, eventually: Eventually, tmp_path: Path
) -> None:
    rig = await make_rig()
    now = rig.clock.time()
    (tmp_path / "attempts").write_text(json.dumps([now - 100] * 45))
    rig.server.script = [steps.send(TWEET)]
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "waiting")
        assert "45 attempts in 900 s" in connection.state.reason
        assert connection.state.until == pytest.approx(now + 800, abs=5)
    assert rig.server.connects == []


# -- plans ----------------------------------------------------------------------------------------


async def test_without_tracks_it_is_idle_and_removes_its_rules(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig(speed=20)
    rig.server.script = [steps.send(TWEET)]
    rig.server.rules = {"9": {"id": "9", "value": "other", "tag": "somebody else"}}
    async with rig.running("snow", "ice") as connection:
        await eventually(lambda: connection.state.state == "streaming")
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
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig(speed=20)
    rig.server.script = [steps.trickle(0.05)]
    async with rig.running("snow") as connection:
        await eventually(lambda: connection.state.state == "streaming")
        connection.set_plan(rig.plan("ice", "hail"))
        await eventually(
            lambda: sorted(rule["value"] for rule in rig.server.rules.values()) == ["hail", "ice"]
        )
    assert len(rig.server.connects) == 1
    assert [gap for gap in await rig.gaps() if isinstance(gap, GapClosed)] == []


async def test_v1_changes_its_filter_without_a_second_of_delivery_lost(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig(speed=20)
    rig.network = "x_v1"
    rig.server.script = [steps.trickle(0.02)]
    async with rig.running("snow") as connection:
        await eventually(lambda: connection.state.state == "streaming")
        connection.set_plan(rig.plan("ice"))
        await eventually(lambda: len(rig.server.connects) == 2)
        await eventually(lambda: rig.server.open == 1)
        frames = connection.counters["frames"]
        await eventually(lambda: connection.counters["frames"] > frames + 5)
        assert rig.server.most_open == 2
    assert ["track=ice" in form for form in rig.server.forms] == [False, True]
    # The second "connecting" tells the writer that the network's running counts begin anew.
    states = ["connecting", "proving", "streaming", "connecting", "streaming", "idle"]
    assert await rig.states() == states
    assert [gap for gap in await rig.gaps() if isinstance(gap, GapClosed)] == []


async def test_v1_keeps_the_old_connection_when_the_new_filter_is_refused(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig(speed=50)
    rig.network = "x_v1"
    rig.server.script = [steps.trickle(0.02), steps.status(406, "bad"), steps.trickle(0.02)]
    async with rig.running("snow") as connection:
        await eventually(lambda: connection.state.state == "streaming")
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
    make_rig: MakeRig, steps: Steps, eventually: Eventually
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
    async with rig.running("snow") as connection:
        await eventually(lambda: connection.state.state == "streaming")
        connection.set_plan(rig.plan("ice"))
        await eventually(lambda: connection.counters["frames"] == 2)
        assert connection.state.state == "streaming"
    assert len(rig.server.connects) == 2
    opened, closed, _ = await rig.gaps()
    assert isinstance(opened, GapOpened)
    assert opened.cause == "filter_change"
    assert isinstance(closed, GapClosed)


async def test_v1_leaves_two_attempts_for_real_failures(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig(speed=50)
    rig.network = "x_v1"
    rig.settings = msgspec.structs.replace(
        rig.settings, x_v1=XV1Settings(settle=0.1, settle_max=1, delimited=False)
    )
    rig.server.script = [steps.trickle(0.02)]
    began = rig.clock.time()
    async with rig.running("w0") as connection:
        for number in range(1, 4):
            await eventually(lambda: connection.state.state == "streaming")
            connection.set_plan(rig.plan(f"w{number}"))
            await eventually(lambda n=number: len(rig.server.connects) == n + 1, within=20)  # type: ignore[misc] # a default binds
    at = rig.server.connects
    assert at[2] - began < 300
    assert at[3] - at[0] >= 300


async def test_edits_are_coalesced_and_never_put_off_for_ever(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig(speed=4)
    rig.network = "x_v1"
    rig.server.script = [steps.trickle(0.02)]
    async with rig.running("w0") as connection:
        await eventually(lambda: connection.state.state == "streaming")
        began = rig.clock.time()
        number = 0
        async with asyncio.timeout(20):
            while len(rig.server.connects) == 1:
                number += 1
                connection.set_plan(rig.plan(f"w{number}"))
                await asyncio.sleep(0.05)  # a fifth of a second; 2 s of rest would end the wait
    assert rig.server.connects[1] - began >= 9
    assert number > 5


async def test_when_x_refuses_all_rules_another_plan_helps_at_once(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig()
    rig.server.script = [steps.send(TWEET)]
    rig.server.bad.add("snow")
    async with rig.running("snow") as connection:
        await eventually(lambda: connection.state.state == "waiting")
        assert list(rig.refused[-1]) == [1]
        began = time.monotonic()
        connection.set_plan(rig.plan("ice"))
        await eventually(lambda: connection.state.state == "streaming")
        assert time.monotonic() - began < 4  # the ladder says 5 s
        await eventually(lambda: rig.refused[-1] == {})


# -- credentials ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "names"),
    [
        ("x_v2", "bearer_token"),
        ("x_v1", "consumer_key, consumer_secret, token, token_secret"),
    ],
)
async def test_missing_credentials_are_named(
    make_rig: MakeRig, steps: Steps, eventually: Eventually, network: str, names: str
) -> None:
    rig = await make_rig()
    rig.network = "x_v1" if network == "x_v1" else "x_v2"
    rig.secrets = {}
    rig.server.script = [steps.send(TWEET)]
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "failed")
        assert names in connection.state.reason
    assert rig.server.connects == []


async def test_a_server_that_echoes_the_token_does_not_get_it_into_a_reason(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig()
    rig.server.script = [steps.status(403, {"detail": "Bearer hidden-token may not"})]
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "failed")
    states = [record for record in await rig.records() if isinstance(record, StateNote | GapOpened)]
    assert "hidden-token" not in repr(states)
    assert "Bearer *** may not" in repr(states)


# -- transport ------------------------------------------------------------------------------------


async def test_a_compressed_stream_is_delivered_message_by_message(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig()
    more = asyncio.Event()

    async def gzipped(request: web.Request) -> web.StreamResponse:
        assert "gzip" in request.headers["Accept-Encoding"]
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
        await response.prepare(request)
        packer = zlib.compressobj(wbits=31)
        for _ in range(3):
            await response.write(packer.compress(TWEET) + packer.flush(zlib.Z_SYNC_FLUSH))
            await more.wait()
            more.clear()
        return response

    rig.server.script = [gzipped]
    async with rig.running() as connection:
        for number in (1, 2, 3):
            await eventually(lambda n=number: connection.counters["frames"] == n)  # type: ignore[misc] # a default binds
            more.set()


async def test_a_stop_while_the_server_does_not_answer_ends_at_once(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig()

    async def mute(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    rig.server.script = [mute]
    async with rig.running():
        await eventually(lambda: len(rig.server.connects) == 1)
        began = time.monotonic()
    assert time.monotonic() - began < 3
    await eventually(lambda: rig.server.open == 0)


async def test_a_message_over_the_limit_is_cut_and_its_neighbours_are_whole(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig()
    rig.settings = msgspec.structs.replace(rig.settings, max_frame_bytes=1 << 16)
    rig.server.script = [steps.send(TWEET, b"x" * (1 << 20) + b"\r\n", TWEET)]
    async with rig.running() as connection:
        await eventually(lambda: connection.counters["frames"] == 3)
    assert [len(frame) for frame in await rig.frames()] == [len(TWEET) - 2, 1 << 16, len(TWEET) - 2]


async def test_a_source_may_go_by_way_of_a_proxy_and_under_another_address(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    """The scripted server plays the proxy, for a host that does not exist."""
    rig = await make_rig()
    rig.server.script = [steps.send(TWEET)]
    rig.proxy = rig.server.url
    async with rig.running(url="http://api.invalid/") as connection:
        await eventually(lambda: connection.state.state == "streaming")
    assert rig.server.requests[0].headers["Host"] == "api.invalid"


async def test_a_redirect_is_not_followed_with_our_credentials(
    make_rig: MakeRig, steps: Steps, eventually: Eventually
) -> None:
    rig = await make_rig()
    rig.server.script = [steps.status(302, headers={"Location": "http://127.0.0.1:1/"})]
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "failed")
        assert "302" in connection.state.reason
    assert rig.refused == [] or TrackId(1) not in rig.refused[-1]
