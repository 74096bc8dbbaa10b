"""What the event loop of the tests promises to all of them."""

import asyncio
import time

from patient_loop import LONGEST_STEP


async def test_a_process_that_stood_still_has_missed_nothing() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(3 * LONGEST_STEP):
        time.sleep(5 * LONGEST_STEP)  # noqa: ASYNC251 - like a machine that stands still
        await asyncio.sleep(0.01)
    began, real = loop.time(), time.monotonic()
    await asyncio.sleep(2 * LONGEST_STEP)
    assert loop.time() - began >= 2 * LONGEST_STEP
    assert time.monotonic() - real >= 2 * LONGEST_STEP, "it is never faster than real time"
