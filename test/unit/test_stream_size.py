"""The memory of a Stream by what was appended: how many entries may stay."""

from hypothesis import given
from hypothesis import strategies as st

from stream.sinks.stream_size import CHUNKS, ENTRY_OVERHEAD, StreamSize

LIMIT = 100_000
LARGEST = 3000  # bytes of an entry


def test_a_stream_below_its_limit_keeps_all() -> None:
    size = StreamSize(LIMIT)
    for _ in range(10):
        size.add(LIMIT // 10 - ENTRY_OVERHEAD)
    assert size.to_keep() is None
    size.add(0)
    assert size.to_keep() is not None


def test_one_entry_stays_however_large_it_is() -> None:
    size = StreamSize(LIMIT)
    size.add(2 * LIMIT)
    assert size.to_keep() == 1


def test_what_was_there_before_counts_by_its_mean() -> None:
    size = StreamSize(LIMIT, entries=1000, used=2 * LIMIT)
    keep = size.to_keep()
    assert keep is not None
    assert 480 <= keep <= 500


@given(st.lists(st.lists(st.integers(0, LARGEST), max_size=60), max_size=60))
def test_after_each_batch_the_newest_entries_fit_and_little_room_is_lost(
    batches: list[list[int]],
) -> None:
    size, entries = StreamSize(LIMIT), list[int]()
    for batch in batches:
        for each in batch:
            entries.append(each + ENTRY_OVERHEAD)
            size.add(each)
        if (keep := size.to_keep()) is not None:
            removed = len(entries) - keep
            del entries[:removed]
            size.remove(removed)
            assert sum(entries) >= LIMIT - 2 * LIMIT / CHUNKS - 2 * LARGEST
        assert sum(entries) <= LIMIT + LIMIT / CHUNKS + LARGEST
        assert size.entries == len(entries)
