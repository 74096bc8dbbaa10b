"""kind query: the subset of X's rule language, and its sentences."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import InvalidQuery
from stream.query import (
    MAX_VALUE,
    And,
    AtPlace,
    Conversation,
    Entity,
    Has,
    InBox,
    InRadius,
    Is,
    Lang,
    Link,
    Node,
    Not,
    Or,
    Phrase,
    Term,
    User,
    parse,
)


def node(value: str) -> Node:
    [alternative] = parse("query", value).alternatives
    return alternative.node


def refusal(value: str) -> str:
    with pytest.raises(InvalidQuery) as caught:
        parse("query", value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Cat", Term("cat")),
        ("猫", Term("猫")),
        ("coca-cola", Phrase("coca-cola")),
        (":from:x#t", Phrase("from:x#t")),
        ('"a)b#t"', Phrase("a)b#t")),
        ('"Snow  Day"', Phrase("snow day")),
        ("“snow day”", Phrase("snow day")),
        ('"snow"', Term("snow")),
        ("#X", Entity("hashtag", "x")),
        ("@X", Entity("mention", "x")),
        ("$X", Entity("cashtag", "x")),
        ("from:@NASA", User("from", handle="nasa")),
        ("to:12", User("to", id="12")),
        ("retweets_of:esa", User("retweets_of", handle="esa")),
        ('url:"https://www.Example.com/a"', Link("example.com/a")),
        ('place:"New York"', AtPlace("name", "new york")),
        ("place_country:us", AtPlace("country", "US")),
        ("conversation_id:7", Conversation("7")),
        ("conversation_id:3k/did:plc:a", Conversation("3k/did:plc:a")),
        (
            "conversation_id:https://bsky.app/profile/did:plc:a/post/3k",
            Conversation("3k/did:plc:a"),
        ),
        ("conversation_id:at://did:plc:a/app.bsky.feed.post/3k", Conversation("3k/did:plc:a")),
        ("point_radius:[2.35 48.86 16km]", InRadius((2.35, 48.86), 16)),
        ("point_radius:[2 48 10mi]", InRadius((2, 48), 16.09344)),
        ("bounding_box:[-74 40 -73 41]", InBox((-74, 40, -73, 41))),
        ("https://example.com/a", Phrase("example.com/a")),
        ("a -is:nullcast", Term("a")),
        ("a lang:ID", And((Term("a"), Lang("in")))),
        ("a has:videos", And((Term("a"), Has("video_link")))),
        ("b a -c", And((Term("a"), Term("b"), Not(Term("c"))))),
        ("((a) (b))", And((Term("a"), Term("b")))),
        (
            "(cat OR dog) lang:en -is:retweet",
            And((Or((Term("cat"), Term("dog"))), Lang("en"), Not(Is("retweet")))),
        ),
    ],
)
def test_a_rule_becomes_a_tree(value: str, expected: Node) -> None:
    assert node(value) == expected


def test_and_binds_tighter_than_or_and_each_operand_of_or_is_an_alternative() -> None:
    alternatives = parse("query", "apple OR iphone ipad OR APPLE").alternatives
    assert [each.term for each in alternatives] == ["apple", "ipad iphone"]


def test_the_term_of_a_rule_parses_to_itself() -> None:
    term = '"a b" #c (x OR y -z) lang:en -is:retweet -url:"e.com"'
    [alternative] = parse("query", term).alternatives
    assert parse("query", alternative.term).alternatives == (alternative,)
    assert sorted(alternative.term) == sorted(term)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("", "write a rule"),
        ("form:nasa", "did you mean from:?"),
        ("re:invent x", "put it in quotes"),
        ("from: nasa", "without a space"),
        ("from:a-b", "is not an account"),
        ("is:retwet a", "did you mean is:retweet?"),
        ("has:cats a", "known are hashtags"),
        ("a is:nullcast", "write -is:nullcast"),
        ("-is:nullcast", "add a word"),
        ("a OR -is:nullcast", "add a word"),
        ("sample:10 a", "remove it"),
        ("lang:english a", "lang:en"),
        ("place_country:USA a", "place_country:US"),
        ("conversation_id:x", "first tweet"),
        ("has:media", "'has:media' only narrows"),
        ("has:links OR is:retweet", "'has:links' only narrows"),
        ("cat OR has:links", "'has:links' only narrows"),
        ("(cat OR lang:en) is:reply", "add a word"),
        ("-cat", "'-cat' only narrows"),
        ("cat OR -dog", "'-dog' only narrows"),
        ("a -(b c)", "before each word"),
        ("a -(b)", "before each word"),
        ("a OR", "The rule ends"),
        ("OR a", "At character 1, 'OR'"),
        ("a OR OR b", "At character 6, 'OR'"),
        ("a ()", "before the ) at character 4"),
        ("a - b", "The - at character 3"),
        ("a --b", "The - at character 4"),
        ("a ) b", "The bracket at character 3"),
        ("a ((b)", "The bracket at character 3"),
        ('a "b', "The quote at character 3"),
        ('"a b"~3', "exact phrase"),
        ('"..."', "contains no word"),
        ("a AND b", "remove it, or quote it"),
        ("a ...", "remove it"),
        ("C++", "choose another word"),
        ("bounding_box:[1 2 3]", "four numbers"),
        ("point_radius:[1 2 3]", "point_radius:[longitude latitude 16km]"),
        ("point_radius:[1 91 3km]", "longitude (-180 to 180)"),
        ("point_radius:[1 9 0km]", "more than 0"),
        ("(" * 30 + "a" + ")" * 30, "use fewer levels"),
    ],
)
def test_the_error_for_an_invalid_rule_has_a_remedy(value: str, remedy: str) -> None:
    assert remedy in refusal(value)


@pytest.mark.timeout(300)  # backtracking would take for ever
@pytest.mark.parametrize(
    "pattern", ["a ", "(a)", "a OR ", "-a ", '"a" ', "a:", "(", ")", '"', "-", "[", "from:a ", "😀"]
)
def test_a_long_hostile_rule_is_parsed_quickly(pattern: str) -> None:
    value = (pattern * MAX_VALUE)[:MAX_VALUE]
    with contextlib.suppress(InvalidQuery):
        parse("query", value)


PIECES = [
    *("a", "B", "OR", "-", "(", ")", '"', "from:x", "has:media", "-is:nullcast", "#t", ":", "[1"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.sampled_from(["", " "]))
def test_any_sequence_of_tokens_is_parsed_or_refused(pieces: list[str], between: str) -> None:
    try:
        query = parse("query", between.join(pieces))
    except InvalidQuery:
        return
    for alternative in query.alternatives:
        assert parse("query", alternative.term).alternatives == (alternative,)
