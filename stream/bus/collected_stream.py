"""Whether this process reads the stream that collectors write to: else it has nothing to store."""

import asyncio
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.bus.connection import Bus

# Seconds on another stream, until lanes are left to other machines: these notice at different
# moments that a stream was created again.
LEAVE_AFTER = 20.0
ELSEWHERE = "it stores nothing, as its stream is not that of the collectors"


class CollectedStream:
    """Compares the stream of this process with those of the running collectors."""

    def __init__(self, bus: "Bus") -> None:
        self.bus = bus
        self.is_ours = True  # also while no collector is known
        self._elsewhere_since: float | None = None  # loop time; by streams that are both known

    def compare(self, streams: AbstractSet[str]) -> None:
        """Compare with the streams on which sources are collected at the moment."""
        created = self.bus.stream_created
        self.is_ours = not streams or (created is not None and created.isoformat() in streams)
        if self.is_ours or created is None:
            self._elsewhere_since = None
        elif self._elsewhere_since is None:
            self._elsewhere_since = asyncio.get_running_loop().time()

    @property
    def lasting(self) -> str:
        """Why nothing is stored, once that has lasted; else empty."""
        since = self._elsewhere_since
        lasts = since is not None and asyncio.get_running_loop().time() - since > LEAVE_AFTER
        return ELSEWHERE if lasts else ""
