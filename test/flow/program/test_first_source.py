"""The first start: Bluesky if it can be reached, else simulated tweets; `source add` and `test`."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from certificates import self_signed
from composition import BLUESKY_TRACKS
from servers import closed_port
from simulator.server import Server, serve
from simulator.server import Settings as Simulated
from stream.config import Settings
from stream.config.settings import BlueskySettings
from stream.networks.bluesky.reachability import why_unreachable
from stream.networks.descriptions import credentials_missing
from twitterstream import cli
from waiting import Eventually

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = (sys.executable, str(ROOT / "twitterstream.py"))
WORDS = ("today", "music")  # of the sample tracks


class FirstStart:
    """`run` in an empty folder, with a database of its own and these hosts of Bluesky."""

    def __init__(self, folder: Path, *hosts: str) -> None:
        self.folder = folder
        self.log = folder / "log.txt"
        (folder / "config.yaml").write_text(
            json.dumps(
                {
                    "journal": {"min_free_bytes": 0, "min_free_percent": 0},
                    "monitor": {"listen": ""},
                    "web": {"listen": "127.0.0.1:0"},
                    "bluesky": {"hosts": hosts, "old_hosts": []},
                    "status_interval": 1,
                }
            )
        )

    @property
    def output(self) -> str:
        return self.log.read_text()

    @contextlib.asynccontextmanager
    async def running(self, *words: str) -> AsyncIterator[None]:
        with self.log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *PROGRAM, "run", *words, cwd=self.folder, stdout=out, stderr=out
            )
        try:
            yield
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(60):
                assert await process.wait() == 0, self.output
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def psql(self, query: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, "psql", "-tAc", query, cwd=self.folder, stdout=-1
        )
        said, _ = await process.communicate()
        return said.decode().strip()


def simulated_bluesky() -> contextlib.AbstractAsyncContextManager[Server]:
    return serve(Simulated(network="bluesky", rate=100, words=WORDS))


async def test_where_bluesky_can_be_reached_its_posts_arrive_without_any_setting(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with simulated_bluesky() as server:
        start = FirstStart(tmp_path, f"ws://127.0.0.1:{server.port}")
        async with start.running():
            await eventually(lambda: "Bluesky was added" in start.output)

            async def stored() -> bool:
                return await start.psql("SELECT count(*) > 3 FROM track_tweets") == "t"

            await eventually(stored)
            for words in ("--network x_v2", "--network mastodon", "page Sources"):
                assert words in start.output
            query = "SELECT string_agg(name || ' ' || network, ',') FROM sources"
            assert await start.psql(query) == "bluesky bluesky"
            assert f"Sample tracks: {', '.join(BLUESKY_TRACKS)}." in start.output
            assert await start.psql("SELECT min(url) LIKE 'https://bsky.app/%' FROM tweets") == "t"
        async with start.running():
            await eventually(lambda: "bluesky: streaming" in start.output)
            assert "was added" not in start.output


async def test_simulated_tweets_on_request_also_beside_bluesky(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with simulated_bluesky() as server:
        start = FirstStart(tmp_path, f"ws://127.0.0.1:{server.port}")
        async with start.running("--simulated"):
            await eventually(lambda: "simulated: streaming" in start.output)
            assert "A simulated source was added" in start.output
            assert await start.psql("SELECT string_agg(name, ',') FROM sources") == "simulated"
            await start.psql("UPDATE sources SET enabled = false")
        async with start.running("--simulated"):
            await eventually(lambda: "simulated: streaming" in start.output)
            await start.psql("DELETE FROM sources")
        async with start.running("--simulated"):
            await eventually(lambda: "simulated: streaming" in start.output)
            assert "Sample tracks" not in start.output  # those of the first start are there
        assert server.connections == 0


async def test_without_internet_the_first_start_is_as_quick_and_says_why(
    tmp_path: Path, eventually: Eventually
) -> None:
    with socket.socket() as silent:  # as behind a firewall that drops packets
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = FirstStart(tmp_path, f"wss://127.0.0.1:{silent.getsockname()[1]}")
        async with start.running():
            await eventually(lambda: "simulated: streaming" in start.output)
            assert "Bluesky cannot be reached: Bluesky did not answer within 2.5 s" in start.output
            assert "source add bluesky --network bluesky" in start.output


# -- whether Bluesky can be reached ---------------------------------------------------------------


async def unreachable(*hosts: str) -> str:
    bluesky = BlueskySettings(hosts=list(hosts), old_hosts=[])
    return await why_unreachable(Settings(bluesky=bluesky))


async def test_one_host_that_answers_is_enough() -> None:
    async with simulated_bluesky() as server:
        hosts = f"ws://127.0.0.1:{closed_port()}", f"ws://127.0.0.1:{server.port}"
        assert await unreachable(*hosts) == ""


async def test_what_keeps_bluesky_away_is_named() -> None:
    assert "Connection refused" in await unreachable(f"ws://127.0.0.1:{closed_port()}")
    why = await unreachable("wss://host.invalid")
    assert "host.invalid" in why or "did not answer" in why
    with pytest.raises(ValueError, match="hosts and old_hosts are both empty"):
        await unreachable()


async def test_a_certificate_of_another_is_no_internet(tmp_path: Path) -> None:
    """Such as that of a login page of a hotel."""
    context = self_signed(tmp_path, "127.0.0.1", 30)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            plain, _ = listener.accept()
            with plain, contextlib.suppress(OSError):  # the client ends the handshake
                context.wrap_socket(plain, server_side=True).close()

        server = asyncio.create_task(asyncio.to_thread(take))
        why = await unreachable(f"wss://127.0.0.1:{listener.getsockname()[1]}")
        await server
    assert "its certificate is not valid: self-signed" in why


async def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:s%20t@127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        why = await unreachable("wss://jetstream.example")
    assert requests[0].startswith("CONNECT jetstream.example:443 ")
    assert "Proxy-Authorization: Basic bWU6cyB0" in requests[0]
    assert f"through the proxy http://127.0.0.1:{port}" in why
    assert "403" in why
    assert "s%20t" not in why


# -- source add, source test ----------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configure(folder: Path, database: str, *hosts: str) -> None:
    settings = {"database": database, "bluesky": {"hosts": hosts, "old_hosts": []}}
    (folder / "config.yaml").write_text(json.dumps(settings))


def run(*words: str, given: str | None = None) -> tuple[int, str]:
    """A command in this process: its exit code, its output or its error."""
    done = CliRunner().invoke(cli, words, input=given)
    return done.exit_code, done.output + (str(done.exception) if done.exception else "")


async def test_bluesky_is_added_by_its_name_alone_and_tested(folder: Path, database: str) -> None:
    async with simulated_bluesky() as server:
        configure(
            folder, database, f"ws://127.0.0.1:{closed_port()}", f"ws://127.0.0.1:{server.port}"
        )
        code, said = await asyncio.to_thread(
            run, *["source", "add", "bluesky", "--network", "bluesky"]
        )
        assert (code, said) == (
            0, "Source bluesky added. A running daemon connects within seconds.\n",
        )  # fmt: skip
        code, said = await asyncio.to_thread(run, "source", "test", "bluesky")
    assert code == 0, said
    where = f"Connected to 127.0.0.1:{server.port}"
    assert said == f"Bluesky sends posts. {where}; no keys are needed.\n"


async def test_a_source_that_does_not_work_is_described_and_the_exit_code_says_so(
    folder: Path, database: str
) -> None:
    configure(folder, database, f"ws://127.0.0.1:{closed_port()}")
    await asyncio.to_thread(run, *["source", "add", "bluesky", "--network", "bluesky"])
    code, said = await asyncio.to_thread(run, "source", "test", "bluesky")
    assert code == 1
    assert "No connection to http://127.0.0.1" in said
    code, said = await asyncio.to_thread(run, "source", "test", "other")
    assert "no source named other" in said


def test_without_a_token_the_way_to_one_on_mastodon_is_described() -> None:
    text = credentials_missing("mastodon", ["access_token"])
    for words in ("read:statuses", "Preferences", "Development", "--url https://YOUR.SERVER"):
        assert words in text
    assert "access_token: YOURS" in text


def test_mastodon_needs_a_token_and_a_server(folder: Path, database: str) -> None:
    configure(folder, database, f"ws://127.0.0.1:{closed_port()}")
    words = ("source", "add", "social", "--network", "mastodon")
    _, said = run(*words, "--url", "https://mastodon.example")
    assert "read:statuses" in said
    _, said = run(*words, "--secrets", "-", given="access_token: T")
    assert "address of the server" in said
    code, said = run(
        *words, "--url", "https://mastodon.example", "--secrets", "-", given="access_token: T"
    )
    assert code == 0, said
