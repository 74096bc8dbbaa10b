"""The append-only log of frames on disk, one per source: the only queue of the program.

`Journal` appends, `maintenance` syncs, compresses and trims its files, `JournalReader` reads at its
own pace, `recovery` deals with crashes and damage, and `segments` knows the bytes.
A position counts bytes since the journal began, through all its segments, sealed and trimmed ones
too, so it only ever rises.
"""

from stream.journal import maintenance
from stream.journal.journal import Journal
from stream.journal.reader import JournalReader
from stream.journal.recovery import read_id

__all__ = ["Journal", "JournalReader", "maintenance", "read_id"]
