"""Every fault of the simulated Bluesky does what its description says."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from simulator.bluesky.event_log import v1_message
from simulator.server import faults_of

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.simulator.conftest import Jetstream, Messages, RunJetstream

V1 = "/subscribe"
V2 = "/xrpc/network.bsky.jetstream.subscribeEvents"
DICTIONARY = "/xrpc/network.bsky.jetstream.getZstdDictionary"
RECORDS = "/xrpc/com.atproto.repo.listRecords"


async def rest(socket: aiohttp.ClientWebSocketResponse) -> list[str]:
    """All text messages until the end."""
    found = []
    async with asyncio.timeout(90):
        while (message := await socket.receive()).type in {WSMsgType.TEXT, WSMsgType.BINARY}:
            found.append(message.data)
    return found


async def until(socket: aiohttp.ClientWebSocketResponse, part: str) -> str:
    """The first message that contains this."""
    async with asyncio.timeout(90):
        while part not in (text := str((await socket.receive()).data)):
            pass
    return text


async def commits(jetstream: Jetstream, count: int) -> list[dict[str, Any]]:
    """So many messages of v1 from the first event on."""
    async with jetstream.stream(f"{V1}?cursor={10**15}") as socket:
        return [json.loads((await socket.receive()).data) for _ in range(count)]


@pytest.mark.parametrize(
    ("fault", "status", "v1", "v2"),
    [
        ("403", 403, "<html>", "<html>"),
        ("503", 503, "<html>", "<html>"),
        ("429-rate", 429, "Too Many", '"RateLimitExceeded"'),
        ("warming-up", 503, "service not ready", '"ServiceUnavailable"'),
    ],
)
async def test_connect_faults_answer_as_often_as_armed(
    fault: str, status: int, v1: str, v2: str, bluesky: RunJetstream
) -> None:
    async with bluesky(faults=(f"{fault}:2",)) as jetstream:
        for path, part in ((V1, v1), (V2, v2)):
            answered, body = await jetstream.refused(path)
            assert answered == status
            assert part in body
        async with jetstream.stream(V2):
            pass
        assert [a.status for a in jetstream.server.simulation.core.attempts] == [status] * 2 + [101]


async def test_cursor_too_old_refuses_v2_only(bluesky: RunJetstream) -> None:
    async with bluesky(faults=("cursor-too-old",)) as jetstream:
        async with jetstream.stream(V1):
            pass
        status, body = await jetstream.refused(V2)
        assert (status, json.loads(body)["error"]) == (400, "CursorTooOld")


async def test_accept_close_ends_before_the_first_frame(bluesky: RunJetstream) -> None:
    async with bluesky(faults=("accept-close",)) as jetstream, jetstream.stream(V2) as socket:
        assert await rest(socket) == []
        assert socket.close_code == 1006


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("close", 1000),
        ("close-1001", 1001),
        ("close-1006", 1006),
        ("close-1008", 1008),
        ("cut", 1006),
        ("reset", 1006),
        ("too-slow", 1006),
        ("error-frame", 1006),
    ],
)
@pytest.mark.parametrize("path", [V1, V2])
async def test_endings(path: str, fault: str, code: int, bluesky: RunJetstream) -> None:
    """Messages before the end are whole; v2 announces what it blames."""
    async with bluesky() as jetstream, jetstream.stream(path) as socket:
        await socket.receive()
        await jetstream.arm(fault)
        found = [json.loads(text) for text in await rest(socket)]
        assert socket.close_code == code
        errors = [message["error"] for message in found if "error" in message]
        expected = {"too-slow": ["ConsumerTooSlow"], "error-frame": ["InternalError"]}
        assert errors == (expected.get(fault, []) if path == V2 else [])


async def test_a_stall_ends_and_half_open_does_not(bluesky: RunJetstream) -> None:
    """The socket answers pings meanwhile."""
    async with bluesky() as jetstream, jetstream.stream(V2) as socket:
        await jetstream.arm("stall", seconds=8)
        await silent(socket, 0.3)
        await socket.ping()
        await socket.receive(timeout=90)
        await jetstream.arm("half-open")
        await silent(socket, 0.5)
        await socket.ping()
        assert not socket.closed


async def silent(socket: aiohttp.ClientWebSocketResponse, seconds: float) -> None:
    """Read what has come; then nothing comes for so long."""
    async with asyncio.timeout(90):
        while True:
            try:
                await socket.receive(timeout=seconds)
            except TimeoutError:
                return


async def test_a_silent_host_lets_the_other_one_speak(
    bluesky: RunJetstream, messages: Messages
) -> None:
    async with bluesky(hosts=2) as jetstream:
        await jetstream.arm("silent-host", n=0)
        async with jetstream.stream(V2) as first, jetstream.stream(V2, host=1) as second:
            await messages(second, 20)
            await silent(first, 0.3)


async def test_an_old_host_knows_v1_only(bluesky: RunJetstream) -> None:
    async with bluesky(hosts=2) as jetstream:
        await jetstream.arm("v1-only", n=0)
        assert (await jetstream.refused(V2))[0] == 404
        assert (await jetstream.get(DICTIONARY))[0] == 404
        async with jetstream.stream(V1), jetstream.stream(V2, host=1):
            pass


async def test_broken_messages_come_between_whole_ones(bluesky: RunJetstream) -> None:
    async with bluesky() as jetstream, jetstream.stream(V2) as socket:
        await jetstream.arm("garbage", n=4)
        assert "502" in await until(socket, "<html>")
        await jetstream.arm("unknown-kinds")
        await until(socket, "subscribeEvents#label")
        assert json.loads(await until(socket, "#commit"))
        await jetstream.arm("bad-zstd")
        while (await socket.receive()).type is not WSMsgType.BINARY:
            pass
        await jetstream.arm("torn-utf8")
        await rest(socket)
        assert socket.close_code == 1007


async def test_dictionaries_can_be_missing_broken_or_wrong(bluesky: RunJetstream) -> None:
    async with bluesky() as jetstream:
        await jetstream.arm("no-dictionary")
        assert (await jetstream.get(DICTIONARY))[0] == 503
        await jetstream.http.delete(jetstream.server.url + "/sim/faults")
        await jetstream.arm("bad-dictionary")
        assert (await jetstream.get(DICTIONARY))[1] == "This is no dictionary."


async def test_the_slow_are_disconnected(bluesky: RunJetstream, eventually: Eventually) -> None:
    """By a client that reads nothing, after the write timeout; without a close frame."""
    async with (
        bluesky(history=15_000, write_timeout=0.3, rate=5) as jetstream,
        jetstream.stream(f"{V2}?cursor={10**15}") as socket,
    ):
        await eventually(lambda: not jetstream.server.connections)
        await rest(socket)
        assert socket.close_code == 1006


async def test_a_client_far_behind_is_too_slow(bluesky: RunJetstream) -> None:
    """It is more events behind than it may be, and reads no faster than it must."""
    slow = {"slow_lag": 10, "slow_rate": 1e9, "slow_window": 0}
    async with (
        bluesky(history=5000, **slow) as jetstream,
        jetstream.stream(f"{V2}?cursor={10**15}") as socket,
    ):
        assert json.loads((await rest(socket))[-1])["error"] == "ConsumerTooSlow"


async def test_duplicates_and_burst(bluesky: RunJetstream, messages: Messages) -> None:
    async with bluesky(rate=20) as jetstream, jetstream.stream(V1) as socket:
        await jetstream.arm("duplicates", n=3)
        while len({m["cursor"] for m in await messages(socket, 3)}) > 1:
            pass
        await jetstream.arm("burst", n=200)
        async with asyncio.timeout(90):
            await messages(socket, 500)


async def test_deletions_come_after_and_before_their_posts(bluesky: RunJetstream) -> None:
    """A deletion that comes first belongs to a later revision than the post."""
    async with bluesky(rate=0, posts=200, faults=("deletes",)) as jetstream:
        first: dict[tuple[str, str], tuple[str, str]] = {}
        orders = []
        for message in await commits(jetstream, 218):
            commit = message["commit"]
            key = (message["did"], commit["rkey"])
            if key in first:
                order, rev = first[key]
                orders.append(order)
                newer = commit["rev"] > rev
                assert newer == (order == "create")
            first[key] = (commit["operation"], commit["rev"])
            assert ("record" in commit) == ("cid" in commit) == (commit["operation"] != "delete")
        assert orders.count("create") >= 8
        assert orders.count("delete") == 10
        assert len(jetstream.sent.deleted) == len(orders)


async def test_edits_replace_the_record(bluesky: RunJetstream) -> None:
    async with bluesky(rate=0, posts=100, faults=("edits",)) as jetstream:
        found = await commits(jetstream, 102)
        updates = [m["commit"] for m in found if m["commit"]["operation"] == "update"]
        assert updates
        assert all(commit["record"]["text"].endswith("(edited)") for commit in updates)
        assert len({m["commit"]["cid"] for m in found}) == 102
        assert jetstream.sent.edited


async def test_accounts_and_handles_change(bluesky: RunJetstream) -> None:
    """The log of what was sent has each account's last status."""
    async with bluesky(history=4000, posts=0, faults=("accounts", "identities")) as jetstream:
        count = (await jetstream.get("/sim/status"))[1]["events"]
        events = [m for m in await commits(jetstream, count) if m["kind"] != "commit"]
        accounts = [m["account"] for m in events if m["kind"] == "account"]
        identities = [m["identity"] for m in events if m["kind"] == "identity"]
        assert {a.get("status") for a in accounts} >= {None, "deleted", "suspended", "takendown"}
        assert all(a["active"] == ("status" not in a) for a in accounts)
        assert {i.get("handle") for i in identities} >= {None, "handle.invalid"}
        last = {a["did"]: a.get("status", "active") for a in accounts}
        assert last == jetstream.sent.accounts


async def test_a_sync_hides_what_only_the_pds_shows(bluesky: RunJetstream) -> None:
    """One post vanished, one was added; v2 gets the rows of the resync, v1 neither."""
    async with bluesky(rate=0, posts=60, faults=("syncs",)) as jetstream:
        found = await commits(jetstream, 60)
        async with jetstream.stream(f"{V2}?cursor={10**15}") as socket:
            sync = json.loads(await until(socket, "#sync"))["payload"]
        [added], [vanished] = jetstream.sent.resynced, jetstream.sent.vanished
        query = f"{RECORDS}?repo={sync['did']}&collection=app.bsky.feed.post"
        _, page = await jetstream.get(query)
        kept = {record["uri"].rpartition("/")[2] for record in page["records"]}
        assert added.partition("/")[0] in kept
        assert vanished.partition("/")[0] not in kept
        sent = {f"{m['commit']['rkey']}/{m['did']}" for m in found}
        assert vanished in sent
        assert added not in sent
        assert set(sync["sync"]) == {"blocks", "did", "rev", "seq", "time"}


async def test_records_can_be_wrong_in_many_ways(bluesky: RunJetstream) -> None:
    """Wrong types, facets and times; all of them are valid JSON, and count as sent."""
    faults = ("wrong-types", "bad-facets", "bad-clocks")
    async with bluesky(rate=0, posts=600, faults=faults) as jetstream:
        records = [m["commit"]["record"] for m in await commits(jetstream, 600)]
        assert {type(record.get("text")) for record in records} >= {str, int, list, type(None)}
        assert {type(record.get("langs")) for record in records} >= {str, list}
        times = {str(record.get("createdAt")) for record in records}
        assert times >= {"now", "10000-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"}
        assert len(jetstream.sent.ids) == len(set(jetstream.sent.ids)) == 600


async def test_escapes_change_the_bytes_but_not_the_record(bluesky: RunJetstream) -> None:
    async with bluesky(rate=0, posts=50, seed=5) as jetstream:
        plain = [m["commit"]["record"]["text"] for m in await commits(jetstream, 50)]
    async with bluesky(rate=0, posts=50, seed=5, faults=("escapes",)) as jetstream:
        escaped = [m["commit"]["record"]["text"] for m in await commits(jetstream, 50)]
        [event] = jetstream.server.bluesky.log.read(0, 1)
        assert v1_message(event, 1, 0).isascii()
    assert plain == escaped


async def test_events_can_share_a_time(bluesky: RunJetstream) -> None:
    async with bluesky(rate=0, posts=100, faults=("same-time",)) as jetstream:
        times = [m["time_us"] for m in await commits(jetstream, 100)]
        assert len(set(times)) < 60


async def test_status_names_the_faults_of_this_network(bluesky: RunJetstream) -> None:
    async with bluesky() as jetstream, jetstream.stream(f"{V2}?dids=did:plc:a"):
        _, status = await jetstream.get("/sim/status")
        assert status["faults"] == faults_of("bluesky")
        assert "add-refused" not in status["faults"]
        assert status["connections"][0]["wire"] == 2
        assert status["attempts"][0]["note"].endswith("dids=did:plc:a")
        url = jetstream.server.url + "/sim/faults"
        async with jetstream.http.post(url, json={"fault": "402"}) as response:
            assert response.status == 400


async def test_shutdown_says_goodbye(bluesky: RunJetstream) -> None:
    async with bluesky() as jetstream, jetstream.stream(V2) as socket:
        async with jetstream.http.post(jetstream.server.url + "/sim/disconnect"):
            pass
        await rest(socket)
        assert socket.close_code == 1001
