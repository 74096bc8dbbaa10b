"""The embedded server as tests see it: what is in its folder, and processes that hold a lease."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import asyncio, sys
from pathlib import Path
import uvloop
from stream.postgres import Embedded

async def main():
    embedded = Embedded(Path(sys.argv[1]))
    async with embedded.lease() as url:
        print(url, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            await embedded.ensure_running()
            print("running", flush=True)

uvloop.run(main())
"""


def ask(url: str, question: str = "SELECT 1") -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(question.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def postmaster(data: Path) -> int:
    return int((data / "postgres" / "cluster" / "postmaster.pid").read_text().split()[0])


def running(data: Path) -> bool:
    return (data / "postgres" / "cluster" / "postmaster.pid").exists()


def socket_folder(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


class Holder:
    """Another process with a lease, on the event loop that the program uses."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        """Its next line: first the URL, then one for each `ensure_running`."""
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    async def ensure_running(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"again\n")
        assert await self.line() == "running"

    async def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.process.communicate()


@contextlib.asynccontextmanager
async def holder(data: Path) -> AsyncIterator[Holder]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(data), stdin=-1, stdout=-1, cwd=ROOT
    )
    found = Holder(process)
    try:
        yield found
    finally:
        await found.leave()
