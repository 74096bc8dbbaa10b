"""The simulated Jetstream on both wires: messages, filters, refusals, compression."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import zstandard
from aiohttp import WSMsgType

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.simulator.conftest import Messages, RunJetstream

V1 = "/subscribe"
V2 = "/xrpc/network.bsky.jetstream.subscribeEvents"
DICTIONARY = "/xrpc/network.bsky.jetstream.getZstdDictionary"
POSTS = "app.bsky.feed.post"


def id_of(message: dict[str, Any]) -> str:
    """The native id of the post in a message of either wire."""
    payload = message.get("payload", message)
    commit = payload.get("commit", payload)
    return f"{commit['rkey']}/{payload['did']}"


async def test_v1_sends_envelopes_in_order(bluesky: RunJetstream, messages: Messages) -> None:
    """Each is a commit with its record, under growing times and sequence numbers."""
    async with bluesky() as jetstream, jetstream.stream(V1) as socket:
        found = await messages(socket, 40)
        assert [id_of(message) for message in found] == jetstream.sent.ids[:40]
        for message in found:
            assert set(message) == {"did", "time_us", "cursor", "kind", "commit"}
            commit = message["commit"]
            assert commit["operation"] == "create"
            assert commit["record"]["$type"] == commit["collection"] == POSTS
            assert commit["cid"].startswith("bafyrei")
        times = [message["time_us"] for message in found]
        assert times == sorted(times)
        seqs = [message["cursor"] for message in found]
        assert seqs == list(range(seqs[0], seqs[0] + 40))


async def test_v2_sends_frames_of_its_subprotocol(
    bluesky: RunJetstream, messages: Messages
) -> None:
    """The server names the subprotocol only to clients that offer it."""
    async with bluesky() as jetstream:
        async with jetstream.stream(V2, protocols=["other", "xrpc.v1.json"]) as socket:
            assert socket.protocol == "xrpc.v1.json"
            found = await messages(socket, 20)
            assert [id_of(message) for message in found] == jetstream.sent.ids[:20]
            assert {message["$type"] for message in found} == {"message"}
            payload = found[0]["payload"]
            assert payload["$type"] == "network.bsky.jetstream.subscribeEvents#commit"
            assert payload["time"].endswith("Z")
            assert len(payload["time"]) == len("2026-01-01T00:00:00.000000Z")
        async with jetstream.stream(V2) as socket:
            assert socket.protocol is None
            await messages(socket, 1)


async def test_facets_count_utf8_bytes(bluesky: RunJetstream, messages: Messages) -> None:
    """Each facet spans exactly its hashtag, handle or shortened link, also after emoji."""
    async with bluesky(rate=0, posts=400) as jetstream, jetstream.stream(V1) as socket:
        seen = set()
        for message in await messages(socket, 400):
            record = message["commit"]["record"]
            text = record["text"].encode()
            for facet in record.get("facets", []):
                index, [feature] = facet["index"], facet["features"]
                part = text[index["byteStart"] : index["byteEnd"]].decode()
                kind = feature["$type"].rpartition("#")[2]
                seen.add(kind)
                if kind == "tag":
                    assert part == "#" + feature["tag"]
                elif kind == "mention":
                    assert part.startswith("@")
                else:
                    assert feature["uri"].startswith("https://" + part.removesuffix("..."))
        assert seen == {"tag", "mention", "link"}


async def test_words_are_in_the_posts_that_are_said_to_match_and_in_no_others(
    bluesky: RunJetstream, messages: Messages
) -> None:
    """In the text, a hashtag, tags, an alt text, a link's title or description; or the author's."""
    words = ("flutwarnung", "#hochwasser", "@agency.example")
    async with (
        bluesky(rate=0, posts=1200, words=words, words_every=4) as jetstream,
        jetstream.stream(V1) as socket,
    ):
        found = await messages(socket, 1200)
        agency = jetstream.server.bluesky.activity.accounts.named("agency.example")
        matching = []
        for message in found:
            text = json.dumps(message["commit"]["record"], ensure_ascii=False).casefold()
            if "flutwarnung" in text or "hochwasser" in text or message["did"] == agency.did:
                matching.append(id_of(message))
        assert matching == jetstream.sent.matching
        assert len(matching) == 300


async def test_filters_of_both_wires(bluesky: RunJetstream, messages: Messages) -> None:
    """Collections restrict commits only; accounts restrict everything; kinds exist on v2."""
    settings = {"rate": 2000, "faults": ("likes", "accounts", "identities")}
    async with bluesky(**settings) as jetstream:
        async with jetstream.stream(f"{V1}?wantedCollections={POSTS}") as socket:
            found = await messages(socket, 400)
            assert {m["kind"] for m in found} == {"commit", "account", "identity"}
            assert {m["commit"]["collection"] for m in found if "commit" in m} == {POSTS}
        async with jetstream.stream(f"{V1}?wantedCollections=app.bsky.graph.*") as socket:
            found = await messages(socket, 50)
            collections = {m["commit"]["collection"] for m in found if "commit" in m}
            assert collections == {"app.bsky.graph.follow"}
        async with jetstream.stream(f"{V2}?kinds=account&kinds=identity") as socket:
            kinds = {m["payload"]["$type"].rpartition("#")[2] for m in await messages(socket, 20)}
            assert kinds == {"account", "identity"}
        did = jetstream.server.bluesky.activity.accounts.crowd[9].did
        async with jetstream.stream(f"{V2}?dids={did}&cursor={10**15}") as socket:
            payloads = [m["payload"] for m in await messages(socket, 5)]
            assert {payload["did"] for payload in payloads[1:]} == {did}


async def test_size_limit(bluesky: RunJetstream, messages: Messages) -> None:
    """Larger messages are left out."""
    async with bluesky() as jetstream:
        async with jetstream.stream(f"{V1}?maxMessageSizeBytes=600") as socket:
            assert max(len(json.dumps(m)) for m in await messages(socket, 20)) < 700
        async with jetstream.stream(f"{V1}?maxMessageSizeBytes=nonsense") as socket:
            await messages(socket, 1)


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("wantedCollections=app.bsky.fo*", "invalid collection"),
        ("wantedDids=nobody", "invalid DID"),
        ("cursor=yesterday", "invalid cursor"),
        ("cursor=-5", "negative"),
    ],
)
async def test_v1_refuses_in_plain_text(query: str, part: str, bluesky: RunJetstream) -> None:
    async with bluesky() as jetstream:
        status, body = await jetstream.refused(f"{V1}?{query}")
        assert status == 400
        assert part in body
        assert not body.startswith("{")


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("wantedCollections=app.bsky.feed.post", "InvalidRequest"),
        ("wantedDids=did:plc:a", "InvalidRequest"),
        ("requireHello=true", "InvalidRequest"),
        ("compress=true", "InvalidRequest"),
        ("kinds=like", "InvalidRequest"),
        ("kinds=account&collections=app.bsky.feed.post", "InvalidRequest"),
        ("collections=not_an_nsid.*", "InvalidRequest"),
        ("maxMessageSizeBytes=-1", "InvalidRequest"),
        ("zstdDictionary=0", "InvalidRequest"),
        ("zstdDictionary=5", "UnknownZstdDictionary"),
        ("cursor=x", "InvalidRequest"),
        ("cursor=1", "CursorTooOld"),
        ("&".join(["dids=did:plc:a"] * 10_001), "InvalidRequest"),
    ],
    ids=lambda value: value[:30],
)
async def test_v2_refuses_in_json(query: str, error: str, bluesky: RunJetstream) -> None:
    async with bluesky(history=10) as jetstream:
        status, body = await jetstream.refused(f"{V2}?{query}")
        assert status == 400
        assert json.loads(body)["error"] == error


async def test_v1_options_can_change_and_be_waited_for(
    bluesky: RunJetstream, messages: Messages
) -> None:
    """requireHello waits for the first options_update; a later one replaces all filters."""
    async with (
        bluesky(rate=500, faults=("likes",)) as jetstream,
        jetstream.stream(f"{V1}?requireHello=true&cursor={10**15}") as socket,
    ):
        await socket.send_json({"type": "unheard_of", "payload": 1})
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=0.3)
    async with (
        bluesky(rate=500, faults=("likes",)) as jetstream,
        jetstream.stream(f"{V1}?requireHello=true") as socket,
    ):
        payload = {"wantedCollections": ["app.bsky.graph.follow"]}
        await socket.send_json({"type": "options_update", "payload": payload})
        found = await messages(socket, 5)
        assert {m["commit"]["collection"] for m in found} == {"app.bsky.graph.follow"}
        await socket.send_json({"type": "options_update", "payload": {"wantedDids": []}})
        while (await messages(socket, 1))[0]["commit"]["collection"] != POSTS:
            pass


@pytest.mark.parametrize(
    ("path", "message", "code"),
    [
        (V1, "no JSON", 1007),
        (V1, '{"type":"options_update","payload":{"wantedDids":5}}', 1007),
        (V1, '{"type":"options_update","payload":{"wantedDids":["x"]}}', 1008),
        (V2, '{"type":"options_update","payload":{}}', 1008),
        (V2, "hello", 1008),
    ],
)
async def test_bad_client_messages_end_the_stream(
    path: str, message: str, code: int, bluesky: RunJetstream
) -> None:
    async with bluesky(rate=50) as jetstream, jetstream.stream(path) as socket:
        await socket.send_str(message)
        while (await socket.receive()).type is WSMsgType.TEXT:
            pass
        assert socket.close_code == code


async def test_v2_compresses_with_the_dictionary_that_clients_fetch(
    bluesky: RunJetstream, eventually: Eventually
) -> None:
    """A changed dictionary ends the stream; its old id is then unknown."""
    async with bluesky(rate=500) as jetstream:
        blob, number = await fetch_dictionary(jetstream.http, jetstream.server.url)
        unpack = unpacker(blob)
        async with jetstream.stream(f"{V2}?zstdDictionary={number}") as socket:
            plain = packed = 0
            for _ in range(100):
                message = await socket.receive()
                assert message.type is WSMsgType.BINARY
                text = unpack(message.data)
                assert json.loads(text)["payload"]["seq"]
                plain, packed = plain + len(text), packed + len(message.data)
            assert packed < plain * 0.6
            await jetstream.arm("dictionary-change")
            while (await socket.receive()).type is WSMsgType.BINARY:
                pass
            assert socket.close_code == 1001
        status, body = await jetstream.refused(f"{V2}?zstdDictionary={number}")
        assert (status, json.loads(body)["error"]) == (400, "UnknownZstdDictionary")
        assert (await jetstream.get(f"{DICTIONARY}?id={number}"))[0] == 404
        blob, changed = await fetch_dictionary(jetstream.http, jetstream.server.url)
        assert changed != number
        async with jetstream.stream(f"{V2}?zstdDictionary={changed}") as socket:
            assert unpacker(blob)((await socket.receive()).data)


async def test_v1_compresses_one_way_only(bluesky: RunJetstream) -> None:
    """With the old dictionary's id, or by the WebSocket extension, but not both."""
    async with bluesky(rate=500) as jetstream:
        async with jetstream.stream(f"{V1}?compress=true") as socket:
            message = await socket.receive()
            assert message.type is WSMsgType.BINARY
            assert zstandard.get_frame_parameters(message.data).dict_id == 1612007021
        async with jetstream.stream(V1, compress=15) as socket:
            assert socket.compress
            assert json.loads((await socket.receive()).data)["kind"] == "commit"
        async with jetstream.stream(V2, compress=15) as socket:
            assert not socket.compress
        extension = {"Sec-WebSocket-Extensions": "permessage-deflate"}
        status, body = await jetstream.refused(f"{V1}?compress=true", headers=extension)
        assert status == 400
        assert "not both" in body


async def fetch_dictionary(http: aiohttp.ClientSession, url: str) -> tuple[bytes, int]:
    async with http.get(url + DICTIONARY) as response:
        assert response.status == 200
        return await response.read(), int(response.headers["X-Zstd-Dictionary-Id"])


def unpacker(blob: bytes) -> Any:
    dictionary = zstandard.ZstdCompressionDict(blob)
    return zstandard.ZstdDecompressor(dict_data=dictionary).decompress
