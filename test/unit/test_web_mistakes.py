"""Where a mistake stands: always a piece of what was written."""

from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.errors import InvalidQuery
from stream.query import TrackKind, parse
from web.tracking.mistakes import marked

KINDS: list[TrackKind] = list(get_args(TrackKind))
PIECES = st.text("snow day()\"'-,;:#@1.", max_size=40) | st.text(max_size=20)


@given(st.sampled_from(KINDS), PIECES)
@example("query", "((")
@example("place", "1,2,3")
def test_the_parts_are_the_value(kind: TrackKind, value: str) -> None:
    try:
        parse(kind, value)
    except InvalidQuery as error:
        found = marked(value, str(error))
        if found is not None:
            assert "".join(found) == value
            assert found.wrong


@pytest.mark.parametrize(
    ("kind", "value", "wrong"),
    [
        ("query", "(snow OR ice))", ")"),
        ("query", "snow (ice", "(ice"),
        ("query", "snow OR OR ice", "OR"),
        ("keyword", "snow,  -day", "-day"),
        ("keyword", "snow\x07", "\x07"),
        ("user", "@nasa, no one", "no one"),
        ("place", "-74,40,-73,41; 1,2,3", "1,2,3"),
        ("query", f"snow AND {'a' * 60}", "AND"),
        ("keyword", "", None),
    ],
)
def test_it_is_found(kind: TrackKind, value: str, wrong: str | None) -> None:
    with pytest.raises(InvalidQuery) as caught:
        parse(kind, value)
    found = marked(value, str(caught.value))
    assert (found and found.wrong) == wrong
