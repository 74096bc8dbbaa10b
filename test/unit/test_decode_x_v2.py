"""X v2: every kind of message becomes the right word of ours."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from stream.errors import Reject
from stream.networks.x_v2.decode import decode, moment, urgent
from stream.tweet import (
    AuthorDeletion,
    Content,
    Deletion,
    GeoScrub,
    Message,
    NativeId,
    Notice,
    Place,
    Tweet,
    Withheld,
)

FRAMES = Path(__file__).parent.parent / "frames" / "x_v2"
OSLO = Place(("01a9", "Oslo", "Oslo, Norway"), "NO", (10.5, 59.8, 10.9, 60.1))

GOLDEN = {
    "post": Tweet(
        native_id=NativeId("1790000000000000001"),
        kind="original",
        own=Content(
            text="Ski & sledge #Snow $FLK with @Berta_B https://t.co/a1",
            hashtags=("Snow",),
            mentions=("Berta_B",),
            mention_ids=("6",),
            cashtags=("FLK",),
            links=("http://sho.rt/1", "sho.rt/1", "https://example.com/snow"),
            author="Anna_A",
            author_id="5",
        ),
        text="Ski & sledge #Snow $FLK with @Berta_B https://t.co/a1",
        url="https://x.com/Anna_A/status/1790000000000000001",
        created_at=datetime(2026, 1, 15, 10, 35, tzinfo=UTC),
        lang="en",
        conversation_id="1790000000000000001",
        point=(10.75, 59.91),
        place=OSLO,
        media=("photo", "video"),
        verified=True,
        rules=("t-18", "1273026480692322304", "1273026480692322305"),
        withheld=("DE",),
    ),
    "long_post": Tweet(
        native_id=NativeId("1790000000000000002"),
        kind="original",
        own=Content(
            text="the beginning of a long story that ends with an avalanche #whole",
            hashtags=("whole",),
            author_id="5",
        ),
        text="the beginning of a long story that ends with an avalanche #whole",
        url="https://x.com/i/status/1790000000000000002",
    ),
    "repost_of_quote": Tweet(
        native_id=NativeId("1790000000000000003"),
        kind="repost",
        own=Content(
            text="RT @emil: look at this avalanche, it is the biggest…",
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
        quoted=Content(text="it came down at noon", author_id="13"),
        text="look at this avalanche, it is the biggest that anybody has ever seen #Alps",
        url="https://x.com/finn/status/1790000000000000003",
        created_at=datetime(2026, 1, 15, 9, 35, tzinfo=UTC),
        media=("animated_gif",),
    ),
    "quote_new_names": Tweet(
        native_id=NativeId("1790000000000000004"),
        kind="quote",
        own=Content(text="what they said, at length", author="ines", author_id="22"),
        quoted=Content(text="it will thaw", author_id="23"),
        text="what they said, at length",
        url="https://x.com/ines/status/1790000000000000004",
        reply_to_id="21",
    ),
    "reply": Tweet(
        native_id=NativeId("1790000000000000005"),
        kind="reply",
        own=Content(
            text="@hanna me too",
            mentions=("hanna",),
            mention_ids=("21",),
            author="ines",
            author_id="22",
        ),
        text="@hanna me too",
        url="https://x.com/ines/status/1790000000000000005",
        reply_to="hanna",
        reply_to_id="21",
        conversation_id="1789000000000000005",
        verified=True,
    ),
    "flattened": Tweet(
        native_id=NativeId("1790000000000000006"),
        kind="repost",
        own=Content(text="RT @emil: look…", author="finn", author_id="11"),
        reposted=Content(text="look, all of it", author="emil", author_id="12"),
        text="look, all of it",
        url="https://x.com/finn/status/1790000000000000006",
        place=OSLO,
        media=("photo",),
        rules=("77",),
    ),
    "without_lists": Tweet(
        native_id=NativeId("1790000000000000007"),
        kind="original",
        own=Content(text="雪 #雪", hashtags=("雪",), author_id="41"),
        text="雪 #雪",
        url="https://x.com/i/status/1790000000000000007",
    ),
}

TWEET = '{"tweet":{"id":"77","author_id":"5"},"event_at":"2026-07-06T18:40:40.000Z"'
USER = '{"user":{"id":"5"},"event_at":"2026-07-06T18:40:40.000Z"'
COMPLIANCE: list[tuple[str, Message]] = [
    (f'"delete":{TWEET}}}', Deletion(NativeId("77"))),
    ('"delete":{"post":{"id":"77"}}', Deletion(NativeId("77"))),
    (f'"drop":{TWEET}}}', Withheld(NativeId("77"), None, ("XX",))),
    (f'"undrop":{TWEET}}}', Withheld(NativeId("77"), None, ())),
    (
        f'"withheld":{TWEET},"withheld_in_countries":["DE"]}}',
        Withheld(NativeId("77"), None, ("DE",)),
    ),
    (
        f'"tweet_edit":{TWEET},"initial_tweet_id":"76","edit_tweet_ids":["76","77"]}}',
        Notice("edit", "77 is an edit of 76"),
    ),
    (f'"user_delete":{USER}}}', AuthorDeletion("5")),
    (f'"user_undelete":{USER}}}', Withheld(None, "5", ())),
    (f'"user_protect":{USER}}}', Withheld(None, "5", ("XX",))),
    (f'"user_unprotect":{USER}}}', Withheld(None, "5", ())),
    (f'"user_suspend":{USER}}}', Withheld(None, "5", ("XX",))),
    (f'"user_unsuspend":{USER}}}', Withheld(None, "5", ())),
    (f'"user_withheld":{USER},"withheld_in_countries":["tr"]}}', Withheld(None, "5", ("TR",))),
    (f'"scrub_geo":{USER},"up_to_tweet_id":"99"}}', GeoScrub("5", 99)),
    (
        f'"user_profile_modification":{USER},"profile_field":"name","new_value":"B"}}',
        Notice("account", "user_profile_modification: 5"),
    ),
    (f'"invention":{USER}}}', Notice("unknown", "keys: invention")),
]
CLOSING = (
    '{"title":"operational-disconnect","disconnect_type":"UpstreamOperationalDisconnect",'
    '"detail":"closing","type":"https://api.x.com/2/problems/operational-disconnect"}'
)
CONTROL: list[tuple[str, Message]] = [
    (
        f'{{"errors":[{CLOSING}]}}',
        Notice("disconnect", "UpstreamOperationalDisconnect: closing"),
    ),
    (CLOSING, Notice("disconnect", "UpstreamOperationalDisconnect: closing")),
    (
        f'{{"errors":[{{"title":"first"}},{CLOSING}]}}',
        Notice("disconnect", "UpstreamOperationalDisconnect: closing"),
    ),
    (
        '{"title":"ConnectionException","detail":"too many"}',
        Notice("error", "ConnectionException: too many"),
    ),
    ('{"data":null,"errors":[{"message":"odd"}]}', Notice("error", "odd")),
    ('{"errors":["odd"]}', Notice("error", "odd")),
    ('{"data":{"id":"5","username":"no_post"}}', Notice("unknown", "keys: id, username")),
    ('{"meta":{}}', Notice("unknown", "keys: meta")),
]

REFUSED = [
    ('{"data":{"text":"no id","author_id":"5"}}', "no_id"),
    ('{"data":{"id":"x","text":"no id"}}', "no_id"),
    ('{"data":{"id":1.79e18,"text":"a rounded id"}}', "no_id"),
    ('{"data":{"text":5}}', "no_id"),
    ('{"data":{"id":"5","text":5}}', "bad_shape"),
    ('{"data":[{"id":"5","text":"a page of posts"}]}', "bad_shape"),
    ('{"data":"x"}', "bad_shape"),
    ('{"data":{"delete":{"tweet":{}}}}', "bad_shape"),
    ('{"data":{"scrub_geo":{"user":{"id":"5"}}}}', "bad_shape"),
    ('{"data":{"user_protect":{"user":5}}}', "bad_shape"),
    ('{"data":{"withheld":{"tweet":{"id":"5"}}}}', "bad_shape"),
    ('{"id_str":"5","text":"of another API","user":{}}', "bad_shape"),
]


@pytest.mark.parametrize("name", GOLDEN)
def test_a_post_is_read_whole(name: str) -> None:
    assert decode((FRAMES / f"{name}.json").read_bytes()) == GOLDEN[name]


def test_every_frame_has_its_expectation() -> None:
    assert {path.stem for path in FRAMES.iterdir()} == set(GOLDEN)


@pytest.mark.parametrize(("data", "message"), COMPLIANCE)
def test_a_compliance_message_becomes_its_word(data: str, message: Message) -> None:
    assert decode(f'{{"data":{{{data}}}}}'.encode()) == message


@pytest.mark.parametrize(("frame", "message"), CONTROL)
def test_a_control_message_becomes_its_word(frame: str, message: Message) -> None:
    assert decode(frame.encode()) == message


@pytest.mark.parametrize(("frame", "reason"), REFUSED)
def test_what_cannot_be_stored_is_refused_with_its_reason(frame: str, reason: str) -> None:
    with pytest.raises(Reject) as refused:
        decode(frame.encode())
    assert refused.value.reason == reason


def test_a_repost_without_its_original_keeps_its_own_text() -> None:
    tweet = decode(
        b'{"data":{"id":"77","text":"RT @emil: cut","referenced_tweets":'
        b'[{"type":"retweeted","id":"76"}]}}'
    )
    assert isinstance(tweet, Tweet)
    assert (tweet.kind, tweet.reposted, tweet.text) == ("repost", None, "RT @emil: cut")


def test_a_reference_without_an_id_refers_to_nothing() -> None:
    tweet = decode(
        b'{"data":{"id":"77","text":"x","referenced_tweets":[{"type":"quoted"}]},'
        b'"includes":{"tweets":[{"text":"whose?"}]}}'
    )
    assert isinstance(tweet, Tweet)
    assert (tweet.kind, tweet.quoted) == ("quote", None)


def test_a_user_without_an_id_is_nobodys_author() -> None:
    tweet = decode(b'{"data":{"id":"77","text":"x"},"includes":{"users":[{"username":"who"}]}}')
    assert isinstance(tweet, Tweet)
    assert tweet.own.author is None


def test_a_thousand_wrong_rules_do_not_cost_the_post() -> None:
    wrong = ",".join(["5"] * 1000)
    tweet = decode(
        f'{{"data":{{"id":"77","text":"x","lang":"en"}},"matching_rules":[{wrong}]}}'.encode()
    )
    assert isinstance(tweet, Tweet)
    assert (tweet.text, tweet.lang, tweet.rules) == ("x", "en", ())


@pytest.mark.parametrize(
    "text", ["", "yesterday", "0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z", "9999-12-31"]
)
def test_a_time_that_is_none_is_left_out(text: str) -> None:
    assert moment(text) is None


def test_only_a_message_without_data_is_urgent() -> None:
    assert urgent(CLOSING.encode()) == Notice(
        "disconnect", "UpstreamOperationalDisconnect: closing"
    )
    assert urgent(b' {"errors":[{"title":"odd"}]}') == Notice("error", "odd")
    for frame in (
        (FRAMES / "post.json").read_bytes(),
        f'{{"errors":[{CLOSING}],"data":{{"id":"1","text":"x"}}}}'.encode(),
        b'{"meta":{}}',
        b'{"errors":',
        b"",
        b"\xff",
    ):
        assert urgent(frame) is None
