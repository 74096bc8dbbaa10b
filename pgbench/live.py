"""A thousand live viewers, each with a query of their own, at a thousand tweets per second.

    python -m pgbench live

The delay is from Postgres' commit timestamp to the arrival of the message at the viewer, in a
process on the same machine. The pages run in the daemon's process (`run`) or in their own
(`collect` and `web`); one run has no viewers.
"""

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import asyncpg
import msgspec

from pgbench import processes
from pgbench.corpus import Corpus
from pgbench.end_to_end import OUTCOMES, TIMES
from pgbench.installation import NETWORK, prepare
from pgbench.report import Line, Section
from pgbench.server import Server, fetch_row
from stream.db import connect
from web.accounts.credentials import begin_session
from web.accounts.service import add_user
from web.auth import SESSION

VIEWERS, RATE, SECONDS = 1000, 1000, 30
VIEWERS_PER_OPEN_VIEW = 20  # of so many viewers, one watches everything
USERS = 8
CONNECTED_AT_ONCE = 50  # viewers
POLL_INTERVAL = 0.2  # seconds
TIMEOUT = 240  # seconds
LAST_WITHIN = 2.0  # seconds for viewers to see the last tweets that were stored
START = "UPDATE sources SET enabled = true"
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
# One user opens so many sockets, each with a query of so many words; a setting says how many of
# them are admitted. What is measured is the writer meanwhile.
CROWD, TERMS = 500, 120
CROWDS = {"crowd": 10, "crowd without a limit": CROWD}


class LiveOutcome(msgspec.Struct, frozen=True):
    """One run; times in seconds."""

    stored_p50: float  # received to committed
    stored_p99: float
    cpu: float  # of the daemon and the pages, per second of tweets
    seen: int = 0  # tweets that reached a viewer
    missed: int = 0
    delays: Sequence[float] = (0.0,)


class Viewer(asyncio.Protocol):
    """Subscribes, and records what it receives and when."""

    def __init__(self, handshake: bytes) -> None:
        self.handshake = handshake
        self.got: list[tuple[float, bytes]] = []
        self.watching = asyncio.Event()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self.handshake)

    def data_received(self, data: bytes) -> None:
        self.got.append((time.time(), data))
        if not self.watching.is_set() and b'"watching"' in data:
            self.watching.set()
        if PING in data:  # JSON has no such bytes
            self.transport.write(PONG)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.lost = True

    def tweets(self) -> Iterator[tuple[float, str]]:
        """The ids of the tweets that it was shown, each with the time."""
        for at, message in self.messages():
            for each in message.get("tweets", ()):
                yield at, each["tweet"]["id"]

    def missed(self) -> int:
        """How many tweets it was told that it was not shown."""
        return sum(message.get("missed", 0) for _, message in self.messages())

    def messages(self) -> Iterator[tuple[float, Any]]:
        """The server's messages, each with the time at which it was complete."""
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
                    yield at, json.loads(body)


def _frame(data: bytes) -> tuple[bytes, bytes] | None:
    """The body of the first complete frame (empty for all but text), and the rest."""
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
    for mode in (*MODES, *CROWDS):
        name = mode.replace(" ", "-")
        found[mode] = await _run(server, folder / f"live-{name}", replayed, posts.tracks, mode)
    lines = [_line("no viewers: received to stored, p99", [found["alone"].stored_p99])]
    for mode, name in (("same", "pages in the daemon"), ("apart", "separate pages")):
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
    for mode, limit in CROWDS.items():
        name = f"{CROWD} sockets of one user, at most {limit}"
        lines.append(_line(f"{name}: received to stored, p99", [found[mode].stored_p99]))
    text = (
        f"{VIEWERS:,} viewers at the Live page, while {RATE:,} tweets per second are collected for"
        f" {SECONDS} s. Every {VIEWERS_PER_OPEN_VIEW}th viewer watches everything, each other one a"
        " query of their own. A viewer gets at most a sample of 20 tweets per second. The sockets"
        f" of one user have queries of {TERMS} words each."
    )
    return Section("Live viewers", text, lines)


def _line(what: str, seconds: Sequence[float], aim: str = "") -> Line:
    return Line(what, [each * 1e3 for each in seconds], "ms", (), aim)


async def _run(
    server: Server, folder: Path, replayed: Path, tracks: Sequence[str], mode: str
) -> LiveOutcome:
    commands, is_watched = MODES.get(mode, (["run"], False))
    limit = CROWDS.get(mode, VIEWERS)
    folder.mkdir(parents=True)
    port, pages = processes.free_port(), processes.free_port()
    simulate = ["twitterstream.py", "simulate", f"--network={NETWORK}", f"--port={port}"]
    simulate += [f"--rate={RATE}", f"--replay={replayed}"]
    async with server.database() as url, contextlib.AsyncExitStack() as stack:
        settings = {"web": {"listen": f"127.0.0.1:{pages}", "max_live_per_user": limit}}
        await prepare(url, folder, port, tracks, settings)
        cookies = await log_in(url)
        log = folder / "simulate.log"
        await stack.enter_async_context(processes.running("simulate", simulate, log))
        pids = []
        for command in commands:
            words = ["twitterstream.py", "--config", str(folder / "config.yaml"), command]
            log = folder / f"{command}.log"
            pids.append(await stack.enter_async_context(processes.running(command, words, log)))
        await processes.listening(pages)
        queries = _queries(cookies, tracks, mode) if is_watched or mode in CROWDS else []
        async with watching(pages, queries, limit) as viewers:
            used = sum(map(processes.cpu_seconds, pids))
            await collect(url)
            used = sum(map(processes.cpu_seconds, pids)) - used
            return await _outcome(url, viewers if is_watched else (), used / SECONDS)


async def log_in(url: str) -> list[str]:
    """Session cookies of some users."""
    cookies = []
    async with connect(url) as database, database.acquire() as connection:
        for number in range(USERS):
            user = await add_user(connection, f"viewer{number}", "user")
            cookies.append(await begin_session(connection, user, "127.0.0.1", "bench", 1))
    return cookies


def _queries(cookies: Sequence[str], tracks: Sequence[str], mode: str) -> list[tuple[str, str]]:
    """A cookie and a query for each viewer."""
    if mode not in CROWDS:
        return [
            (cookies[n % USERS], "" if n % VIEWERS_PER_OPEN_VIEW == 0 else tracks[n % len(tracks)])
            for n in range(VIEWERS)
        ]
    words = sorted({word for track in tracks for word in track.split() if word.isalpha()})
    few = [words[n % len(words)] + "x" * (n // len(words)) for n in range(CROWD + TERMS)]
    return [(cookies[0], " OR ".join(few[n : n + TERMS])) for n in range(CROWD)]


@contextlib.asynccontextmanager
async def watching(
    port: int, queries: Sequence[tuple[str, str]], limit: int
) -> AsyncIterator[list[Viewer]]:
    """All viewers, once they are subscribed; of a crowd, those that are admitted."""
    loop = asyncio.get_running_loop()
    viewers = [Viewer(_handshake_of(port, cookie, query)) for cookie, query in queries]
    try:
        for begin in range(0, len(viewers), CONNECTED_AT_ONCE):
            some = viewers[begin : begin + CONNECTED_AT_ONCE]
            for viewer in some:
                await loop.create_connection(partial(_protocol, viewer), "127.0.0.1", port)
            async with asyncio.timeout(TIMEOUT):
                room = min(limit, begin + len(some))
                while (  # noqa: ASYNC110 - for any of many events
                    sum(viewer.watching.is_set() for viewer in viewers) < room
                ):
                    await asyncio.sleep(POLL_INTERVAL)
        yield viewers
    finally:
        for viewer in viewers:
            viewer.transport.abort()


def _protocol(viewer: Viewer) -> Viewer:
    return viewer


def _handshake_of(port: int, cookie: str, query: str) -> bytes:
    """The handshake of a WebSocket, and the first message on it."""
    head = [
        "GET /live/socket HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Origin: http://127.0.0.1:{port}",
        "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Cookie: {SESSION}={cookie}",
    ]  # fmt: skip
    message = json.dumps({"do": "watch", "query": query}).encode()
    is_short = len(message) < 126
    size = bytes([0x80 | len(message)]) if is_short else b"\xfe" + len(message).to_bytes(2)
    frame = b"\x81" + size + bytes(4) + message
    return "\r\n".join([*head, "", ""]).encode() + frame


async def collect(url: str, messages: int = RATE * SECONDS) -> None:
    """Start the source; wait until every message has an outcome, and a moment for the viewers."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(START)
        async with asyncio.timeout(TIMEOUT):
            counted = 0
            while counted < messages:
                await asyncio.sleep(POLL_INTERVAL)
                counted = await connection.fetchval(COUNTED, OUTCOMES)
        await asyncio.sleep(LAST_WITHIN)
    finally:
        await connection.close()


async def delays(url: str, since: str, viewers: Sequence[Viewer]) -> list[float]:
    """Seconds until each tweet was seen; `since` is a query for their ids, and times of before."""
    connection = await asyncpg.connect(url)
    try:
        times = {str(each["id"]): each["at"] for each in await connection.fetch(since)}
    finally:
        await connection.close()
    assert not any(viewer.lost for viewer in viewers)
    return [at - times[tweet_id] for viewer in viewers for at, tweet_id in viewer.tweets()]


async def _outcome(url: str, viewers: Sequence[Viewer], cpu: float) -> LiveOutcome:
    row = await fetch_row(url, TIMES, NETWORK)
    if not viewers:
        return LiveOutcome(row["half"], row["most"], cpu)
    seen = await delays(url, COMMITTED, viewers)
    missed = sum(viewer.missed() for viewer in viewers)
    return LiveOutcome(row["half"], row["most"], cpu, len(seen), missed, seen)
