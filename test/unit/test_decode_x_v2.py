"""X v2: each message is decoded completely, or rejected with a reason."""

import json
from datetime import UTC, datetime

import pytest

from stream.errors import Reject
from stream.networks.x_common import moment
from stream.networks.x_v2.decode import decode, urgent
from stream.tweet import (
    AuthorDeletion,
    Box,
    Content,
    ControlNotice,
    Deletion,
    GeoScrub,
    Message,
    NativeId,
    Tweet,
    Withheld,
)
from x_decoded import AVALANCHE, FOUND, FRAMES, ME_TOO, OSLO, POST, UNMARKED, decoded

MESSAGES = FRAMES / "x_v2"

GOLDEN = {
    "post": decoded(
        "1790000000000000001",
        "original",
        POST,
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
    "long_post": decoded(
        "1790000000000000002",
        "original",
        Content(
            text="the beginning of a long story that ends with an avalanche #whole",
            hashtags=("whole",),
            author_id="5",
        ),
    ),
    "repost_of_quote": decoded(
        "1790000000000000003",
        "repost",
        Content(
            text="RT @emil: look at this avalanche, it is the biggest…",
            mentions=("emil",),
            mention_ids=("12",),
            author="finn",
            author_id="11",
        ),
        reposted=AVALANCHE,
        quoted=Content(text="it came down at noon", author_id="13"),
        created_at=datetime(2026, 1, 15, 9, 35, tzinfo=UTC),
        media=("animated_gif",),
    ),
    "quote_new_names": decoded(
        "1790000000000000004",
        "quote",
        Content(text="what they said, at length", author="ines", author_id="22"),
        quoted=Content(text="it will thaw", author_id="23"),
        reply_to_id="21",
    ),
    "reply": decoded(
        "1790000000000000005",
        "reply",
        ME_TOO,
        reply_to="hanna",
        reply_to_id="21",
        conversation_id="1789000000000000005",
        verified=True,
    ),
    "flattened": decoded(
        "1790000000000000006",
        "repost",
        Content(text="RT @emil: look…", mentions=("emil",), author="finn", author_id="11"),
        reposted=Content(text="look, all of it", author="emil", author_id="12"),
        place=OSLO,
        media=("photo",),
        rules=("77",),
    ),
    "without_lists": decoded(
        "1790000000000000007",
        "original",
        Content(text="雪 #雪", hashtags=("雪",), author_id="41"),
    ),
}

TWEET = '{"tweet":{"id":"77","author_id":"5"},"event_at":"2026-07-06T18:40:40.000Z"'
USER = '{"user":{"id":"5"},"event_at":"2026-07-06T18:40:40.000Z"'
COMPLIANCE: list[tuple[str, Message]] = [
    (f'"delete":{TWEET}}}', Deletion(NativeId("77"))),
    ('"delete":{"post":{"id":"77"}}', Deletion(NativeId("77"))),
    (f'"drop":{TWEET}}}', Withheld(NativeId("77"), None, ("XX",))),
    (f'"undrop":{TWEET}}}', Withheld(NativeId("77"), None, ())),
    (f'"withheld":{TWEET},"withheld_in_countries":["DE"]}}',
     Withheld(NativeId("77"), None, ("DE",))),
    (f'"tweet_edit":{TWEET},"initial_tweet_id":"76","edit_tweet_ids":["76","77"]}}',
     ControlNotice("edit", "77 is an edit of 76")),
    (f'"user_delete":{USER}}}', AuthorDeletion("5")),
    (f'"user_undelete":{USER}}}', Withheld(None, "5", ())),
    (f'"user_protect":{USER}}}', Withheld(None, "5", ("XX",))),
    (f'"user_unprotect":{USER}}}', Withheld(None, "5", ())),
    (f'"user_suspend":{USER}}}', Withheld(None, "5", ("XX",))),
    (f'"user_unsuspend":{USER}}}', Withheld(None, "5", ())),
    (f'"user_withheld":{USER},"withheld_in_countries":["tr"]}}', Withheld(None, "5", ("TR",))),
    (f'"scrub_geo":{USER},"up_to_tweet_id":"99"}}', GeoScrub("5", 99)),
    (f'"user_profile_modification":{USER},"profile_field":"name","new_value":"B"}}',
     ControlNotice("account", "user_profile_modification: 5")),
    (f'"invention":{USER}}}', ControlNotice("unknown", "keys: invention")),
]  # fmt: skip
CLOSING = (
    '{"title":"operational-disconnect","disconnect_type":"UpstreamOperationalDisconnect",'
    '"detail":"closing","type":"https://api.x.com/2/problems/operational-disconnect"}'
)
CONTROL: list[tuple[str, Message]] = [
    (f'{{"errors":[{CLOSING}]}}',
     ControlNotice("disconnect", "UpstreamOperationalDisconnect: closing")),
    (CLOSING, ControlNotice("disconnect", "UpstreamOperationalDisconnect: closing")),
    (f'{{"errors":[{{"title":"first"}},{CLOSING}]}}',
     ControlNotice("disconnect", "UpstreamOperationalDisconnect: closing")),
    ('{"title":"ConnectionException","detail":"too many"}',
     ControlNotice("error", "ConnectionException: too many")),
    ('{"data":null,"errors":[{"message":"odd"}]}', ControlNotice("error", "odd")),
    ('{"errors":["odd"]}', ControlNotice("error", "odd")),
    ('{"data":{"id":"5","username":"no_post"}}', ControlNotice("unknown", "keys: id, username")),
    ('{"meta":{}}', ControlNotice("unknown", "keys: meta")),
]  # fmt: skip

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
def test_a_recorded_post_is_decoded_completely(name: str) -> None:
    assert decode((MESSAGES / f"{name}.json").read_bytes()) == GOLDEN[name]


def test_each_recorded_frame_is_tested() -> None:
    assert {path.stem for path in MESSAGES.iterdir()} == set(GOLDEN)


@pytest.mark.parametrize(("data", "message"), COMPLIANCE)
def test_a_compliance_message_is_decoded(data: str, message: Message) -> None:
    assert decode(f'{{"data":{{{data}}}}}'.encode()) == message


@pytest.mark.parametrize(("frame", "message"), CONTROL)
def test_a_control_message_is_decoded(frame: str, message: Message) -> None:
    assert decode(frame.encode()) == message


@pytest.mark.parametrize(("frame", "reason"), REFUSED)
def test_an_invalid_message_is_rejected_with_its_reason(frame: str, reason: str) -> None:
    with pytest.raises(Reject) as refused:
        decode(frame.encode())
    assert refused.value.reason == reason


def read(fields: str, includes: str = "{}", **more: object) -> Tweet:
    rest = "".join(f',"{name}":{json.dumps(value)}' for name, value in more.items())
    tweet = decode(f'{{"data":{{"id":"5",{fields}}},"includes":{includes}{rest}}}'.encode())
    assert isinstance(tweet, Tweet)
    return tweet


def test_a_repost_without_its_original_keeps_its_own_text() -> None:
    tweet = read('"text":"RT @emil: cut","referenced_tweets":[{"type":"retweeted","id":"76"}]')
    assert (tweet.kind, tweet.reposted, tweet.text) == ("repost", None, "RT @emil: cut")


def test_a_reference_without_an_id_refers_to_nothing() -> None:
    quote = '"text":"x","referenced_tweets":[{"type":"quoted"}]'
    tweet = read(quote, '{"tweets":[{"text":"whose?"}]}')
    assert (tweet.kind, tweet.quoted) == ("quote", None)


def test_a_user_without_an_id_is_not_the_author() -> None:
    assert read('"text":"x"', '{"users":[{"username":"who"}]}').own.author is None


def test_a_thousand_wrong_rules_do_not_cost_the_post() -> None:
    tweet = read('"text":"x","lang":"en"', matching_rules=[5] * 1000)
    assert (tweet.text, tweet.lang, tweet.rules) == ("x", "en", ())


@pytest.mark.parametrize(
    "text", ["", "yesterday", "0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z", "9999-12-31"]
)
def test_an_invalid_time_is_left_out(text: str) -> None:
    assert moment(text) is None


def test_only_a_message_without_data_is_urgent() -> None:
    assert urgent(CLOSING.encode()) == ControlNotice(
        "disconnect", "UpstreamOperationalDisconnect: closing"
    )
    assert urgent(b' {"errors":[{"title":"odd"}]}') == ControlNotice("error", "odd")
    for frame in (
        (MESSAGES / "post.json").read_bytes(),
        f'{{"errors":[{CLOSING}],"data":{{"id":"1","text":"x"}}}}'.encode(),
        b'{"meta":{}}',
        b'{"errors":',
        b"",
        b"\xff",
    ):
        assert urgent(frame) is None


def test_without_lists_entities_are_found_in_the_text() -> None:
    assert read(f'"text":"{UNMARKED}"').own == FOUND
    assert read(f'"text":"{UNMARKED}","entities":{{}}').own == FOUND
    urls = '"urls":[{"expanded_url":"https://example.com/a"}]'
    marked = read(f'"text":"{UNMARKED}","entities":{{{urls}}}').own
    assert (marked.hashtags, marked.links) == ((), ("https://example.com/a",))


def test_a_long_post_without_entities_of_its_own_keeps_the_links_of_its_beginning() -> None:
    urls = '"entities":{"urls":[{"expanded_url":"https://example.com/long"}]}'
    own = read(f'"text":"x","note_tweet":{{"text":"{UNMARKED}"}},{urls}').own
    assert (own.hashtags, own.mentions) == (("col·legi",), ("nasa",))
    assert own.links == ("https://example.com/long",)


@pytest.mark.parametrize(
    ("bbox", "box"),
    [
        ("[176.9,-20.7,-178.2,-12.5]", (176.9, -20.7, -178.2, -12.5)),
        ("[176.9,-20.7,181.8,-12.5]", (176.9, -20.7, -178.2, -12.5)),
        ("[1,2,0,3,4,9]", (1.0, 2.0, 3.0, 4.0)),
        ("[-180,-90,180,-60]", (-180.0, -90.0, 180.0, -60.0)),
        ("[1,2,3]", None),
        ("[1,2,3,95]", None),
        ("[1,2,999,5]", None),
    ],
)
def test_the_box_of_a_place_may_cross_the_date_line(bbox: str, box: Box | None) -> None:
    place = f'{{"id":"fj","geo":{{"bbox":{bbox}}}}}'
    place_of = read('"text":"x","geo":{"place_id":"fj"}', f'{{"places":[{place}]}}').place
    assert place_of is not None
    assert place_of.box == box
