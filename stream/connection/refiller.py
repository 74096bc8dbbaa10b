"""Fetch what a network posted during gaps. Only networks that can be read again later need this.

The table `gaps` is the queue. What is read goes into the journal like everything, and a note after
it says how far that is: so both commit in this order, and a refill goes on after a restart.
"""

from collections.abc import Sequence

from stream.connection.gap_records import GapRecords
from stream.connection.recorder import Recorder
from stream.networks.gap_interface import RefillingClient
from stream.notes import GapRefilled, MissedGap

OVERLAP = 10.0  # seconds after a gap that are read as well: the first byte may be a heartbeat
MERGE_WITHIN = 600.0  # seconds between two gaps that are read at once, with what lies between
MAX_AGE = 24 * 3600.0  # seconds; what ended longer ago stays missing


class Refiller:
    """Refills the gaps of one source, one after the other."""

    def __init__(self, client: RefillingClient, recorder: Recorder, records: GapRecords) -> None:
        self.client = client
        self.recorder = recorder
        self.records = records

    async def step(self) -> bool:
        """Refill the oldest gap, and those soon after it; False: there is none. ConnectError."""
        gaps = _nearby(await self.records.unrefilled(MAX_AGE))
        if gaps:
            await self._refill(gaps)
        return bool(gaps)

    async def _refill(self, gaps: Sequence[MissedGap]) -> None:
        clock = self.recorder.clock
        began_reading, count = clock.time(), 0
        began, ended, refilled = gaps[0].began, gaps[-1].ended, 0
        async for page in self.client.missed(gaps, ended + OVERLAP):
            count += len(page.frames)
            await self.recorder.append_later(page.frames)
            self.recorder.note(GapRefilled(began, ended, page.read_to))
            complete_to = min(page.read_to.values()) - OVERLAP
            if complete := [gap for gap in gaps[refilled:] if gap.ended <= complete_to]:
                self.recorder.note(GapRefilled(complete[0].began, complete[-1].ended))
                refilled += len(complete)
        self.recorder.counters["refilled"] += count
        self.recorder.record_event(
            f"read {count:,} posts again for a gap of {ended - began:,.0f} s, in"
            f" {clock.time() - began_reading:,.0f} s"
        )


def _nearby(gaps: Sequence[MissedGap]) -> Sequence[MissedGap]:
    """The oldest gap, and those soon after it.

    A connection that breaks every minute would cost more pages than servers allow otherwise.
    """
    found = list(gaps[:1])
    for gap in gaps[1:]:
        if gap.began > found[-1].ended + MERGE_WITHIN:
            break
        found.append(gap)
    return found
