"""Texts for people."""

import pytest

from stream.text import sentence


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
