"""What a tweet is credited to: the published tables row by row, the kinds, and the scripts."""

import pytest
from msgspec.structs import replace

from stream.errors import InvalidQuery
from stream.matcher import Matcher
from stream.query import TrackKind, parse
from stream.tweet import Box, Content, Match, NativeId, Place, TrackId, Tweet, TweetKind


def tweet(text: str = "", kind: TweetKind = "original", **content: tuple[str, ...]) -> Tweet:
    own = Content(text=text, **content)  # type: ignore[arg-type]  # only the lists are given
    return Tweet(native_id=NativeId("1"), kind=kind, own=own)


def found(kind: TrackKind, value: str, message: Tweet) -> list[Match]:
    return Matcher([(TrackId(1), parse(kind, value))]).match(message)


def matches(value: str, message: Tweet, kind: TrackKind = "keyword") -> bool:
    return bool(found(kind, value, message))


Messages = tuple[str | Tweet, ...]


def cases(*rows: tuple[str, Messages, Messages]) -> list[tuple[str, Tweet, bool]]:
    """Of each row: a track, the tweets that it matches, and those that it does not."""
    return [
        (track, tweet(each) if isinstance(each, str) else each, expected)
        for track, matching, others in rows
        for expected, messages in ((True, matching), (False, others))
        for each in messages
    ]


TAGGED = tweet("#snow", hashtags=("Snow",))
# The table that X publishes, and what it leaves open.
PUBLISHED = cases(
    ("Twitter", ("TWITTER", "twitter", "“Twitter”", '"Twitter"', "twitter.", "http://twitter.com",
                 tweet("#twitter", hashtags=("twitter",)), tweet("@twitter", mentions=("twitter",)),
                 tweet("https://t.co/1", links=("http://twitter.com/",))),
     ("TwitterTracker", tweet("#newtwitter", hashtags=("newtwitter",)))),
    ("Twitter’s", ("I love Twitter’s new look",),
     (tweet("going to @Twitter’s office", mentions=("Twitter",)),)),
    ("Twitter's", ("I love Twitter’s new look",), ()),
    ("twitter api,twitter streaming",
     ("The Twitter API rocks", "twitter streaming service: fast", "Twitter offers a streaming API"),
     ("I am new on Twitter",)),
    ("example.com", ("will visit example.com", "will visit https://www.example.com/."),
     ("no example.com/foobarbaz here",)),
    ("example.com/foobarbaz", ("example.com/foobarbaz", "www.example.com/foobarbaz",
                               tweet("t", links=("www.example.com/foobarbaz",))), ("example.com",)),
    ("example com", ("example.com", "www.example.com", "foo.example.com", "foo.example.com/bar",
                     "one more example of a dot com bust"), ()),
    ("hello", ("hello.",), ()),
    ("touché", ("TOUCHE\u0301!",), ("touche",)),
    ("touche", (), ("touché", "touche\u0323")),
    ("https", ("why https matters",), ("see https://t.co/1",)),
    ("www", (), ("see www.example.com",)),
    ("#snow", (TAGGED,), ("snow",)),
    ("@snow", (), (TAGGED,)),
    ("$aapl", (tweet("buy $AAPL", cashtags=("AAPL",)),), ("buy AAPL",)),
    ("$100", ("only $100!",), ("only 100!",)),
    ("a b", (tweet("a", hashtags=("b",)),), ()),
)  # fmt: skip
# Scripts without spaces match inside a run of characters, and others by word.
SCRIPTS = cases(
    ("台風", ("今夜は台風です",), ("風台",)),
    ("猫", ("黒猫!",), ()),
    ("สวัสดี", ("พูดว่าสวัสดีครับ",), ()),
    ("서울", ("서울에서",), ()),
    ("ဗမာ", ("မြန်မာဗမာစာ",), ()),
    ("ភាសា", ("ជាភាសាខ្មែរ",), ()),
    ("ລາວ", ("ພາສາລາວ",), ()),
    ("iphone", ("東京でiPhoneを買う",), ()),
    ("phone", (), ("東京でiPhoneを買う",)),
    ("3回", ("第3回",), ("13回",)),
    ("j-pop", ("最新のJ-POPを",), ()),
    ("東京 台風", ("台風が東京に",), ()),
    ("🎉", ("party🎉🎉now",), ("party",)),
    ("party", ("party🎉🎉now",), ()),
    ("❤\ufe0f", ("love ❤",), ()),
    ("❤🔥", ("love ❤\ufe0f🔥",), ()),
    ("हिन्दी", ("यह हिन्दी है।",), ()),
    ("न", (), ("यह हिन्दी है।",)),
    ("привет", ("ПРИВЕТ, мир",), ()),
    ("комп'ютер", ("новий компʼютер",), ()),
    ("istanbul", ("İSTANBUL!",), ()),
)
WALES = "🏴\U000e0067\U000e0062\U000e0077\U000e007f"
# An emoji is found as a whole, and one without a skin tone in those of each tone.
EMOJI = cases(
    ("🇺🇸", ("🇦🇺🇺🇸🇸🇪", "go🇺🇸go"), ("🇦🇺🇸🇪", "🇷🇺🇸🇰")),
    ("🇺🇸🇸🇪", ("🇺🇸🇸🇪🇦🇺",), ()),
    ("🇸", ("🇺🇸🇸",), ("🇺🇸",)),
    ("❤\ufe0f", ("❤",), ()),
    ("❤", ("❤\ufe0f", "❤\ufe0e"), ("❤\ufe0f\u200d🔥",)),
    ("❤\ufe0f\u200d🔥", ("❤\u200d🔥",), ()),
    ("👩", (), ("👩\u200d🚀",)),
    ("🚀", ("👩\u200d🚀🚀",), ("👩\u200d🚀",)),
    ("👩\u200d🚀", ("👩\u200d🚀🚀", "👩🏽\u200d🚀"), ()),
    ("👩🏽\u200d🚀", (), ("👩\u200d🚀",)),
    ("👍", ("👍🏽",), ()),
    ("👍🏽", ("👍🏽",), ("👍🏿", "👍")),
    ("👍🎉", ("👍🏽🎉",), ()),
    ("1\ufe0f\u20e3", ("1\u20e3", "2\ufe0f\u20e31\ufe0f\u20e3st"), ("11",)),
    ("1", (), ("1\ufe0f\u20e3",)),
    ("st", ("1\ufe0f\u20e3st",), ()),
    ("#\ufe0f\u20e3", ("press #\ufe0f\u20e3",), ("*\ufe0f\u20e3",)),
    ("🏴", (), (WALES,)),
    (WALES, (WALES,), ("🏴",)),
)
# Signs inside a word and the order of quoted words count; the same in both kinds.
SIGNS = cases(
    ("AT&T", ("at&t", "AT&T’s network, AT&T/Verizon"), ("at t", "look at t", "hat&t")),
    ("50%off", ("50%off!",), ("50 off",)),
    ('"only 50% off"', ("ONLY  50% off",), ("only 50 off",)),
    ('"only $100"', (), ("only $1000",)),
    ('"snow day"', ("a snow-day",), ("day of snow",)),
)


@pytest.mark.parametrize(("track", "message", "expected"), [*PUBLISHED, *SCRIPTS, *EMOJI, *SIGNS])
def test_which_tweets_a_keyword_matches(track: str, message: Tweet, expected: bool) -> None:
    assert matches(track, message) is expected


@pytest.mark.parametrize(
    "tag",
    [
        *("ラブ・ライブ", "می\u200cخواهم", "col·legi", "צה״ל", "ג׳ירפה", "བོད་ཡིག༌x", "𝒜𑄴"),
        *("ニ゠ト", "〃x"),
    ],
)
@pytest.mark.parametrize("kind", ["keyword", "query"])
def test_a_hashtag_of_any_script_is_found(tag: str, kind: TrackKind) -> None:
    assert matches(f"#{tag}", tweet(f"x #{tag}", hashtags=(tag,)), kind)
    assert not matches(f"#{tag}", tweet(f"x {tag}"), kind)
    assert not matches(f"#{tag}", tweet(f"x {tag}y", hashtags=(f"{tag}y",)), kind)


CAT = tweet("cat")
RULES = cases(
    ("coca-cola", ("Coca Cola",), ("cola coca",)),
    ('"snow day"', ("a snow-day!",), (tweet("snow", hashtags=("day",)),)),
    ('"東京 タワー"', ("新東京  タワーへ",), ()),
    (
        "url:example.com",
        (tweet("", links=("https://a.example.com/x",)),),
        ("example.com", tweet("", descriptions=("example.com",))),
    ),
    (
        '"snow day"',
        (tweet("", descriptions=("A snow day",)),),
        (tweet("snow", descriptions=("day",)),),
    ),
    ("cat -dog", ("cat",), ("cat dog",)),
    ("(cat OR dog) bird", ("bird dog",), ("cat dog",)),
    ("cat has:hashtags", (tweet("cat", hashtags=("x",)),), ("cat",)),
    ("cat has:links", (tweet("cat", links=("x",)),), ()),
    ("cat has:mentions -has:cashtags", (tweet("cat", mentions=("x",)),), ()),
    ("cat has:mentions", (tweet("cat", mention_ids=("did:plc:x",)),), ()),
    ("cat -dog", (), (tweet("cat", descriptions=("a dog",)),)),
    ("cat -has:links -has:media", (tweet("", descriptions=("cat",)),), ()),
    ("#cat", (), (tweet("", descriptions=("#cat",)),)),
    ("cat is:retweet", (tweet("cat", "repost"),), ()),
    ("cat -is:retweet", (), (tweet("cat", "repost"),)),
    ("cat is:reply", (tweet("cat", "reply"),), ()),
    ("cat is:quote", (), (tweet("cat", "reply"),)),
    ("cat lang:en", (replace(CAT, lang="en-GB"),), (replace(CAT, lang="de"),)),
    ("cat lang:he", (replace(CAT, lang="iw"),), ()),
    ("cat lang:und", ("cat",), ()),
    ("cat has:images", (replace(CAT, media=("photo",)),), ()),
    ("cat has:video_link", (), (replace(CAT, media=("photo",)),)),
    ("cat has:media is:verified", (replace(CAT, media=("video",), verified=True),), ()),
    ("conversation_id:7", (replace(CAT, conversation_id="7"),), ()),
    ("cat has:geo", (replace(CAT, point=(1.0, 2.0)),), ()),
    ("place_country:fr", (replace(CAT, place=Place(country="FR")),), ()),
    ('place:"New York"', (replace(CAT, place=Place(names=("x", "new york"))),), ()),
    ("point_radius:[2 48 20km]", (replace(CAT, point=(2.2, 48.0)),), ()),
    ("point_radius:[2 48 10km]", (), (replace(CAT, point=(2.2, 48.0)),)),
    ("point_radius:[179.9 0 50km]", (replace(CAT, point=(-179.9, 0.0)),), ()),
    ("point_radius:[0 89.9 50km]", (replace(CAT, point=(180.0, 89.9)),), ()),
)


@pytest.mark.parametrize(("rule", "message", "expected"), [*RULES, *SIGNS])
def test_which_tweets_a_rule_matches(rule: str, message: Tweet, expected: bool) -> None:
    assert matches(rule, message, "query") is expected


def test_an_excluded_term_must_be_in_no_part_and_the_others_together_in_one() -> None:
    repost = replace(
        tweet("RT @x: a cat and…", "repost"), reposted=Content(text="a cat and a dog", author="x")
    )
    assert not matches("cat -dog", repost, "query")
    assert not matches("rt dog", repost)
    assert [match.part for match in found("keyword", "a dog", repost)] == ["reposted"]
    assert [match.part for match in found("keyword", "cat", repost)] == ["own"]


def test_the_match_names_the_first_part_and_then_the_first_alternative() -> None:
    message = replace(
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
        ("pictured", "description"),
        ("pictured.org/x", "description"),
        ("画", "description"),
        ('"is pictured"', "description"),
    ],
)
def test_the_match_names_the_field_where_the_term_is(track: str, field: str) -> None:
    message = tweet(
        "plain #tag @name $cash written.org 日 https://linked.org/x",
        hashtags=("tag", "本国"),
        mentions=("name",),
        cashtags=("CASH",),
        links=("https://linked.org/x",),
        descriptions=("plain", "What is pictured: 絵画 from pictured.org/x"),
    )
    assert [match.field for match in found("keyword", track, message)] == [field]


AUTHOR = Content(author="NASA", author_id="11")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (replace(tweet(), own=AUTHOR), ("author", "own")),
        (replace(tweet(), reply_to="nasa", reply_to_id="11"), ("reply", "own")),
        (replace(tweet(kind="repost"), reposted=AUTHOR), ("author", "reposted")),
        (tweet("@nasa hi", mentions=("NASA",), mention_ids=("11",)), ("mention", "own")),
        (tweet("hi @nasa", mentions=("NASA",), mention_ids=("11",)), None),
        (replace(tweet(kind="quote"), quoted=AUTHOR), None),
        (tweet("RT @nasa: x", mentions=("NASA",), mention_ids=("11",)), None),
    ],
)
def test_a_user_track_matches_what_the_network_delivers_for_a_user(
    message: Tweet, expected: tuple[str, str] | None
) -> None:
    for value in ("@Nasa", "11"):
        result = [(match.field, match.part) for match in found("user", value, message)]
        assert result == ([expected] if expected else [])


def test_from_to_and_retweets_of_match_different_tweets() -> None:
    own = replace(tweet(), own=AUTHOR)
    reply = replace(tweet(), reply_to="nasa")
    repost = replace(tweet(kind="repost"), reposted=AUTHOR)
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
    return replace(tweet(kind=kind), point=point, place=Place(box=box) if box else None)


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
def test_a_box_is_compared_with_the_point_or_else_the_place(message: Tweet, expected: bool) -> None:
    assert matches("-74,40,-73,41", message, "place") is expected


def test_a_place_by_name_is_its_name_full_name_or_id() -> None:
    place = Place(names=("01a9a39529b27f36", "Manhattan", "Manhattan, NY"))
    message = replace(tweet(), place=place)
    assert matches("manhattan", message, "place")
    assert matches("Manhattan,  NY", message, "place")
    assert matches("01a9a39529b27f36", message, "place")
    assert not matches("NY", message, "place")
    assert not matches("Manhattan", replace(message, kind="repost"), "place")


@pytest.mark.timeout(300)  # what grows with the square of the length takes many minutes
@pytest.mark.parametrize(
    "text",
    [
        *("\ud800 a", "\x00", "!" * 200_000, "#" * 100_000, "a." * 100_000, "台" * 200_000),
        *("🇺🇸" * 40_000, "🇸🇺" * 40_000, "1\u20e3" * 80_000, "👍🏽" * 40_000, "at&t" * 50_000),
        "👩\u200d🚀" * 40_000,
    ],
)
def test_a_hostile_text_is_matched_quickly(text: str) -> None:
    values = ("a", "a.b", "台風", "#x", "🎉", "🇸🇺", "1\u20e3", "👍", "🚀", "at&t")
    matcher = Matcher((TrackId(at), parse("keyword", value)) for at, value in enumerate(values))
    matcher.match(tweet(text, links=(text,)))


def test_without_tracks_nothing_matches() -> None:
    assert Matcher([]).match(tweet("a")) == []


@pytest.mark.parametrize(
    ("rule", "german", "other"),
    [("lang:de", True, False), ("-lang:de", False, True), ("snow OR lang:de", True, False)],
)
def test_a_filter_may_have_only_narrowing_operators(rule: str, german: bool, other: bool) -> None:
    with pytest.raises(InvalidQuery, match="only narrows"):
        parse("query", rule)
    matcher = Matcher([(TrackId(1), parse("query", rule, may_only_narrow=True))])
    assert bool(matcher.match(replace(tweet(), lang="de"))) is german
    assert bool(matcher.match(replace(tweet(), lang="en"))) is other
