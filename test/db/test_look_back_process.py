"""The process that looks back is started again when it is killed."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from monitor.child_process import ChildFailed
from monitor.jobs import Leader
from monitor.look_back.look_back_process import LookBackProcess
from stream.db import Database
from stream.store import look_back_queue, look_backs, tracks
from stream.store.look_backs import NewLookBack
from stream.store.tracks import NewTrack
from waiting import Eventually

# Says who it is, and works until it is killed.
CHILD = "import os, sys; print(os.getpid(), file=open(sys.argv[1], 'a')); sys.stdin.read()"


async def test_a_killed_process_is_started_again_at_once_but_not_again_and_again(
    connected: Database, tmp_path: Path, eventually: Eventually
) -> None:
    async with connected.acquire() as connection:
        track_id = await tracks.add(connection, NewTrack("snow"))
        await look_backs.add(connection, track_id, [NewLookBack("stored")], None)
    leader = Leader(connected)
    leader.leads = True
    started = tmp_path / "started"
    looking = LookBackProcess(connected, leader, [sys.executable, "-c", CHILD, str(started)])

    async def kill(number: int) -> None:
        """Wait until the process has been started so many times, and kill it."""
        await eventually(lambda: len(pids()) == number)
        os.kill(pids()[-1], signal.SIGKILL)

    def pids() -> list[int]:
        return [int(line) for line in started.read_text().splitlines()] if started.exists() else []

    running = asyncio.create_task(looking.job.run())
    await kill(1)
    await eventually(lambda: len(pids()) == 2)
    running.cancel()
    await asyncio.wait([running])
    working = asyncio.create_task(looking.work())
    await kill(3)
    with pytest.raises(ChildFailed):
        await working
    with pytest.raises(ChildFailed):
        await looking.work()
    assert len(pids()) == 3


async def test_until_it_is_started_again_a_look_back_waits_with_the_reason(
    connected: Database,
) -> None:
    leader = Leader(connected)
    leader.leads = True
    crash = "import sys; sys.exit('Error: The disk is full.')"
    looking = LookBackProcess(connected, leader, [sys.executable, "-c", crash])
    async with connected.acquire() as connection:
        track_id = await tracks.add(connection, NewTrack("snow"))
        await look_backs.add(
            connection, track_id, [NewLookBack("stored"), NewLookBack("recorded")], None
        )
        await look_back_queue.claim(connection)
        for _ in range(3):
            with pytest.raises(ChildFailed):
                await looking.work()
        second, first = await look_backs.of_track(connection, track_id)
    assert (first.state, second.state, second.reason) == ("waiting", "waiting", "")
    assert re.fullmatch(r"The disk is full\. Retried at \d\d:\d\d:\d\d UTC\.", first.reason)
