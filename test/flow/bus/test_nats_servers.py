"""A stream with three replicas keeps acknowledged messages through the faults of the helper."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import nats
import pytest
from nats.errors import Error as ClientError
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from nats_servers import NatsCluster, running_cluster, running_server

STREAM = "TWEETS"
T = TypeVar("T")
MANY = 100  # messages
WITHIN = 240  # seconds
FAULTS = (ClientError, JetStreamError, OSError)


class Numbers:
    """A stream of numbers, of which each is published with its id until it is acknowledged."""

    def __init__(self, jetstream: JetStreamContext) -> None:
        self.jetstream = jetstream
        self.acknowledged = 0

    async def create(self, replicas: int) -> None:
        config = StreamConfig(name=STREAM, subjects=[STREAM], num_replicas=replicas)
        await answered(lambda: self.jetstream.add_stream(config))

    async def publish(self, count: int = MANY) -> None:
        async with asyncio.timeout(WITHIN):
            until = self.acknowledged + count
            while self.acknowledged < until:
                if await self.attempt():
                    self.acknowledged += 1
                else:
                    await asyncio.sleep(0.05)

    async def attempt(self) -> bool:
        """Publish the next number once; whether it was acknowledged."""
        number = str(self.acknowledged)
        try:
            await self.jetstream.publish(
                STREAM, number.encode(), timeout=5, headers={"Nats-Msg-Id": number}
            )
        except FAULTS:
            return False
        return True

    async def are_all_stored(self) -> bool:
        """Whether the stream holds exactly what was acknowledged, each number once, in order."""
        return await self._stored() == list(range(self.acknowledged))

    async def _stored(self) -> list[int]:
        state = (await answered(lambda: self.jetstream.stream_info(STREAM))).state
        found = []
        for sequence in range(state.first_seq, state.last_seq + 1):
            message = await answered(partial(self._message, sequence))
            found += [] if message is None else [int(message)]
        return found

    async def _message(self, sequence: int) -> bytes | None:
        try:
            return (await self.jetstream.get_msg(STREAM, sequence)).data
        except NotFoundError:
            return None


async def answered(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer to a request, which is repeated while no leader answers."""
    async with asyncio.timeout(WITHIN):
        while True:
            with contextlib.suppress(*FAULTS):
                return await ask()
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def connected(url: str, replicas: int) -> AsyncIterator[Numbers]:
    async def ignore(error: Exception) -> None:
        """Faults are what these tests make."""

    client = await nats.connect(
        url.split(","), error_cb=ignore, max_reconnect_attempts=-1, reconnect_time_wait=0.1
    )
    try:
        numbers = Numbers(client.jetstream())
        await numbers.create(replicas)
        await numbers.publish()
        yield numbers
    finally:
        await client.close()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with running_cluster(tmp_path) as made:
        yield made


@pytest.fixture
async def numbers(cluster: NatsCluster) -> AsyncIterator[Numbers]:
    async with connected(cluster.url, 3) as made:
        await cluster.in_step(STREAM)
        yield made


async def test_one_server_keeps_its_messages_when_it_is_killed(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, connected(server.url, 1) as numbers:
        await server.kill()
        await server.start()
        await numbers.publish()
        assert await numbers.are_all_stored()


async def test_flipped_bits_cost_messages_that_only_one_server_has(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, connected(server.url, 1) as numbers:
        await server.kill()
        assert server.flip_bits(STREAM)
        await server.start()
        assert not await numbers.are_all_stored()


async def test_another_node_leads_when_the_leader_is_killed(
    cluster: NatsCluster, numbers: Numbers
) -> None:
    killed = await cluster.kill_leader(STREAM)
    await numbers.publish()
    assert await cluster.leader(STREAM) is not killed
    await cluster.start(killed)
    await cluster.in_step(STREAM)
    assert await numbers.are_all_stored()


async def test_messages_are_kept_when_all_nodes_are_killed_at_once(
    cluster: NatsCluster, numbers: Numbers
) -> None:
    publishing = asyncio.create_task(numbers.publish())
    await cluster.kill()
    await cluster.start()
    await publishing
    await cluster.in_step(STREAM)
    assert await numbers.are_all_stored()


async def test_nothing_is_acknowledged_while_the_bus_is_away(
    cluster: NatsCluster, numbers: Numbers
) -> None:
    cluster.freeze()
    assert not await numbers.attempt()
    cluster.thaw()
    await numbers.publish()
    await cluster.in_step(STREAM)
    assert await numbers.are_all_stored()


async def test_a_wiped_node_gets_all_messages_again(cluster: NatsCluster, numbers: Numbers) -> None:
    wiped = await cluster.kill_leader(STREAM)
    wiped.wipe()
    await cluster.start(wiped)
    await numbers.publish()
    await cluster.in_step(STREAM)
    await cluster.kill_leader(STREAM)  # so that the wiped node is one of the two that are left
    assert await numbers.are_all_stored()


async def test_flipped_bits_in_the_store_of_a_node_spoil_no_message(
    cluster: NatsCluster, numbers: Numbers
) -> None:
    damaged = await cluster.kill_leader(STREAM)
    assert damaged.flip_bits(STREAM)
    await cluster.start(damaged)
    await numbers.publish()
    await cluster.in_step(STREAM)
    assert await numbers.are_all_stored()
