"""Clients that other people wrote stream from the simulator, unpatched.

Their addresses are fixed in their code, so each runs in a process of its own behind a proxy that
ends TLS with a certificate made for this test and hands the requests to the simulator.
"""

import asyncio
import contextlib
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from certificates import of_authority
from simulator.server import NetworkName, OAuth, Server, Settings, serve

HOSTS = ("api.twitter.com", "stream.twitter.com", "api.x.com")
ACCOUNT = OAuth(consumer_key="ck", consumer_secret="cs", token="at", token_secret="ts")
WANTED = 20  # posts that each client reads before it ends


TWEEPY = """
import tweepy

class Reader(tweepy.StreamingClient):
    seen = 0

    def on_response(self, response):
        print(response.data.id, response.matching_rules[0].tag, flush=True)
        self.seen += 1
        if self.seen == WANTED:
            self.disconnect()

    def on_request_error(self, status_code):
        raise SystemExit(f"HTTP {status_code}")

reader = Reader("T")
rules = [tweepy.StreamRule("#news", tag="n"), tweepy.StreamRule("snow day", tag="s")]
added = reader.add_rules(rules)
assert len(added.data) == 2, added
assert len(reader.get_rules().data) == 2
reader.filter(tweet_fields=["created_at", "entities"], expansions=["author_id"])
"""

TWARC = """
import itertools
from twarc.client2 import Twarc2

client = Twarc2(bearer_token="T")
client.add_stream_rules([{"value": "#news", "tag": "n"}, {"value": "snow day", "tag": "s"}])
assert len(client.get_stream_rules()["data"]) == 2
for tweet in itertools.islice(client.stream(), WANTED):
    print(tweet["data"]["id"], tweet["matching_rules"][0]["tag"], flush=True)
"""

TWARC_V1 = """
import itertools
from twarc.client import Twarc

# It asks for its account first, and sends a parameter that X does not know.
client = Twarc("ck", "cs", "at", "ts", http_errors=1, connection_errors=1)
for tweet in itertools.islice(client.filter(track="snow day,café #news"), WANTED):
    print(tweet["id_str"], tweet["user"]["screen_name"], flush=True)
"""

# It asks for `delimited=length`, and finds the count by the \r\n behind it.
TWITTER_API = """
import itertools
from TwitterAPI import TwitterAPI

answer = TwitterAPI("ck", "cs", "at", "ts").request("statuses/filter", {"track": "snow day"})
assert answer.status_code == 200, answer.text
for tweet in itertools.islice(answer, WANTED):
    print(tweet["id_str"], tweet["user"]["screen_name"], flush=True)
"""

TWYTHON = """
import twython

class Reader(twython.TwythonStreamer):
    seen = 0

    def on_success(self, data):
        print(data["id_str"], data["user"]["screen_name"], flush=True)
        self.seen += 1
        if self.seen == WANTED:
            self.disconnect()

    def on_error(self, status_code, data, headers=None):
        raise SystemExit(f"HTTP {status_code}: {data}")

Reader("ck", "cs", "at", "ts").statuses.filter(track="snow day,café #news", stall_warnings="true")
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return of_authority(tmp_path_factory.mktemp("authority"), HOSTS)


@asynccontextmanager
async def proxy(server: Server, context: ssl.SSLContext) -> AsyncIterator[str]:
    """Answers CONNECT for HOSTS, ends the TLS inside, and passes the bytes on to the simulator."""

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        host = head.split()[1].partition(":")[0]
        assert head.startswith("CONNECT ")
        assert host in HOSTS, f"the client wants to reach {host}"
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        await writer.start_tls(context)
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, back))
                both.create_task(_copy(there, writer))

    listener = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


@pytest.mark.parametrize(
    ("network", "script"),
    [
        ("x_v2", TWEEPY),
        ("x_v2", TWARC),
        ("x_v1", TWARC_V1),
        ("x_v1", TWYTHON),
        ("x_v1", TWITTER_API),
    ],
    ids=["tweepy", "twarc", "twarc v1", "twython", "TwitterAPI"],
)
async def test_third_party_clients_can_stream(
    network: NetworkName, script: str, authority: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    """What the client reads is what was sent, in order; rules are managed by its own calls."""
    trusted, context = authority
    settings = Settings(network=network, rate=200, bearer_token="T", oauth=ACCOUNT)
    async with serve(settings) as server, proxy(server, context) as address:
        env = {
            **os.environ,
            "HTTPS_PROXY": address,
            "https_proxy": address,
            "NO_PROXY": "",
            "no_proxy": "",
            "REQUESTS_CA_BUNDLE": str(trusted),
            "HOME": str(tmp_path),
        }
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "ignore", "-c", f"WANTED = {WANTED}\n{script}",
            env=env, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(60):
                out, err = await client.communicate()
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()
        assert client.returncode == 0, err.decode()[-2000:]
        read = [line.split() for line in out.decode().splitlines()]
        assert [number for number, _ in read] == server.sent[:WANTED]
        assert all(word for _, word in read)
