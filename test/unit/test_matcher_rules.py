"""What a tweet is credited to: the published tables row by row, the kinds, and the scripts."""

import time

import pytest

from stream.errors import InvalidQuery
from stream.matcher import Matcher
from stream.query import TrackKind, parse
from stream.tweet import Box, Content, Match, NativeId, Place, TrackId, Tweet, TweetKind


def tweet(text: str = "", kind: TweetKind = "original", **content: tuple[str, ...]) -> Tweet:
    own = Content(text=text, **content)  # type: ignore[arg-type]  # only the lists are given
    return Tweet(native_id=NativeId("1"), kind=kind, own=own)


def changed(original: Tweet, **fields: object) -> Tweet:
    values = {name: getattr(original, name) for name in original.__struct_fields__}
    return Tweet(**(values | fields))


def found(kind: TrackKind, value: str, message: Tweet) -> list[Match]:
    return Matcher([(TrackId(1), parse(kind, value))]).match(message)


def matches(value: str, message: Tweet, kind: TrackKind = "keyword") -> bool:
    return bool(found(kind, value, message))


@pytest.mark.parametrize(
    ("track", "message", "expected"),
    [
        ("Twitter", tweet("TWITTER"), True),
        ("Twitter", tweet("twitter"), True),
        ("Twitter", tweet("“Twitter”"), True),
        ("Twitter", tweet('"Twitter"'), True),
        ("Twitter", tweet("twitter."), True),
        ("Twitter", tweet("#twitter", hashtags=("twitter",)), True),
        ("Twitter", tweet("@twitter", mentions=("twitter",)), True),
        ("Twitter", tweet("http://twitter.com"), True),
        ("Twitter", tweet("https://t.co/1", links=("http://twitter.com/",)), True),
        ("Twitter", tweet("TwitterTracker"), False),
        ("Twitter", tweet("#newtwitter", hashtags=("newtwitter",)), False),
        ("Twitter’s", tweet("I love Twitter’s new look"), True),
        ("Twitter's", tweet("I love Twitter’s new look"), True),
        ("Twitter’s", tweet("going to @Twitter’s office", mentions=("Twitter",)), False),
        ("twitter api,twitter streaming", tweet("The Twitter API rocks"), True),
        ("twitter api,twitter streaming", tweet("twitter streaming service: fast"), True),
        ("twitter api,twitter streaming", tweet("Twitter offers a streaming API"), True),
        ("twitter api,twitter streaming", tweet("I am new on Twitter"), False),
        ("example.com", tweet("will visit example.com"), True),
        ("example.com", tweet("will visit https://www.example.com/."), True),
        ("example.com", tweet("no example.com/foobarbaz here"), False),
        ("example.com/foobarbaz", tweet("example.com/foobarbaz"), True),
        ("example.com/foobarbaz", tweet("www.example.com/foobarbaz"), True),
        ("example.com/foobarbaz", tweet("t", links=("www.example.com/foobarbaz",)), True),
        ("example.com/foobarbaz", tweet("example.com"), False),
        ("example com", tweet("example.com"), True),
        ("example com", tweet("www.example.com"), True),
        ("example com", tweet("foo.example.com"), True),
        ("example com", tweet("foo.example.com/bar"), True),
        ("example com", tweet("one more example of a dot com bust"), True),
        ("hello", tweet("hello."), True),
        ("touché", tweet("touche"), False),
        ("touche", tweet("touché"), False),
        ("touché", tweet("TOUCHE\u0301!"), True),
        ("touche", tweet("touche\u0323"), False),
        ("https", tweet("see https://t.co/1"), False),
        ("https", tweet("why https matters"), True),
        ("www", tweet("see www.example.com"), False),
        ("#snow", tweet("snow"), False),
        ("#snow", tweet("#snow", hashtags=("Snow",)), True),
        ("@snow", tweet("#snow", hashtags=("Snow",)), False),
        ("$aapl", tweet("buy $AAPL", cashtags=("AAPL",)), True),
        ("$aapl", tweet("buy AAPL"), False),
        ("$100", tweet("only $100!"), True),
        ("$100", tweet("only 100!"), False),
        ("a b", tweet("a", hashtags=("b",)), True),
    ],
)
def test_the_published_table_of_keywords(track: str, message: Tweet, expected: bool) -> None:
    assert matches(track, message) is expected


@pytest.mark.parametrize(
    ("track", "text", "expected"),
    [
        ("台風", "今夜は台風です", True),
        ("台風", "風台", False),
        ("猫", "黒猫!", True),
        ("สวัสดี", "พูดว่าสวัสดีครับ", True),
        ("서울", "서울에서", True),
        ("ဗမာ", "မြန်မာဗမာစာ", True),
        ("ភាសា", "ជាភាសាខ្មែរ", True),
        ("ລາວ", "ພາສາລາວ", True),
        ("iphone", "東京でiPhoneを買う", True),
        ("phone", "東京でiPhoneを買う", False),
        ("3回", "第3回", True),
        ("3回", "13回", False),
        ("j-pop", "最新のJ-POPを", True),
        ("東京 台風", "台風が東京に", True),
        ("🎉", "party🎉🎉now", True),
        ("party", "party🎉🎉now", True),
        ("❤\ufe0f", "love ❤", True),
        ("❤🔥", "love ❤\ufe0f🔥", True),
        ("🎉", "party", False),
        ("हिन्दी", "यह हिन्दी है।", True),
        ("न", "यह हिन्दी है।", False),
        ("привет", "ПРИВЕТ, мир", True),
        ("комп'ютер", "новий компʼютер", True),
        ("istanbul", "İSTANBUL!", True),
    ],
)
def test_scripts_without_spaces_match_inside_a_run_and_others_by_word(
    track: str, text: str, expected: bool
) -> None:
    assert matches(track, tweet(text)) is expected


@pytest.mark.parametrize(
    ("rule", "message", "expected"),
    [
        ("coca-cola", tweet("Coca Cola"), True),
        ("coca-cola", tweet("cola coca"), False),
        ('"snow day"', tweet("a snow-day!"), True),
        ('"snow day"', tweet("snow", hashtags=("day",)), False),
        ('"東京 タワー"', tweet("新東京  タワーへ"), True),
        ("url:example.com", tweet("", links=("https://a.example.com/x",)), True),
        ("url:example.com", tweet("example.com"), False),
        ("cat -dog", tweet("cat"), True),
        ("cat -dog", tweet("cat dog"), False),
        ("(cat OR dog) bird", tweet("bird dog"), True),
        ("(cat OR dog) bird", tweet("cat dog"), False),
        ("cat has:hashtags", tweet("cat"), False),
        ("cat has:hashtags", tweet("cat", hashtags=("x",)), True),
        ("cat has:links", tweet("cat", links=("x",)), True),
        ("cat has:mentions -has:cashtags", tweet("cat", mentions=("x",)), True),
        ("cat is:retweet", tweet("cat", "repost"), True),
        ("cat -is:retweet", tweet("cat", "repost"), False),
        ("cat is:reply", tweet("cat", "reply"), True),
        ("cat is:quote", tweet("cat", "reply"), False),
        ("cat lang:en", changed(tweet("cat"), lang="en-GB"), True),
        ("cat lang:he", changed(tweet("cat"), lang="iw"), True),
        ("cat lang:und", tweet("cat"), True),
        ("cat lang:en", changed(tweet("cat"), lang="de"), False),
        ("cat has:images", changed(tweet("cat"), media=("photo",)), True),
        ("cat has:video_link", changed(tweet("cat"), media=("photo",)), False),
        ("cat has:media is:verified", changed(tweet("cat"), media=("video",), verified=True), True),
        ("conversation_id:7", changed(tweet(), conversation_id="7"), True),
        ("cat has:geo", changed(tweet("cat"), point=(1.0, 2.0)), True),
        ("place_country:fr", changed(tweet(), place=Place(country="FR")), True),
        ('place:"New York"', changed(tweet(), place=Place(names=("x", "new york"))), True),
        ("point_radius:[2 48 20km]", changed(tweet(), point=(2.2, 48.0)), True),
        ("point_radius:[2 48 10km]", changed(tweet(), point=(2.2, 48.0)), False),
        ("point_radius:[179.9 0 50km]", changed(tweet(), point=(-179.9, 0.0)), True),
        ("point_radius:[0 89.9 50km]", changed(tweet(), point=(180.0, 89.9)), True),
    ],
)
def test_rules(rule: str, message: Tweet, expected: bool) -> None:
    assert matches(rule, message, "query") is expected


def test_what_is_excluded_may_stand_in_no_part_and_what_is_wanted_stands_in_one() -> None:
    repost = changed(
        tweet("RT @x: a cat and…", "repost"), reposted=Content(text="a cat and a dog", author="x")
    )
    assert not matches("cat -dog", repost, "query")
    assert not matches("rt dog", repost)
    assert [match.part for match in found("keyword", "a dog", repost)] == ["reposted"]
    assert [match.part for match in found("keyword", "cat", repost)] == ["own"]


def test_the_best_part_wins_and_then_the_earliest_alternative() -> None:
    message = changed(
        tweet("c b", "quote"), reposted=Content(text="a"), quoted=Content(text="a d", author="q")
    )
    assert found("keyword", "a,b,c", message) == [Match(TrackId(1), "b", "text", "own")]
    assert found("keyword", "d,a", message) == [Match(TrackId(1), "a", "text", "reposted")]
    assert found("keyword", "d", message) == [Match(TrackId(1), "d", "text", "quoted")]


@pytest.mark.parametrize(
    ("track", "field"),
    [
        ("plain", "text"),
        ("tag", "hashtag"),
        ("#tag", "hashtag"),
        ("name", "mention"),
        ("cash", "cashtag"),
        ("linked", "link"),
        ("linked.org/x", "link"),
        ("written.org", "text"),
        ("日", "text"),
        ("本", "hashtag"),
    ],
)
def test_the_field_tells_where_the_term_stands(track: str, field: str) -> None:
    message = tweet(
        "plain #tag @name $cash written.org 日 https://linked.org/x",
        hashtags=("tag", "本国"),
        mentions=("name",),
        cashtags=("CASH",),
        links=("https://linked.org/x",),
    )
    assert [match.field for match in found("keyword", track, message)] == [field]


AUTHOR = Content(author="NASA", author_id="11")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (changed(tweet(), own=AUTHOR), ("author", "own")),
        (changed(tweet(), reply_to="nasa", reply_to_id="11"), ("reply", "own")),
        (changed(tweet(kind="repost"), reposted=AUTHOR), ("author", "reposted")),
        (tweet("@nasa hi", mentions=("NASA",), mention_ids=("11",)), ("mention", "own")),
        (tweet("hi @nasa", mentions=("NASA",), mention_ids=("11",)), None),
        (changed(tweet(kind="quote"), quoted=AUTHOR), None),
        (tweet("RT @nasa: x", mentions=("NASA",), mention_ids=("11",)), None),
    ],
)
def test_an_account_gets_what_follow_delivers(
    message: Tweet, expected: tuple[str, str] | None
) -> None:
    for value in ("@Nasa", "11"):
        result = [(match.field, match.part) for match in found("user", value, message)]
        assert result == ([expected] if expected else [])


def test_the_relations_of_a_rule_are_told_apart() -> None:
    own = changed(tweet(), own=AUTHOR)
    reply = changed(tweet(), reply_to="nasa")
    repost = changed(tweet(kind="repost"), reposted=AUTHOR)
    by_rule = {
        rule: [matches(rule, message, "query") for message in (own, reply, repost)]
        for rule in ("from:nasa", "to:nasa", "retweets_of:nasa")
    }
    assert by_rule == {
        "from:nasa": [True, False, False],
        "to:nasa": [False, True, False],
        "retweets_of:nasa": [False, False, True],
    }


def at(point: tuple[float, float] | None, box: Box | None, kind: TweetKind = "original") -> Tweet:
    return changed(tweet(kind=kind), point=point, place=Place(box=box) if box else None)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (at((-73.5, 40.5), None), True),
        (at((-74.0, 41.0), None), True),
        (at((-72.9, 40.5), None), False),
        (at(None, (-80.0, 30.0, -73.9, 40.1)), True),
        (at(None, (-80.0, 30.0, -74.1, 40.1)), False),
        (at((0.0, 0.0), (-80.0, 30.0, -73.9, 40.1)), False),
        (at((-73.5, 40.5), None, "repost"), False),
        (at(None, None), False),
    ],
)
def test_a_box_asks_the_point_first_and_then_the_place(message: Tweet, expected: bool) -> None:
    assert matches("-74,40,-73,41", message, "place") is expected


def test_a_place_by_name_is_its_name_full_name_or_id() -> None:
    place = Place(names=("01a9a39529b27f36", "Manhattan", "Manhattan, NY"))
    message = changed(tweet(), place=place)
    assert matches("manhattan", message, "place")
    assert matches("Manhattan,  NY", message, "place")
    assert matches("01a9a39529b27f36", message, "place")
    assert not matches("NY", message, "place")
    assert not matches("Manhattan", changed(message, kind="repost"), "place")


@pytest.mark.parametrize(
    "text", ["\ud800 a", "\x00", "!" * 200_000, "#" * 100_000, "a." * 100_000, "台" * 200_000]
)
def test_a_hostile_text_costs_little_and_stops_nothing(text: str) -> None:
    values = ("a", "a.b", "台風", "#x", "🎉")
    matcher = Matcher((TrackId(at), parse("keyword", value)) for at, value in enumerate(values))
    began = time.process_time()
    matcher.match(tweet(text, links=(text,)))
    assert time.process_time() - began < 2


def test_without_tracks_nothing_matches() -> None:
    assert Matcher([]).match(tweet("a")) == []


@pytest.mark.parametrize(
    ("rule", "german", "other"),
    [("lang:de", True, False), ("-lang:de", False, True), ("snow OR lang:de", True, False)],
)
def test_a_filter_of_what_is_there_may_only_narrow(rule: str, german: bool, other: bool) -> None:
    with pytest.raises(InvalidQuery, match="only narrows"):
        parse("query", rule)
    matcher = Matcher([(TrackId(1), parse("query", rule, may_only_narrow=True))])
    assert bool(matcher.match(changed(tweet(), lang="de"))) is german
    assert bool(matcher.match(changed(tweet(), lang="en"))) is other
