"""Wait for a condition: what the fixture `eventually` is, and its type."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Protocol

import pytest

POLL = 0.01  # seconds
LIMIT = 240.0  # seconds, for what comes in a moment: a wait ends as soon as it is there


class Eventually(Protocol):
    """Wait for a condition, plain or async; fails with its name after so many seconds."""

    async def __call__(
        self, condition: Callable[[], object | Awaitable[object]], within: float = ...
    ) -> None: ...


async def wait_for(
    condition: Callable[[], object | Awaitable[object]],
    within: float = LIMIT,
    *,
    what: str = "",
    poll: float = POLL,
) -> None:
    """Wait for a condition, plain or async; fails with `what`, or else the condition's source."""
    try:
        async with asyncio.timeout(within):
            while True:
                met = condition()
                if await met if inspect.isawaitable(met) else met:
                    return
                await asyncio.sleep(poll)
    except TimeoutError:
        function = getattr(condition, "func", condition)  # of a partial
        pytest.fail(f"not within {within} s: {what or inspect.getsource(function).strip()}")
