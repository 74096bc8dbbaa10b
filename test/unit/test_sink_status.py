"""The state of a sink, and the end of its work."""

import asyncio
import contextlib

import pytest

from stream.sinks.runner import keep_passing_on
from stream.sinks.status import SinkStatus


def test_a_sink_is_late_from_the_first_moment_on_until_it_has_passed_on_all() -> None:
    status = SinkStatus("redis")
    assert status.late_since is None
    status.passed_on(more=True)
    since = status.late_since
    assert since is not None
    status.fail("Redis cannot be reached", "Start it.")
    status.passed_on(more=True)
    assert (status.late_since, status.reason, status.remedy) == (since, "", "")
    status.passed_on(more=False)
    assert status.late_since is None


@pytest.mark.parametrize("fails", [False, True])
async def test_a_sink_ends_also_when_a_library_swallows_its_cancellation(*, fails: bool) -> None:
    status, began = SinkStatus("redis"), asyncio.Event()

    async def work() -> None:
        began.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if fails:
            raise ConnectionError
        while True:
            status.begin_reading()
            await status.wait()

    task = asyncio.create_task(keep_passing_on(status, work))
    await began.wait()
    task.cancel()
    async with asyncio.timeout(90):
        with pytest.raises(asyncio.CancelledError):
            await task
