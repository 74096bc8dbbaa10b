"""Texts for people."""

import pytest

from stream.text import format_time_left, sentence


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("no connection to http://127.0.0.1:9", "No connection to http://127.0.0.1:9."),
        ("It works.", "It works."),
        ("jetstream1.example sent nothing", "jetstream1.example sent nothing."),
        ("did:plc:abc: the account is deleted", "did:plc:abc: the account is deleted."),
    ],
)
def test_a_sentence_begins_with_a_capital_letter_or_a_name(words: str, expected: str) -> None:
    assert sentence(words) == expected


def test_the_time_left_is_unknown_at_the_start_and_not_said_at_the_end() -> None:
    assert format_time_left(0.25, 60) == "3 minutes"
    assert format_time_left(None, 60) == format_time_left(0.01, 60) == ""
    assert format_time_left(0.99, 10) == format_time_left(1, 60) == ""
