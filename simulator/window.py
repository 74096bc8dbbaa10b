"""Requests allowed in a window of time."""

import time


class Window:
    """Opens with the first request and counts until it is over (X v2: 15 minutes)."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.used = 0
        self.opened = time.time() - seconds

    def take(self) -> bool:
        """One more request; false when that is too many."""
        now = time.time()
        if now >= self.opened + self.seconds:
            self.opened, self.used = now, 0
        self.used += 1
        return self.used <= self.limit

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)

    @property
    def reset(self) -> float:
        """When the window is over, in seconds since 1970."""
        return self.opened + self.seconds
