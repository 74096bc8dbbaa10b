"""The simulated Jetstream replays from a cursor: by sequence and time, within the look-back."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.simulator.conftest import Messages, RunJetstream

V1 = "/subscribe"
V2 = "/xrpc/network.bsky.jetstream.subscribeEvents"


def micros(seconds_ago: float) -> int:
    return int((time.time() - seconds_ago) * 1e6)


def ids(found: list[dict[str, Any]]) -> list[str]:
    """Native ids on the wire of v2."""
    return [f"{m['payload']['rkey']}/{m['payload']['did']}" for m in found]


async def test_a_sequence_resumes_inclusively(bluesky: RunJetstream, messages: Messages) -> None:
    """The event of the cursor comes again, then all that happened meanwhile, then the present."""
    async with bluesky() as jetstream:
        async with jetstream.stream(V2) as socket:
            first = await messages(socket, 10)
        cursor = first[-1]["payload"]["seq"]
        async with jetstream.stream(f"{V2}?cursor={cursor}") as socket:
            second = await messages(socket, 60)
        assert second[0] == first[-1]
        assert ids(first) + ids(second)[1:] == jetstream.sent.ids[:69]


async def test_a_time_resumes_on_every_host_and_wire(
    bluesky: RunJetstream, messages: Messages
) -> None:
    """Hosts have sequence numbers of their own and slightly different times."""
    async with bluesky(hosts=2, history=500, rate=50) as jetstream:
        cursor = micros(1800)
        async with jetstream.stream(f"{V2}?cursor={cursor}") as socket:
            here = await messages(socket, 50)
        async with jetstream.stream(f"{V2}?cursor={cursor}", host=1) as socket:
            there = await messages(socket, 50)
        async with jetstream.stream(f"{V1}?cursor={cursor}", host=1) as socket:
            old = await messages(socket, 50)
        assert set(ids(here)) & set(ids(there))
        assert here[0]["payload"]["time"] > "2026"
        assert abs(here[0]["payload"]["seq"] - there[0]["payload"]["seq"]) > 1000
        assert [m["cursor"] for m in old] == [m["payload"]["seq"] for m in there]
        assert old[0]["time_us"] >= cursor
        by_id = {id_: m["payload"]["time"] for id_, m in zip(ids(here), here, strict=True)}
        assert any(
            by_id[id_] != m["payload"]["time"]
            for id_, m in zip(ids(there), there, strict=True)
            if id_ in by_id
        )


async def test_too_old_is_refused_clamped_and_said_or_clamped_silently(
    bluesky: RunJetstream, messages: Messages
) -> None:
    """v2 by sequence, v2 by time, v1."""
    async with bluesky(history=500, lookback=600, rate=50) as jetstream:
        [first] = (await jetstream.get("/sim/status"))[1]["first_seq"]
        status, body = await jetstream.refused(f"{V2}?cursor={first + 1}")
        answer = json.loads(body)
        assert (status, answer["error"]) == (400, "CursorTooOld")
        floor = int(answer["message"].partition("floor ")[2].partition(";")[0])
        assert 300 < floor - first < 500
        async with jetstream.stream(f"{V2}?cursor={micros(3000)}") as socket:
            info, event = await messages(socket, 2)
            assert info["payload"]["name"] == "OutdatedCursor"
            assert "seq" not in info["payload"]
            assert event["payload"]["seq"] >= floor
        for cursor in (first + 1, micros(3000)):
            async with jetstream.stream(f"{V1}?cursor={cursor}") as socket:
                [event] = await messages(socket, 1)
                assert event["cursor"] >= floor
                assert event["time_us"] > micros(700)


@pytest.mark.parametrize("path", [V1, V2])
async def test_cursors_of_the_future_and_none_start_at_the_tip(
    path: str, bluesky: RunJetstream, messages: Messages
) -> None:
    async with bluesky(history=50, rate=50) as jetstream:
        [first] = (await jetstream.get("/sim/status"))[1]["first_seq"]
        for cursor in ("", first + 10**6, micros(-1000)):
            async with jetstream.stream(f"{path}?cursor={cursor}") as socket:
                [event] = await messages(socket, 1)
                assert event.get("cursor", event.get("payload", {}).get("seq")) >= first + 50


async def test_short_memory_raises_the_floor(bluesky: RunJetstream) -> None:
    async with bluesky(history=500, faults=("short-memory",)) as jetstream:
        [first] = (await jetstream.get("/sim/status"))[1]["first_seq"]
        assert (await jetstream.refused(f"{V2}?cursor={first + 100}"))[0] == 400
        async with jetstream.stream(f"{V2}?cursor={first + 450}"):
            pass


async def test_the_network_goes_on_while_no_client_is_connected(
    bluesky: RunJetstream, messages: Messages, eventually: Eventually
) -> None:
    """Nothing happens before the first client; what happened meanwhile is replayed."""
    async with bluesky() as jetstream:
        assert jetstream.sent.ids == []
        async with jetstream.stream(V2) as socket:
            [event] = await messages(socket, 1)
        await eventually(lambda: len(jetstream.sent.ids) > 100)
        async with jetstream.stream(f"{V2}?cursor={event['payload']['seq']}") as socket:
            assert ids(await messages(socket, 100)) == jetstream.sent.ids[:100]


async def test_a_recording_is_sent_again_on_both_wires(
    bluesky: RunJetstream, messages: Messages, tmp_path: Any
) -> None:
    """Records stay byte for byte; lines that are no events come as they are."""
    async with bluesky(faults=("deletes", "accounts", "edits")) as jetstream:
        async with jetstream.stream(V1) as socket:
            lines = [str((await socket.receive()).data) for _ in range(300)]
        async with jetstream.stream(f"{V2}?cursor={10**15}") as socket:
            lines += [str((await socket.receive()).data) for _ in range(100)][1:]
    lines.append('{"neither": "v1", "nor": "v2"}')
    recording = tmp_path / "recording.ndjson"
    recording.write_text("\n".join(lines))
    records = [json.loads(line) for line in lines]
    async with bluesky(replay=str(recording), rate=0) as jetstream:
        async with jetstream.stream(V1) as socket:
            old = await messages(socket, 400)
        async with jetstream.stream(f"{V2}?cursor={10**15}") as socket:
            new = (await messages(socket, 401))[1:]
    for line, v1, v2 in zip(records, old, new, strict=True):
        if "nor" in line:
            assert v1 == v2 == line
            continue
        found = line.get("payload", line)
        assert v1["did"] == v2["payload"]["did"] == found["did"]
        if "commit" in v1:
            commit = found.get("commit", found)
            assert v1["commit"].get("record") == commit.get("record")
            assert v2["payload"].get("record") == commit.get("record")
            assert v1["commit"]["operation"] == commit["operation"]
