"""However the bytes are cut, the same messages come out; and memory stays bounded."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.networks.framing import Delimited, Framing, Lines

MESSAGES = [b'{"text":"caf\xc3\xa9"}', b'{"a":"\xe6\x9d\xb1\xe4\xba\xac"}', b"[]", b'{"n":1}']
LONGEST = 1 << 16


def plain(messages: list[bytes]) -> bytes:
    return b"".join(message + b"\r\n" for message in messages)


def delimited(messages: list[bytes]) -> bytes:
    return b"".join(b"%d\r\n%s\r\n" % (len(message) + 2, message) for message in messages)


def fed(framing: Framing, data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    found: list[bytes] = []
    for start, end in itertools.pairwise(edges):
        found += framing.feed(data[start:end])
    return found


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_lines_come_out_whole_wherever_the_network_cuts(cuts: list[int]) -> None:
    framing = Lines(LONGEST)
    assert fed(framing, plain(MESSAGES), cuts) == MESSAGES
    assert framing.rest() == []


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_delimited_messages_come_out_whole_wherever_the_network_cuts(cuts: list[int]) -> None:
    framing = Delimited(LONGEST)
    data = b"\r\n\r\n" + delimited(MESSAGES[:2]) + b"\r\n" + delimited(MESSAGES[2:])
    assert fed(framing, data, cuts) == MESSAGES
    assert framing.keepalives == 3
    assert framing.rest() == []


@pytest.mark.parametrize("framing", [Lines(LONGEST), Delimited(LONGEST)])
def test_every_single_byte_may_come_alone(framing: Framing) -> None:
    data = plain(MESSAGES)
    assert fed(framing, data, list(range(len(data)))) == MESSAGES


def test_a_bare_newline_ends_a_message_too_and_a_blank_line_is_a_keep_alive() -> None:
    framing = Lines(LONGEST)
    assert framing.feed(b'{"a":1}\n\r\n\n{"b":2}\r\n') == [b'{"a":1}', b'{"b":2}']
    assert framing.keepalives == 2


def test_a_delimited_message_may_hold_line_ends() -> None:
    body = b'{\n "a": 1\r\n}'
    assert Delimited(LONGEST).feed(delimited([body, b"{}"])) == [body, b"{}"]


@pytest.mark.parametrize("framing", [Lines(LONGEST), Delimited(LONGEST)])
def test_what_came_of_a_torn_message_is_not_lost(framing: Framing) -> None:
    assert framing.feed(b'{"a":1}\r\n{"b":') == [b'{"a":1}']
    assert framing.rest() == [b'{"b":']
    assert framing.rest() == []


def test_a_line_over_the_limit_is_cut_skipped_and_its_neighbours_are_whole() -> None:
    framing = Lines(LONGEST)
    data = plain([b"{}", b"x" * (3 * LONGEST), b"[]"])
    size = 1000
    found = [m for n in range(0, len(data), size) for m in framing.feed(data[n : n + size])]
    assert found == [b"{}", b"x" * LONGEST, b"[]"]
    whole = Lines(LONGEST)
    assert whole.feed(data) == found


def test_a_delimited_message_over_the_limit_is_cut_and_its_neighbours_are_whole() -> None:
    framing = Delimited(LONGEST)
    data = delimited([b"{}", b"x" * (3 * LONGEST), b"[]"])
    found = [m for n in range(0, len(data), 1000) for m in framing.feed(data[n : n + 1000])]
    assert found == [b"{}", b"x" * LONGEST, b"[]"]


@pytest.mark.parametrize("framing", [Lines(LONGEST), Delimited(LONGEST)])
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
    assert peak < 8 * LONGEST


def test_garbage_between_delimited_messages_costs_only_itself() -> None:
    rng = random.Random(7)
    noise = bytes(rng.randrange(65, 91) for _ in range(500))
    data = delimited([b"{}"]) + noise + b"\r\n" + delimited([b"[]"])
    assert Delimited(LONGEST).feed(data) == [b"{}", noise, b"[]"]
