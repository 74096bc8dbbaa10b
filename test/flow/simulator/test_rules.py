"""The simulator's own reading of rules and filters, row by row against the references."""

import pytest

from simulator.filters import FilterMatcher, FilterRefused, read_filter
from simulator.generator import Generator
from simulator.grammar import InvalidRule
from simulator.posts import Constraints
from simulator.rules import make_rule, match_input
from simulator.settings import Limits
from simulator.wire_v1 import payload as v1
from simulator.wire_v2 import payload as v2


def plain(text: str, **more: object) -> dict[str, object]:
    """The least that a v2 payload is, with what the test is about."""
    return {"data": {"id": "17", "text": text, "lang": "en", **more}}


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("snow", "Snow!", True),
        ("snow", "snowman", False),
        ("apple OR iphone ipad", "an apple", True),
        ("apple OR iphone ipad", "an iphone", False),
        ("apple OR iphone ipad", "ipad and iphone", True),
        ("(a OR b) c", "a and c", True),
        ("(a OR b) c", "a and b", False),
        ("cat -dog", "a cat", True),
        ("cat -dog", "a cat and a dog", False),
        ('"snow day"', "a Snow Day!", True),
        ('"snow day"', "day of snow", False),
        ('"coca-cola"', "coca cola", True),
        ('"a b"~2', "a x y b", True),
        ('"a b"~2', "a x y z b", False),
        ('"a b"~2', "b a", True),
        ('"a b"~1', "b a", False),
        ("touché", "touche", False),
        ("coca", "coca-cola", True),
        ("☔", "rain☔ again", True),
        ("cat lang:en", "a cat", True),
        ("cat lang:de", "a cat", False),
    ],
)
def test_a_rule_reads_words_as_the_reference_says(rule: str, text: str, *, expected: bool) -> None:
    """X v2 reference §4."""
    assert make_rule("1", rule, None, 0).test(match_input(plain(text))) is expected


def test_a_hashtag_matches_the_whole_entity_only() -> None:
    """`#thanku` does not match #thankunext, and a bare word matches the tag's token."""
    payload = plain("#thankunext", entities={"hashtags": [{"tag": "thankunext"}]})
    assert not make_rule("1", "#thanku", None, 0).test(match_input(payload))
    assert make_rule("1", "#ThankUNext", None, 0).test(match_input(payload))


def test_a_rule_looks_into_the_quoted_post() -> None:
    """The stream matches a quote's own content and the quoted original."""
    payload = plain("look", referenced_tweets=[{"type": "quoted", "id": "5"}])
    payload["includes"] = {"tweets": [{"id": "5", "text": "a blizzard"}]}
    assert make_rule("1", "blizzard is:quote", None, 0).test(match_input(payload))
    assert not make_rule("1", "blizzard -is:quote", None, 0).test(match_input(payload))


def test_place_operators_do_not_match_a_repost() -> None:
    """Place operators do not match reposts."""
    there = {"geo": {"coordinates": {"coordinates": [10.7, 59.9]}}}
    near = make_rule("1", "point_radius:[10.7 59.9 5km]", None, 0)
    assert near.test(match_input(plain("here", **there)))
    payload = plain("RT", **there, referenced_tweets=[{"type": "retweeted", "id": "5"}])
    payload["includes"] = {"tweets": [{"id": "5", "text": "here"}]}
    assert not near.test(match_input(payload))


@pytest.mark.parametrize(
    "rule",
    ["", "has:media", "has:links OR is:retweet", "-cat", "cat -(dog OR bird)", "(cat", "cat)",
     "cat OR", "coca-cola", "from:", "nonsense:x", "is:nullcast cat", "lang:en", "cat sample:0",
     "bounding_box:[-75 40 -73 41]", "point_radius:[1 2 60km]", "bounding_box:[a b c d]",
     '"a b"~9'],
)  # fmt: skip
def test_invalid_rules_are_refused(rule: str) -> None:
    """Conjunction-required alone, negated groups, bare punctuation, boxes over 25 miles."""
    with pytest.raises(InvalidRule):
        make_rule("1", rule, None, 0)


def tweet(text: str, **entities: object) -> dict[str, object]:
    """The least that a v1.1 tweet is."""
    return {"id_str": "1", "text": text, "lang": "en", "filter_level": "low", "entities": entities}


def linked(address: str) -> dict[str, object]:
    urls = [{"expanded_url": "http://" + address, "display_url": address}]
    return tweet("see https://t.co/abc", urls=urls)


def tagged(name: str) -> dict[str, object]:
    return tweet("#" + name, hashtags=[{"text": name}])


def mentioned(name: str, text: str = "") -> dict[str, object]:
    return tweet(text or "@" + name, user_mentions=[{"screen_name": name, "id_str": "9"}])


@pytest.mark.parametrize(
    ("track", "message", "expected"),
    [
        ("Twitter", tweet("TWITTER"), True),
        ("Twitter", tweet("“Twitter”"), True),
        ("Twitter", tweet("twitter."), True),
        ("Twitter", tagged("twitter"), True),
        ("Twitter", mentioned("twitter"), True),
        ("Twitter", linked("twitter.com"), True),
        ("Twitter", tweet("TwitterTracker"), False),
        ("Twitter", tagged("newtwitter"), False),
        ("Twitter’s", tweet("love Twitter’s new look"), True),
        ("Twitter’s", mentioned("Twitter", "going to @Twitter’s office one day"), False),
        ("twitter api,twitter streaming", tweet("the Twitter API rocks"), True),
        ("twitter api,twitter streaming", tweet("twitter streaming service: fast"), True),
        ("twitter api,twitter streaming", tweet("Twitter offers a streaming API"), True),
        ("twitter api,twitter streaming", tweet("I am new on Twitter"), False),
        ("example.com", linked("example.com"), True),
        ("example.com", linked("example.com/foobarbaz"), False),
        ("example.com/foobarbaz", linked("example.com/foobarbaz"), True),
        ("example.com/foobarbaz", linked("www.example.com/foobarbaz"), True),
        ("example.com/foobarbaz", linked("example.com"), False),
        ("www.example.com/foobarbaz", linked("www.example.com/foobarbaz"), False),
        ("example com", linked("foo.example.com/bar"), True),
        ("example com", tweet("one more example of a dot com bust"), True),
        ("#news", tweet("news"), False),
        ("touché", tweet("touche"), False),
    ],
)
def test_track_matches_as_the_official_table_says(
    track: str, message: dict[str, object], *, expected: bool
) -> None:
    """X v1.1 reference §6.2."""
    sieve = FilterMatcher(read_filter({"track": track}, Limits()))
    assert sieve.matches(message) is expected


def test_follow_delivers_posts_replies_and_reposts_but_not_mentions() -> None:
    """X v1.1 reference §8."""
    sieve = FilterMatcher(read_filter({"follow": "7"}, Limits()))
    name = {"screen_name": "x", "id_str": "7"}
    assert sieve.matches(tweet("a") | {"user": {"id_str": "7"}})
    assert sieve.matches(tweet("a") | {"in_reply_to_user_id_str": "7"})
    assert sieve.matches(tweet("a") | {"retweeted_status": {"user": {"id_str": "7"}}})
    assert sieve.matches(tweet("@x hi", user_mentions=[{**name, "indices": [0, 2]}]))
    assert not sieve.matches(tweet("hi @x", user_mentions=[{**name, "indices": [3, 5]}]))


def test_a_place_matches_by_point_first_and_never_for_a_repost() -> None:
    """X v1.1 reference §7."""
    sieve = FilterMatcher(read_filter({"locations": "-74,40,-73,41"}, Limits()))
    ring = [[[-73.5, 40.5], [-73.5, 42], [-70, 42], [-70, 40.5]]]
    near = {"place": {"bounding_box": {"coordinates": ring}}}
    assert sieve.matches(near)
    assert not sieve.matches({**near, "coordinates": {"coordinates": [-80, 40.5]}})
    assert not sieve.matches({**near, "retweeted_status": {}})


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({}, 406),
        ({"track": ",".join(map(str, range(401)))}, 413),
        ({"track": "é" * 31}, 406),
        ({"track": "a,,b"}, 406),
        ({"follow": ",".join(map(str, range(5001)))}, 413),
        ({"follow": "nasa"}, 406),
        ({"locations": ",".join(["0,0,1,1"] * 26)}, 413),
        ({"locations": "0,0,1"}, 406),
        ({"locations": "0,0,0.05,1"}, 406),
        ({"track": "a", "count": "10"}, 416),
    ],
)
def test_a_filter_beyond_its_limits_is_refused(parameters: dict[str, str], status: int) -> None:
    """X v1.1 reference §5."""
    with pytest.raises(FilterRefused) as refused:
        read_filter(parameters, Limits())
    assert refused.value.status == status


def test_entity_offsets_point_at_their_text() -> None:
    """Offsets are code points into the text that they belong to, in both dialects, cut or not."""
    generator = Generator(6)
    checked = 0
    for number in range(600):
        post = generator.post(Constraints(lang=("en", "ja", "ar", "th")[number % 4]))
        data = v2(post)["data"]
        assert isinstance(data, dict)
        for mention in data.get("entities", {}).get("mentions", []):
            found = data["text"][mention["start"] : mention["end"]]
            checked += found == "@" + mention["username"]
            assert found == "@" + mention["username"]
        short = v1(post)
        entities, text = short["entities"], short["text"]
        assert isinstance(entities, dict)
        assert isinstance(text, str)
        assert len(text) <= 140
        for tag in entities["hashtags"]:
            start, end = tag["indices"]
            assert text[start:end] == "#" + tag["text"]
        for url in entities["urls"]:
            start, end = url["indices"]
            assert text[start:end] == url["url"]
        names = [text[slice(*mention["indices"])] for mention in entities["user_mentions"]]
        assert names == ["@" + mention["screen_name"] for mention in entities["user_mentions"]]
        if post.reposted is not None:
            assert names[0] == "@" + post.reposted.author.handle
    assert checked > 100


def test_generated_posts_have_all_shapes() -> None:
    """Languages, reposts, quotes, replies, media, places, long ones: each now and then."""
    generator = Generator(7)
    posts = [generator.post() for _ in range(800)]
    payloads = [v2(post)["data"] for post in posts]
    assert len({post.lang for post in posts}) >= 10
    for key in ("note_tweet", "attachments", "geo", "in_reply_to_user_id", "entities"):
        assert sum(key in data for data in payloads if isinstance(data, dict)) >= 10, key
    assert sum(post.reposted is not None for post in posts) >= 50
    assert sum(post.quoted is not None for post in posts) >= 30
    assert sum(bool(v1(post)["truncated"]) for post in posts) >= 50
    assert len({post.id for post in posts}) == len(posts)
