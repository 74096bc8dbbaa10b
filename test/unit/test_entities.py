"""Hashtags, mentions, cashtags and links in a text are those that X would mark there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.entities import entities_in, is_hashtag


def found(kind: str, text: str) -> list[str]:
    return [each.text for each in entities_in(text) if each.kind == kind]


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("#snow", ["snow"]),
        ("a ＃雪 b", ["雪"]),
        ("(#snow)", ["snow"]),
        ("#snow.", ["snow"]),
        ("#snow's", ["snow"]),
        ("#Snow2024 #2024snow #2024", ["Snow2024", "2024snow"]),
        ("#1 #_ #__1", []),
        ("#_a", ["_a"]),
        ("##snow", ["snow"]),
        ("a#snow 1#snow _#snow &#snow", []),
        ("/#snow!#ice", ["snow", "ice"]),
        ("雪#snow", []),
        ("、#snow。#ice", ["snow", "ice"]),
        ("🎉#snow ❤\ufe0f#ice ❤\ufe0e#hail", ["snow", "ice", "hail"]),
        ("#snow🎉", ["snow"]),
        ("#snow#ice", []),
        ("#snow＃ice #ice", ["ice"]),
        ("#snow://ice", []),
        ("#\ufe0fsnow #\ufe0f\u20e3 #\u20e3", []),
        ("#می\u200cخواهم", ["می\u200cخواهم"]),
        ("#श्री\u200dमान", ["श्री\u200dमान"]),
        ("#col·legi", ["col·legi"]),
        ("#צה״ל #ג׳ירפה #בית־ספר", ["צה״ל", "ג׳ירפה", "בית־ספר"]),
        ("#ラブ・ライブ #ニ゠ト #〃x", ["ラブ・ライブ", "ニ゠ト", "〃x"]),
        ("#ほ゛ #〜〜あ #～a", ["ほ゛", "〜〜あ", "～a"]),
        ("#བོད་ཡིག༌x", ["བོད་ཡིག༌x"]),
        ("#हिन्दी #Việt #한국어 #𐐀𐐨 #𝒜", ["हिन्दी", "Việt", "한국어", "𐐀𐐨", "𝒜"]),
        ("#٢٠٢٤ #a٢", ["a٢"]),
        ("#a① #½", ["a"]),
        ("#rock-n-roll", ["rock"]),
        ("http://example.com/#snow example.com/#snow", []),
    ],
)
def test_hashtags(text: str, tags: list[str]) -> None:
    assert found("hashtag", text) == tags
    assert all(map(is_hashtag, tags))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("@nasa ＠esa .@jaxa (@isro)", ["nasa", "esa", "jaxa", "isro"]),
        ("a@nasa 1@nasa _@nasa !@nasa #@nasa $@nasa %@nasa &@nasa *@nasa @@nasa", []),
        ("RT@nasa rt:@esa art@nasa", ["nasa", "esa"]),
        ("雪@nasa「@esa」", ["nasa", "esa"]),
        ("@nasa雪 @nasa’s @nasa.gov", ["nasa", "nasa", "nasa"]),
        ("@nasaé @nasa@esa @nasa://x", []),
        ("@nasa/planets and @esa", ["esa"]),
        ("me@example.com", []),
        (f"@{'a' * 20} @{'b' * 25}", ["a" * 20, "b" * 20]),
        ("@ @- @日本", []),
    ],
)
def test_mentions(text: str, names: list[str]) -> None:
    assert found("mention", text) == names


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("$AAPL $brk.b $rds_a, $t!", ["AAPL", "brk.b", "rds_a", "t"]),
        ("$TOOLONG $100 $a1 x$AAPL ($AAPL) $AAPL雪", []),
        ("$AAPL. $abc.def", ["AAPL", "abc"]),
    ],
)
def test_cashtags(text: str, tags: list[str]) -> None:
    assert found("cashtag", text) == tags


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("see https://example.com/a?b=c#d.", ["https://example.com/a?b=c#d"]),
        ("example.com, sub.example.co.uk/x", ["example.com", "sub.example.co.uk/x"]),
        ("example.invalidtld file.txt 1.5 e.g. a.b", []),
        ("me@example.com -example.com .example.com #example.com", []),
        ("雪はexample.comです", ["example.com"]),
        ("“example.com”", ["example.com"]),
        ("http://雪.example.jp/雪", ["http://雪.example.jp/"]),
        ("http://example.中国 пример.рф", ["http://example.中国"]),
        ("http://a_b.example.com http://example_b.com", ["http://a_b.example.com"]),
        ("https://example.com/a_(b)_(c(d)e) x", ["https://example.com/a_(b)_(c(d)e)"]),
        ("(https://example.com/a)", ["https://example.com/a"]),
        ("https://example.com:8080/x!, y", ["https://example.com:8080/x"]),
        ("https://t.co/Ab3dE9fGh1/more", ["https://t.co/Ab3dE9fGh1"]),
        (f"https://t.co/{'a' * 41}", []),
        (f"https://{'a' * 64}.com https://{'b' * 63}.com", [f"https://{'b' * 63}.com"]),
        ("HTTPS://EXAMPLE.COM", ["HTTPS://EXAMPLE.COM"]),
        ("ahttp://example.com", []),
        ("http://xn--e1afmkfd.xn--p1ai/", ["http://xn--e1afmkfd.xn--p1ai/"]),
    ],
)
def test_links(text: str, addresses: list[str]) -> None:
    assert found("link", text) == addresses


def test_of_two_that_overlap_the_first_counts() -> None:
    kinds = [(each.kind, each.text) for each in entities_in("https://example.com/@nasa/#snow $A")]
    assert kinds == [("link", "https://example.com/@nasa/#snow"), ("cashtag", "A")]


PIECES = st.sampled_from([
    *"#＃@＠$./:-_&aé雪1・🎉", "\u200d", "\ufe0f", "\u20e3", " ", "com", "http://",
    "RT", "t.co", "(", ")", "?",
])  # fmt: skip


@given(st.lists(PIECES, max_size=30).map("".join) | st.text())
def test_positions_are_correct_and_entities_do_not_overlap(text: str) -> None:
    end = 0
    for each in entities_in(text):
        assert end <= each.begin < each.end <= len(text)
        whole = text[each.begin : each.end]
        assert each.text == (whole if each.kind == "link" else whole[1:])
        end = each.end
        if each.kind == "hashtag":
            assert is_hashtag(each.text)


@pytest.mark.timeout(300)  # what grows with the square of the length takes many minutes
@pytest.mark.parametrize("start", ["", "#", "http://", "http://a.co/(", "a.co/", "a.co?"])
def test_a_hostile_text_takes_time_in_proportion(start: str) -> None:
    pieces = "#|#1|a.|あ_|a.co/(|a.co/!|a.co?!|@a|$a|http://a|é.é|\u200d|a.co/((a)|🇸|a-|-.|xn--|あcom.|RT@"
    for piece in pieces.split("|"):
        entities_in(start + piece * (50_000 // len(piece)))
