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
    Term,
    TrackKind,
    User,
    parse,
)

KINDS: tuple[TrackKind, ...] = ("keyword", "user", "place", "query")


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
    ],
)
def test_a_keyword_is_canonical(value: str, expected: list[str]) -> None:
    assert terms("keyword", value) == expected


def test_a_phrase_is_all_of_its_words_and_sigils_restrict_to_entities() -> None:
    assert node("keyword", "b a") == And((Term("a"), Term("b")))
    assert node("keyword", "#x") == Entity("hashtag", "x")
    assert node("keyword", "@Name.Bsky.Social") == Entity("mention", "name.bsky.social")
    assert node("keyword", "$brk.b") == Entity("cashtag", "brk.b")


def test_equal_alternatives_stand_once_and_in_the_order_written() -> None:
    assert terms("keyword", "b,a,B,c c,c") == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("kind", "value", "remedy"),
    [
        ("keyword", " , ", "at least one word"),
        ("keyword", "...", "write a word"),
        ("keyword", "www.Example.com/foo", "write 'example.com/foo'"),
        ("keyword", "C++", "choose another word"),
        ("keyword", "C#", "choose another word"),
        ("keyword", "cats -dogs", "kind query"),
        ("keyword", "cat OR dog", "by commas"),
        ("keyword", "from:nasa", "kind query"),
        ("keyword", "#rock-n-roll", "letters, digits and _"),
        ("keyword", "a\x00b", "Character 2 "),
        ("keyword", "a\ud800", "Character 2 "),
        ("user", "", "such as @nasa"),
        ("user", "Elon Musk", "by commas"),
        ("user", "@a-b", "is no account"),
        ("user", "@" + "a" * 21, "up to 20"),
        ("place", ";", "-74,40,-73,41"),
        ("place", "40,-74", "four numbers"),
        ("place", "1,2,3,4,5", "four numbers"),
        ("place", "-74,41,-73,40", "south (41) is not below north (40)"),
        ("place", "40,100,41,101", "south is 100"),
        ("place", "-181,0,0,1", "west is -181"),
        ("place", "170,-10,-170,10", "170,-10,180,10;-180,-10,-170,10"),
        ("place", "!", "is no place"),
    ],
)
def test_a_refusal_names_what_is_wrong_and_the_remedy(
    kind: TrackKind, value: str, remedy: str
) -> None:
    sentence = refusal(kind, value)
    assert remedy in sentence
    assert "\n" not in sentence
    sentence.encode()


def test_the_box_across_the_date_line_is_accepted_as_the_refusal_writes_it() -> None:
    assert terms("place", "170,-10,180,10;-180,-10,-170,10") == [
        "170,-10,180,10",
        "-180,-10,-170,10",
    ]


def test_accounts_of_every_network() -> None:
    value = "@NASA, 0123,@123,name.bsky.social,@a.b@mastodon.social,did:plc:Ab1,https://x.com/esa"
    assert [each.node for each in parse("user", value).alternatives] == [
        User("any", handle="nasa"),
        User("any", id="123"),
        User("any", handle="123"),
        User("any", handle="name.bsky.social"),
        User("any", handle="a.b@mastodon.social"),
        User("any", id="did:plc:Ab1"),
        User("any", handle="esa"),
    ]


def test_places_by_box_and_by_name() -> None:
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
    assert "make several tracks of it" in refusal(kind, value)


TEXT = st.text(max_size=60) | st.text(" ,;:()\"-#@$[]ORaoris.+'~_/19", max_size=60)


@given(st.sampled_from(KINDS), TEXT)
def test_any_text_is_understood_or_refused(kind: TrackKind, value: str) -> None:
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
def test_the_term_of_a_keyword_means_the_same_again(value: str) -> None:
    try:
        query = parse("keyword", value)
    except InvalidQuery:
        return
    for alternative in query.alternatives:
        assert parse("keyword", alternative.term).alternatives == (alternative,)
