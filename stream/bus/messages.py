"""What the bus says of itself and of a message. Not in `connection`, which imports the client."""

import uuid
from collections.abc import Mapping
from datetime import datetime

import msgspec

from stream.tweet import LaneId

# Messages that are not stored, by topic and name.
RESEND = "resend"  # to the publisher of a journal: a writer misses frames
# To the writer of a lane: the number of a message that the bus has now; former versions named none.
WAKE = "wake"

PART = "Twitterstream-Part"  # header: the number of a message of its block, from 0, and how many
# Header: the journal of a block and its end, so that one that is unreadable can be asked for.
# Messages of former versions are without it.
BLOCK = "Twitterstream-Block"

READ_BLOCKS = 32  # messages that are read at once


class ResendRequest(msgspec.Struct, frozen=True):
    """A writer has all frames of this lane before `position`, and not those after it."""

    lane: LaneId
    position: int


class StreamState(msgspec.Struct, frozen=True):
    """The stream: a new one with the same name differs in `created`."""

    created: datetime
    last_sequence: int
    messages: int
    bytes: int
    max_bytes: int  # -1: no limit
    leader: str | None  # the server's name; None: there is no quorum
    replicas: Mapping[str, bool]  # the other servers, and whether each is current


class BusMessage(msgspec.Struct, frozen=True):
    """A message of a lane; `part` and `parts` of its block, and what `BLOCK` says of that."""

    sequence: int
    data: bytes
    part: int
    parts: int
    journal: uuid.UUID | None
    end: int


def block_header(journal: uuid.UUID, end: int) -> str:
    """The value of the header `BLOCK`."""
    return f"{journal.hex}:{end}"


def read_block_header(value: str) -> tuple[uuid.UUID | None, int]:
    """The journal and the end of a block; None: the sender did not name them."""
    journal, _, end = value.partition(":")
    try:
        return uuid.UUID(journal), int(end)
    except ValueError:
        return None, 0
