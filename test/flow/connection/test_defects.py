"""The fifteen defects of other clients, each with the test that this one does not have it.

The list is in "How existing clients connect, back off and buffer", section 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import resource
import time
import tracemalloc
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec
import pytest
from aiohttp import web

from servers import V2_TWEET as TWEET
from servers import send, status, trickle
from stream import batch
from stream.config import XV1Settings
from stream.journal import JournalReader
from stream.networks.x_v2.client import FIELDS
from stream.networks.x_v2.decode import decode
from stream.notes import GapClosed, GapOpened
from stream.tweet import ControlNotice, SourceId, Tweet

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.connection.conftest import MakeRig, Rig

PROBLEM = {
    "title": "operational-disconnect",
    "disconnect_type": "UpstreamOperationalDisconnect",
    "detail": "upstream is gone",
    "type": "https://api.x.com/2/problems/operational-disconnect",
}
DISCONNECT = json.dumps({"errors": [PROBLEM]}).encode()


def pauses(rig: Rig) -> list[float]:
    """Seconds between the attempts, by the clock."""
    return [after - before for before, after in itertools.pairwise(rig.server.connects)]


async def test_01_accept_then_close_does_not_become_a_hot_loop(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(send(then="close"), speed=400)
    async with rig.running():
        await eventually(lambda: len(rig.server.connects) == 6)
    for pause, least in zip(pauses(rig), (5, 10, 20, 40, 80), strict=True):
        assert pause >= least


async def test_01_even_with_a_byte_before_the_end_the_attempts_stay_below_the_limit(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    """A server that accepts, sends one message and closes: no more than 45 attempts in 15 min."""
    rig = await make_rig(send(TWEET, then="close"), speed=1000)
    began = rig.clock.time()
    async with rig.running():
        await eventually(lambda: rig.clock.time() - began > 1800)
    times = rig.server.connects
    assert len(times) > 10
    busiest = max(sum(1 for t in times if start <= t < start + 900) for start in times)
    assert busiest <= 45


async def test_02_a_name_that_does_not_resolve_backs_off(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(speed=20)
    began = rig.clock.time()
    async with rig.running(url="http://nowhere.invalid") as connection:
        await eventually(lambda: connection.counters["waiting"] >= 6)
        assert "nowhere.invalid" in connection.state.reason
    # 0.25 + 0.5 + 0.75 + 1 + 1.25 s lie between six failures.
    assert rig.clock.time() - began >= 3.75


async def test_03_a_single_429_or_420_waits_a_minute(make_rig: MakeRig) -> None:
    rig = await make_rig(speed=400)
    limited = {"errors": [{"code": 88, "message": "Rate limit exceeded"}]}
    rig.server.script = [status(429, limited), status(420), send(TWEET)]
    await rig.run(until="streaming")
    first, second = pauses(rig)
    assert first >= 60
    assert second >= 120


async def test_04_an_open_socket_without_a_byte_is_dropped_and_the_gap_begins_with_the_last_byte(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(send(TWEET), send(TWEET), speed=100)
    async with rig.running(until="streaming") as connection:
        last = connection.recorder.last_byte
        assert last is not None
        await eventually(lambda: len(rig.server.connects) == 2)
        await eventually(lambda: connection.state.state == "streaming")
    opened, closed, *_ = await rig.gaps()
    assert isinstance(opened, GapOpened)
    assert isinstance(closed, GapClosed)
    assert (opened.cause, opened.began) == ("silence", last)
    assert closed.ended - opened.began >= 27


async def test_05_nothing_that_is_slow_stands_between_the_socket_and_the_journal(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    """A follower of the journal may take a second for each tweet: the reader does not wait."""
    rig = await make_rig()
    total = 300

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(total):
            await response.write(TWEET)
        await asyncio.Event().wait()
        return response

    rig.server.script = [flood]
    began = time.monotonic()
    async with rig.running() as connection, asyncio.TaskGroup() as group:

        async def slow_follower() -> None:
            while True:
                await rig.journal.wait_changed()
                await asyncio.sleep(1)

        slow = group.create_task(slow_follower())
        await eventually(lambda: connection.counters["frames"] == total)
        slow.cancel()
    assert time.monotonic() - began < 60  # and not 300 s


async def test_06_when_the_disk_is_full_nothing_that_was_read_is_dropped(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(trickle(0.005), speed=10)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with rig.running() as connection:
        await eventually(lambda: connection.counters["frames"] > 5)
        try:
            # From here on the kernel refuses to write more, as on a full disk.
            resource.setrlimit(resource.RLIMIT_FSIZE, (rig.journal.end + 10, limits[1]))
            await eventually(lambda: connection.state.state == "paused")
            await eventually(lambda: rig.server.open == 0)
            assert "cannot be written" in connection.state.reason
            read = connection.counters["frames"]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        await eventually(lambda: connection.state.state == "streaming")
    records = await rig.records()
    back = next(n for n, record in enumerate(records) if isinstance(record, GapClosed))
    before = [record for record in records[:back] if isinstance(record, bytes)]
    assert [json.loads(frame)["data"]["id"] for frame in before] == [
        str(number) for number in range(1, read + 1)
    ]
    [opened, *_] = await rig.gaps()
    assert isinstance(opened, GapOpened)
    assert opened.cause == "disk"


async def test_07_a_flood_does_not_grow_in_memory(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig()
    block = TWEET * 2000
    rounds = 200  # about 20 MB
    rig.server.script = [send(*[block] * rounds)]
    tracemalloc.start()
    try:
        async with rig.running() as connection:
            await eventually(lambda: connection.counters["frames"] == 2000 * rounds)
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20


async def test_08_a_rule_without_a_tag_is_understood_in_the_list_and_in_a_tweet(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig()
    rig.server.rules = {"55": {"id": "55", "value": "snow"}, "66": {"id": "66", "value": "ice"}}
    body = (
        b'{"data":{"id":"7","text":"x","author_id":"5"},"matching_rules":[{"id":"55"},{"id":"66"}]}'
    )
    rig.server.script = [send(body + b"\r\n")]
    async with rig.running("snow") as connection:
        await eventually(lambda: connection.counters["frames"] == 1)
        [frame] = await rig.frames()
        tweet = decode(frame)
        assert isinstance(tweet, Tweet)
        terms = [owner.term for rule in tweet.rules for owner in connection.owners_of_rule(rule)]
    assert terms == ["snow"]
    assert set(rig.server.rules) == {"55", "66"}


async def test_09_no_parameter_is_misspelt(make_rig: MakeRig, eventually: Eventually) -> None:
    """A strict server, that refuses names it does not know, accepts both requests."""
    known_v2 = {"tweet.fields", "expansions", "user.fields", "media.fields", "place.fields"}
    known_v1 = {"track", "follow", "locations", "stall_warnings", "delimited"}
    rig = await make_rig(send(TWEET))
    await rig.run(until="streaming")
    assert set(rig.server.requests[0].query) == {*known_v2, "poll.fields"}
    assert dict(rig.server.requests[0].query) == dict(FIELDS)
    rig.network = "x_v1"
    rig.settings = msgspec.structs.replace(rig.settings, x_v1=XV1Settings())
    async with rig.running():
        await eventually(lambda: len(rig.server.connects) == 2)
    form = parse_qs(rig.server.forms[1], strict_parsing=True)
    assert set(form) <= known_v1
    assert form["stall_warnings"] == ["true"]
    assert form["delimited"] == ["length"]


async def test_10_a_wait_of_minutes_ends_at_once_on_shutdown(make_rig: MakeRig) -> None:
    rig = await make_rig(status(429, headers={"Retry-After": "320"}))
    async with rig.running(until="waiting") as connection:
        assert connection.state.until is not None
        assert connection.state.until - time.time() > 300
        began = time.monotonic()
    assert time.monotonic() - began < 30
    assert await rig.states() == ["connecting", "waiting", "idle"]


async def test_11_a_stop_is_seen_on_a_quiet_stream(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(send(TWEET))
    async with rig.running(until="streaming"):
        began = time.monotonic()
    assert time.monotonic() - began < 30
    await eventually(lambda: rig.server.open == 0)
    assert (await rig.only_gap()).cause == "stopped"


async def test_12_after_forty_failures_it_still_tries(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(*[status(503, "<html>busy</html>")] * 40, send(TWEET), speed=20_000)
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state == "streaming")
    assert len(rig.server.connects) >= 41


async def test_13_a_truncated_message_is_kept_and_counted_as_a_reject(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(
        send(TWEET, b'{"data":{"id":"8","te', then="abort"), send(TWEET), speed=100
    )
    async with rig.running() as connection:
        await eventually(lambda: connection.counters["frames"] == 2)
    found = batch.Batch(SourceId(1), 0, 1 << 20)
    with contextlib.closing(JournalReader(rig.journal, 0)) as reader:
        found.add(await reader.read(1000, 1 << 24), decode, lambda tweet: ())
    assert [(each.body, each.reason) for each in found.rejects] == [
        (b'{"data":{"id":"8","te', "not_json")
    ]
    assert len(found.arrivals) == 2


@pytest.mark.parametrize("body", [DISCONNECT, json.dumps(PROBLEM).encode()])
async def test_14_a_disconnect_message_closes_a_socket_that_the_server_leaves_open(
    make_rig: MakeRig, eventually: Eventually, body: bytes
) -> None:
    rig = await make_rig(send(TWEET, body + b"\r\n"), send(TWEET))
    async with rig.running() as connection:
        await eventually(lambda: len(rig.server.connects) == 2)
        await eventually(lambda: connection.counters["frames"] == 3)
        assert rig.server.open == 1
    assert isinstance(decode((await rig.frames())[1]), ControlNotice)
    [opened, *_] = await rig.gaps()
    assert isinstance(opened, GapOpened)
    assert "UpstreamOperationalDisconnect" in opened.detail


async def test_15_the_old_socket_is_closed_before_a_new_one_is_opened(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    """A server with one slot never refuses."""
    rig = await make_rig(speed=120)
    rig.server.script = [send(TWEET)]  # each goes silent, and is left
    async with rig.running():
        await eventually(lambda: len(rig.server.connects) >= 5)
    assert rig.server.most_open == 1
