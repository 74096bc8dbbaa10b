"""Every fault does what its description says."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import TYPE_CHECKING

import aiohttp
import pytest

from simulator.faults import Armed
from simulator.server import Limits, Settings, serve

STREAM = "/2/tweets/search/stream"
FAST = {"time_scale": 0.005}  # a keep-alive every 0.1 s


if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.simulator.conftest import RunApp

NEWS = ("#news", "(news OR #news)")


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
    async with asyncio.timeout(60):
        while part not in (line := (await lines(response, 1))[0]):
            pass
    return line


async def gather(response: aiohttp.ClientResponse, pieces: list[bytes]) -> None:
    """Collect what comes until the end or an error."""
    async with asyncio.timeout(60):
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
    async with asyncio.timeout(60):
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
async def test_a_connect_fault_answers_as_often_as_armed(
    fault: str, status: int, mark: str, app: RunApp
) -> None:
    """Twice as armed, then the stream opens."""
    async with app(*NEWS, faults=(f"{fault}:2",), **FAST) as client:
        for _ in range(2):
            async with client.stream() as response:
                assert response.status == status
                assert mark in await response.text()
        async with client.stream() as response:
            assert response.status == 200
        assert [a.status for a in client.server.hub.attempts] == [status, status, 200]


@pytest.mark.parametrize(("fault", "status"), [("420", 420), ("403", 403), ("503", 503)])
async def test_v1_refuses_in_text_or_html(fault: str, status: int) -> None:
    """Text or HTML, not JSON."""
    async with serve(Settings(network="x_v1", faults=(fault,))) as server:
        url = server.url + "/1.1/statuses/filter.json"
        async with aiohttp.ClientSession() as http, http.post(url, data={"track": "a"}) as response:
            assert response.status == status
            assert response.content_type != "application/json"


async def test_accept_close_ends_before_the_first_byte(app: RunApp) -> None:
    """A 200 that proves nothing."""
    async with app(*NEWS, faults=("accept-close",), **FAST) as client:
        async with client.stream() as response:
            assert response.status == 200
            assert await rest(response) == b""
        async with client.stream() as response:
            await lines(response, 1)


async def test_a_stall_sends_nothing_and_then_continues(app: RunApp) -> None:
    """Not even keep-alives come meanwhile."""
    async with app(*NEWS, **FAST) as client, client.stream() as response:
        await lines(response, 1)
        clock = asyncio.get_running_loop().time
        assert await client.arm("stall", seconds=0.5) == 200
        async with asyncio.timeout(20):
            last, longest = clock(), 0.0
            while longest < 0.4:
                await response.content.readline()
                now = clock()
                longest, last = max(longest, now - last), now


@pytest.mark.parametrize("fault", ["half-open", "operational-disconnect", "bare-problem"])
async def test_a_dead_stream_keeps_its_socket_open(fault: str, app: RunApp) -> None:
    """After the last words, if there are any, nothing comes and nothing ends."""
    async with app(*NEWS, **FAST) as client:
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
async def test_a_connection_breaks_inside_a_message(
    fault: str, error: type[Exception], app: RunApp
) -> None:
    """What was read last is no whole line."""
    async with app(*NEWS, **FAST) as client, client.stream() as response:
        await lines(response, 1)
        await client.arm(fault)
        pieces: list[bytes] = []
        with pytest.raises(error):
            await gather(response, pieces)
        assert not b"".join(pieces).endswith(b"\n")


async def test_close_ends_between_two_messages(app: RunApp) -> None:
    """A clean end with whole lines."""
    async with app(*NEWS, **FAST) as client, client.stream() as response:
        await lines(response, 1)
        await client.arm("close")
        left = await rest(response)
        assert left == b"" or left.endswith(b"}\r\n")


async def test_the_stream_continues_after_broken_messages(app: RunApp) -> None:
    """Garbage, a torn character, unknown kinds, data with errors; the stream goes on."""
    async with app(*NEWS, **FAST) as client, client.stream() as response:
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


async def test_v1_sends_warnings_unknown_messages_and_disconnects() -> None:
    """Control messages of §10."""
    async with serve(Settings(network="x_v1", rate=200)) as server:
        fields = ["consumer_key", "signature", "signature_method", "timestamp", "nonce", "token"]
        header = "OAuth " + ", ".join(f'oauth_{field}="x"' for field in fields)

        def arm(armed: Armed) -> None:
            server.hub.faults.arm(armed)
            server.hub.wake()

        async with aiohttp.ClientSession(headers={"Authorization": header}) as http:
            url = server.url + "/1.1/statuses/filter.json"
            async with http.post(url, data={"track": "snow"}) as response:
                await lines(response, 1)
                for fault, mark in (
                    ("stall-warning", b"FALLING_BEHIND"),
                    ("unknown-kinds", b"user_update"),
                    ("torn-utf8", b"caf\xc3"),
                ):
                    arm(Armed(fault=fault))
                    await until(response, mark)
                arm(Armed(fault="disconnect", n=12))
                await until(response, b'"code":12')
                assert await rest(response) == b""


async def test_a_slow_reader_is_disconnected(eventually: Eventually, app: RunApp) -> None:
    """Behind by more than the limit: SlowReader, then the end; memory does not grow."""
    limits = Limits(reader_bytes=100_000)
    async with (
        app(*NEWS, rate=20_000, limits=limits, posts=60_000, **FAST) as client,
        client.stream() as response,
    ):
        await eventually(lambda: any(c.over for c in client.server.hub.connections))
        assert b"SlowReader" in (await rest(response))[-600:]


async def test_streams_are_compressed_for_clients_that_accept_it(app: RunApp) -> None:
    """Each write can be inflated as it comes."""
    async with app(*NEWS, faults=("gzip",), **FAST) as client:
        async with client.stream() as response:
            assert response.headers["Content-Encoding"] == "gzip"
            inflate = zlib.decompressobj(wbits=31)
            text = inflate.decompress(await response.content.readany())
            assert json.loads(text.splitlines()[0])["data"]
        async with client.stream("identity") as response:
            assert "Content-Encoding" not in response.headers


async def test_chunks_are_cut_anywhere(app: RunApp) -> None:
    """Between CR and LF, and inside messages."""
    async with (
        app(*NEWS, faults=("split-chunks",), **FAST) as client,
        client.stream() as response,
    ):
        pieces = []
        for _ in range(30):
            data, ended = await response.content.readchunk()
            pieces.append(data)
            assert ended
        assert b"\n" in pieces
        assert any(piece.endswith(b"\r") for piece in pieces)
        assert json.loads(b"".join(pieces).split(b"\r\n")[0])["data"]
