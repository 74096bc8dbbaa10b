"""A thousand people who watch live, each his own query, while a thousand tweets a second come.

    python -m pgbench live

The delay is from Postgres' stamp of the commit to the arrival of the message at the viewer, a
process on the same machine. The daemon collects with the pages in the same process (`run`) or in
one of their own (`collect` and `web`), and once with nobody who watches.
"""

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import asyncpg
import msgspec

from pgbench import processes
from pgbench.corpus import Corpus
from pgbench.report import Line, Section
from pgbench.server import Server
from pgbench.whole import ADD_TRACKS, CREDENTIALS, OUTCOMES, TIMES
from stream.db import connect
from stream.vault import Vault
from web.accounts import sessions, users
from web.guard import SESSION

VIEWERS, RATE, SECONDS = 1000, 1000, 30
EVERY = 20  # of so many viewers, one watches everything
USERS = 8
NETWORK = "x_v2"
AT_ONCE = 50  # viewers that come
LOOK = 0.2  # seconds
PATIENCE = 240  # seconds
ADD_SOURCE = """
INSERT INTO sources (name, network, url, secrets, enabled) VALUES ('bench', $1, $2, $3, false)
"""
BEGIN = "UPDATE sources SET enabled = true"
COUNTED = "SELECT coalesce(sum(frames), 0)::bigint FROM source_minutes WHERE outcome = ANY ($1)"
COMMITTED = """
SELECT id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::double precision AS at FROM tweets
"""
PING, PONG = b"\x89\x00", b"\x8a\x80\0\0\0\0"
MODES = {
    "alone": (["run"], False),
    "same": (["run"], True),
    "apart": (["collect", "web"], True),
}


class Outcome(msgspec.Struct, frozen=True):
    """One run; times in seconds."""

    stored_p50: float  # received to committed
    stored_p99: float
    cpu: float  # of the daemon and the pages, for a second of tweets
    seen: int = 0  # messages with tweets that reached a viewer
    missed: int = 0
    delays: Sequence[float] = (0.0,)


class Viewer(asyncio.Protocol):
    """Says what he wants to see, and notes what comes and when."""

    def __init__(self, hello: bytes) -> None:
        self.hello = hello
        self.got: list[tuple[float, bytes]] = []
        self.watching = asyncio.Event()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self.hello)

    def data_received(self, data: bytes) -> None:
        self.got.append((time.time(), data))
        if not self.watching.is_set() and b'"watching"' in data:
            self.watching.set()
        if PING in data:  # JSON has no such bytes
            self.transport.write(PONG)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.lost = True

    def messages(self) -> Iterator[tuple[float, bytes]]:
        """What the server said, each when it was all there."""
        waiting = b""
        is_begun = False
        for at, data in self.got:
            waiting += data
            if not is_begun:
                head, is_there, rest = waiting.partition(b"\r\n\r\n")
                if not is_there:
                    continue
                assert head.startswith(b"HTTP/1.1 101"), head
                waiting, is_begun = rest, True
            while (found := _frame(waiting)) is not None:
                body, waiting = found
                if body:
                    yield at, body


def _frame(data: bytes) -> tuple[bytes, bytes] | None:
    """The first whole frame (nothing for what is no text), and the rest."""
    if len(data) < 2:
        return None
    size, begin = data[1], 2
    if size >= 126:
        begin = 4 if size == 126 else 10
        size = int.from_bytes(data[2:begin])
    if len(data) < begin + size:
        return None
    body = data[begin : begin + size] if data[0] & 15 == 1 else b""
    return body, data[begin + size :]


async def measure(server: Server, folder: Path, posts: Corpus) -> Section:
    """The section of results.md."""
    replayed = folder / "live.ndjson"
    replayed.write_bytes(b"".join(body + b"\n" for body in posts.bodies[: RATE * SECONDS]))
    found = {}
    for mode in MODES:
        found[mode] = await _run(server, folder / f"live-{mode}", replayed, posts.tracks, mode)
    lines = [_line("nobody watches: received to stored, p99", [found["alone"].stored_p99])]
    for mode, name in (("same", "pages in the daemon"), ("apart", "pages apart")):
        one = found[mode]
        p95 = statistics.quantiles(one.delays, n=100)[94]
        lines += [
            _line(f"{name}: received to stored, p50", [one.stored_p50]),
            _line(f"{name}: received to stored, p99", [one.stored_p99], "≤ 500"),
            _line(f"{name}: stored to seen, p50", [statistics.median(one.delays)]),
            _line(f"{name}: stored to seen, p95", [p95], "≤ 1,000"),
            Line(f"{name}: tweets seen", [one.seen / SECONDS], "/s"),
            Line(f"{name}: tweets that viewers missed", [one.missed], ""),
            Line(f"{name}: processors used", [one.cpu], ""),
        ]
    text = (
        f"{VIEWERS:,} viewers at the page Live, every {EVERY}th of everything and all others each"
        f" with a query of his own, while {RATE:,} tweets a second are collected for {SECONDS} s."
        " A viewer is sent at most a sample of 20 tweets a second."
    )
    return Section("Live viewers", text, lines)


def _line(what: str, seconds: Sequence[float], aim: str = "") -> Line:
    return Line(what, [each * 1e3 for each in seconds], "ms", (), aim)


async def _run(
    server: Server, folder: Path, replayed: Path, tracks: Sequence[str], mode: str
) -> Outcome:
    commands, is_watched = MODES[mode]
    folder.mkdir(parents=True)
    port, pages = processes.free_port(), processes.free_port()
    simulate = ["twitterstream.py", "simulate", f"--network={NETWORK}", f"--port={port}"]
    simulate += [f"--rate={RATE}", f"--replay={replayed}"]
    async with server.database() as url, contextlib.AsyncExitStack() as stack:
        await _prepare(url, folder, port, pages, tracks)
        cookies = await _log_in(url)
        log = folder / "simulate.log"
        await stack.enter_async_context(processes.running("simulate", simulate, log))
        pids = []
        for command in commands:
            words = ["twitterstream.py", "--config", str(folder / "config.yaml"), command]
            log = folder / f"{command}.log"
            pids.append(await stack.enter_async_context(processes.running(command, words, log)))
        await processes.listening(pages)
        async with _watching(pages, cookies, tracks if is_watched else ()) as viewers:
            used = sum(map(processes.cpu_seconds, pids))
            await _collect(url)
            used = sum(map(processes.cpu_seconds, pids)) - used
            return await _outcome(url, viewers, used / SECONDS)


async def _prepare(url: str, folder: Path, port: int, pages: int, tracks: Sequence[str]) -> None:
    settings = {
        "database": url, "data_dir": str(folder / "data"), "monitor": {"listen": ""},
        "web": {"listen": f"127.0.0.1:{pages}"},
    }  # fmt: skip
    (folder / "data").mkdir()
    (folder / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    secrets = Vault(folder / "data").seal(CREDENTIALS[NETWORK])
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(ADD_TRACKS, tracks)
        await connection.execute(ADD_SOURCE, NETWORK, f"http://127.0.0.1:{port}", secrets)
    finally:
        await connection.close()


async def _log_in(url: str) -> list[str]:
    """Cookies of some users."""
    cookies = []
    async with connect(url) as database, database.acquire() as connection:
        for number in range(USERS):
            user = await users.add(connection, f"viewer{number}", "user")
            cookies.append(await sessions.begin(connection, user, "127.0.0.1", "bench", 1))
    return cookies


@contextlib.asynccontextmanager
async def _watching(
    port: int, cookies: Sequence[str], tracks: Sequence[str]
) -> AsyncIterator[list[Viewer]]:
    """All viewers, from when they watch until they go; none without tracks."""
    loop = asyncio.get_running_loop()
    numbers = range(VIEWERS if tracks else 0)
    viewers = [
        Viewer(_hello(port, cookies[n % USERS], "" if n % EVERY == 0 else tracks[n % len(tracks)]))
        for n in numbers
    ]
    try:
        for begin in range(0, len(viewers), AT_ONCE):
            some = viewers[begin : begin + AT_ONCE]
            for viewer in some:
                await loop.create_connection(partial(_same, viewer), "127.0.0.1", port)
            async with asyncio.timeout(PATIENCE):
                for viewer in some:
                    await viewer.watching.wait()
        yield viewers
    finally:
        for viewer in viewers:
            viewer.transport.abort()


def _same(viewer: Viewer) -> Viewer:
    return viewer


def _hello(port: int, cookie: str, query: str) -> bytes:
    """The beginning of a WebSocket, and the first message in it."""
    head = [
        "GET /live/socket HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Origin: http://127.0.0.1:{port}",
        "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Cookie: {SESSION}={cookie}",
    ]  # fmt: skip
    wish = json.dumps({"do": "watch", "query": query}).encode()
    assert len(wish) < 126
    frame = bytes([0x81, 0x80 | len(wish), 0, 0, 0, 0]) + wish
    return "\r\n".join([*head, "", ""]).encode() + frame


async def _collect(url: str) -> None:
    """Begin, and wait until every message has an outcome, and a moment for those who watch."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(BEGIN)
        async with asyncio.timeout(PATIENCE):
            counted = 0
            while counted < RATE * SECONDS:
                await asyncio.sleep(LOOK)
                counted = await connection.fetchval(COUNTED, OUTCOMES)
        await asyncio.sleep(10 * LOOK)
    finally:
        await connection.close()


async def _outcome(url: str, viewers: Sequence[Viewer], cpu: float) -> Outcome:
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(TIMES)
        committed = {str(each["id"]): each["at"] for each in await connection.fetch(COMMITTED)}
    finally:
        await connection.close()
    assert row is not None
    assert not any(viewer.lost for viewer in viewers)
    if not viewers:
        return Outcome(row["half"], row["most"], cpu)
    delays: list[float] = []
    missed = 0
    for viewer in viewers:
        for at, body in viewer.messages():
            said = json.loads(body)
            ids = [each["tweet"]["id"] for each in said.get("tweets", ())]
            delays += [at - committed[each] for each in ids]
            missed += said.get("missed", 0)
    return Outcome(row["half"], row["most"], cpu, len(delays), missed, delays)
