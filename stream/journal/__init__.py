"""The append-only log of frames on disk, one per source: the only queue of the program.

`Journal` appends and keeps house; `Follower` reads at its own pace; `segments` knows the bytes.
A position counts bytes since the journal began, through all its segments, sealed and trimmed ones
too, so it only ever rises.
"""

from stream.journal.follower import Follower
from stream.journal.journal import Journal

__all__ = ["Follower", "Journal"]
