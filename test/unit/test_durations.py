"""Durations in words, as templates show them."""

import pytest

from stream.text import format_duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "less than a second"),
        (0.9, "less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "1 minute"),
        (305, "5 minutes 5 seconds"),
        (3605, "1 hour"),
        (5400, "1 hour 30 minutes"),
        (90_061, "1 day 1 hour"),
        (86_400 * 3 + 59, "3 days"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, said: str) -> None:
    assert format_duration(seconds) == said
