"""Recordings of Mastodon for imports, and server-sent events as frames."""

import itertools
import json
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from statuses import decoded, frame, status
from stream.importing.unfold import Unfolder
from stream.networks.mastodon.server_sent_events import EventFraming
from stream.tweet import Deletion, NativeId, Tweet

ONE, TWO = status(), status("<p>東京 <br> second</p>", uri="https://other.example/2", id="2")


def test_statuses_are_found_alone_in_arrays_and_as_lines_of_the_stream() -> None:
    lines = [json.dumps(each).encode() for each in (ONE, TWO)]
    documents = {
        lines[0]: lines[:1],
        b"[%b,%b]" % (lines[0], lines[1]): lines,
        b'{"statuses":[%b],"accounts":[]}' % lines[1]: lines[1:],
        frame(ONE): [frame(ONE)],
        frame("1101", "delete"): [frame("1101", "delete")],
    }
    for document, found in documents.items():
        unfolder = Unfolder("mastodon")
        assert list(unfolder(document)) == found
        assert unfolder.understood == len(found)
        assert all(isinstance(decoded(body), Tweet | Deletion) for body in found)


def test_statuses_are_not_taken_for_tweets_of_x_and_the_other_way_round() -> None:
    assert "import it with --network mastodon" in Unfolder("x_v1").hint(json.dumps(ONE).encode())
    post = b'{"data":{"id":"77","text":"snow","author_id":"5"}}'
    assert "import it with --network x_v2" in Unfolder("mastodon").hint(post)


EVENTS = (
    ":)\n"
    f"event: update\r\ndata: {json.dumps(ONE)}\r\n\r\n"
    ":thump\n\n:thump\n"
    "event: delete\ndata: 1101\n\n"
    "event: filters_changed\ndata: undefined\n\n"
    f"event:status.update\ndata:{json.dumps(TWO, ensure_ascii=False)}\n\n"
    "event: nothing\n\n"
).encode()


@given(st.lists(st.integers(0, len(EVENTS)), max_size=20))
def test_events_become_the_frames_of_the_websocket_wherever_they_are_cut(cuts: list[int]) -> None:
    framing = EventFraming(1 << 16, ("hashtag", "snow"))
    edges = [0, *sorted(cuts), len(EVENTS)]
    frames = [
        found
        for start, end in itertools.pairwise(edges)
        for found in framing.feed(EVENTS[start:end])
    ]
    assert [json.loads(found)["stream"] for found in frames] == [["hashtag", "snow"]] * 4
    assert decoded(frames[0]) == decoded(frame(ONE))
    assert decoded(frames[1]) == Deletion(NativeId("1101"), of_server=True)
    assert decoded(frames[3]) == decoded(frame(TWO, "status.update"))
    assert framing.keepalives == 3
    assert framing.rest() == []


def test_an_event_of_lines_without_end_takes_little_memory() -> None:
    framing = EventFraming(100, ("public",))
    line = b"data: 0123456789\n"
    tracemalloc.start()
    try:
        assert not any(framing.feed(line) for _ in range(20_000))
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    [cut] = framing.feed(b"\n")
    assert len(cut) == 100


def test_a_long_or_torn_event_is_kept_within_bounds() -> None:
    framing = EventFraming(100, ("public",))
    [cut] = framing.feed(b"event: update\ndata: " + b"x" * 1000 + b"\n\n")
    assert len(cut) == 100
    assert framing.feed(b"event: update\ndata: \xff\n\n") == [b"\xff"]
    assert framing.feed(b"event: update\ndata: {tor") == []
    assert framing.rest() == [b"data: {tor"]
    assert framing.rest() == []
