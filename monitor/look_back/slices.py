"""What a look-back looks through, a slice at a time, whatever the place is."""

from collections.abc import AsyncGenerator, Sequence
from typing import TypeAlias

import msgspec

from stream.tweet import Frame, NetworkName, SourceId

JSON: TypeAlias = "str | int | list[str | int] | None"


class Slice(msgspec.Struct, frozen=True):
    """Some messages of one source, in order; may be empty, to show progress.

    `resume`: where to go on after it, also after a restart.
    `note`: a sentence about what cannot be looked through; empty: nothing is missing so far.
    """

    source_id: SourceId
    network: NetworkName
    frames: Sequence[Frame]
    resume: JSON
    progress: float | None  # from 0 to 1; None: not known
    note: str = ""


Slices: TypeAlias = AsyncGenerator[Slice, None]
