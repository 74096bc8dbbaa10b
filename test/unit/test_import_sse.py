"""Streams that were recorded as server-sent events."""

import json

import pytest

from statuses import decoded, status
from stream.importing.sse import without_events
from stream.tweet import Deletion, NativeId, Tweet

EVENTS = (
    b': still here\r\n\r\nretry: 2000\n\nid: 1.1\nevent: update\ndata: {"a": "data: x"}\n\n'
    b'data:{"b": 2}\r\n\r\n' + b":" + b"x" * 5000 + b"\ndata: " + b"7" * 5000 + b"\n"
)


def read(data: bytes, step: int) -> bytes:
    return b"".join(without_events(data[at : at + step] for at in range(0, len(data), step)))


@pytest.mark.parametrize("step", [1, 2, 7, 1 << 20])
def test_only_the_data_is_left(step: int) -> None:
    lines = [line for line in read(EVENTS, step).split() if line]
    assert lines == [b'{"a":', b'"data:', b'x"}', b'{"b":', b"2}", b"7" * 5000]


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("end", ["\n\n", ""])
def test_deletions_and_edits_of_mastodon_are_told_from_posts(step: int, end: str) -> None:
    edit = json.dumps(status(), ensure_ascii=False)
    text = (
        f"event: update\ndata: {edit}\n\nevent: status.update\r\ndata: {edit}\r\n\r\n"
        f"event:delete\ndata: 1101{end}"
    ).encode()
    post, edited, gone = [decoded(line) for line in read(text, step).split(b"\n") if line.strip()]
    assert isinstance(post, Tweet)
    assert isinstance(edited, Tweet)
    assert (post.edited, edited.edited) == (False, True)
    assert gone == Deletion(NativeId("1101"), of_server=True)


@pytest.mark.parametrize("step", [1, 3, 1 << 20])
@pytest.mark.parametrize("before", [b"", b": hello\n", b"id: 7\n"])
def test_a_byte_order_mark_before_the_first_event_is_left_out(before: bytes, step: int) -> None:
    text = b"\xef\xbb\xbf" + before + b'data: {"a":1}\n\n'
    assert read(text, step).split() == [b'{"a":1}']


@pytest.mark.parametrize("text", [b"", b'{"data": 1}\ndata: 1\n', b"[1]", b": 1"])
def test_other_text_stays(text: bytes) -> None:
    assert read(text, 3) == text
