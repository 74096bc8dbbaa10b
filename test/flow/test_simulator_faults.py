"""Every fault does what its sentence says."""

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiohttp
import msgspec
import pytest

from simulator.faults import UnknownFault, from_flag
from simulator.server import FAULTS, Limits, Server, Settings, serve

STREAM = "/2/tweets/search/stream"
QUICK = 0.005  # of the protocol's times: a keep-alive every 0.1 s

pytestmark = pytest.mark.timeout(30)


class Eventually(Protocol):
    """The fixture of conftest.py."""

    async def __call__(self, condition: Callable[[], object]) -> None: ...


class Client:
    """An app with one rule on X v2, which 200 posts a second match."""

    def __init__(self, server: Server, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http

    async def arm(self, fault: str, **more: float) -> int:
        url = self.server.url + "/sim/faults"
        async with self.http.post(url, json={"fault": fault, **more}) as response:
            return response.status

    @asynccontextmanager
    async def stream(self, **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self.http.get(self.server.url + STREAM, headers=headers) as response:
            yield response


@asynccontextmanager
async def running(*faults: str, **settings: object) -> AsyncIterator[Client]:
    base = Settings(rate=200, time_scale=QUICK, faults=faults)
    wanted = msgspec.structs.replace(base, **settings)
    headers = {"Authorization": "Bearer any"}
    async with (
        serve(wanted) as server,
        aiohttp.ClientSession(headers=headers, auto_decompress=False) as http,
    ):
        rules = {"add": [{"value": "#news", "tag": "n"}, {"value": "(news OR #news)"}]}
        async with http.post(server.url + STREAM + "/rules", json=rules) as response:
            assert response.status == 201
        yield Client(server, http)


async def lines(response: aiohttp.ClientResponse, count: int) -> list[bytes]:
    """So many lines that are not blank."""
    found: list[bytes] = []
    while len(found) < count:
        line = await response.content.readline()
        assert line, "the stream ended"
        if line.strip():
            found.append(line)
    return found


async def until(response: aiohttp.ClientResponse, part: bytes) -> bytes:
    """The first line that holds this."""
    async with asyncio.timeout(10):
        while part not in (line := (await lines(response, 1))[0]):
            pass
    return line


async def gather(response: aiohttp.ClientResponse, pieces: list[bytes]) -> None:
    """Collect what comes until the end or an error."""
    async with asyncio.timeout(10):
        async for piece in response.content.iter_any():
            pieces.append(piece)  # noqa: PERF401  what came before an error must be kept


async def silent(response: aiohttp.ClientResponse, seconds: float) -> bool:
    """Is it open, with nothing more to read after what has come already?"""
    try:
        async with asyncio.timeout(seconds):
            while await response.content.readline():
                pass
    except TimeoutError:
        return True
    return False


async def rest(response: aiohttp.ClientResponse) -> bytes:
    """Everything up to a clean end."""
    async with asyncio.timeout(10):
        return await response.content.read()


@pytest.mark.parametrize(
    ("fault", "status", "mark"),
    [
        ("401", 401, "about:blank"),
        ("402", 402, "credits"),
        ("403", 403, "client-not-enrolled"),
        ("410", 410, "Gone"),
        ("429-connections", 429, "TooManyConnections"),
        ("429-quota", 429, "UsageCapExceeded"),
        ("429-rate", 429, "rate-limit-exceeded"),
        ("503", 503, "<html>"),
    ],
)
async def test_faults_at_the_door_answer_so_often_and_then_no_more(
    fault: str, status: int, mark: str
) -> None:
    """Twice as armed, then the stream opens."""
    async with running(f"{fault}:2") as client:
        for _ in range(2):
            async with client.stream() as response:
                assert response.status == status
                assert mark in await response.text()
        async with client.stream() as response:
            assert response.status == 200
        assert [a.status for a in client.server.hub.attempts] == [status, status, 200]


@pytest.mark.parametrize(("fault", "status"), [("420", 420), ("403", 403), ("503", 503)])
async def test_the_door_of_v1_speaks_its_own_way(fault: str, status: int) -> None:
    """Text or HTML, not JSON."""
    async with serve(Settings(network="x_v1", faults=(fault,))) as server:
        url = server.url + "/1.1/statuses/filter.json"
        async with aiohttp.ClientSession() as http, http.post(url, data={"track": "a"}) as response:
            assert response.status == status
            assert response.content_type != "application/json"


async def test_accept_close_ends_before_the_first_byte() -> None:
    """A 200 that proves nothing."""
    async with running("accept-close") as client:
        async with client.stream() as response:
            assert response.status == 200
            assert await rest(response) == b""
        async with client.stream() as response:
            await lines(response, 1)


async def test_a_stall_is_silent_and_then_goes_on() -> None:
    """Not even keep-alives come meanwhile."""
    async with running() as client, client.stream() as response:
        await lines(response, 1)
        began = time.monotonic()
        assert await client.arm("stall", seconds=0.5) == 200
        longest, last = 0.0, began
        while last < began + 0.7:
            await response.content.readline()
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        assert longest > 0.4


@pytest.mark.parametrize("fault", ["half-open", "operational-disconnect", "bare-problem"])
async def test_a_dead_stream_keeps_its_socket_open(fault: str) -> None:
    """After the last words, if there are any, nothing comes and nothing ends."""
    async with running() as client:
        async with client.stream() as response:
            await lines(response, 1)
            await client.arm(fault)
            if fault != "half-open":
                last = json.loads(await until(response, b"operational-disconnect"))
                assert ("errors" in last) == (fault == "operational-disconnect")
            assert await silent(response, 0.5)
            assert client.server.connections == 1
        async with client.stream() as response:
            assert response.status in {200, 429}


@pytest.mark.parametrize(
    ("fault", "error"), [("reset", aiohttp.ClientError), ("cut", aiohttp.ClientPayloadError)]
)
async def test_a_connection_breaks_inside_a_message(fault: str, error: type[Exception]) -> None:
    """What was read last is no whole line."""
    async with running() as client, client.stream() as response:
        await lines(response, 1)
        await client.arm(fault)
        pieces: list[bytes] = []
        with pytest.raises(error):
            await gather(response, pieces)
        assert not b"".join(pieces).endswith(b"\n")


async def test_a_cut_goes_through_the_last_waiting_message() -> None:
    """The messages before it arrive whole."""
    async with running(posts=1) as client, client.stream() as response:
        await lines(response, 1)
        client.server.hub.faults.arm(from_flag("cut"))
        client.server.hub.connections[0].put([b'{"a":1}', b'{"b":2}', b'{"last":3}'])
        pieces: list[bytes] = []
        with pytest.raises(aiohttp.ClientPayloadError):
            await gather(response, pieces)
        assert b"".join(pieces).split() == [b'{"a":1}', b'{"b":2}', b'{"last']


async def test_close_ends_between_two_messages() -> None:
    """A clean end with whole lines."""
    async with running() as client, client.stream() as response:
        await lines(response, 1)
        await client.arm("close")
        assert (await rest(response)).endswith((b"}\r\n", b""))


async def test_broken_lines_stand_among_good_ones() -> None:
    """Garbage, a torn character, unknown kinds, data with errors; the stream goes on."""
    async with running() as client, client.stream() as response:
        await lines(response, 1)
        await client.arm("garbage", n=4)
        assert not (await until(response, b"no text at all")).isascii()
        await client.arm("torn-utf8")
        torn = await until(response, b"1790000000000000311")
        with pytest.raises(UnicodeDecodeError):
            torn.decode()
        await client.arm("unknown-kinds")
        await until(response, b"notice")
        await client.arm("data-errors")
        both = json.loads(await until(response, b"resource-not-found"))
        assert both["data"]["id"] in client.server.sent
        assert both["matching_rules"]
        await lines(response, 5)
        assert "1790000000000000311" not in client.server.sent


async def test_v1_disconnects_warns_and_says_unknown_things() -> None:
    """Control messages of §10."""
    async with serve(Settings(network="x_v1", rate=200)) as server:
        fields = ["consumer_key", "signature", "signature_method", "timestamp", "nonce", "token"]
        header = "OAuth " + ", ".join(f'oauth_{field}="x"' for field in fields)
        async with aiohttp.ClientSession(headers={"Authorization": header}) as http:
            client = Client(server, http)
            url = server.url + "/1.1/statuses/filter.json"
            async with http.post(url, data={"track": "snow"}) as response:
                await lines(response, 1)
                for fault, mark in (
                    ("stall-warning", b"FALLING_BEHIND"),
                    ("unknown-kinds", b"user_update"),
                    ("torn-utf8", b"caf\xc3"),
                ):
                    await client.arm(fault)
                    await until(response, mark)
                await client.arm("disconnect", n=12)
                await until(response, b'"code":12')
                assert await rest(response) == b""


async def test_a_burst_comes_at_once() -> None:
    """300 posts, although the rate is two a second."""
    async with running(rate=2) as client, client.stream() as response:
        await lines(response, 1)
        began = time.monotonic()
        await client.arm("burst", n=300)
        await lines(response, 300)
        assert time.monotonic() - began < 20  # 150 s at the usual rate


async def test_duplicates_are_sent_again_and_listed_once() -> None:
    """Three copies of each."""
    async with running() as client:
        await client.arm("duplicates", n=3)
        async with client.stream() as response:
            found = [json.loads(line)["data"]["id"] for line in await lines(response, 30)]
        assert found == [number for number in found[::3] for _ in range(3)]
        assert client.server.sent[:10] == found[::3]


async def test_a_reconnect_begins_with_what_was_sent_last() -> None:
    """With resend nothing is lost on the way: the last lines come again, byte for byte."""
    limits = Limits(resend=20, resend_bytes=0)
    async with running("resend", posts=50, limits=limits) as client:
        async with client.stream() as response:
            first = await lines(response, 50)
        async with client.stream() as response:
            assert await lines(response, 20) == first[-20:]
        assert len(client.server.sent) == 50


async def test_with_resend_a_client_that_vanishes_loses_nothing(
    eventually: Eventually,
) -> None:
    """Whatever stood in buffers when the client vanished is sent to the next one."""
    async with running("resend", rate=0, posts=12_000) as client:
        got: set[str] = set()
        for take in (100, 3000, 12_000):
            async with client.stream() as response:
                async for line in response.content:
                    if line.strip():
                        got.add(json.loads(line)["data"]["id"])
                    if len(got) >= take:
                        break
            # The slot is free as soon as the server sees the end.
            await eventually(lambda: not client.server.connections)
        assert got == set(client.server.sent)


async def test_a_slow_reader_is_told_and_dropped(eventually: Eventually) -> None:
    """Behind by more than the limit: SlowReader, then the end; memory does not grow."""
    limits = Limits(reader_bytes=100_000)
    async with (
        running(rate=20_000, limits=limits, posts=60_000) as client,
        client.stream() as response,
    ):
        await eventually(lambda: any(c.over for c in client.server.hub.connections))
        assert b"SlowReader" in (await rest(response))[-600:]


async def test_streams_are_compressed_for_clients_that_accept_it() -> None:
    """Each write can be inflated as it comes."""
    async with running("gzip") as client:
        async with client.stream(**{"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            inflate = zlib.decompressobj(wbits=31)
            text = inflate.decompress(await response.content.readany())
            assert json.loads(text.splitlines()[0])["data"]
        async with client.stream(**{"Accept-Encoding": "identity"}) as response:
            assert "Content-Encoding" not in response.headers


async def test_chunks_are_cut_anywhere() -> None:
    """Between CR and LF, and inside messages."""
    async with running("split-chunks") as client, client.stream() as response:
        pieces = []
        for _ in range(30):
            data, ended = await response.content.readchunk()
            pieces.append(data)
            assert ended
        assert b"\n" in pieces
        assert any(piece.endswith(b"\r") for piece in pieces)
        assert json.loads(b"".join(pieces).split(b"\r\n")[0])["data"]


async def test_the_quota_ends_the_stream_and_closes_the_door() -> None:
    """After so many posts: a farewell, then UsageCapExceeded until the fault is removed."""
    async with running() as client:
        await client.arm("quota", n=5)
        async with client.stream() as response:
            told = (await rest(response)).split(b"\r\n")
        posts = [line for line in told if b'"data"' in line]
        assert len(posts) == 5
        assert b"usage cap" in told[-2]
        async with client.stream() as response:
            assert response.status == 429
            assert (await response.json())["title"] == "UsageCapExceeded"
        await client.http.delete(client.server.url + "/sim/faults/quota")
        async with client.stream() as response:
            assert response.status == 200


async def test_edits_name_the_versions_before_them() -> None:
    """A new id, the older ones first; both versions are on the list."""
    async with running() as client:
        await client.arm("edits", n=2)
        async with client.stream() as response:
            posts = [json.loads(line)["data"] for line in await lines(response, 30)]
        chains = [p["edit_history_tweet_ids"] for p in posts]
        edited = [chain for chain in chains if len(chain) == 2]
        assert edited
        assert all(chain[0] in client.server.sent for chain in edited)
        assert {chain[1] for chain in edited} <= set(client.server.sent)


async def test_both_spellings_of_the_fields_occur() -> None:
    """The specification's names and those of the examples."""
    async with running("new-names") as client, client.stream() as response:
        posts: list[dict[str, Any]] = [json.loads(line) for line in await lines(response, 10)]
    keys: Sequence[str] = ("edit_history_tweet_ids", "edit_history_post_ids")
    assert [sum(key in post["data"] for post in posts) for key in keys] == [5, 5]


async def test_a_flag_can_repeat_a_fault() -> None:
    """`close@0.2` ends every stream within that time, again and again."""
    async with running("close@0.2") as client:
        for _ in range(3):
            async with client.stream() as response:
                assert response.status == 200
                await rest(response)


async def test_unknown_faults_are_refused() -> None:
    """By flag, by HTTP, and on the network that does not have them."""
    with pytest.raises(UnknownFault):
        from_flag("flood")
    async with running() as client:
        assert await client.arm("flood") == 400
        assert await client.arm("420") == 400
    assert all(sentence.endswith(".") for sentence in FAULTS.values())
