"""kind keyword, user and place: what people write, and what they are told when it cannot work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import InvalidQuery
from stream.query import (
    MAX_ALTERNATIVES,
    MAX_VALUE,
    And,
    AtPlace,
    Entity,
    InBox,
    Node,
    Phrase,
    Term,
    TrackKind,
    User,
    parse,
)

KINDS: tuple[TrackKind, ...] = ("keyword", "user", "place", "query")
INVISIBLE = (
    "\xad\u061c\u200b\u200e\u202a\u2060\u2066\u206f\u3164\ufeff\uffa0\ufff9\U0001d173\U000e0001"
)
WALES = "🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f"


def terms(kind: TrackKind, value: str) -> list[str]:
    return [alternative.term for alternative in parse(kind, value).alternatives]


def node(kind: TrackKind, value: str) -> Node:
    [alternative] = parse(kind, value).alternatives
    return alternative.node


def refusal(kind: TrackKind, value: str) -> str:
    with pytest.raises(InvalidQuery) as caught:
        parse(kind, value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Snow Day", ["snow day"]),
        ("day   SNOW,snow day\tday", ["day snow"]),
        ("snow day,blizzard,,", ["snow day", "blizzard"]),
        ("台风，暴雨、雪", ["台风", "暴雨", "雪"]),
        ("hello.", ["hello"]),
        ("“Twitter”", ["twitter"]),
        ("rock & roll", ["rock roll"]),
        ("Twitter’s", ["twitter's"]),
        ("https://Example.com/Path/", ["example.com/path"]),
        ("#Nasa", ["#nasa"]),
        ("＃東京", ["#東京"]),
        ("$AAPL", ["$aapl"]),
        ("$100", ["$100"]),
        ("Cafe\u0301", ["café"]),
        ("İSTANBUL", ["istanbul"]),
        ("❤\ufe0f", ["❤"]),
        ('"Snow  Day"', ['"snow day"']),
        ("“snow day”, ice", ['"snow day"', "ice"]),
        ('"snow, day!", ice', ['"snow, day"', "ice"]),
        ('day "snow day"', ['day "snow day"']),
        ('"from:nasa"', ['"from:nasa"']),
        ("AT&T", ["at&t"]),
        ("<b>x</b>", ["b>x</b"]),
        ("~snow~ | ice", ["snow ice"]),
        ("salt + pepper", ["salt pepper"]),
        ('"only $100"', ['"only $100"']),
        ("#ラブ・ライブ", ["#ラブ・ライブ"]),
        ("#می\u200cخواهم", ["#می\u200cخواهم"]),
        ("#col·legi", ["#col·legi"]),
        ("#צה״ל", ["#צה״ל"]),
        ("#2024snow", ["#2024snow"]),
        ("1\ufe0f\u20e3", ["1\u20e3"]),
        ("#\ufe0f\u20e3", ["#\u20e3"]),
        ("🏴\U000e0067\U000e0062\U000e007f", ["🏴\U000e0067\U000e0062\U000e007f"]),
    ],
)
def test_a_keyword_is_canonical(value: str, expected: list[str]) -> None:
    assert terms("keyword", value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("b a", And((Term("a"), Term("b")))),
        ("#x", Entity("hashtag", "x")),
        ("@Name.Bsky.Social", Entity("mention", "name.bsky.social")),
        ("$brk.b", Entity("cashtag", "brk.b")),
        ("#\u20e3", Term("#\u20e3")),  # a keycap is no hashtag
        ('"snow day"', Phrase("snow day")),
        ('"Snow"', Term("snow")),
        ('"#snow"', Entity("hashtag", "snow")),
    ],
)
def test_a_keyword_becomes_a_tree(value: str, expected: Node) -> None:
    assert node("keyword", value) == expected


def test_equal_alternatives_are_kept_once_in_the_order_written() -> None:
    assert terms("keyword", "b,a,B,c c,c") == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("kind", "value", "remedy"),
    [
        ("keyword", " , ", "at least one word"),
        ("keyword", "...", "write a word"),
        ("keyword", "www.Example.com/foo", "write 'example.com/foo'"),
        *[
            (kind, value, "choose another word")
            for kind in ("keyword", "query")
            for value in (
                *("C++", "C#", "A+", "50%", "£5", "€100", "5€", "＄５%", "20°", "~5", "٪50"),
                *('"50%"', '"C ++"', "#snow%", "§230", "５０％", "<3", "C♯", "*snow*", ".NET"),
                *('".NET"', "A-", "anti-"),
            )
        ],
        ("keyword", "snow*", "no wildcard"),
        ("keyword", "100 %", "choose another word"),
        *[
            ("keyword", value, "put it in quotes, or a space")
            for value in (
                "1,000",
                "snow $1,000",
                "12,345,678 euros",
                '"1,000" 1，000, ice',
                "١٬٠٠٠،٠٠٠",
            )
        ],
        ("keyword", "+ snow", "choose another word"),
        ("keyword", '"snow day', "quote at character 1 is never closed"),
        ("keyword", 'snow, 24" screen', "quote at character 9 is never closed"),
        ("keyword", '""', "contains no word"),
        ("keyword", "#2024", "needs at least one letter: write '2024'"),
        ("keyword", "#1, snow", "needs at least one letter"),
        ("query", "#٢٠٢٤ snow", "needs at least one letter"),
        ("query", "#_", "needs at least one letter"),
        ("keyword", "$abcdefgh", "up to 6 letters"),
        ("keyword", "@日本", "is not an account"),
        ("keyword", "cats -dogs", "kind query"),
        ("keyword", "cat OR dog", "by commas"),
        ("keyword", "cat AND dog", "a space means the same"),
        ("keyword", "cat NOT dog", "excluded"),
        ("query", "cat NOT dog", "as -cat"),
        ("keyword", "'snow day'", "in double quotes"),
        ("query", "from:nasa -('snow  day' OR ice)", "in double quotes"),
        ("query", "‘snow day’", "in double quotes"),
        ("keyword", "→", "write a word"),
        ("keyword", "snow → day", "choose another word"),
        ("query", "snow →", "remove it"),
        ("keyword", "from:nasa", "kind query"),
        ("keyword", "#rock-n-roll", "letters, digits and _"),
        ("keyword", "a\x00b", "Character 2 "),
        ("keyword", "a\ud800", "Character 2 "),
        ("keyword", "snow\u202e", "Character 5 (U+202E, Right-to-left override) is invisible"),
        *(("user", f"na{each}sa", "is invisible: type") for each in INVISIBLE),
        ("query", "sn\u200bow", "U+200B"),
        ("user", "", "such as @nasa"),
        ("user", "Elon Musk", "by commas"),
        ("user", "@a-b", "is not an account"),
        ("user", "@" + "a" * 21, "up to 20"),
        ("place", ";", "-74,40,-73,41"),
        ("place", "40,-74", "four numbers"),
        ("place", "1,2,3,4,5", "four numbers"),
        ("place", "-74,41,-73,40", "south (41) is not below north (40)"),
        ("place", "40,100,41,101", "south is 100"),
        ("place", "-181,0,0,1", "west is -181"),
        ("place", "-73,40,-74,41", "west (-73) is right of east (-74)"),
        ("place", "5,40,5,41", "west and east are both 5"),
        ("place", "!", "is not a place"),
        ("place", "180,-19,-180,-17", "write a wider box"),
        ("place", "nan,0,1,1", "is not a box"),
        ("place", "1e1,0,11,1", "is not a box"),
    ],
)
def test_the_error_for_an_invalid_value_has_a_remedy(
    kind: TrackKind, value: str, remedy: str
) -> None:
    sentence = refusal(kind, value)
    assert remedy in sentence
    assert "\n" not in sentence
    sentence.encode()


def test_invisible_characters_that_scripts_and_emoji_need_are_accepted() -> None:
    for value in ("می\u200cخواهم", "ශ්\u200dරී", "👩\u200d🚀", "❤\ufe0f", "ភាសា\u200bខ្មែរ", WALES):
        assert parse("keyword", value).alternatives


def test_a_box_across_the_date_line_is_one_box() -> None:
    [box] = parse("place", "178,-19,-179.5,-17").alternatives
    assert (box.term, box.node) == ("178,-19,-179.5,-17", InBox((178, -19, -179.5, -17)))
    assert node("query", "bounding_box:[178 -19 -179.5 -17]") == InBox((178, -19, -179.5, -17))


def test_accounts_of_every_network() -> None:
    did = f"did:plc:{'ab27' * 6}"
    value = f"@NASA, 0123,@123,name.bsky.social,@a.b@mastodon.social,{did},https://x.com/esa"
    assert [each.node for each in parse("user", value).alternatives] == [
        User("any", handle="nasa"),
        User("any", id="123"),
        User("any", handle="123"),
        User("any", handle="name.bsky.social"),
        User("any", handle="a.b@mastodon.social"),
        User("any", id=did),
        User("any", handle="esa"),
    ]


@pytest.mark.parametrize("rest", ["a", "abc", "ab27" * 7, "AB27" * 6, "ab01" * 6])
def test_an_incomplete_id_of_bluesky_is_refused_with_its_form(rest: str) -> None:
    assert "24 small letters" in refusal("user", f"did:plc:{rest}")
    assert "24 small letters" in refusal("query", f"from:did:plc:{rest}")


def test_a_place_is_a_box_or_a_name() -> None:
    [box, name] = parse("place", "-74, 40 ,-73.5,41 ; New  York, NY").alternatives
    assert (box.term, box.node) == ("-74,40,-73.5,41", InBox((-74, 40, -73.5, 41)))
    assert (name.term, name.node) == ("new york, ny", AtPlace("name", "new york, ny"))


MANY = [f"a{number}" for number in range(MAX_ALTERNATIVES + 1)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[(kind, "x" * (MAX_VALUE + 1)) for kind in KINDS],
        *[(kind, "(" * 10_000) for kind in KINDS],
        ("keyword", ",".join(MANY)),
        ("user", ",".join(MANY)),
        ("place", ";".join(MANY)),
        ("query", " OR ".join(MANY)),
    ],
)
def test_a_value_has_limits(kind: TrackKind, value: str) -> None:
    assert "Split it into several tracks" in refusal(kind, value)


TEXT = st.text(max_size=60) | st.text(" ,;:()\"-#@$[]ORaoris.+'~_/19", max_size=60)


@given(st.sampled_from(KINDS), TEXT)
def test_any_text_is_parsed_or_refused(kind: TrackKind, value: str) -> None:
    try:
        query = parse(kind, value)
    except InvalidQuery as refused:
        str(refused).encode()
        return
    assert query.alternatives
    for alternative in query.alternatives:
        assert alternative.term.strip()
        alternative.term.encode()


@given(TEXT)
def test_the_term_of_a_keyword_parses_to_itself(value: str) -> None:
    try:
        query = parse("keyword", value)
    except InvalidQuery:
        return
    for alternative in query.alternatives:
        assert parse("keyword", alternative.term).alternatives == (alternative,)
