"""What waits for one viewer: so much and no more."""

import asyncio
from collections import deque
from collections.abc import Iterable

MOST = 200  # tweets that wait for a viewer
MOST_BYTES = 256 * 1024


class Feed:
    """Never makes anybody wait: what does not fit pushes out the oldest, and that is counted."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._missed = 0
        self._stirred = asyncio.Event()

    def push(self, items: Iterable[bytes]) -> None:
        for item in items:
            self._waiting.append(item)
            self._bytes += len(item)
        while len(self._waiting) > self.most or self._bytes > self.most_bytes:
            self._bytes -= len(self._waiting.popleft())
            self._missed += 1
        self._stirred.set()

    def stir(self) -> None:
        """There is something to say, although nothing to see."""
        self._stirred.set()

    async def wait(self) -> None:
        """Until there is something."""
        await self._stirred.wait()

    def take(self) -> tuple[list[bytes], int]:
        """All that waits, and how many were pushed out since the last time."""
        found, missed = list(self._waiting), self._missed
        self._waiting.clear()
        self._bytes = self._missed = 0
        self._stirred.clear()
        return found, missed
