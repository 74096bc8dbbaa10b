"""The type of the fixture `eventually`."""

from collections.abc import Awaitable, Callable
from typing import Protocol


class Eventually(Protocol):
    """Wait for a condition, plain or async; fails with its name after so many seconds."""

    async def __call__(
        self, condition: Callable[[], object | Awaitable[object]], within: float = ...
    ) -> None: ...
