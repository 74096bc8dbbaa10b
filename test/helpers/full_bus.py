"""A bus of three servers, one of which stops storing as its disk is full."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import nats
from nats.errors import Error as ClientError
from nats.js.errors import Error as JetStreamError

from disks import fill_up, small_disk
from nats_servers import ASKABLE, NatsCluster, NatsServer, running_cluster
from waiting import wait_for

DISK = 8 << 20  # bytes
STREAM_BYTES = 4 << 20  # at most, in the settings


class FullBus:
    """The cluster, and the server whose disk fills."""

    def __init__(self, cluster: NatsCluster, disk: Path) -> None:
        self.url = cluster.url
        self._cluster = cluster
        self._disk = disk

    @property
    def server(self) -> NatsServer:
        return self._cluster.nodes[-1]

    async def fill(self) -> Path:
        """Fill its disk, and let it write until JetStream is off on it; the file to delete."""
        foreign = fill_up(self._disk)
        client = await nats.connect(self._cluster.nodes[0].url)
        numbers = itertools.count()

        async def is_off() -> bool:
            name = f"other{next(numbers)}"
            with contextlib.suppress(ClientError, JetStreamError):  # a leader is elected
                # All servers write down which streams there are.
                await client.jetstream().add_stream(name=name, subjects=[name], num_replicas=3)
                await client.jetstream().publish(name, bytes(50_000))
                await client.jetstream().delete_stream(name)
            return bool((await self.server.jetstream()).get("disabled"))

        try:
            await wait_for(is_off, what=f"JetStream shuts down: {self.server.folder}/log.txt")
        finally:
            await client.close()
        return foreign

    async def restart(self) -> None:
        await self.server.kill()
        await self._cluster.start(self.server)


@contextlib.asynccontextmanager
async def full_bus(folder: Path) -> AsyncIterator[FullBus]:
    """Three servers that may be asked; the last one has a small disk."""
    folder.mkdir()
    with small_disk(folder, DISK) as disk:
        (folder / "n3").mkdir()
        (folder / "n3/store").symlink_to(disk)
        async with running_cluster(folder, ASKABLE) as cluster:
            yield FullBus(cluster, disk)
