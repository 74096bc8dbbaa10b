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

from servers import V2_TWEET as TWEET
from servers import closed_port, send, status
from stream.notes import Alive, EventNote, GapClosed, GapOpened, StateNote
from stream.tweet import NetworkName

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import Sequence

    from test.conftest import Eventually
    from test.flow.connection.conftest import MakeRig

BUSY = {
    "title": "ConnectionException",
    "connection_issue": "TooManyConnections",
    "type": "https://api.x.com/2/problems/streaming-connection",
}


async def test_messages_reach_the_journal_as_they_came(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(send(b'{"a":1}\r\n{"b"', b":2}\r", b"\n\r\n"))
    async with rig.running() as connection:
        await eventually(lambda: connection.counters["frames"] == 2)
        assert connection.state.state == "streaming"
    assert await rig.frames() == [b'{"a":1}', b'{"b":2}']
    assert await rig.states() == ["connecting", "connected", "streaming", "idle"]


async def test_the_request_says_who_we_are(make_rig: MakeRig) -> None:
    rig = await make_rig(send(TWEET))
    await rig.run(until="streaming")
    headers = rig.server.requests[0].headers
    assert headers["User-Agent"].startswith("twitterstream/")
    assert headers["Authorization"] == "Bearer hidden-token"


# -- gaps -----------------------------------------------------------------------------------------


async def test_no_gap_is_recorded_before_it_is_confirmed_that_no_other_daemon_has_the_source(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    """A process that stood still first sees that its connection ended, and then that it lost."""
    rig = await make_rig(send(TWEET, then="close"))
    asked: list[str] = []
    async with asyncio.TaskGroup() as group:
        connection = rig.connection("snow")

        async def confirm() -> None:
            asked.append(connection.state.state)
            if asked[-1] == "streaming":
                await asyncio.Event().wait()  # another one has it

        connection.confirm = confirm
        task = group.create_task(connection.run())
        await eventually(lambda: "streaming" in asked)
        connection.is_taken_over = True
        task.cancel()
    assert await rig.gaps() == []
    assert await rig.states() == ["connecting", "connected", "streaming"]
    assert len(rig.server.connects) == 1


async def test_the_first_start_has_no_gap_and_the_next_one_has_the_time_between(
    make_rig: MakeRig,
) -> None:
    rig = await make_rig(send(TWEET))
    async with rig.running(until="streaming"):
        assert await rig.gaps() == []
    assert (await rig.only_gap()).cause == "stopped"
    last = rig.journal.last_at
    await rig.run(until="streaming")
    _, killed, closed, _ = await rig.gaps()
    assert isinstance(killed, GapOpened)
    assert (killed.cause, killed.began) == ("killed", last)
    assert isinstance(closed, GapClosed)


async def test_a_lost_connection_is_a_gap_from_the_last_byte_to_the_first(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(send(TWEET, then="abort"), status(503, "<html>"), send(TWEET), speed=50)
    async with rig.running() as connection:
        await eventually(lambda: connection.counters["frames"] == 2)
    opened, closed, _ = await rig.gaps()
    assert isinstance(opened, GapOpened)
    assert isinstance(closed, GapClosed)
    assert opened.cause == "network"  # the first cause, not the 503 that came later
    assert closed.ended - opened.began >= 5


async def test_a_gap_after_the_first_bytes_begins_no_earlier_than_streaming(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    """Else the gap would count as over when it begins: see `_OPEN_GAP`."""
    rig = await make_rig(send(TWEET, then="abort"), send(TWEET), speed=50)
    async with rig.running() as connection:
        await eventually(lambda: connection.counters["frames"] == 2)
    records = await rig.records()
    streaming = next(r for r in records if isinstance(r, StateNote) and r.state == "streaming")
    opened = next(r for r in records if isinstance(r, GapOpened))
    assert streaming.at <= opened.began


async def test_a_source_that_never_gets_in_has_a_gap_from_its_first_attempt(
    make_rig: MakeRig,
) -> None:
    rig = await make_rig()
    began = rig.clock.time()
    rig.server.script = [status(403, {"detail": "not enrolled"})]
    await rig.run(until="failed")
    opened = await rig.only_gap()
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


@pytest.mark.parametrize("seconds", [10, 3600])
async def test_a_process_that_stood_still_listens_again_before_it_speaks_of_silence(
    make_rig: MakeRig, eventually: Eventually, seconds: int
) -> None:
    rig = await make_rig(send(TWEET), speed=100)
    began = time.monotonic()  # before the last byte: so what follows takes two windows at least
    async with rig.running(until="streaming") as connection:
        rig.clock._began -= seconds / 100  # type: ignore[attr-defined] # they pass unseen
        await eventually(lambda: connection.interruptions["silence"] == 1)
    assert time.monotonic() - began >= 2 * 0.27


async def test_a_refused_connection_is_reported_as_the_system_does(make_rig: MakeRig) -> None:
    rig = await make_rig()
    url = f"http://127.0.0.1:{closed_port()}"
    async with rig.running(url=url, until="waiting") as connection:
        assert connection.state.reason.endswith(f"127.0.0.1:{closed_port()}: Connection refused")


# -- waits ----------------------------------------------------------------------------------------


async def test_retry_after_is_honoured_when_it_is_later_than_the_back_off(
    make_rig: MakeRig,
) -> None:
    rig = await make_rig(status(503, headers={"Retry-After": "100"}), send(TWEET), speed=400)
    await rig.run(until="streaming")
    first, second = rig.server.connects[:2]
    assert second - first >= 100


async def test_back_off_starts_again_only_after_a_connection_of_thirty_seconds(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    # Not faster: on a busy machine the short connection must not look like one of 30 s.
    rig = await make_rig(speed=50)

    async def live(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(5):
            await response.write(b"\r\n")
            await asyncio.sleep(0.16)  # 8 s each
        return response

    failing = status(503)
    rig.server.script = [failing, failing, send(TWEET, then="close"), failing, live, failing]
    async with rig.running():
        await eventually(lambda: len(rig.server.connects) == 7)
    # Rounded: a float of the seconds since 1970 is exact to less than a microsecond only.
    first, second, third, fourth, *_ = [round(wait, 1) for wait in await rig.waits()]
    assert 5 <= first < 10
    assert 10 <= second < 20
    # After a drop the first retry is free; a short connection does not reset the back-off.
    assert 20 <= third < 40
    assert 5 <= fourth < 10  # a long one does


async def test_a_final_refusal_is_not_tried_again_soon(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    # Not faster: the time that a request takes must not look like a clock that is wrong.
    rig = await make_rig(status(401, {"title": "Unauthorized"}), speed=200)
    async with rig.running(until="failed") as connection:
        began = rig.clock.time()
        await eventually(lambda: rig.clock.time() - began > 600)
        assert "bearer_token" in connection.state.reason
    assert len(rig.server.connects) == 1


async def test_a_spent_quota_pauses_until_midnight_and_is_a_gap_of_its_own_kind(
    make_rig: MakeRig,
) -> None:
    rig = await make_rig()
    capped = {"title": "UsageCapExceeded", "period": "Daily", "type": "x/problems/usage-capped"}
    rig.server.script = [status(429, capped, {"x-rate-limit-remaining": "49"})]
    async with rig.running(until="paused") as connection:
        assert connection.state.until is not None
        assert connection.state.until >= rig.clock.time() // 86_400 * 86_400 + 86_400
    assert (await rig.only_gap()).cause == "quota"


async def test_a_stuck_connection_is_closed_at_the_second_refusal(make_rig: MakeRig) -> None:
    rig = await make_rig(speed=50)
    busy = status(429, BUSY)
    rig.server.script = [busy, busy, send(TWEET)]
    await rig.run(until="streaming")
    assert rig.server.kills == 1
    _, second = _between(rig.server.connects)
    assert second >= 1  # X takes a moment
    assert await rig.waits() == pytest.approx([5, 0], abs=2)
    opened, closed, *_ = await rig.gaps()
    assert isinstance(opened, GapOpened)
    assert opened.cause == "rate_limit"
    assert isinstance(closed, GapClosed)
    events = [record.text for record in await rig.records() if isinstance(record, EventNote)]
    assert any("stuck connection; it answered 200" in text for text in events)


async def test_a_connection_that_stays_stuck_does_not_use_up_the_attempts(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(speed=50)
    rig.server.script = [status(429, BUSY)]
    async with rig.running():
        await eventually(lambda: len(rig.server.connects) == 9)
    waits = (await rig.waits())[:8]
    assert waits == pytest.approx([5, 0, 10, 20, 20, 20, 20, 20], abs=2)  # 45 in 15 minutes
    assert rig.server.kills == 4


def _between(moments: Sequence[float]) -> list[float]:
    return [later - sooner for sooner, later in itertools.pairwise(moments)]


async def test_the_attempt_budget_survives_a_crash_loop(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = await make_rig()
    now = rig.clock.time()
    (tmp_path / "attempts").write_text(json.dumps([now - 100] * 45))
    rig.server.script = [send(TWEET)]
    async with rig.running(until="waiting") as connection:
        assert "45 attempts in 900 s" in connection.state.reason
        assert connection.state.until == pytest.approx(now + 800, abs=5)
    assert rig.server.connects == []


# -- credentials ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "names"),
    [
        ("x_v2", "bearer_token"),
        ("x_v1", "consumer_key, consumer_secret, token, token_secret"),
    ],
)
async def test_missing_credentials_are_named(
    make_rig: MakeRig, network: NetworkName, names: str
) -> None:
    rig = await make_rig(send(TWEET))
    rig.network = network
    rig.secrets = {}
    async with rig.running(until="failed") as connection:
        assert names in connection.state.reason
    assert rig.server.connects == []


async def test_a_server_that_echoes_the_token_does_not_get_it_into_a_reason(
    make_rig: MakeRig,
) -> None:
    rig = await make_rig(status(403, {"detail": "Bearer hidden-token may not"}))
    await rig.run(until="failed")
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
    assert time.monotonic() - began < 30
    await eventually(lambda: rig.server.open == 0)


async def test_a_message_over_the_limit_is_cut_and_its_neighbours_are_whole(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig()
    rig.settings = msgspec.structs.replace(rig.settings, max_frame_bytes=1 << 16)
    rig.server.script = [send(TWEET, b"x" * (1 << 20) + b"\r\n", TWEET)]
    async with rig.running() as connection:
        await eventually(lambda: connection.counters["frames"] == 3)
    assert [len(frame) for frame in await rig.frames()] == [len(TWEET) - 2, 1 << 16, len(TWEET) - 2]
