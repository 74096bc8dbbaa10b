"""A child process of a test session, which ends with it, even when the session is killed.

    session_child.py lease DATA_DIR    keep the server of this folder running; print its URL
    session_child.py reap FOLDER       then kill programs and servers left below this folder

Both wait for the end of standard input, a pipe that only the session holds open.
"""

import asyncio
import contextlib
import sys
from pathlib import Path

import psutil

from stream.postgres import Embedded

# A crash of the server loses nothing without fsync; only a crash of the machine would.
QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "file_copy_method": "clone",  # of the template, for the database of each test
    "max_connections": "100",
}
SERVERS = ("postgres", "redis-server", "valkey-server", "nats-server")
PROGRAM = str(Path(__file__).resolve().parents[1] / "twitterstream.py")


async def lease(data_dir: Path) -> None:
    async with Embedded(data_dir, QUICK).lease() as url:
        print(url, flush=True)  # noqa: T201 - the answer
        await asyncio.to_thread(sys.stdin.read)


def reap(folder: Path) -> None:
    sys.stdin.read()
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            is_ours = process.name() in SERVERS or PROGRAM in process.cmdline()
            if is_ours and Path(process.cwd()).is_relative_to(folder):
                process.kill()


if __name__ == "__main__":
    if sys.argv[1] == "lease":
        asyncio.run(lease(Path(sys.argv[2])))
    else:
        reap(Path(sys.argv[2]))
