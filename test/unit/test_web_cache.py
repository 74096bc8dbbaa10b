"""Cached answers: fresh, stale and invalidated."""

import asyncio

import pytest

from web.queries.cache import StaleWhileRevalidate


class Slow:
    """Answers 1, 2, 3 …, as soon as it is let."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.let = asyncio.Event()
        self.let.set()
        self.kept = StaleWhileRevalidate(self.read, 10, 60, lambda: self.now)

    async def read(self) -> int:
        self.asked += 1
        number = self.asked
        await self.let.wait()
        if number == 13:
            raise ValueError("unlucky")
        return number


@pytest.fixture
def slow() -> Slow:
    return Slow()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_fresh_answer_is_not_read_again(slow: Slow) -> None:
    assert [await slow.kept.get() for _ in range(3)] == [1, 1, 1]
    slow.now = 9.9
    assert await slow.kept.get() == 1
    assert slow.asked == 1


async def test_a_stale_answer_is_given_at_once_and_refreshed(slow: Slow) -> None:
    await slow.kept.get()
    slow.now = 11
    slow.let.clear()
    assert [await slow.kept.get() for _ in range(3)] == [1, 1, 1]
    slow.let.set()
    await settle()
    assert await slow.kept.get() == 2
    assert slow.asked == 2


async def test_a_too_old_answer_is_read_once_for_all_callers(slow: Slow) -> None:
    await slow.kept.get()
    slow.now = 61
    slow.let.clear()
    waiting = [asyncio.create_task(slow.kept.get()) for _ in range(3)]
    await settle()
    waiting[0].cancel()  # one who leaves takes nothing from the others
    slow.let.set()
    assert await asyncio.gather(*waiting[1:]) == [2, 2]
    assert slow.asked == 2


async def test_an_answer_read_before_invalidation_is_not_kept(slow: Slow) -> None:
    slow.let.clear()
    before = asyncio.create_task(slow.kept.get())
    await settle()
    slow.kept.invalidate()
    slow.let.set()
    assert await before == 1
    assert await slow.kept.get() == 2


async def test_an_error_is_raised_and_not_kept(slow: Slow) -> None:
    slow.asked = 12
    with pytest.raises(ValueError, match="unlucky"):
        await slow.kept.get()
    assert await slow.kept.get() == 14
