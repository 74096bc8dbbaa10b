"""Whatever the bytes are, a decoder returns a Message or raises Reject with a known reason."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import Reject, RejectReason
from stream.jsontext import sanitize_for_jsonb
from stream.networks.bluesky import decode as bluesky
from stream.networks.bluesky.event_position import event_position
from stream.networks.mastodon import decode as mastodon
from stream.networks.x_v1 import decode as x_v1
from stream.networks.x_v2 import decode as x_v2
from stream.tweet import Message, Tweet

FRAMES = Path(__file__).parent.parent / "frames"
DECODERS: dict[str, Callable[[bytes], Message]] = {
    "x_v1": lambda body: x_v1.decode(sanitize_for_jsonb(body)[0]),
    "x_v2": lambda body: x_v2.decode(sanitize_for_jsonb(body)[0]),
    "bluesky": lambda body: bluesky.decode(sanitize_for_jsonb(body)[0]),
    "mastodon": lambda body: mastodon.decode(sanitize_for_jsonb(body)[0]),
}
CONTROL = [
    b'{"stream":["public"],"event":"delete","payload":"77"}',
    b'{"error":"Unknown stream type","status":400}',
    b'{"delete":{"status":{"id":77,"id_str":"77"}}}',
    b'{"limit":{"track":1234}}',
    b'{"status_withheld":{"id":77,"withheld_in_countries":["DE"]}}',
    b'{"scrub_geo":{"user_id":5,"up_to_status_id":99}}',
    b'{"errors":[{"title":"operational-disconnect","disconnect_type":"SlowReader"}]}',
    b'{"data":{"user_withheld":{"user":{"id":"5"},"withheld_in_countries":["DE"]}}}',
    b'{"data":{"scrub_geo":{"user":{"id":"5"},"up_to_tweet_id":"99"}}}',
    b'{"did":"did:plc:a","time_us":9,"kind":"account","account":{"active":false,"status":"x"}}',
    b'{"$type":"message","payload":{"did":"did:plc:a","seq":7,"identity":{"handle":"a.b"}}}',
    b'{"$type":"error","error":"ConsumerTooSlow","message":"x"}',
]
SEEDS = [path.read_bytes() for path in sorted(FRAMES.rglob("*.json"))] + CONTROL
RAW = [
    *(b"\\u0000", b"\\ud800", b"\xff", b"\x00", b"1e999", b"null", b"{}", b"[", b'"', b"\\"),
    b"9" * 40,
]
DEEP = 10_000
EXAMPLES, MUTANTS = 200, 50  # 10,000 payloads for each network

MESSAGES = get_args(Message)


def outcome(decode: Callable[[bytes], Message], body: bytes) -> Message | str:
    try:
        return decode(body)
    except Reject as refused:
        return refused.reason


def check(body: bytes) -> None:
    for network, decode in DECODERS.items():
        message = outcome(decode, body)
        assert isinstance(message, MESSAGES) or message in get_args(RejectReason)
        if isinstance(message, Tweet):
            assert not network.startswith("x_") or 0 < int(message.native_id) < 1 << 63
            json.dumps(message.text, ensure_ascii=False).encode()  # no surrogate got through
            assert "\0" not in message.text
    x_v1.urgent(body)
    x_v2.urgent(body)
    bluesky.urgent(body)
    event_position(body)


def mutant(chance: random.Random) -> bytes:
    body = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(body) + 1)
        to = min(len(body), at + chance.choice((0, 1, 1, 5, 50)))
        new = chance.choice(
            (
                b"",
                bytes([chance.randrange(128)]),
                chance.choice(RAW),
                bytes(body[to : to + 30]),
            )
        )
        body[at:to] = new
    return bytes(body[: chance.randrange(len(body) + 1)] if chance.random() < 0.1 else body)


@given(st.integers(min_value=0, max_value=1 << 64))
@settings(max_examples=EXAMPLES, deadline=None)
def test_ten_thousand_mutated_frames_raise_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(MUTANTS):
        check(mutant(chance))


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_raise_nothing_else(body: bytes) -> None:
    check(body)


def every_value(seed: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value in a frame."""
    paths = [path]
    if isinstance(seed, dict):
        for key, value in seed.items():
            paths += every_value(value, (*path, key))
    elif isinstance(seed, list):
        for index, value in enumerate(seed):
            paths += every_value(value, (*path, index))
    return paths


ODD: list[object] = [
    *(None, True, 0, -1, 1.5, 1 << 70, "", "x", [], [None], [[1]], {}, {"id": {}}, "1" * 5000),
]


def with_value(frame: bytes, path: tuple[str | int, ...], value: object) -> bytes:
    """The frame, with this value at that path."""
    whole = at = json.loads(frame)
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return json.dumps(whole).encode()


@pytest.mark.parametrize("seed", SEEDS, ids=range(len(SEEDS)))
def test_every_value_may_have_any_type(seed: bytes) -> None:
    for path in every_value(json.loads(seed))[1:]:
        for odd in ODD:
            check(with_value(seed, path, odd))


MOST_DETAILED = {
    "x_v1": "repost_of_quote.json",
    "x_v2": "repost_of_quote.json",
    "bluesky": "post_v2.json",
    "mastodon": "repost_of_quote.json",
}
NEEDED: set[tuple[str | int, ...]] = {
    *(("id",), ("id_str",), ("uri",), ("data",), ("data", "id"), ("data", "text"), ("payload",)),
    *(("payload", name) for name in ("did", "rkey", "collection", "record")),
}


@pytest.mark.parametrize("name", DECODERS)
def test_a_wrong_value_anywhere_but_in_the_id_is_ignored(name: str) -> None:
    frame = (FRAMES / name / MOST_DETAILED[name]).read_bytes()
    for path in every_value(json.loads(frame))[1:]:
        if path not in NEEDED:
            body = with_value(frame, path, {"nonsense": 1})
            assert isinstance(DECODERS[name](body), Tweet), path


LISTS = b"[" * DEEP + b"]" * DEEP
HOSTILE = {
    "torn": (b'{"id":77,"text":"to', "not_json"),
    "empty": (b"", "not_json"),
    "a web page": (b"<html>503</html>", "not_json"),
    "two in one": (b'{"id":77,"text":""}{"id":78,"text":""}', "not_json"),
    "a bare control character": (b'{"id":77,"text":"a\x00b"}', "not_json"),
    "a bad escape": (b'{"id":77,"text":"","x":"\\q"}', "not_json"),
    "torn after a wrong type": (b'{"id":[],"text":"x","a":', "not_json"),
    "not a number": (b'{"id":[],"text":"x","a":NaN}', "not_json"),
    "a list": (b"[1]", "not_object"),
    "a number": (b"-5", "not_object"),
    "a torn list": (b"[1", "not_json"),
    "not UTF-8 in a field we read": (b'{"id":77,"text":"\xff"}', "not_utf8"),
    "not UTF-8 in a skipped field": (b'{"id":77,"text":"","x":"\xff"}', "not_utf8"),
    "UTF-8 torn": ('{"id":77,"text":"雪"}'.encode()[:-4], "not_utf8"),
    "lists in a skipped field": (b'{"id":77,"text":"","x":' + LISTS + b"}", "too_deep"),
    "objects in a skipped field": (b'{"x":' * DEEP + b"1" + b"}" * DEEP, "too_deep"),
    "objects in a field we read": (
        b'{"retweeted_status":' * DEEP + b"{}" + b"}" * DEEP,
        "too_deep",
    ),
    "deep after a wrong type": (b'{"id":[],"data":5,"x":' + LISTS + b"}", "too_deep"),
}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize(("body", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_an_invalid_frame_is_rejected_with_its_reason(name: str, body: bytes, reason: str) -> None:
    with pytest.raises(Reject) as refused:
        DECODERS[name](body)
    assert refused.value.reason == reason


STRANGE = {
    "a null character": (r"a\u0000b", "a\ufffdb"),
    "a lone surrogate": (r"a\ud83d b", "a\ufffd b"),
    "a surrogate pair": (r"a\ud83d\ude00", "a😀"),
    "an escaped backslash before u0000": (r"\\u0000", r"\u0000"),
    "a megabyte": ("x" * (1 << 20), "x" * (1 << 20)),
}


@pytest.mark.parametrize(("written", "read"), STRANGE.values(), ids=STRANGE)
def test_an_unusual_text_is_decoded(written: str, read: str) -> None:
    for name, frame in (
        ("x_v1", f'{{"id":77,"text":"{written}","n":1e999}}'),
        ("x_v2", f'{{"data":{{"id":"77","text":"{written}","n":1e999}}}}'),
        (
            "bluesky",
            '{"did":"did:plc:a","time_us":1e999,"commit":{"collection":"app.bsky.feed.post",'
            f'"rkey":"3k","record":{{"text":"{written}"}}}}}}',
        ),
    ):
        tweet = DECODERS[name](frame.encode())
        assert isinstance(tweet, Tweet)
        assert tweet.text == read
