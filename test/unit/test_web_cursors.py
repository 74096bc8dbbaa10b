"""Page cursors as text: they round-trip, and belong to one order and one set of filters."""

from base64 import urlsafe_b64encode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.keys import Cursor, Run, tweet_key
from stream.store.sessions import SCOPES
from stream.tweet import LaneId, TweetId, UserId
from web.person import Person
from web.problem import Problem
from web.queries import cursors
from web.queries.tweet_filter import TweetQuery, fingerprint

FILTERS = cursors.fingerprint(["a"])
keys = st.integers(0, 2**63 - 1).map(TweetId)
runs = st.builds(Run, st.integers(1, 4095).map(LaneId), st.integers(0, 2**31 - 1))
places = st.dictionaries(runs, keys, max_size=100)


@given(keys)
def test_a_cursor_of_the_newest_order_round_trips(key: TweetId) -> None:
    assert cursors.read(cursors.write("newest", FILTERS, key), "newest", FILTERS) == key


@given(places)
def test_a_cursor_of_the_oldest_order_round_trips(found: dict[Run, TweetId]) -> None:
    text = cursors.write("oldest", FILTERS, Cursor(found))
    assert cursors.read(text, "oldest", FILTERS) == Cursor(found)
    assert len(text) <= cursors.CURSOR_MAX


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_an_invalid_cursor_is_a_problem(text: str) -> None:
    with pytest.raises(Problem):
        cursors.read(text, "newest", FILTERS)


def test_a_cursor_does_not_fit_elsewhere() -> None:
    text = cursors.write("newest", FILTERS, TweetId(7))
    with pytest.raises(Problem, match="order=newest"):
        cursors.read(text, "oldest", FILTERS)
    with pytest.raises(Problem, match="other filters"):
        cursors.read(text, "newest", cursors.fingerprint(["b"]))


def test_a_cursor_of_an_older_version_is_still_valid() -> None:
    """Those of today must be understood in ten years."""
    kept = "k6ZuZXdlc3TECSndKPOTmFF7ELI4OTA2MjM4OTU5MzY2MTAzMDU"
    wanted = TweetQuery(person=Person(UserId(1), "ana", "user", frozenset(SCOPES)))
    filters = fingerprint(wanted)
    assert cursors.read(kept, "newest", filters) == 890623895936610305


def at(seconds: float, lane: int) -> TweetId:
    return tweet_key(1_796_000_000_000_000 - round(seconds * 1e6), LaneId(lane))


def test_a_cursor_over_very_many_lanes_can_be_used_again() -> None:
    """As of 100 sources in ten cells, of which some were stored late."""
    found = {Run(LaneId(lane), 1): at(lane * 7.3, lane) for lane in range(1, 1001)}
    found |= {Run(LaneId(lane), 2): at(40 * 86_400, lane) for lane in range(1, 101)}
    text = cursors.write("oldest", FILTERS, Cursor(found))
    assert cursors.read(text, "oldest", FILTERS) == Cursor(found)
    assert len(text) <= 11_000


def test_a_cursor_of_many_lanes_of_an_older_version_is_still_valid() -> None:
    found = Cursor({Run(LaneId(lane), 1): at(lane, lane) for lane in range(1, 101)})
    plain = "~".join(f"{run.lane}.{run.number}.{key}" for run, key in found.positions.items())
    packed = msgspec.msgpack.encode(("oldest", FILTERS, plain))
    text = urlsafe_b64encode(packed).decode().rstrip("=")
    assert cursors.read(text, "oldest", FILTERS) == found
