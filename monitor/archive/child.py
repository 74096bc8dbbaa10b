"""`archive run` as a process of its own, beside the daemon that began it.

So neither its memory nor its processor time nor a crash of it can touch collecting. It ends with
the daemon, however that ends: it reads from a pipe that the daemon holds open.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from monitor.archive.manifest import ArchiveError
from monitor.chores import Chore
from monitor.leader import Leader
from stream.config import Settings

logger = logging.getLogger(__name__)

EVERY = 3600.0  # seconds
LIMIT = 23 * 3600.0  # seconds, for one run
LINE = 1 << 20  # bytes of a line that it says, at most
NICE = 19
PROGRAM = Path(__file__).resolve().parents[2] / "twitterstream.py"


def command(config_path: Path | None) -> list[str]:
    """How the daemon calls it, with its own settings."""
    config = [] if config_path is None else ["--config", str(config_path)]
    return [sys.executable, str(PROGRAM), *config, "archive", "run", "--tied"]


class Archiving:
    """The chore of the leader."""

    def __init__(self, settings: Settings, leader: Leader, words: Sequence[str]) -> None:
        self.settings = settings
        self.leader = leader
        self.words = words
        self.chore = Chore("archive", EVERY, self.work, limit=LIMIT)

    async def work(self) -> None:
        """Run it to its end; ArchiveError with its last words when that is not a good one."""
        if not (self.settings.archive.url and self.leader.leads):
            return
        process = await asyncio.create_subprocess_exec(
            *self.words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE,
        )
        last = ""
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                last = line.decode(errors="replace").strip() or last
                logger.info("archive: %s", last)
            code = await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if code:
            raise ArchiveError(last.removeprefix("Error: ") or f"`archive run` ended with {code}")


@contextlib.asynccontextmanager
async def tied() -> AsyncIterator[None]:
    """Be the least important process, and end at once when the one that began us does."""
    os.nice(NICE)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    watching = loop.create_task(_end_with(reader), name="end with the daemon")
    try:
        yield
    finally:
        watching.cancel()
        transport.close()


async def _end_with(reader: asyncio.StreamReader) -> None:
    await reader.read()
    os.kill(os.getpid(), signal.SIGKILL)  # whatever it is at: every moment is a good one
