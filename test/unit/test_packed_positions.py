"""Positions of cursors over many lanes: they round-trip, and whatever else comes is refused."""

import binascii
import re
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import packed_positions
from stream.errors import TwitterstreamError
from stream.keys import MAX_KEY, PLAIN_MAX, Cursor, Run, tweet_key
from stream.tweet import LaneId, TweetId

lanes = st.integers(1, 4095).map(LaneId)
runs = st.builds(Run, lanes, st.integers(0, 2**31 - 1))
# The last keys of lanes, and others between them.
own_keys = st.builds(tweet_key, st.integers(1_600_000_000_000_000, 3_000_000_000_000_000), lanes)
keys = own_keys | st.integers(0, MAX_KEY).map(TweetId)
found = st.dictionaries(runs, keys, max_size=3 * PLAIN_MAX)


@given(found)
def test_positions_round_trip(positions: dict[Run, TweetId]) -> None:
    given = [(run.lane, run.number, key) for run, key in positions.items()]
    assert list(packed_positions.unpack(packed_positions.pack(given))) == sorted(given)


@given(found)
def test_a_cursor_is_text_for_addresses_and_headers(positions: dict[Run, TweetId]) -> None:
    text = str(Cursor(positions))
    assert Cursor.parse(text) == Cursor(positions)
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", text)


@given(found)
def test_a_cursor_of_an_older_version_is_still_valid(positions: dict[Run, TweetId]) -> None:
    text = "~".join(f"{run.lane}.{run.number}.{key}" for run, key in positions.items()) or "0"
    assert Cursor.parse(text) == Cursor(positions)


@given(st.binary(max_size=60))
def test_other_bytes_are_refused_or_a_cursor(packed: bytes) -> None:
    text = "c" + binascii.b2a_base64(packed, newline=False).decode().rstrip("=")
    try:
        cursor = Cursor.parse(text.replace("+", "-").replace("/", "_"))
    except TwitterstreamError:
        return
    assert all(0 <= key <= MAX_KEY for key in cursor.positions.values())
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("text", ["c", "c!", "cAAA=", "cAA AA", "c\u0661", "cA", "now"])
def test_a_text_that_was_never_given_out_is_refused(text: str) -> None:
    with pytest.raises(TwitterstreamError):
        Cursor.parse(text)


def test_a_position_takes_a_few_bytes() -> None:
    """Of a lane whose newest tweet is of the last five minutes."""
    newest = 1_796_000_000_000_000
    ages = [lane * 300_000 for lane in range(1, 1001)]  # microseconds
    positions = {
        Run(LaneId(lane), 1): tweet_key(newest - age, LaneId(lane))
        for lane, age in enumerate(ages, 1)
    }
    text = str(Cursor(positions))
    assert len(urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4))) <= 7 * len(positions)
