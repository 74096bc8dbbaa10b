"""The span of an error is always a part of the value."""

from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.errors import InvalidQuery
from stream.query import TrackKind, parse
from web.pages.edit_form import mark_error

KINDS: list[TrackKind] = list(get_args(TrackKind))
PIECES = st.text("snow day()\"'-,;:#@1.", max_size=40) | st.text(max_size=20)


@given(st.sampled_from(KINDS), PIECES)
@example("query", "((")
@example("place", "1,2,3")
def test_the_marked_parts_together_are_the_value(kind: TrackKind, value: str) -> None:
    try:
        parse(kind, value)
    except InvalidQuery as error:
        found = mark_error(value, error.span)
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
        ("keyword", "snow, 50%", "50%"),
        ("keyword", "snow, #2024", "#2024"),
        ("keyword", 'ice, "snow day', '"snow'),
    ],
)
def test_the_wrong_part_of_a_value_is_found(kind: TrackKind, value: str, wrong: str | None) -> None:
    with pytest.raises(InvalidQuery) as caught:
        parse(kind, value)
    found = mark_error(value, caught.value.span)
    assert (found and found.wrong) == wrong
