"""After a post on Bluesky: new versions, deletions, and the place where to resume."""

import pytest

from jetstream_messages import BEGIN, deletion, post
from stream.notes import StreamOpened
from writer_bench import WriterBench

TEXTS = "SELECT text, edited_at IS NOT NULL FROM tweets ORDER BY id"
MATCHED = "SELECT count(*) FROM matches"
CURSOR = "SELECT network_cursor::text FROM positions"


@pytest.fixture
def bench(bluesky_bench: WriterBench) -> WriterBench:
    return bluesky_bench


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "two batches"])
async def test_a_new_version_replaces_a_post_and_is_matched_again(
    bench: WriterBench, *, together: bool
) -> None:
    bench.journal.append([post(1, "no weather")])
    if not together:
        assert await bench.store() == {"unmatched": 1}
    bench.journal.append([post(2, "a snow day", operation="update")])
    await bench.store()
    assert await bench.rows(TEXTS) == [("a snow day", True)]
    assert await bench.one(MATCHED) == 1
    assert await bench.counts_agree()
    # The word is gone again; and repeated, as after a reconnect, it changes nothing.
    again = [post(3, "sun", operation="update"), post(2, "a snow day", operation="update")]
    bench.journal.append(again[:1])
    await bench.store()
    assert await bench.rows(TEXTS) == [("sun", True)]
    assert await bench.one(MATCHED) == 0
    assert await bench.counts_agree()


async def test_a_new_version_of_a_post_that_is_not_stored_is_stored_once(
    bench: WriterBench,
) -> None:
    bench.keep_unmatched = False
    bench.journal.append([post(1, "sun"), post(2, "snow", operation="update")])
    assert await bench.store() == {"dropped": 1, "stored": 1}
    bench.journal.append([post(2, "snow", operation="update"), post(1, "sun")])
    assert await bench.store() == {"control": 1, "dropped": 1}
    assert await bench.one(MATCHED) == 1
    assert await bench.counts_agree()


async def test_a_deleted_post_stays_deleted_whatever_version_comes_later(
    bench: WriterBench,
) -> None:
    bench.journal.append([post(1, "snow"), deletion(2)])
    await bench.store()
    bench.journal.append([post(3, "snow again", operation="update")])
    assert await bench.store() == {"deleted": 1}
    assert await bench.rows(TEXTS) == []


async def test_the_network_cursor_is_committed_with_the_position(bench: WriterBench) -> None:
    bench.journal.note(StreamOpened("east.example", "v2"))
    bench.journal.append([post(1, "snow"), post(2, "snow", rkey="3lannpost0002")])
    await bench.store()
    microseconds = round(BEGIN.timestamp() * 1e6)
    expected = f'"seq": 2, "host": "east.example", "time": {microseconds + 2000}, "wire": "v2"'
    assert await bench.one(CURSOR) == "{" + expected + "}"
    # Another host, without an event so far: its numbers are not known, the time is.
    bench.journal.note(StreamOpened("west.example", "v2"))
    await bench.store()
    expected = f'"seq": null, "host": "west.example", "time": {microseconds + 2000}, "wire": "v2"'
    assert await bench.one(CURSOR) == "{" + expected + "}"
