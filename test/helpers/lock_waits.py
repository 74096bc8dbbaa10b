"""Transactions that are held where they wait for a lock."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable

from stream.db import Database, Executor
from waiting import Eventually


@contextlib.asynccontextmanager
async def waiting(
    database: Database, holder: Executor, work: Awaitable[object], eventually: Eventually
) -> AsyncIterator[bool]:
    """Let this work run until it waits for a lock that `holder` has; False: it has ended.

    It ends after this block, in which the locks are to be released.
    """
    [[pid]] = await holder.fetch("SELECT pg_backend_pid()")
    running = asyncio.ensure_future(work)

    async def waits() -> bool:
        query = "SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))"
        return running.done() or bool(await database.fetch(query, pid))

    await eventually(waits)
    yield not running.done()
    await running
