"""Find deletions of stored posts that happened during gaps. Networks do not send them again.

After a gap all posts that are stored of the days before are looked up once, the oldest first. A
deletion that is found goes into the journal like one that was received. The table `gaps` keeps how
far a check has come: gaps that end meanwhile wait for the next one.
"""

from stream.connection.gap_records import GapRecords
from stream.connection.recorder import Recorder
from stream.networks.gap_interface import DeletionLookup

MAX_AGE = 14 * 86_400.0  # seconds; of posts that are looked up, and of gaps that are checked


class DeletionCheck:
    """Checks the stored posts of one source."""

    def __init__(self, lookup: DeletionLookup, recorder: Recorder, records: GapRecords) -> None:
        self.lookup = lookup
        self.recorder = recorder
        self.records = records

    async def step(self) -> bool:
        """Finish one check; False: none is due. ConnectError."""
        due = await self.records.due_check(MAX_AGE)
        if due is None:
            return False
        since = due.until - MAX_AGE if due.checked_to is None else due.checked_to
        after, before = self.lookup.id_at(since), self.lookup.id_at(due.until)
        looked_up = deleted = 0
        while ids := await self.records.stored_ids(after, before, self.lookup.ids_max):
            messages = await self.lookup.deleted(ids)
            await self.recorder.append_later(messages)
            after, looked_up, deleted = ids[-1], looked_up + len(ids), deleted + len(messages)
            await self.records.note_checked(due.until, self.lookup.time_of(after))
        await self.records.note_checked(due.until, due.until + 0.001)
        if looked_up:
            self.recorder.record_event(
                f"looked up {looked_up:,} stored posts after a gap: {deleted:,} were deleted"
            )
        return True
