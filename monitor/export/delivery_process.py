"""Deliveries of webhooks whose tweets are in archives: a process reads them again.

So the daemon's event loop, its memory and the other webhooks notice nothing.
"""

import asyncio
from collections.abc import Sequence

from monitor import child_process
from monitor.child_process import ChildFailed

READ_TIMEOUT = 3600.0  # seconds
MARK = b"tweet "  # of the lines that are tweets; others are messages


class ArchivedDeliveries:
    """Reads deliveries of webhooks, in a process for each."""

    def __init__(self, command_line: Sequence[str]) -> None:
        self._command_line = command_line
        self._one_at_a_time = asyncio.Lock()

    async def read(self, delivery_id: int) -> list[bytes]:
        """Its tweets as JSON, the oldest first; ChildFailed when they cannot be read."""
        items: list[bytes] = []

        def take(line: bytes) -> bool:
            if is_tweet := line.startswith(MARK):
                items.append(line.removeprefix(MARK).rstrip(b"\n"))
            return is_tweet

        command_line = [*self._command_line, str(delivery_id)]
        try:
            async with self._one_at_a_time, asyncio.timeout(READ_TIMEOUT):
                await child_process.run("delivery from archives", command_line, take)
        except TimeoutError:
            raise ChildFailed(f"it takes longer than {READ_TIMEOUT / 60:.0f} minutes") from None
        return items
