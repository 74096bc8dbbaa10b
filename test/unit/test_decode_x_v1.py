"""X v1.1: a tweet is read whole, or refused with its reason."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from stream.errors import Reject
from stream.networks.x_v1.decode import decode, moment
from stream.tweet import Content, NativeId, Place, Tweet

FRAMES = Path(__file__).parent.parent / "frames" / "x_v1"

GOLDEN = {
    "plain": Tweet(
        native_id=NativeId("1724552712345678901"),
        kind="original",
        own=Content(
            text="Ski & sledge <3 #Snow $FLK with @Berta_B https://t.co/a1 雪 😀",
            hashtags=("Snow",),
            mentions=("Berta_B",),
            mention_ids=("6",),
            cashtags=("FLK",),
            links=("http://sho.rt/1", "sho.rt/1", "https://example.com/snow"),
            author="Anna_A",
            author_id="5",
        ),
        text="Ski & sledge <3 #Snow $FLK with @Berta_B https://t.co/a1 雪 😀",
        url="https://x.com/Anna_A/status/1724552712345678901",
        created_at=datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        lang="en",
        point=(10.75, 59.91),
        place=Place(("01a9", "Oslo", "Oslo, Norway"), "NO", (10.5, 59.8, 10.9, 60.1)),
        verified=True,
        rules=("winter", "77"),
    ),
    "extended": Tweet(
        native_id=NativeId("948500000000000001"),
        kind="original",
        own=Content(
            text="the beginning of a long story that ends with an avalanche #whole @Carl"
            " https://t.co/b2",
            hashtags=("whole",),
            mentions=("Carl",),
            mention_ids=("7",),
            links=(
                "https://twitter.com/dora/status/948500000000000001/video/1",
                "pic.twitter.com/b2",
            ),
            author="dora",
            author_id="8",
        ),
        text="the beginning of a long story that ends with an avalanche #whole @Carl"
        " https://t.co/b2",
        url="https://x.com/dora/status/948500000000000001",
        created_at=datetime(2018, 1, 3, 8, tzinfo=UTC),
        lang="en",
        media=("video",),
    ),
    "repost_of_quote": Tweet(
        native_id=NativeId("948900000000000001"),
        kind="repost",
        own=Content(
            text="RT @emil: look at this avalanche, it is the biggest that anybody has…",
            mentions=("emil",),
            mention_ids=("12",),
            author="finn",
            author_id="11",
        ),
        reposted=Content(
            text="look at this avalanche, it is the biggest that anybody has ever seen #Alps",
            hashtags=("Alps",),
            author="emil",
            author_id="12",
        ),
        quoted=Content(text="it came down at noon", author="gerd", author_id="13"),
        text="look at this avalanche, it is the biggest that anybody has ever seen #Alps",
        url="https://x.com/finn/status/948900000000000001",
        created_at=datetime(2018, 1, 4, 8, tzinfo=UTC),
        lang="en",
        media=("photo", "photo"),
    ),
    "quote_gone": Tweet(
        native_id=NativeId("949000000000000001"),
        kind="quote",
        own=Content(text="what they said https://t.co/q", author="ines", author_id="22"),
        text="what they said https://t.co/q",
        url="https://x.com/ines/status/949000000000000001",
        created_at=datetime(2018, 1, 5, 8, tzinfo=UTC),
        lang="en",
        reply_to="hanna",
        reply_to_id="21",
        withheld=("DE", "TR"),
    ),
    "reply": Tweet(
        native_id=NativeId("949400000000000001"),
        kind="reply",
        own=Content(
            text="@hanna me too",
            mentions=("hanna",),
            mention_ids=("21",),
            author="ines",
            author_id="22",
        ),
        text="@hanna me too",
        url="https://x.com/ines/status/949400000000000001",
        created_at=datetime(2018, 1, 6, 8, tzinfo=UTC),
        lang="en",
        reply_to="hanna",
        reply_to_id="21",
        point=(151.2, -33.86),
    ),
    "first_years": Tweet(
        native_id=NativeId("151000001"),
        kind="original",
        own=Content(text="trying out this new thing", author="jens", author_id="31"),
        text="trying out this new thing",
        url="https://x.com/jens/status/151000001",
        created_at=datetime(2007, 7, 16, 10, 30, tzinfo=UTC),
    ),
    "rounded": Tweet(
        native_id=NativeId("949800000000000123"),
        kind="original",
        own=Content(text="through a tool that rounds", author_id="4100000000000000321"),
        text="through a tool that rounds",
        url="https://x.com/i/status/949800000000000123",
        created_at=datetime(2018, 1, 7, 8, tzinfo=UTC),
        lang="en",
    ),
}

REFUSED = [
    ('{"text":"no id","user":{"id":1}}', "no_id"),
    ('{"id":null,"text":"x"}', "no_id"),
    ('{"id_str":"12ab","text":"x"}', "no_id"),
    ('{"id_str":"٣","text":"x"}', "no_id"),
    ('{"id":0,"text":"x"}', "no_id"),
    ('{"id":-5,"text":"x"}', "no_id"),
    ('{"id_str":"007","text":"a second spelling of one id"}', "no_id"),
    ('{"id":9223372036854775808,"text":"x"}', "no_id"),
    ('{"id_str":"9223372036854775808","text":"x"}', "no_id"),
    ('{"id":9.49e17,"text":"a rounded id is worse than none"}', "no_id"),
    ('{"id":[5],"text":"x"}', "no_id"),
    ('{"id":5,"text":5}', "bad_shape"),
    ('{"delete":5}', "bad_shape"),
    ('{"delete":{"status":{"user_id":5}}}', "bad_shape"),
    ('{"scrub_geo":{"user_id":5}}', "bad_shape"),
    ('{"user_withheld":{"id":5,"withheld_in_countries":"DE"}}', "bad_shape"),
    ('{"data":{"id":"1","text":"of another API"}}', "bad_shape"),
]


@pytest.mark.parametrize("name", GOLDEN)
def test_a_tweet_is_read_whole(name: str) -> None:
    assert decode((FRAMES / f"{name}.json").read_bytes()) == GOLDEN[name]


def test_every_frame_has_its_expectation() -> None:
    assert {path.stem for path in FRAMES.iterdir()} == set(GOLDEN)


@pytest.mark.parametrize(("frame", "reason"), REFUSED)
def test_what_cannot_be_stored_is_refused_with_its_reason(frame: str, reason: str) -> None:
    with pytest.raises(Reject) as refused:
        decode(frame.encode())
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("frame", "native_id"),
    [
        ('{"id":"77","text":""}', "77"),
        ('{"id":77.0,"text":""}', "77"),
        ('{"id_str":"","id":77,"text":""}', "77"),
        ('{"id_str":78,"id":77,"text":""}', "77"),
        ('{"id_str":"9223372036854775807","id":9.2e18,"text":""}', "9223372036854775807"),
    ],
)
def test_an_id_is_found_in_every_spelling(frame: str, native_id: str) -> None:
    tweet = decode(frame.encode())
    assert isinstance(tweet, Tweet)
    assert tweet.native_id == native_id


def test_parts_of_the_wrong_type_cost_only_themselves() -> None:
    tweet = decode(
        b'{"id":77,"text":"still here","user":{"screen_name":["x"],"id":5},"lang":5,'
        b'"coordinates":{"coordinates":[1e999,2]},"place":"Oslo","quoted_status":"gone",'
        b'"entities":{"hashtags":[{"text":"a"},{"text":1},null,{"text":"b"}],"urls":{}}}'
    )
    assert tweet == Tweet(
        native_id=NativeId("77"),
        kind="original",
        own=Content(text="still here", hashtags=("a", "b"), author_id="5"),
        text="still here",
        url="https://x.com/i/status/77",
    )


def test_many_wrong_parts_are_dropped_together() -> None:
    wrong = ",".join(['{"text":1}'] * 5000)
    tweet = decode(f'{{"id":77,"text":"x","lang":"en","entities":{{"urls":[{wrong}]}}}}'.encode())
    assert isinstance(tweet, Tweet)
    assert (tweet.text, tweet.lang, tweet.own.links) == ("x", "en", ())


def test_a_handle_that_is_none_does_not_get_into_the_address() -> None:
    tweet = decode(b'{"id":77,"text":"x","user":{"id":1,"screen_name":"a/../b?c"}}')
    assert isinstance(tweet, Tweet)
    assert tweet.url == "https://x.com/i/status/77"


def test_an_escaped_escape_is_unescaped_once() -> None:
    tweet = decode(b'{"id":77,"text":"&amp;lt; &quot;","user":{}}')
    assert isinstance(tweet, Tweet)
    assert tweet.text == "&lt; &quot;"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Wed Foo 10 20:19:24 +0000 2018",
        "Wed Oct 40 20:19:24 +0000 2018",
        "Wed Oct 10 20:19:24 +0200 2018",
        "Wed Oct 10 20:19:24 +0000 0000",
        "Wed Oct 10 20:19:24 +0000 9999",
        "2018-10-10T20:19:24.000Z",
    ],
)
def test_a_time_that_is_none_is_left_out(text: str) -> None:
    assert moment(text) is None
