"""Frames become rows; whatever goes wrong with one of them costs no other."""

from collections.abc import Callable

import pytest

from stream.batch import Batch
from stream.errors import Broken
from stream.networks.x_v2.decode import decode
from stream.notes import StateNote
from stream.tweet import Frame, Message, SourceId

GOOD = b'{"data":{"id":"7","text":"snow","author_id":"5"}}'
BAD = b'{"data":{"id":"8","text":"the one that finds our mistake"}}'


def with_a_mistake(error: Exception) -> Callable[[bytes], Message]:
    """The real decoder, and a mistake that one message finds."""

    def decoder(body: bytes) -> Message:
        if body == BAD:
            raise error
        return decode(body)

    return decoder


def filled(decoder: Callable[[bytes], Message]) -> Batch:
    batch = Batch(SourceId(1), 0, 1 << 20)
    frames = [Frame(1_800_000_000_000_000 + n, b, n) for n, b in enumerate((GOOD, BAD, GOOD), 1)]
    batch.add(frames, decoder, lambda _: ())
    return batch


@pytest.mark.parametrize("error", [OverflowError("too large"), KeyError("x"), RecursionError()])
def test_an_unexpected_error_costs_one_reject(error: Exception) -> None:
    batch = filled(with_a_mistake(error))
    assert len(batch.arrivals) == 2
    [rejected] = batch.rejects
    assert rejected.body == BAD
    assert rejected.reason == "bad_shape"
    assert f"unexpected error: {type(error).__name__}" in rejected.detail
    assert "test_batch.py, line" in rejected.detail
    assert batch.after == 3


def test_a_broken_invariant_is_raised() -> None:
    with pytest.raises(Broken):
        filled(with_a_mistake(Broken("no sense")))


def test_a_note_of_an_older_version_has_the_state_of_today() -> None:
    """A journal may hold some that were not stored before the upgrade."""
    batch = Batch(SourceId(1), 0, 1 << 20)
    body = b'{"type":"state","state":"proving","reason":"a \\"state\\":\\"proving\\"","at":1.5}'
    batch.add([Frame(1_800_000_000_000_000, body, 1, is_note=True)], decode, lambda _: ())
    [item] = batch.control_items
    assert item.what == StateNote("connected", 'a "state":"proving"', 1.5)
