"""X v1.1: each message is decoded completely, or rejected with a reason."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from stream.errors import Reject
from stream.networks.x_v1.decode import decode, moment, urgent
from stream.tweet import (
    Box,
    Content,
    ControlNotice,
    Deletion,
    GeoScrub,
    Message,
    NativeId,
    Place,
    Tweet,
    Withheld,
)
from x_decoded import AVALANCHE, FOUND, FRAMES, ME_TOO, OSLO, POST, UNMARKED, decoded

MESSAGES = FRAMES / "x_v1"

GOLDEN = {
    "plain": decoded(
        "1724552712345678901",
        "original",
        replace(POST, text="Ski & sledge <3 #Snow $FLK with @Berta_B https://t.co/a1 雪 😀"),
        created_at=datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        lang="en",
        point=(10.75, 59.91),
        place=OSLO,
        verified=True,
        rules=("winter", "77"),
    ),
    "extended": decoded(
        "948500000000000001",
        "original",
        Content(
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
        created_at=datetime(2018, 1, 3, 8, tzinfo=UTC),
        lang="en",
        media=("video",),
    ),
    "repost_of_quote": decoded(
        "948900000000000001",
        "repost",
        Content(
            text="RT @emil: look at this avalanche, it is the biggest that anybody has…",
            mentions=("emil",),
            mention_ids=("12",),
            author="finn",
            author_id="11",
        ),
        reposted=AVALANCHE,
        quoted=Content(text="it came down at noon", author="gerd", author_id="13"),
        created_at=datetime(2018, 1, 4, 8, tzinfo=UTC),
        lang="en",
        media=("photo", "photo"),
    ),
    "quote_gone": decoded(
        "949000000000000001",
        "quote",
        Content(
            text="what they said https://t.co/q",
            links=("https://t.co/q",),  # the frame has no lists of entities
            author="ines",
            author_id="22",
        ),
        created_at=datetime(2018, 1, 5, 8, tzinfo=UTC),
        lang="en",
        reply_to="hanna",
        reply_to_id="21",
        withheld=("DE", "TR"),
    ),
    "reply": decoded(
        "949400000000000001",
        "reply",
        ME_TOO,
        created_at=datetime(2018, 1, 6, 8, tzinfo=UTC),
        lang="en",
        reply_to="hanna",
        reply_to_id="21",
        point=(151.2, -33.86),
    ),
    "first_years": decoded(
        "151000001",
        "original",
        Content(text="trying out this new thing", author="jens", author_id="31"),
        created_at=datetime(2007, 7, 16, 10, 30, tzinfo=UTC),
    ),
    "rounded": decoded(
        "949800000000000123",
        "original",
        Content(text="through a tool that rounds", author_id="4100000000000000321"),
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


def read(body: bytes | str) -> Tweet:
    tweet = decode(body if isinstance(body, bytes) else body.encode())
    assert isinstance(tweet, Tweet)
    return tweet


@pytest.mark.parametrize("name", GOLDEN)
def test_a_recorded_tweet_is_decoded_completely(name: str) -> None:
    assert decode((MESSAGES / f"{name}.json").read_bytes()) == GOLDEN[name]


def test_each_recorded_frame_is_tested() -> None:
    assert {path.stem for path in MESSAGES.iterdir()} == set(GOLDEN)


@pytest.mark.parametrize(("frame", "reason"), REFUSED)
def test_an_invalid_message_is_rejected_with_its_reason(frame: str, reason: str) -> None:
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
    assert read(frame).native_id == native_id


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
    tweet = read(f'{{"id":77,"text":"x","lang":"en","entities":{{"urls":[{wrong}]}}}}')
    assert (tweet.text, tweet.lang, tweet.own.links) == ("x", "en", ())


def test_an_invalid_handle_is_not_used_in_the_address() -> None:
    assert (
        read(b'{"id":77,"text":"x","user":{"id":1,"screen_name":"a/../b?c"}}').url
        == "https://x.com/i/status/77"
    )


def test_an_escaped_escape_is_unescaped_once() -> None:
    assert read(b'{"id":77,"text":"&amp;lt; &quot;","user":{}}').text == "&lt; &quot;"


@pytest.mark.parametrize(
    "text",
    [
        *("", "Wed Foo 10 20:19:24 +0000 2018", "Wed Oct 40 20:19:24 +0000 2018"),
        *("Wed Oct 10 20:19:24 +0200 2018", "Wed Oct 10 20:19:24 +0000 0000"),
        *("Wed Oct 10 20:19:24 +0000 9999", "10.10.2018 20:19"),
    ],
)
def test_an_invalid_time_is_left_out(text: str) -> None:
    assert moment(text) is None


LISTS = '"hashtags":[],"symbols":[],"user_mentions":[],"urls":[]'


@pytest.mark.parametrize("entities", ["", ',"entities":null', ',"entities":{}'])
def test_without_lists_entities_are_found_in_the_text(entities: str) -> None:
    assert read(f'{{"id_str":"5","full_text":"{UNMARKED}"{entities}}}').own == FOUND


def test_an_empty_list_is_kept_and_a_missing_one_is_filled_from_the_text() -> None:
    assert read(f'{{"id_str":"5","text":"{UNMARKED}","entities":{{{LISTS}}}}}').own == Content(
        text=UNMARKED.replace("&amp;", "&")
    )
    old = LISTS.replace('"symbols":[],', "")  # as before there were cashtags
    tweet = read(f'{{"id_str":"5","text":"{UNMARKED}","entities":{{{old}}}}}')
    assert tweet.own.cashtags == ("TSLA",)
    assert tweet.own.hashtags == ()


FIJI = "[176.9,-20.7],[176.9,-12.5],[-178.2,-12.5],[-178.2,-20.7]"


@pytest.mark.parametrize(
    ("coordinates", "box"),
    [
        (f"[[{FIJI}]]", (176.9, -20.7, -178.2, -12.5)),
        (f"[[{FIJI},[176.9,-20.7]]]", (176.9, -20.7, -178.2, -12.5)),
        (f"[[[{FIJI}]]]", (176.9, -20.7, -178.2, -12.5)),
        ("[[[176.9,-20.7],[181.8,-20.7],[181.8,-12.5]]]", (176.9, -20.7, -178.2, -12.5)),
        ("[[[-179,13],[-179,71],[179,71],[179,13]]]", (-179.0, 13.0, 179.0, 71.0)),
        ("[[[177,-20],[180,-20],[180,-12]],[[-180,-20],[-178,-20],[-178,-12]]]",
         (177.0, -20.0, -178.0, -12.0)),
        ("[[[170,60,5],[178,62,5],[-175,64,5],[-179,61,5]]]", (170.0, 60.0, -175.0, 64.0)),
        ("[[[-180,70],[-90,75],[0,70],[90,70]]]", (-180.0, 70.0, 180.0, 90.0)),
        ("[[[4.83,45.75],[4.83,45.75]]]", (4.83, 45.75, 4.83, 45.75)),
        ("[[[-74,40],[-74,41],[-73,41],[-73,40]]]", (-74.0, 40.0, -73.0, 41.0)),
        ("[[[1,2],[3]],[]]", (1.0, 2.0, 1.0, 2.0)),
        ("[[[900,2],[901,3]]]", None),
        ("[[[1,2],[1,95]]]", None),
        ("[]", None),
    ],
)  # fmt: skip
def test_the_outline_of_a_place_becomes_a_box_also_across_the_date_line(
    coordinates: str, box: Box | None
) -> None:
    place = f'{{"id":"p","bounding_box":{{"coordinates":{coordinates}}}}}'
    tweet = read(f'{{"id_str":"5","text":"x","place":{place}}}')
    assert tweet.place == Place(names=("p",), box=box)


CONTROL: list[tuple[str, Message]] = [
    ('{"delete":{"status":{"id":77,"id_str":"77","user_id":5},"timestamp_ms":"1700000000123"}}',
     Deletion(NativeId("77"))),
    ('{"delete":{"status":{"id":601430178305220600,"id_str":"601430178305220608"}}}',
     Deletion(NativeId("601430178305220608"))),
    ('{"delete":{"favorite":{"tweet_id":7}}}', ControlNotice("ignored", "delete: favorite")),
    ('{"scrub_geo":{"user_id":5,"up_to_status_id":98,"up_to_status_id_str":"99"}}',
     GeoScrub("5", 99)),
    ('{"status_withheld":{"id":77,"user_id":5,"withheld_in_countries":["de","AR"]}}',
     Withheld(NativeId("77"), None, ("DE", "AR"))),
    ('{"status_withheld":{"status":{"id_str":"77"},"withheld_in_countries":["XY"]}}',
     Withheld(NativeId("77"), None, ("XY",))),
    ('{"user_withheld":{"id":5,"withheld_in_countries":["XX"]}}', Withheld(None, "5", ("XX",))),
    ('{"user_withheld":{"user":{"id":5,"id_str":"5"},"withheld_in_countries":[]}}',
     Withheld(None, "5", ())),
    ('{"limit":{"track":1234,"timestamp_ms":"1700000000123"}}',
     ControlNotice("limit", "not delivered since this connection opened", 1234)),
    ('{"disconnect":{"code":4,"stream_name":"mine-1","reason":"too slow"}}',
     ControlNotice("disconnect", "mine-1: too slow", 4)),
    ('{"disconnect":{"code":"7","reason":["x"]}}', ControlNotice("disconnect", "", 7)),
    ('{"disconnect":{"code":-1,"reason":"odd"}}', ControlNotice("disconnect", "odd", 0)),
    ('{"warning":{"code":"FALLING_BEHIND","message":"hurry","percent_full":60}}',
     ControlNotice("warning", "FALLING_BEHIND: hurry", 60)),
    ('{"friends":[1,2]}', ControlNotice("ignored", "friends")),
    ('{"event":"user_update","source":{},"target":{}}',
     ControlNotice("ignored", "event: user_update")),
    ('{"for_user":"5","message":{"text":"no tweet"}}', ControlNotice("ignored", "for_user")),
    ('{"newest":1,"invention":2}', ControlNotice("unknown", "keys: invention, newest")),
    ("{}", ControlNotice("unknown", "keys: ")),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "message"), CONTROL)
def test_a_control_message_is_decoded(frame: str, message: Message) -> None:
    assert decode(frame.encode()) == message


def test_only_a_disconnect_or_a_warning_is_urgent() -> None:
    assert urgent(b'{"disconnect":{"code":12}}') == ControlNotice("disconnect", "", 12)
    assert urgent(b' { "warning" : {"code":"FALLING_BEHIND"}}') == ControlNotice(
        "warning", "FALLING_BEHIND"
    )
    for frame in (
        (MESSAGES / "plain.json").read_bytes(),
        b'{"limit":{"track":5}}',
        b'{"id":1,"text":"a \\"disconnect\\" in its text"}',
        b'{"disconnect":',
        b"",
        b"\xff",
    ):
        assert urgent(frame) is None
