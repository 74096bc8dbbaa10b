"""The bus between machines: three NATS servers, three replicas, every write synced.

    python -m pgbench scale

Client and servers share this machine, its processors and its disk: on three machines each server
has its own. A message is acknowledged when two of three servers have it on disk. A second cluster
has its stores in memory: it shows what processors and protocol take without the shared disk.
"""

import asyncio
import contextlib
import itertools
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from pgbench.bus_servers import NatsCluster, running_cluster
from pgbench.corpus import Corpus
from pgbench.report import Line, Section
from stream.bus import blocks
from stream.bus.connection import Bus
from stream.bus.ordered import IN_FLIGHT_BYTES, IN_FLIGHT_MESSAGES, OrderedPublisher, Outgoing
from stream.config import Settings
from stream.errors import BusAway
from stream.tweet import Frame, LaneId

SECONDS = 10.0  # of each round
ROUNDS = 3
FAILOVERS = 5
PROBE_INTERVAL = 0.05  # seconds between two messages, while a leader is replaced
ENOUGH = 20  # messages of the publisher that a new leader acknowledges
CREATE_WITHIN = 60.0  # seconds
SYNCS = 200
MEMORY = "/dev/shm"  # a file system in memory
LANE, PROBES = LaneId(1), LaneId(2)


class PublishRound(msgspec.Struct, frozen=True):
    """One round; latencies in seconds."""

    rate: float  # messages acknowledged per second
    latencies: Sequence[float]


class Failover(msgspec.Struct, frozen=True):
    """Seconds without an acknowledgement after the stream's leader was killed."""

    bus: float  # of messages that are sent all the time
    publisher: float  # of the program's publisher, which sends again what was not acknowledged


async def measure(folder: Path, posts: Corpus) -> Section:
    """The section of results.md."""
    load = os.getloadavg()[0]
    begun = time.process_time()
    packed = [payload for block in _blocks(posts.bodies) for payload in blocks.encode(block)]
    encoded = len(posts.bodies) / (time.process_time() - begun)
    begun = time.process_time()
    per_block = statistics.mean(len(blocks.decode([payload]).frames) for payload in packed)
    decoded = len(posts.bodies) / (time.process_time() - begun)
    async with _running(folder) as (cluster, bus):
        single = [await _publish(bus, posts.bodies) for _ in range(ROUNDS)]
        packs = [await _publish(bus, packed) for _ in range(ROUNDS)]
        failovers = [await _failover(cluster, bus, packed) for _ in range(FAILOVERS)]
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        async with _running(Path(name)) as (_, bus):
            diskless = [await _publish(bus, packed) for _ in range(ROUNDS)]
    return Section(
        "The bus",
        "Three servers of NATS JetStream on this machine and its one disk, three replicas,"
        f" `sync_interval: always`; at most {IN_FLIGHT_MESSAGES} messages and"
        f" {IN_FLIGHT_BYTES >> 20} MiB in flight. A block has {per_block:.0f} tweets of"
        f" {posts.mean_bytes:,.0f} bytes, and {statistics.mean(map(len, packed)) / 1000:.0f} kB"
        f" compressed. Load average before: {load:.1f} on {os.cpu_count()} processors; see"
        " scale.py.",
        [
            Line("one write of 4 kB and its fdatasync", [_sync(folder) * 1e3], "ms"),
            *_lines("single tweets", single),
            *_lines("blocks", packs),
            Line(
                "blocks: tweets", [each.rate * per_block for each in packs], "/s", (), "≥ 100,000"
            ),
            Line("the same without a disk", [each.rate * per_block for each in diskless], "/s"),
            Line("encoding blocks: tweets per processor", [encoded], "/s"),
            Line("decoding blocks: tweets per processor", [decoded], "/s"),
            Line("leader killed: bus without it", [each.bus for each in failovers], "s", (), "≤ 5"),
            Line(
                "leader killed: publisher waits",
                [each.publisher for each in failovers],
                "s",
            ),
        ],
    )


def _lines(what: str, rounds: Sequence[PublishRound]) -> list[Line]:
    p50 = [statistics.median(each.latencies) * 1e3 for each in rounds]
    p99 = [statistics.quantiles(each.latencies, n=100)[98] * 1e3 for each in rounds]
    return [
        Line(f"{what}: messages", [each.rate for each in rounds], "/s"),
        Line(f"{what}: acknowledged, p50", p50, "ms"),
        Line(f"{what}: acknowledged, p99", p99, "ms"),
    ]


def _blocks(bodies: Sequence[bytes]) -> Iterator[blocks.Block]:
    """The blocks of a journal with these tweets, as large as the publisher makes them."""
    journal = uuid.uuid4()
    frames: list[Frame] = []
    start = size = 0
    for number, body in enumerate(bodies, 1):
        frames.append(Frame(time.time_ns() // 1000, body, number))
        size += len(body)
        if len(frames) == blocks.FRAMES_MAX or size >= blocks.BYTES_MAX or number == len(bodies):
            yield blocks.Block(journal, LANE, [LANE], start, number, frames)
            frames, start, size = [], number, 0


@contextlib.asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[tuple[NatsCluster, Bus]]:
    """Three servers, and the program's connection to them."""
    async with running_cluster(folder) as cluster:
        settings = Settings(bus=cluster.url, bus_max_bytes=8_000_000_000)
        async with Bus(settings).connected() as bus:
            await bus.until_connected()
            await _create_stream(bus)
            await cluster.in_step(settings.bus_stream)
            yield cluster, bus


async def _create_stream(bus: Bus) -> None:
    """Create it, as soon as the servers have chosen their leader."""
    async with asyncio.timeout(CREATE_WITHIN):
        while True:
            with contextlib.suppress(BusAway):
                await bus.ensure_stream()
                return


def _outgoing(lane: LaneId, payloads: Sequence[bytes]) -> Iterator[Outgoing]:
    """These messages again and again, each time with other ids."""
    for payload in itertools.cycle(payloads):
        yield Outgoing(lane, uuid.uuid4().hex, payload)


async def _publish(bus: Bus, payloads: Sequence[bytes]) -> PublishRound:
    """Publish these messages as fast as possible, and delete them from the stream."""
    latencies: list[float] = []
    last = 0

    async def publish(lane: LaneId, data: bytes, headers: Mapping[str, str]) -> int:
        nonlocal last
        sent = time.perf_counter()
        last = await bus.publish(lane, data, headers)
        latencies.append(time.perf_counter() - sent)
        return last

    sender = OrderedPublisher(publish, "bench")
    begun = time.perf_counter()
    for message in _outgoing(LANE, payloads):
        if time.perf_counter() - begun > SECONDS:
            break
        await sender.send(message)
    await sender.settle()
    seconds = time.perf_counter() - begun
    await bus.free(LANE, last + 1)
    return PublishRound(len(latencies) / seconds, latencies)


class Acknowledgements:
    """When messages were acknowledged."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.times: list[float] = []
        self._more = asyncio.Event()

    async def publish(self, lane: LaneId, data: bytes, headers: Mapping[str, str]) -> int:
        sequence = await self.bus.publish(lane, data, headers)
        self.times.append(time.perf_counter())
        self._more.set()
        return sequence

    async def reach(self, count: int) -> None:
        """Wait for so many."""
        while len(self.times) < count:
            self._more.clear()
            await self._more.wait()

    @property
    def longest_gap(self) -> float:
        return max(after - before for before, after in itertools.pairwise(self.times))


async def _send(acknowledged: Acknowledgements, payloads: Sequence[bytes]) -> None:
    """Publish as the program does, one message after the other."""
    sender = OrderedPublisher(acknowledged.publish, "bench")
    for message in _outgoing(LANE, payloads):
        await sender.send(message)
        await sender.settle()


async def _probe(acknowledged: Acknowledgements, payloads: Sequence[bytes]) -> None:
    """Publish all the time, whatever becomes of the messages before."""

    async def publish(message: Outgoing) -> None:
        with contextlib.suppress(BusAway):
            await acknowledged.publish(message.lane, message.data, message.headers)

    async with asyncio.TaskGroup() as group:
        for message in _outgoing(PROBES, payloads):
            group.create_task(publish(message))
            await asyncio.sleep(PROBE_INTERVAL)


async def _failover(cluster: NatsCluster, bus: Bus, payloads: Sequence[bytes]) -> Failover:
    """Kill the stream's leader while messages are sent."""
    probed, published = Acknowledgements(bus), Acknowledgements(bus)
    stream = Settings().bus_stream
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_probe(probed, payloads)),
            group.create_task(_send(published, payloads)),
        ]
        await published.reach(ENOUGH)
        killed = await cluster.kill_leader(stream)
        await published.reach(len(published.times) + ENOUGH)
        await probed.reach(len(probed.times) + 1)
        for task in tasks:
            task.cancel()
    await cluster.start(killed)
    await cluster.in_step(stream)
    return Failover(probed.longest_gap, published.longest_gap)


def _sync(folder: Path) -> float:
    """Seconds that a small synced write takes on this disk."""
    took = []
    with (folder / "sync").open("wb") as file:
        for _ in range(SYNCS):
            begun = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begun)
    return statistics.median(took)
