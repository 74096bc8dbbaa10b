"""Tracks → one body of statuses/filter (X v1.1 reference §3 to §8)."""

import random
from urllib.parse import unquote

import msgspec
import pytest
from oauthlib.oauth1.rfc5849.utils import parse_authorization_header

from stream.config import Settings, XV1Settings
from stream.networks.x_v1.client import credentials, sign
from stream.networks.x_v1.plan import XV1Plan, XV1Planner, form
from stream.query import TrackKind, parse
from stream.tweet import TrackId

KEYS = {"consumer_key": "ck", "consumer_secret": "cs", "token": "at", "token_secret": "ts"}


def follow(*tracks: tuple[TrackKind, str], **limits: int) -> XV1Plan:
    """A plan for these tracks, with ids from 1."""
    planner = XV1Planner(Settings(x_v1=msgspec.convert(limits, XV1Settings)))
    for number, track in enumerate(tracks, 1):
        planner.follow(TrackId(number), parse(*track))
    return planner.plan()


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("keyword", "snow day, Blizzard", {"track": "blizzard,day snow"}),
        ("keyword", "#x,@y,$z", {"track": "#x,$z,@y"}),
        ("keyword", "example.com/a", {"track": "example.com/a"}),
        ("user", "5,77", {"follow": "5,77"}),
        ("user", "@nasa", {"track": "@nasa"}),
        ("place", "-74,40,-73,41", {"locations": "-74,40,-73,41"}),
        ("place", "-180,-90,180,90", {"locations": "-180,-90,180,90"}),
        ("place", "10.02,50.02,10.04,50.04", {"locations": "9.98,49.98,10.08,50.08"}),
        ("place", "178,-19,-179,-17", {"locations": "-180,-19,-179,-17,178,-19,180,-17"}),
        ("place", "179.99,1,-179,2", {"locations": "-180,1,-179,2,179.9,1,180,2"}),
        ("query", "(cat OR dog) lang:en -is:retweet", {"track": "cat,dog"}),
        ("query", "cat dog from:5", {"track": "cat dog"}),
        ("query", "from:5 lang:en", {"follow": "5"}),
        ("query", '"snow day" -ice', {"track": "day snow"}),
        ("query", "to:nasa has:media", {"track": "@nasa"}),
        ("keyword", '"snow day",AT&T', {"track": "at&t,day snow"}),
        ("query", '"an AT&T store"', {"track": "an at&t store"}),
        ("keyword", "#col·legi,$100", {"track": "#col·legi,$100"}),
        ("query", "bounding_box:[10 50 11 51] lang:de", {"locations": "10,50,11,51"}),
    ],
)
def test_the_filter_of_a_track(kind: TrackKind, value: str, wanted: dict[str, str]) -> None:
    made = follow((kind, value))
    assert made.refused == {}
    assert dict(made.parameters) == wanted
    assert made.rule_owners == {}


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("keyword", "é" * 31, "62 bytes in UTF-8"),
        ("place", "oslo", "words, account ids and boxes only"),
        ("query", "from:nasa", "words, account ids and boxes only"),
        ("user", "did:plc:abcabcabcabcabcabcabcabc", "words, account ids and boxes only"),
    ],
)
def test_a_track_that_the_stream_cannot_filter_is_refused_alone(
    kind: TrackKind, value: str, sentence: str
) -> None:
    made = follow((kind, value), ("keyword", "snow"))
    assert sentence in made.refused[TrackId(1)]
    assert dict(made.parameters) == {"track": "snow"}


def test_a_phrase_of_60_bytes_is_taken_and_one_of_61_is_not() -> None:
    made = follow(("keyword", "x" * 60), ("keyword", "y" * 61))
    assert dict(made.parameters) == {"track": "x" * 60}
    assert list(made.refused) == [2]


def test_words_that_must_all_occur_are_dropped_until_the_phrase_fits() -> None:
    made = follow(("query", f"{'a' * 40} {'b' * 40} cat"))
    assert dict(made.parameters) == {"track": f"{'a' * 40} cat"}


@pytest.mark.parametrize(
    ("tracks", "limits", "what"),
    [
        ([("keyword", f"w{n}") for n in range(5)], {"max_phrases": 4}, "4 phrases"),
        ([("user", str(n + 1)) for n in range(5)], {"max_follow": 4}, "4 account ids"),
        ([("place", f"{n},0,{n + 1},1") for n in range(5)], {"max_boxes": 4}, "4 boxes"),
    ],
)
def test_over_a_limit_the_youngest_track_is_refused(
    tracks: list[tuple[TrackKind, str]], limits: dict[str, int], what: str
) -> None:
    made = follow(*tracks, **limits)
    assert list(made.refused) == [5]
    assert what in made.refused[TrackId(5)]
    assert made.asked == 4


def test_a_handle_and_a_script_without_spaces_have_a_caveat() -> None:
    made = follow(("user", "@nasa"), ("keyword", "東京"), ("keyword", "snow"), ("keyword", "#東京"))
    assert "by id" in made.caveats[TrackId(1)]
    assert "scripts without spaces" in made.caveats[TrackId(2)]
    assert TrackId(3) not in made.caveats
    assert TrackId(4) not in made.caveats


def test_the_order_of_the_tracks_does_not_change_the_request() -> None:
    tracks: list[tuple[TrackKind, str]] = [
        *(("keyword", f"w{n}") for n in range(9)),
        *(("user", str(n)) for n in range(1, 9)),
        *(("place", f"{n},0,{n + 1},1") for n in range(9)),
    ]
    wanted = follow(*tracks).parameters
    random.Random(3).shuffle(tracks)
    assert follow(*tracks).parameters == wanted


def test_the_signature_of_the_reference() -> None:
    fields = [("track", "twitter api,café #news"), ("stall_warnings", "true")]
    body = form(fields)
    assert body == "track=twitter%20api%2Ccaf%C3%A9%20%23news&stall_warnings=true"
    url = "https://stream.twitter.com/1.1/statuses/filter.json"
    header = dict(parse_authorization_header(sign(KEYS, url, body, "abc123", "1700000000")))
    assert unquote(header["oauth_signature"]) == "QJMVuSKprQhIJf0N7jh21W+OKV4="
    assert len(header) == 7


@pytest.mark.parametrize("text", ["a+b", "~x", "100%", "a&b=c", "日本", "it's", "(x)*!"])
def test_every_character_is_encoded_in_form_and_signature(text: str) -> None:
    body = form([("track", text)])
    assert "+" not in body
    assert "oauth_signature=" in sign(KEYS, "http://127.0.0.1:9/1.1/statuses/filter.json", body)


def test_each_attempt_is_signed_afresh() -> None:
    first, second = (sign(KEYS, "http://127.0.0.1:9/x", "a=b") for _ in range(2))
    assert first != second


def test_credentials_are_read_under_their_usual_names() -> None:
    usual = {"api_key": "ck", "api_secret": " cs\n", "access_token": "at"}
    assert credentials(usual) == {"consumer_key": "ck", "consumer_secret": "cs", "token": "at"}
    assert credentials(KEYS) == KEYS
