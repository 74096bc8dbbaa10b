"""Cursors as text: they come back as they were, and belong to one question."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.stored import Cursor, Place
from stream.tweet import SourceId, TweetId
from web.person import SCOPES, Person, UserId
from web.problem import Problem
from web.reading import cursors
from web.reading.wanted import Wanted, fingerprint

FILTERS = cursors.fingerprint(["a"])
keys = st.integers(0, 2**63 - 1).map(TweetId)
places = st.dictionaries(
    st.integers(1, 4095).map(SourceId),
    st.builds(Place, st.integers(0, 2**31 - 1), keys),
    max_size=100,
)


@given(keys)
def test_a_place_among_the_newest_comes_back(key: TweetId) -> None:
    assert cursors.read(cursors.write("newest", FILTERS, key), "newest", FILTERS) == key


@given(places)
def test_a_place_in_the_order_of_storing_comes_back(found: dict[SourceId, Place]) -> None:
    text = cursors.write("oldest", FILTERS, Cursor(found))
    assert cursors.read(text, "oldest", FILTERS) == Cursor(found)
    assert len(text) <= cursors.LONGEST


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_what_was_never_given_out_is_a_problem_and_nothing_worse(text: str) -> None:
    with pytest.raises(Problem):
        cursors.read(text, "newest", FILTERS)


def test_a_cursor_does_not_fit_elsewhere() -> None:
    text = cursors.write("newest", FILTERS, TweetId(7))
    with pytest.raises(Problem, match="order=newest"):
        cursors.read(text, "oldest", FILTERS)
    with pytest.raises(Problem, match="other filters"):
        cursors.read(text, "newest", cursors.fingerprint(["b"]))


def test_cursors_that_programs_keep_stay_what_they_are() -> None:
    """Those of today must be understood in ten years."""
    kept = "k6ZuZXdlc3TECSndKPOTmFF7ELI4OTA2MjM4OTU5MzY2MTAzMDU"
    wanted = Wanted(person=Person(UserId(1), "ana", "user", frozenset(SCOPES)))
    filters = fingerprint(wanted)
    assert cursors.read(kept, "newest", filters) == 890623895936610305
