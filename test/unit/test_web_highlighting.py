"""What the matcher found is marked, and the text stays the same."""

from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.errors import InvalidQuery
from stream.matcher import Matcher
from stream.query import TrackKind, parse
from stream.tweet import Content, Field, NativeId, Part, TrackId, Tweet
from web.highlighting import reason, segments


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
        ("die STRASSE, die Straße", "straße", ["STRASSE", "Straße"]),
        ("x ISPARTA y", "ısparta", ["ISPARTA"]),
        ("قال مُحَمَّد، محـــمد", "محمد", ["مُحَمَّد", "محـــمد"]),
        ("نه می\u200cخواهم نه", "می\u200cخواهم", ["می\u200cخواهم"]),
        ("نه كتاب\u200cها نه", "کتاب", ["كتاب"]),
        ("שָׁלוֹם, שלום", "שלום", ["שָׁלוֹם", "שלום"]),
        ('על צה"ל', "צה״ל", ['צה"ל']),
        ("यह हिन्\u200dदी है", "हिन्दी", ["हिन्\u200dदी"]),
        ("このｶﾞﾝﾀﾞﾑ、ガンダム", "ガンダム", ["ｶﾞﾝﾀﾞﾑ", "ガンダム"]),
        ("the ＮＡＳＡ!", "nasa", ["ＮＡＳＡ"]),
        ("x #STRASSE y", "#straße", ["#STRASSE"]),
        ("ที่ ที", "ที", ["ที"]),
        ("I ❤\ufe0f you", "❤", ["❤\ufe0f"]),
        ("see https://www.example.com/a?b, snow", "example.com/a?b", ["example.com/a?b"]),
        ("snow https://t.co/snow", "snow", ["snow"]),
        ("https://t.co/snow", "snow", ["snow"]),
        ("🇦🇺🇸🇪 🇺🇸", "🇺🇸", ["🇺🇸"]),
        ("👍🏽 👍", "👍", ["👍🏽", "👍"]),
        ("👍🏽 👍", "👍🏽", ["👍🏽"]),
        ("👩\u200d🚀 🚀", "🚀", ["🚀"]),
        ("1\ufe0f\u20e32\ufe0f\u20e3", "1\u20e3", ["1\ufe0f\u20e3"]),
        ("AT&T’s at t", "at&t", ["AT&T"]),
        ("ONLY  50% off", '"only 50% off"', ["ONLY  50% off"]),
        ("#ラブ・ライブ！ #ラブ", "#ラブ・ライブ", ["#ラブ・ライブ"]),
        ("#col·legi #Col·legi", "#col·legi", ["#col·legi", "#Col·legi"]),
        ("#snow a#snow &#snow #snow·x #snow#ice https://x.com/#snow", "#snow", ["#snow"]),
        ("@nasa x@nasa @nasa/list @nasa_x RT@nasa", "@nasa", ["@nasa", "@nasa"]),
        ("@a.bsky.social", "@a.bsky.social", ["@a.bsky.social"]),
        ("$tsla x$tsla $tslax", "$tsla", ["$tsla"]),
        ("a b c", "d", []),
        ("", "d", []),
        ("aa aaa", "a", []),
    ],
)
def test_the_terms_of_a_query_are_marked(text: str, term: str, expected: list[str]) -> None:
    assert marked(text, term) == expected


def test_terms_that_overlap_are_marked_once() -> None:
    assert marked("one two three", '"one two"', '"two three"', "two") == ["one two three"]


def test_no_term_marks_nothing() -> None:
    assert marked("<b>snow</b>") == []


CHUNKS = st.sampled_from(
    ["snow", "Snow", "day", "#snow", "@snow", "$snow", "雪", "日本", "の", "ชา", "가나", "❤️", "👍",
     "é", "e\u0301", "İ", "I\u0307", "Σ", "ß", "’", "'", "-", ".", ",", "(", ")", '"', "/", ":",
     "https://", "www.", "example.com", "OR", "lang:en", "-", "_", "3", "＃", "\u0301", "\u200d",
     "🇺🇸", "🇸", "1\u20e3", "🏽", "🚀", "AT&T", "50%", "+", "·", "☺\ufe0e", "#a·b", '"snow day"']
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
def test_marking_changes_no_text(text: str, terms: list[str]) -> None:
    marked(text, *terms)


@pytest.mark.parametrize("field", get_args(Field))
@pytest.mark.parametrize("part", get_args(Part))
def test_each_reason_has_a_sentence(field: Field, part: Part) -> None:
    said = reason("snow day", field, part)
    assert said.startswith("matched ‘snow day’ ")
    assert (part in said) == (part != "own")


def test_the_reason_names_the_term_and_the_place() -> None:
    assert reason("snow day", "text", "own") == "matched ‘snow day’ in the text"
    assert reason("from:nasa", "author", "quoted") == (
        "matched ‘from:nasa’ by its author, of the quoted tweet"
    )


def test_a_filter_that_looks_for_nothing_in_the_text_is_not_found_there() -> None:
    for term in ("-is:retweet", "lang:en -is:retweet", "-ice has:links"):
        assert reason(term, "text", "own") == f"matched ‘{term}’"
        assert not any(each.marked for each in segments(f"ice {term} lang:en", [term]))
    assert reason("snow -is:retweet", "text", "own") == "matched ‘snow -is:retweet’ in the text"


def test_a_reason_stays_short() -> None:
    assert len(reason("x" * 4000, "network", "reposted")) < 200
