"""The memory of a Stream, by what was appended to it: so that it is bounded by bytes."""

from collections import deque

ENTRY_OVERHEAD = 40  # bytes of an entry besides its values
CHUNKS = 64  # for a full Stream: its entries are counted in as many parts


class StreamSize:
    """Estimates how many of the newest entries fit into `limit` bytes.

    Entries differ in size, and servers bound Streams by their number. So the bytes are counted in
    chunks of entries, oldest first; within a chunk all entries count the same.
    """

    def __init__(self, limit: int, entries: int = 0, used: int = 0) -> None:
        self.limit = limit
        self.entries = entries
        self.used = float(used)
        self._chunks = deque([(entries, float(used))])

    def add(self, size: int) -> None:
        """Count an entry whose values have this size."""
        size += ENTRY_OVERHEAD
        entries, used = self._chunks[-1]
        if used < self.limit / CHUNKS:
            self._chunks[-1] = entries + 1, used + size
        else:
            self._chunks.append((1, float(size)))
        self.entries += 1
        self.used += size

    def to_keep(self) -> int | None:
        """How many of the newest entries may stay; None: all."""
        excess = self.used - self.limit
        if excess <= 0:
            return None
        removed = 0
        for entries, used in self._chunks:
            if used >= excess:
                return max(
                    1, self.entries - removed - min(entries, int(excess * entries / used) + 1)
                )
            excess -= used
            removed += entries
        return 1

    def remove(self, number: int) -> None:
        """Count so many of the oldest entries as removed."""
        self.entries -= number
        while number > 0 and self._chunks:
            entries, used = self._chunks.popleft()
            if entries > number:
                share = used * number / entries
                self._chunks.appendleft((entries - number, used - share))
                self.used -= share
                return
            number -= entries
            self.used -= used
        if not self._chunks:
            self._chunks.append((0, 0.0))
            self.used = 0.0
