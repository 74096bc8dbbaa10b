"""Files are replayed byte for byte, at a rate or as fast as they are read."""

import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from simulator.generator import Generator
from simulator.server import Server, Settings, serve
from simulator.wire_v2 import payload

STREAM = "/2/tweets/search/stream"
QUICK = 0.005  # of the protocol's times: a keep-alive every 0.1 s

pytestmark = pytest.mark.timeout(60)

ODD_LINES = (
    b'{"data": {"id": "11", "text": "spaces  and \\u00e9 stay"}}',
    b'{"delete":{"status":{"id":77,"id_str":"77"}}}',
    b'{"data":{"id":"12","text":"torn',
    b"\xff\xfe not even text",
    b'{"id":13,"id_str":"13","text":"of the other network","user":{}}',
)


@asynccontextmanager
async def playing(settings: Settings) -> AsyncIterator[tuple[Server, aiohttp.ClientResponse]]:
    headers = {"Authorization": "Bearer any"}
    async with serve(settings) as server, aiohttp.ClientSession(headers=headers) as http:
        rules = {"add": [{"value": "#news"}]}
        await http.post(server.url + STREAM + "/rules", json=rules)
        async with http.get(server.url + STREAM) as response:
            yield server, response


@pytest.mark.parametrize("name", ["lines.ndjson", "lines.ndjson.gz"])
async def test_every_line_arrives_as_it_stands(tmp_path: Path, name: str) -> None:
    """Broken ones too; then the stream stays open with keep-alives."""
    file = tmp_path / name
    text = b"\n".join(ODD_LINES[:2]) + b"\r\n\n" + b"\n".join(ODD_LINES[2:])
    file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    settings = Settings(replay=str(file), rate=0, time_scale=QUICK)
    async with playing(settings) as (server, response):
        read = [await response.content.readline() for _ in ODD_LINES]
        assert read == [line + b"\r\n" for line in ODD_LINES]
        assert await response.content.readline() == b"\r\n"
        assert server.sent == ["11", "13"]
        assert server.hub.sent.others == 3


async def test_a_file_can_be_read_again_and_again(tmp_path: Path) -> None:
    """Only when asked for."""
    file = tmp_path / "lines"
    file.write_bytes(b"\n".join(ODD_LINES))
    async with playing(Settings(replay=str(file), rate=0, loop=True)) as (_, response):
        read = [await response.content.readline() for _ in range(12)]
    assert read[5:10] == read[:5]


async def test_a_replay_can_be_filtered(tmp_path: Path) -> None:
    """Only what matches comes, with the rules that it matches."""
    generator = Generator(1)
    posts = [generator.post() for _ in range(300)]
    file = tmp_path / "posts"
    lines = [json.dumps(payload(post)).encode() for post in posts]
    file.write_bytes(b"\n".join((*ODD_LINES[2:4], *lines)))
    settings = Settings(replay=str(file), rate=0, replay_filtered=True, time_scale=QUICK)
    async with playing(settings) as (server, response):
        for odd in ODD_LINES[2:4]:  # what is no post is for everybody
            assert await response.content.readline() == odd + b"\r\n"
        read = []
        while (line := await response.content.readline()).strip():
            read.append(json.loads(line))
    assert 0 < len(read) < 100
    assert all(post["matching_rules"] for post in read)
    assert server.sent == [post["data"]["id"] for post in read]


async def test_the_rate_is_kept(tmp_path: Path) -> None:
    """500 a second, more or less."""
    file = tmp_path / "lines"
    file.write_bytes(b"\n".join(b'{"data":{"id":"%d"}}' % n for n in range(2000)))
    began = time.monotonic()
    async with playing(Settings(replay=str(file), rate=500)) as (_, response):
        for _ in range(500):
            await response.content.readline()
        assert 0.7 < time.monotonic() - began < 30


async def test_replay_costs_the_benchmark_little(tmp_path: Path) -> None:
    """More than 15,000 lines of 2 kB a second, and the reader sets the pace."""
    file = tmp_path / "lines"
    text = "x" * 1900
    with file.open("wb") as out:
        for number in range(40_000):
            out.write(b'{"data":{"id":"%d","text":"%s"}}\n' % (number, text.encode()))
    async with playing(Settings(replay=str(file), rate=0)) as (server, response):
        began, used, got = time.monotonic(), time.process_time(), 0
        async for chunk in response.content.iter_any():
            got += chunk.count(b"\n")
            if got >= 40_000:
                break
        took, used = time.monotonic() - began, time.process_time() - used
        assert len(server.sent) == 40_000
    # Reader and server share this process; so each has less than this.
    assert 40_000 / used > 15_000, f"{used:.2f} s of CPU, {took:.2f} s"
