"""Blocks: some frames of a journal in one message of the bus. Pure, no I/O.

Single tweets as messages would be a hundred times as many. A block is MessagePack, compressed by
zstd with its checksum, after one byte with the version of this format. One that is larger than a
message, as a frame can be, is divided into several.
"""

import uuid
from collections.abc import Iterable, Sequence

import msgspec
import zstandard

from stream.errors import TwitterstreamError
from stream.notes import Passed
from stream.tweet import Frame, LaneId

FRAMES_MAX = 100  # of one block
BYTES_MAX = 512 << 10  # of the frames in it, unless it is a single one; compressed about a seventh
MESSAGE_MAX = 512 << 10  # bytes; servers accept 1 MiB by default
VERSION = 1
COMPRESSION_LEVEL = 1  # level 3 takes twice the time for 5 % fewer bytes
CONTENT_MAX = 256 << 20  # bytes; no block of the program has more
_NOTE, _DAMAGE = 1, 2
_PASSED = msgspec.json.encode(Passed())


class UnreadableBlock(TwitterstreamError):
    """A message of the bus is not a block, or was damaged."""


class UnknownVersion(UnreadableBlock):
    """A block of another version of the program, which would come again in the same way."""


class Block(msgspec.Struct, frozen=True):
    """The frames of one lane between two positions of a journal.

    `lanes`: all that share the journal. `after_hole`: what was before `start` does not exist any
    more.
    """

    journal: uuid.UUID
    lane: LaneId
    lanes: Sequence[LaneId]
    start: int
    end: int
    frames: Sequence[Frame]
    after_hole: bool = False

    def frames_after(self, position: int) -> list[Frame]:
        """The frames after a position, of which the last one ends where the block does."""
        found = [each for each in self.frames if each.after > position]
        if not found:
            return [passed(self.frames[-1].received, self.end)]
        found[-1] = msgspec.structs.replace(found[-1], after=self.end)
        return found

    def id(self, generation: int) -> str:
        """The same for the same block, so that the bus recognizes what is published again.

        `generation`: rises when blocks are sent again because the bus has lost them.
        """
        return f"{self.journal.hex}:{self.lane}:{self.start}:{self.end}:{generation}"


def passed(received: int, after: int) -> Frame:
    """A note that a lane has no frames up to this position."""
    return Frame(received, _PASSED, after, is_note=True)


class _Wire(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A block as it is encoded; a frame: time, position after it, kind, body."""

    journal: bytes
    lane: int
    lanes: tuple[int, ...]
    start: int
    end: int
    after_hole: bool
    frames: list[tuple[int, int, int, bytes]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Wire).decode


def encode(block: Block) -> list[bytes]:
    """The payloads of a block's messages: one, unless it is too large."""
    wire = _Wire(
        block.journal.bytes,
        block.lane,
        tuple(block.lanes),
        block.start,
        block.end,
        block.after_hole,
        [(each.received, each.after, _kind(each), each.body) for each in block.frames],
    )
    compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True)
    data = bytes([VERSION]) + compressor.compress(_encode(wire))
    return [data[at : at + MESSAGE_MAX] for at in range(0, len(data), MESSAGE_MAX)]


def decode(payloads: Iterable[bytes]) -> Block:
    """The block of these payloads; UnreadableBlock, UnknownVersion."""
    data = b"".join(payloads)
    if data[:1] != bytes([VERSION]):
        raise UnknownVersion(f"a block of the unknown version {data[0] if data else 'none'}")
    try:
        if zstandard.frame_content_size(data[1:]) > CONTENT_MAX:
            raise UnreadableBlock("a block that is too large")
        content = zstandard.ZstdDecompressor().decompress(data[1:], max_output_size=CONTENT_MAX)
        wire = _decode(content)
    except (zstandard.ZstdError, msgspec.DecodeError, MemoryError) as error:
        raise UnreadableBlock(f"a damaged block: {error}") from error
    frames = [
        Frame(received, body, after, is_note=kind == _NOTE, is_damage=kind == _DAMAGE)
        for received, after, kind, body in wire.frames
    ]
    journal = uuid.UUID(bytes=wire.journal)
    lanes = [LaneId(each) for each in wire.lanes]
    return Block(journal, LaneId(wire.lane), lanes, wire.start, wire.end, frames, wire.after_hole)


def _kind(frame: Frame) -> int:
    return _NOTE if frame.is_note else _DAMAGE if frame.is_damage else 0
