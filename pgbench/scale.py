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
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import msgspec
import nats
import zstandard
from nats.errors import Error as ClientError
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError

from pgbench.corpus import Corpus
from pgbench.report import Line, Section

sys.path.append(str(Path(__file__).resolve().parents[1] / "test/helpers"))
from nats_servers import NatsCluster, running_cluster

STREAM = "bench"
SECONDS = 10.0  # of each round
ROUNDS = 3
FAILOVERS = 5
IN_FLIGHT = 32  # messages that are not acknowledged yet
BLOCK_TWEETS, BLOCK_BYTES = 100, 256 << 10  # of the tweets in a block, at most
TIMEOUT = 30.0  # seconds
PROBE_INTERVAL = 0.05  # seconds between two messages, while a leader is replaced
SYNCS = 200
MEMORY = "/dev/shm"  # a file system in memory
FAULTS = (ClientError, JetStreamError, OSError)


class Outcome(msgspec.Struct, frozen=True):
    """One round; latencies in seconds."""

    rate: float  # messages acknowledged per second
    latencies: Sequence[float]


async def measure(folder: Path, posts: Corpus) -> Section:
    """The section of results.md."""
    load = os.getloadavg()[0]
    packed = [pack(tweets) for tweets in blocks(posts.bodies)]
    per_block = len(posts.bodies) / len(packed)
    async with running_cluster(folder) as cluster:
        single = [await _publish(cluster, posts.bodies) for _ in range(ROUNDS)]
        packs = [await _publish(cluster, packed) for _ in range(ROUNDS)]
        failovers = [await _failover(cluster, packed) for _ in range(FAILOVERS)]
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        async with running_cluster(Path(name)) as cluster:
            diskless = [await _publish(cluster, packed) for _ in range(ROUNDS)]
    return Section(
        "The bus",
        "Three servers of NATS JetStream on this machine, three replicas, `sync_interval: always`;"
        f" {IN_FLIGHT} messages in flight from one client. A block has at most {BLOCK_TWEETS}"
        f" tweets and {BLOCK_BYTES >> 10} KiB of them: here {per_block:.0f} tweets, and"
        f" {statistics.mean(map(len, packed)) / 1000:.0f} kB compressed. Load before: {load:.2f};"
        " see scale.py.",
        [
            Line("one write of 4 kB and its fdatasync, median", [_sync(folder) * 1e3], "ms"),
            *_lines("single tweets", single),
            *_lines("blocks", packs),
            Line(
                "blocks: tweets", [each.rate * per_block for each in packs], "/s", (), "≥ 100,000"
            ),
            Line("the same without a disk", [each.rate * per_block for each in diskless], "/s"),
            Line("leader killed until the next acknowledgement", failovers, "s", (), "≤ 5"),
        ],
    )


def _lines(what: str, rounds: Sequence[Outcome]) -> list[Line]:
    latencies = [each.latencies for each in rounds]
    return [
        Line(f"{what}: messages", [each.rate for each in rounds], "/s"),
        Line(
            f"{what}: acknowledged, p50",
            [statistics.median(each) * 1e3 for each in latencies],
            "ms",
        ),
        Line(f"{what}: acknowledged, p99", [_p99(each) * 1e3 for each in latencies], "ms"),
    ]


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def blocks(bodies: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The tweets in blocks of at most BLOCK_TWEETS and BLOCK_BYTES."""
    block: list[bytes] = []
    size = 0
    for body in bodies:
        if block and (len(block) == BLOCK_TWEETS or size + len(body) > BLOCK_BYTES):
            yield block
            block, size = [], 0
        block.append(body)
        size += len(body)
    yield block


def pack(tweets: Sequence[bytes]) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(tweets))


@contextlib.asynccontextmanager
async def _stream(cluster: NatsCluster) -> AsyncIterator[JetStreamContext]:
    """A stream with nothing in it, which is deleted afterwards."""

    async def ignore(error: Exception) -> None:
        """It is in the answer to the message, too."""

    client = await nats.connect(
        cluster.url.split(","), error_cb=ignore, max_reconnect_attempts=-1, reconnect_time_wait=0.1
    )
    try:
        jetstream = client.jetstream()
        await jetstream.add_stream(name=STREAM, subjects=[STREAM], num_replicas=3)
        await cluster.in_step(STREAM)
        yield jetstream
        await jetstream.delete_stream(STREAM)
    finally:
        await client.close()


async def _publish(cluster: NatsCluster, payloads: Sequence[bytes]) -> Outcome:
    """Publish these messages again and again."""
    numbered = enumerate(itertools.cycle(payloads))
    latencies: list[float] = []
    async with _stream(cluster) as jetstream:
        begun = time.perf_counter()

        async def publish() -> None:
            for number, payload in numbered:
                sent = time.perf_counter()
                if sent - begun > SECONDS:
                    return
                headers = {"Nats-Msg-Id": str(number)}
                await jetstream.publish(STREAM, payload, timeout=TIMEOUT, headers=headers)
                latencies.append(time.perf_counter() - sent)

        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(publish())
        return Outcome(len(latencies) / (time.perf_counter() - begun), latencies)


async def _failover(cluster: NatsCluster, payloads: Sequence[bytes]) -> float:
    """Kill the stream's leader; the seconds until a message is acknowledged that was sent later."""
    async with _stream(cluster) as jetstream, asyncio.TaskGroup() as group:
        acknowledged = asyncio.Event()

        async def probe(payload: bytes) -> None:
            with contextlib.suppress(*FAULTS):
                await jetstream.publish(STREAM, payload, timeout=TIMEOUT)
                acknowledged.set()

        await probe(payloads[0])
        killed = await cluster.kill_leader(STREAM)
        acknowledged.clear()
        begun = time.perf_counter()
        probes = []
        for payload in itertools.cycle(payloads):
            probes.append(group.create_task(probe(payload)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(acknowledged.wait(), PROBE_INTERVAL)
                break
        seconds = time.perf_counter() - begun
        for task in probes:
            task.cancel()
        await cluster.start(killed)
        await cluster.in_step(STREAM)
        return seconds


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
