"""Marks stand where the matcher found something, and the text stays what it was."""

from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.errors import InvalidQuery
from stream.matcher import Matcher
from stream.query import TrackKind, parse
from stream.tweet import Content, Field, NativeId, Part, TrackId, Tweet
from web.marking import reason, segments


def marked(text: str, *terms: str) -> list[str]:
    found = segments(text, terms)
    assert "".join(each.text for each in found) == text
    return [each.text for each in found if each.marked]


@pytest.mark.parametrize(
    ("text", "term", "expected"),
    [
        ("Snow, and no snowman: SNOW!", "snow", ["Snow", "SNOW"]),
        ("A day of snow", "snow day", ["day", "snow"]),
        ("A snow-day and a day of snow", '"snow day"', ["snow-day"]),
        ("snow day, and rain", '("snow day" OR rain) lang:en -from:nasa', ["snow day", "rain"]),
        ("snow from nasa en", "snow from:nasa lang:en -nasa", ["snow"]),
        ("#Snow #snowing snow", "#snow", ["#Snow"]),
        ("by @NASA and @nasa_de", "@nasa", ["@NASA"]),
        ("buy $TSLA now, $100", "$tsla", ["$TSLA"]),
        ("buy $TSLA now, $100", "$100", ["$100"]),
        ("東京は雪です", "雪", ["雪"]),
        ("13回 3回", "3回", ["3回"]),
        ("สวัสดีชาวโลก", "ชาว", ["ชาว"]),
        ("가나다 가나", "가나", ["가나", "가나"]),
        ("Cafe\u0301 au lait, café", "café", ["Cafe\u0301", "café"]),
        ("İstanbul I\u0307stanbul", "istanbul", ["İstanbul", "I\u0307stanbul"]),
        ("I\u2019m don’t", "don't", ["don’t"]),
        ("ΟΔΟΣ", "οδος", ["ΟΔΟΣ"]),
        ("I ❤\ufe0f you", "❤", ["❤\ufe0f"]),
        ("see https://www.example.com/a?b, snow", "example.com/a?b", ["example.com/a?b"]),
        ("snow https://t.co/snow", "snow", ["snow"]),
        ("https://t.co/snow", "snow", ["snow"]),
        ("a b c", "d", []),
        ("", "d", []),
        ("aa aaa", "a", []),
    ],
)
def test_what_was_looked_for_is_marked(text: str, term: str, expected: list[str]) -> None:
    assert marked(text, term) == expected


def test_terms_that_overlap_are_marked_once() -> None:
    assert marked("one two three", '"one two"', '"two three"', "two") == ["one two three"]


def test_no_term_marks_nothing() -> None:
    assert marked("<b>snow</b>") == []


CHUNKS = st.sampled_from(
    ["snow", "Snow", "day", "#snow", "@snow", "$snow", "雪", "日本", "の", "ชา", "가나", "❤️", "👍",
     "é", "e\u0301", "İ", "I\u0307", "Σ", "ß", "’", "'", "-", ".", ",", "(", ")", '"', "/", ":",
     "https://", "www.", "example.com", "OR", "lang:en", "-", "_", "3", "＃", "\u0301", "\u200d"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(CHUNKS, st.sampled_from([" ", "\n"])), max_size=12).map("".join)


@settings(deadline=None, max_examples=600)
@given(TEXTS, TEXTS, st.sampled_from(["keyword", "query"]))
@example('foo:"bar x"y', 'foo:"bar x"y', "keyword")
@example("a-bhttps://x", "a-bhttps://x a-b", "keyword")
def test_whatever_the_matcher_finds_in_a_text_is_marked(
    value: str, text: str, kind: TrackKind
) -> None:
    try:
        query = parse(kind, value)
    except InvalidQuery:
        return
    tweet = Tweet(NativeId("1"), "original", Content(text=f"{text} {value}"))
    for match in Matcher([(TrackId(1), query)]).match(tweet):
        if match.field == "text":
            assert marked(tweet.own.text, match.term), match


@settings(deadline=None)
@given(st.text(), st.lists(st.text(max_size=20), max_size=3))
def test_any_text_stays_itself(text: str, terms: list[str]) -> None:
    marked(text, *terms)


@pytest.mark.parametrize("field", get_args(Field))
@pytest.mark.parametrize("part", get_args(Part))
def test_every_reason_is_said_in_words(field: Field, part: Part) -> None:
    said = reason("snow day", field, part)
    assert said.startswith("matched ‘snow day’ ")
    assert (part in said) == (part != "own")


def test_the_reason_names_the_term_and_the_place() -> None:
    assert reason("snow day", "text", "own") == "matched ‘snow day’ in the text"
    assert reason("from:nasa", "author", "quoted") == (
        "matched ‘from:nasa’ by its author, of the quoted tweet"
    )


def test_a_reason_stays_short() -> None:
    assert len(reason("x" * 4000, "network", "reposted")) < 200
