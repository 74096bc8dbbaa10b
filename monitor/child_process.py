"""Runs a command of this program as a child process of the daemon, for heavy work.

So neither its memory, nor its CPU time, nor a crash can harm collecting. It ends with the daemon,
however that ends: it reads from a pipe that the daemon holds open.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from stream.errors import TwitterstreamError

logger = logging.getLogger(__name__)

EXIT_TIMEOUT = 10.0  # seconds for a process that has closed its output, or was killed
MAX_LINE_BYTES = 8 << 20  # of its output, which may be a tweet
NICE = 19
PROGRAM = Path(__file__).resolve().parents[1] / "twitterstream.py"


class ChildFailed(TwitterstreamError):
    """The process has failed; the text is its error, or how it ended."""


def command(config_path: Path | None, *words: str) -> list[str]:
    """The command line of a child process, with the daemon's settings."""
    config = [] if config_path is None else ["--config", str(config_path)]
    return [sys.executable, str(PROGRAM), *config, *words, "--die-with-parent"]


async def run(
    name: str, command_line: Sequence[str], take: Callable[[bytes], bool] = lambda _: False
) -> None:
    """Run it and log its output; ChildFailed when it fails. Cancelling kills it.

    `take` sees each line first, and says whether it takes it: then it is not logged.
    """
    process = await asyncio.create_subprocess_exec(
        *command_line,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=MAX_LINE_BYTES,
    )
    error = _Error()
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            if take(line):
                continue
            if text := line.decode(errors="replace").rstrip():
                error.note(text)
                logger.info("%s: %s", name, text)
        async with asyncio.timeout(EXIT_TIMEOUT):  # its output is closed
            code = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # One that hangs in a system call ends when that returns; nothing waits for it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXIT_TIMEOUT):
                    await process.wait()
    if code < 0:
        raise ChildFailed(f"the process was killed (signal {-code})")
    if code:
        raise ChildFailed(error.text or f"the process ended with exit code {code}")


class _Error:
    """The error that a process printed last: its own sentence, or else the end of a traceback."""

    def __init__(self) -> None:
        self._sentence = ""
        self._exception = ""
        self._is_traceback = False

    @property
    def text(self) -> str:
        return self._sentence or self._exception

    def note(self, line: str) -> None:
        """Look at the next line of its output."""
        if line.startswith("Error: "):
            self._sentence = line.removeprefix("Error: ")
        elif line.startswith("Traceback "):
            self._is_traceback = True
        elif self._is_traceback and not line[0].isspace():
            self._exception, self._is_traceback = line, False


@contextlib.asynccontextmanager
async def die_with_parent() -> AsyncIterator[None]:
    """Run at the lowest priority, and end at once when the parent process ends."""
    os.nice(NICE)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    watch = loop.create_task(_end_with(reader), name="end with the parent")
    try:
        yield
    finally:
        watch.cancel()
        transport.close()


async def _end_with(reader: asyncio.StreamReader) -> None:
    await reader.read()
    os.kill(os.getpid(), signal.SIGKILL)  # it can be killed at any moment
