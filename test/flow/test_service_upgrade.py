"""An upgrade as deploy/README.md says it: the new release stands by, then the old one stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from simulator.server import Limits, serve
from simulator.server import Settings as Simulated

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.conftest import Tables

ROOT = Path(__file__).resolve().parents[2]
TAKE_OVER = 30.0  # seconds, as promised; it looks every second
LIMITS = Limits(resend=1000, resend_bytes=8 << 20)


def install(folder: Path) -> Path:
    """Install or upgrade; the release that starts next."""
    names = {"PREFIX": "opt", "SYSCONFDIR": "etc", "STATEDIR": "data", "UNITDIR": "units"}
    words = [f"{name}={folder / place}" for name, place in names.items()]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "install", *words, f"INSTALL_VENV={sys.prefix}", "USERADD=no"]
    subprocess.run(command, cwd=ROOT, env=clean, check=True, capture_output=True, timeout=240)
    return (folder / "opt" / "current").resolve()


@contextlib.asynccontextmanager
async def collecting(folder: Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            folder / "opt/bin/twitterstream", "collect", stdout=said, stderr=said, cwd="/"
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        print(log.read_text()[-10_000:])  # noqa: T201 - shown when the test fails


async def stop(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(90):
        assert await process.wait() == 0


def release_of(process: asyncio.subprocess.Process) -> Path:
    """Where the program of this process lies."""
    words = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
    return next(Path(word).parent for word in words if word.endswith("/twitterstream.py"))


def settle(folder: Path, database: str, url: str) -> None:
    """Settings and a source, by the command that was installed."""
    settings = {
        "database": database,
        "data_dir": str(folder / "data"),
        "journal": {"min_free_bytes": 0, "min_free_percent": 0},
        "monitor": {"listen": ""},
    }
    (folder / "etc" / "config.yaml").write_text(json.dumps(settings))
    words = ("source", "add", "main", "--network", "x_v2", "--url", url, "--secrets", "-")
    command = str(folder / "opt/bin/twitterstream")
    subprocess.run([command, *words], input=b"bearer_token: T", check=True, timeout=240)


async def test_an_upgrade_loses_nothing_that_can_be_resumed(
    database: str, tables: Tables, tmp_path: Path, eventually: Eventually
) -> None:
    """What the network sends again is there once; what it does not is a gap of about a second."""
    old = await asyncio.to_thread(install, tmp_path)
    await tables.add_tracks("snow", "rain,sun")
    simulated = msgspec.structs.replace(Simulated(), rate=200.0, faults=("resend",), limits=LIMITS)
    async with serve(simulated) as server:
        await asyncio.to_thread(settle, tmp_path, database, server.url)
        async with collecting(tmp_path, tmp_path / "old.txt") as first:
            await eventually(lambda: len(server.sent) > 200)
            new = await asyncio.to_thread(install, tmp_path)
            async with collecting(tmp_path, tmp_path / "new.txt") as second:
                standby = "SELECT count(*) FROM daemons WHERE pid = %s AND role = 'standby'"
                await eventually(lambda: tables.one(standby, second.pid))
                assert (release_of(first), release_of(second)) == (old, new)
                await stop(first)
                sent = len(server.sent)
                await eventually(lambda: len(server.sent) > sent + 100)
                server.hub.posts_left = 0
                await eventually(lambda: tables.has_all(server.sent))
                await stop(second)
    gaps = await tables.rows(
        "SELECT cause, extract(epoch FROM ended_at - began_at)::float FROM gaps ORDER BY began_at"
    )
    print(f"the upgrade was a gap of {gaps[0][1]:.1f} s")  # noqa: T201 - the figure of the README
    assert [cause for cause, _ in gaps] == ["stopped", "stopped"]
    assert gaps[0][1] < TAKE_OVER
    stored = {native_id for (native_id,) in await tables.rows("SELECT native_id FROM tweets")}
    assert stored == set(server.sent)
