"""Makes posts, or reads them from a file, and hands them to everybody who listens."""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from simulator.connection import Connection, Json
from simulator.generator import Generator
from simulator.hub import Hub
from simulator.network import Network
from simulator.posts import Post
from simulator.replay import Replay
from simulator.sent import id_of

TICK = 0.01  # seconds between two looks at the clock
AT_ONCE = 64  # generated posts that are made without a pause
LINES_AT_ONCE = 512  # replayed lines
TRIES = 6  # generated posts until one matches what is followed
BURST = 300  # posts
IDLE = 0.05  # seconds until another try, when nothing that is followed can be satisfied

_json = msgspec.json.Decoder(dict[str, object])


class Pump:
    """One task per simulator; time stands still for it while nobody listens."""

    def __init__(self, hub: Hub, network: Network) -> None:
        self.hub = hub
        self.network = network
        self.generator = Generator(hub.settings.seed)
        path = hub.settings.replay
        self.replay = Replay(path, loop=hub.settings.loop) if path else None
        self.made = 0
        self.credit = 0.0  # posts that are due
        self.clock = time.monotonic()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                if not self.hub.hearing() or self.hub.posts_left == 0:
                    await self.hub.until(
                        lambda: bool(self.hub.hearing()) and self.hub.posts_left != 0
                    )
                    self.clock, self.credit = time.monotonic(), 0.0
                await self._turn()
        finally:
            if self.replay is not None:
                self.replay.close()

    async def _turn(self) -> None:
        due = self._due()
        if due and not await self._deliver(due):
            await asyncio.sleep(IDLE)
        await self.hub.room()
        self._drop_slow()
        # With no rate the readers set the pace, but others must get their turn too.
        await asyncio.sleep(TICK if self.hub.rate else 0)

    def _due(self) -> int:
        if burst := self.hub.faults.take("wire", "burst"):
            return burst.n or BURST
        most = LINES_AT_ONCE if self.replay else AT_ONCE
        if self.hub.rate:
            now = time.monotonic()
            # At most one second is made up for, so that a busy machine causes no burst.
            earned = (now - self.clock) * self.hub.rate
            self.credit = min(self.credit + earned, max(self.hub.rate, 1.0))
            self.clock = now
            most = int(self.credit)
            self.credit -= most
        left = self.hub.posts_left
        return most if left is None else min(most, left)

    async def _deliver(self, count: int) -> int:
        if self.replay is None:
            sent = self._generate(count)
        else:
            sent = self._repeat(await self.replay.take(count))
            if self.replay.done and self.replay.at >= len(self.replay.lines):
                self.hub.posts_left = 0
        if self.hub.posts_left is not None and self.replay is None:
            self.hub.posts_left -= sent
        return sent

    def _repeat(self, lines: list[bytes]) -> int:
        """Hand on lines of the file."""
        if self.hub.settings.replay_filtered:
            return sum(self._sift(line) for line in lines)
        return self._pass_on(lines, [id_of(line) for line in lines])

    def _sift(self, line: bytes) -> bool:
        """Only who follows this post gets it; what is no post, or broken, is for everybody."""
        number = id_of(line)
        if number is None:
            return self._pass_on([line], [None]) > 0
        return self._offer(_json.decode(line), number)

    def _pass_on(self, lines: list[bytes], numbers: list[int | None]) -> int:
        hearing = self.hub.hearing()
        if not hearing or not lines:
            return 0
        for connection in hearing:
            connection.posts += len(lines)
            self.hub.send(connection, lines)
        self.hub.record(lines, numbers)
        return len(lines)

    def _generate(self, count: int) -> int:
        sent = 0
        for _ in range(count):
            for _ in range(TRIES):
                wish = self.network.wish(self.generator.rng)
                if wish is None:
                    return sent
                if self._publish(self.generator.post(wish)):
                    sent += 1
                    break
        return sent

    def _publish(self, post: Post) -> bool:
        """A post with everything that modes put around it; false when nobody follows it."""
        before, following, after = self.network.around(post, self.made + 1)
        if not self._offer(self.network.payload(post), post.id, before):
            return False
        self.made += 1
        for later in following:
            self._offer(self.network.payload(later), later.id)
        if after:
            for connection in self.hub.hearing():
                self.hub.send(connection, after)
        return True

    def _offer(self, payload: Json, number: int | None, before: Sequence[bytes] = ()) -> bool:
        kept: bytes | None = None
        for connection in self.hub.hearing():
            line = connection.ear(payload)
            if line is not None:
                kept = line
                connection.posts += 1
                self.hub.send(connection, [*before, line, *self.network.tally(connection)])
                self._part(connection, self.network.spent())
        if kept is not None:
            self.hub.record([kept], [number])
        return kept is not None

    def _drop_slow(self) -> None:
        for connection in self.hub.hearing():
            if connection.size > self.hub.settings.limits.reader_bytes:
                self._part(connection, self.network.too_slow())

    def _part(self, connection: Connection, words: list[bytes] | None) -> None:
        if words is not None:
            connection.put(words)
            connection.end()
