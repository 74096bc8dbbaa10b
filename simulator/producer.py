"""Generates posts, or reads them from a file, and sends them to all connections."""

import asyncio
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from simulator.core import PostCredit
from simulator.generator import Generator
from simulator.hub import Connection, Hub, Network, id_of
from simulator.payload import Json
from simulator.posts import Post

STEP_PAUSE = 0.01  # seconds between two steps
POSTS_PER_STEP = 64  # generated without a pause
LINES_PER_STEP = 512  # replayed lines
TRIES_PER_POST = 6  # until one matches a filter
IDLE_PAUSE = 0.05  # seconds, when no filter can be satisfied


class Producer:
    """Produces posts at the set rate while clients are connected."""

    def __init__(self, hub: Hub, network: Network) -> None:
        self.hub = hub
        self.network = network
        self.generator = Generator(hub.settings.seed)
        path = hub.settings.replay
        self.replay = Replay(path, loop=hub.settings.loop) if path else None
        self.made = 0
        self.credit = PostCredit(hub)

    async def run(self) -> None:
        """Produce until cancelled."""
        try:
            while True:
                if not self.hub.active() or self.hub.posts_left == 0:
                    await self.hub.wait_until(
                        lambda: bool(self.hub.active()) and self.hub.posts_left != 0
                    )
                    self.credit.reset()
                await self._step()
        finally:
            if self.replay is not None:
                self.replay.close()

    async def _step(self) -> None:
        due = self.credit.due(LINES_PER_STEP if self.replay else POSTS_PER_STEP)
        if due and not await self._deliver(due):
            await asyncio.sleep(IDLE_PAUSE)
        await self.hub.wait_writable()
        self._drop_slow()
        # Without a rate the readers set the pace; yield to other tasks.
        await asyncio.sleep(STEP_PAUSE if self.hub.rate else 0)

    async def _deliver(self, count: int) -> int:
        if self.replay is None:
            sent = self._generate(count)
        else:
            sent = self._send_to_all(await self.replay.take(count))
            if self.replay.done and self.replay.at >= len(self.replay.lines):
                self.hub.posts_left = 0
        if self.hub.posts_left is not None and self.replay is None:
            self.hub.posts_left -= sent
        return sent

    def _send_to_all(self, lines: list[bytes]) -> int:
        """Send lines of the file."""
        active = self.hub.active()
        if not active or not lines:
            return 0
        for connection in active:
            connection.posts += len(lines)
            self.hub.send(connection, lines)
        self.hub.record_sent(lines, [id_of(line) for line in lines])
        return len(lines)

    def _generate(self, count: int) -> int:
        sent = 0
        for _ in range(count):
            for _ in range(TRIES_PER_POST):
                constraints = self.network.constraints(self.generator.rng)
                if constraints is None:
                    return sent
                if self._publish(self.generator.post(constraints)):
                    sent += 1
                    break
        return sent

    def _publish(self, post: Post) -> bool:
        """Send a post and its extra messages; False when no filter matches it."""
        before, following, after = self.network.extra_messages(post, self.made + 1)
        if not self._send_matching(self.network.payload(post), post.id, before):
            return False
        self.made += 1
        for later in following:
            self._send_matching(self.network.payload(later), later.id)
        if after:
            for connection in self.hub.active():
                self.hub.send(connection, after)
        return True

    def _send_matching(
        self, payload: Json, number: int | None, before: Sequence[bytes] = ()
    ) -> bool:
        kept: bytes | None = None
        for connection in self.hub.active():
            line = connection.encode(payload)
            if line is not None:
                kept = line
                connection.posts += 1
                self.hub.send(connection, [*before, line, *self.network.limit_notices(connection)])
                self._end(connection, self.network.quota_messages())
        if kept is not None:
            self.hub.record_sent([kept], [number])
        return kept is not None

    def _drop_slow(self) -> None:
        for connection in self.hub.active():
            if connection.size > self.hub.settings.limits.reader_bytes:
                self._end(connection, self.network.slow_reader_messages())

    def _end(self, connection: Connection, words: list[bytes] | None) -> None:
        if words is not None:
            connection.put(words)
            connection.end()


CHUNK = 1 << 20  # bytes


class Replay:
    """Reads a plain or gzipped file of one message per line, in chunks; skips blank lines."""

    def __init__(self, path: str, *, loop: bool = False) -> None:
        self.path = Path(path)
        self.loop = loop
        self.file: BinaryIO | None = None
        self.lines: list[bytes] = []
        self.at = 0
        self.rest = b""
        self.done = False

    async def take(self, count: int) -> list[bytes]:
        """Up to `count` lines; none at the end of the file."""
        while self.at >= len(self.lines) and not self.done:
            # Reading and decompressing block.
            self.lines = await asyncio.to_thread(self._more)
            self.at = 0
        lines = self.lines[self.at : self.at + count]
        self.at += len(lines)
        return lines

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()

    def _more(self) -> list[bytes]:
        if self.file is None:
            self.file = self._open()
        chunk = self.file.read(CHUNK)
        if not chunk:
            last, self.rest = self.rest, b""
            self.done = not self.loop
            self.file.seek(0)
            return _whole([last])
        lines = (self.rest + chunk).split(b"\n")
        self.rest = lines.pop()
        return _whole(lines)

    def _open(self) -> BinaryIO:
        if self.path.suffix == ".gz":
            return cast("BinaryIO", gzip.open(self.path, "rb"))
        return self.path.open("rb")


def _whole(lines: list[bytes]) -> list[bytes]:
    return [line for line in (line.removesuffix(b"\r") for line in lines) if line.strip()]
