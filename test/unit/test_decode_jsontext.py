"""Mending what jsonb refuses, and nothing else."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.errors import Reject
from stream.jsontext import sanitize_for_jsonb, view


def naively_sanitized(text: str) -> str:
    """The same rule, one escape after the other."""
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] != "\\":
            out.append(text[at])
            at += 1
            continue
        length = 6 if text[at + 1 : at + 2] == "u" else 2
        escape, code = text[at : at + length], _code(text, at)
        pair = 0xD800 <= code < 0xDC00 and 0xDC00 <= _code(text, at + 6) < 0xE000
        if pair:
            escape = text[at : at + 12]
        elif code == 0 or 0xD800 <= code < 0xE000:
            escape = r"\ufffd"
        out.append(escape)
        at += 12 if pair else length
    return "".join(out)


def _code(text: str, at: int) -> int:
    if text[at : at + 2] != r"\u":
        return -1
    return int(text[at + 2 : at + 6], 16)


PIECES = [
    *(r"\u0000", r"\ud83d", r"\uDE00", r"\uDBFF", r"\udfff", r"\u0041", r"\\", r"\/", r"\""),
    *("u0000", "ud83d", "ude00", "雪", "a"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=12))
@example([r"\\", "ud83d", r"\ude00"])
@example([r"\\", r"\ud83d", r"\ude00"])
@example([r"\ud83d", r"\ud83d", r"\ude00", r"\ude00"])
def test_sanitizing_agrees_with_a_naive_implementation(pieces: list[str]) -> None:
    text = "".join(pieces)
    sanitized, changed = sanitize_for_jsonb(f'{{"a":"{text}"}}'.encode())
    assert sanitized.decode() == f'{{"a":"{naively_sanitized(text)}"}}'
    assert changed == (naively_sanitized(text) != text)
    json.loads(sanitized)["a"].encode()  # no surrogate is left
    assert "\0" not in json.loads(sanitized)["a"]
    assert sanitize_for_jsonb(sanitized) == (sanitized, False)


def test_valid_text_is_returned_unchanged() -> None:
    body = r'{"a":"\ud83d\ude00 \\u0000 \\ud83d 雪"}'.encode()
    sanitized, changed = sanitize_for_jsonb(body)
    assert sanitized is body
    assert not changed


def test_a_byte_order_mark_is_removed() -> None:
    assert sanitize_for_jsonb(b"\xef\xbb\xbf{}") == (b"{}", True)


@pytest.mark.parametrize(
    "body",
    [b'{"a":"\xff"}', b'{"a":"\xe9\x9b', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\x80"}'],
    ids=["stray byte", "torn", "surrogate", "overlong"],
)
def test_invalid_utf8_is_rejected(body: bytes) -> None:
    with pytest.raises(Reject) as refused:
        sanitize_for_jsonb(body)
    assert refused.value.reason == "not_utf8"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b'{"a":', "not_json"),
        (b'{"a":NaN}', "not_json"),
        (b'{"a":-Infinity}', "not_json"),
        (b'{"a":"\x00"}', "not_json"),
        (b"[]", "not_object"),
        (b"null", "not_object"),
        (b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too_deep"),
    ],
)
def test_an_invalid_document_is_rejected_with_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(Reject) as refused:
        view(body)
    assert refused.value.reason == reason


def test_numbers_of_any_size_can_be_viewed() -> None:
    seen = view(b'{"a":1e999,"b":' + b"9" * 5000 + b',"c":12345678901234567890}')
    assert seen == {"a": float("inf"), "b": float("inf"), "c": 12345678901234567890}
