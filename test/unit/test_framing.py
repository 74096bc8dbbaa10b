"""However the bytes are cut, the same messages come out; and memory stays bounded."""

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.networks.framing import Delimited, Framing, Lines

MESSAGES = [b'{"text":"caf\xc3\xa9"}', b'{"a":"\xe6\x9d\xb1\xe4\xba\xac"}', b"[]", b'{"n":1}']
LENGTH_MAX = 1 << 16


@pytest.fixture(params=[Lines, Delimited])
def framing(request: pytest.FixtureRequest) -> Framing:
    new: Framing = request.param(LENGTH_MAX)
    return new


def plain(messages: list[bytes]) -> bytes:
    return b"".join(message + b"\r\n" for message in messages)


def delimited(messages: list[bytes], end: bytes = b"\r\n") -> bytes:
    return b"".join(b"%d%b%b\r\n" % (len(body) + 2, end, body) for body in messages)


def fed(framing: Framing, data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    found: list[bytes] = []
    for start, end in itertools.pairwise(edges):
        found += framing.feed(data[start:end])
    return found


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_lines_are_complete_however_the_bytes_are_split(cuts: list[int]) -> None:
    framing = Lines(LENGTH_MAX)
    assert fed(framing, plain(MESSAGES), cuts) == MESSAGES
    assert framing.rest() == []


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_delimited_messages_are_complete_however_the_bytes_are_split(cuts: list[int]) -> None:
    framing = Delimited(LENGTH_MAX)
    # The specification says \n after the count, and elsewhere that its newline is \r\n.
    data = b"\r\n\r\n" + delimited(MESSAGES[:2], b"\n") + b"\r\n" + delimited(MESSAGES[2:])
    assert fed(framing, data, cuts) == MESSAGES
    assert framing.keepalives == 3
    assert framing.rest() == []


def test_messages_may_arrive_byte_by_byte(framing: Framing) -> None:
    data = plain(MESSAGES)
    assert fed(framing, data, list(range(len(data)))) == MESSAGES


def test_a_bare_newline_ends_a_message_too_and_a_blank_line_is_a_keep_alive() -> None:
    framing = Lines(LENGTH_MAX)
    assert framing.feed(b'{"a":1}\n\r\n\n{"b":2}\r\n') == [b'{"a":1}', b'{"b":2}']
    assert framing.keepalives == 2


def test_a_delimited_message_may_hold_line_ends() -> None:
    body = b'{\n "a": 1\r\n}'
    assert Delimited(LENGTH_MAX).feed(delimited([body, b"{}"])) == [body, b"{}"]


def test_the_beginning_of_a_torn_message_is_kept(framing: Framing) -> None:
    assert framing.feed(b'{"a":1}\r\n{"b":') == [b'{"a":1}']
    assert framing.rest() == [b'{"b":']
    assert framing.rest() == []


@pytest.mark.parametrize(("kind", "write"), [(Lines, plain), (Delimited, delimited)])
@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_a_message_over_the_limit_is_cut_and_the_others_are_complete(
    kind: type[Lines | Delimited], write: Callable[[list[bytes]], bytes], size: int
) -> None:
    data = write([b"{}", b"x" * (3 * LENGTH_MAX), b"[]"])
    reader = kind(LENGTH_MAX)
    found = [m for n in range(0, len(data), size) for m in reader.feed(data[n : n + size])]
    assert found == [b"{}", b"x" * LENGTH_MAX, b"[]"]


def test_memory_is_bounded_when_no_line_ever_ends(framing: Framing) -> None:
    import tracemalloc  # noqa: PLC0415 - slows down what imports it

    chunk = b"x" * 10_000
    tracemalloc.start()
    try:
        for _ in range(500):
            framing.feed(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * LENGTH_MAX


def test_garbage_between_delimited_messages_costs_only_itself() -> None:
    rng = random.Random(7)
    noise = bytes(rng.randrange(65, 91) for _ in range(500))
    data = delimited([b"{}"]) + noise + b"\r\n" + delimited([b"[]"])
    assert Delimited(LENGTH_MAX).feed(data) == [b"{}", noise, b"[]"]
