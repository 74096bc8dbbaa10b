"""Blocks come out of the bus as they went in, and what is not one is refused."""

import contextlib
import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.bus import blocks
from stream.bus.blocks import Block, UnreadableBlock
from stream.tweet import Frame, LaneId

FRAMES = st.builds(
    Frame,
    received=st.integers(0, 1 << 51),
    body=st.binary(max_size=200),
    after=st.integers(0, 1 << 62),
    is_note=st.just(value=False),
    is_damage=st.booleans(),
) | st.builds(Frame, received=st.just(1), body=st.binary(), after=st.just(2), is_note=st.just(True))
LANES = st.lists(st.integers(1, 4095).map(LaneId), min_size=1, max_size=64)
BLOCKS = st.builds(
    Block,
    journal=st.uuids(),
    lane=st.integers(1, 4095).map(LaneId),
    lanes=LANES,
    start=st.integers(0, 1 << 62),
    end=st.integers(0, 1 << 62),
    frames=st.lists(FRAMES, max_size=blocks.FRAMES_MAX),
    after_hole=st.booleans(),
)


def block_of(*bodies: bytes) -> Block:
    lane = LaneId(1)
    frames = [Frame(1, body, after) for after, body in enumerate(bodies, 1)]
    return Block(uuid.uuid4(), lane, [lane], 0, len(frames), frames)


@given(BLOCKS)
def test_a_block_is_decoded_as_it_was_encoded(block: Block) -> None:
    assert blocks.decode(blocks.encode(block)) == block


def test_a_full_block_is_one_message_once_it_is_compressed() -> None:
    chance = random.Random(0)
    frames = [chance.randbytes(blocks.BYTES_MAX // 200).hex().encode() for _ in range(100)]
    assert len(blocks.encode(block_of(*frames))) == 1


def test_a_frame_larger_than_a_message_is_divided_into_several() -> None:
    block = block_of(random.Random(0).randbytes(5 << 20))
    parts = blocks.encode(block)
    assert len(parts) == 11
    assert max(map(len, parts)) == blocks.MESSAGE_MAX
    assert blocks.decode(parts) == block


def test_a_block_without_one_of_its_parts_is_refused() -> None:
    parts = blocks.encode(block_of(random.Random(0).randbytes(2 << 20)))
    for missing in range(len(parts)):
        with pytest.raises(UnreadableBlock):
            blocks.decode([*parts[:missing], *parts[missing + 1 :]])


@given(BLOCKS, st.randoms(use_true_random=False))
def test_damaged_bytes_are_refused_or_change_nothing(block: Block, chance: random.Random) -> None:
    """Some bits of a zstd frame have no meaning; none may change a tweet."""
    data = bytearray(b"".join(blocks.encode(block)))
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    with contextlib.suppress(UnreadableBlock):
        assert blocks.decode([bytes(data)]) == block


@given(BLOCKS, st.integers(0, 1000))
def test_a_torn_block_is_refused(block: Block, length: int) -> None:
    data = b"".join(blocks.encode(block))
    with pytest.raises(UnreadableBlock):
        blocks.decode([data[: min(length, len(data) - 1)]])


@pytest.mark.parametrize("foreign", [b"", b"\x01", b"\x01hello", b'{"hello": 1}'])
def test_what_is_not_a_block_is_refused(foreign: bytes) -> None:
    with pytest.raises(UnreadableBlock):
        blocks.decode([foreign])


def test_a_block_of_a_newer_version_is_refused_by_its_number() -> None:
    [data] = blocks.encode(block_of(b"snow"))
    newer = bytes([blocks.VERSION + 1]) + data[1:]
    with pytest.raises(UnreadableBlock, match=f"unknown version {blocks.VERSION + 1}"):
        blocks.decode([newer])


def test_a_block_has_the_same_id_until_it_is_sent_again_for_the_bus_has_lost_it() -> None:
    block = block_of(b"snow")
    assert block.id(0) == block.id(0)
    assert block.id(0) != block.id(1)
