"""Locks of a process that stood still, and that lost them meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stream.store import locks
from stream.store.locks import SOURCE_LOCK_CLASS, Locks, try_lock

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    import pytest

    from stream.db import Database


async def test_a_lock_is_not_confirmed_while_another_daemon_has_it(
    connected: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "CONFIRM_WITHIN", 60.0)
    ours = Locks(connected, SOURCE_LOCK_CLASS)
    async with asyncio.TaskGroup() as group:
        async with connected.dedicated() as other:
            assert await try_lock(other, 7, SOURCE_LOCK_CLASS)
            lock = ours.want(7)
            lock.set(ours=True)  # as far as it knows
            confirming = group.create_task(ours.confirm(7))
            running = group.create_task(ours.run())
            await ours.confirm(8)  # ends with the same check
            assert lock.ours is False
            assert not confirming.done()
        await confirming  # the other one is gone
        assert lock.ours
        running.cancel()


async def test_while_postgres_is_away_only_the_first_of_several_checks_waits(
    connected: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Locks(connected, SOURCE_LOCK_CLASS)
    ours.want(7)  # it does not run: nothing answers
    monkeypatch.setattr(locks, "FRESH", 600.0)
    monkeypatch.setattr(locks, "CONFIRM_WITHIN", 0.1)
    await ours.confirm(7)
    monkeypatch.setattr(locks, "CONFIRM_WITHIN", 600.0)
    async with asyncio.timeout(60):
        await ours.confirm(7)
