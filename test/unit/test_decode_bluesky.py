"""Bluesky: each message of both wires is decoded completely, or rejected with a reason."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stream.errors import Reject
from stream.networks.bluesky.decode import decode, urgent
from stream.networks.bluesky.event_position import event_position
from stream.tweet import (
    AccountStatus,
    AuthorResync,
    Content,
    ControlNotice,
    Deletion,
    EventPosition,
    HandleChange,
    Message,
    NativeId,
    Tweet,
    TweetKind,
)

MESSAGES = Path(__file__).parent.parent / "frames" / "bluesky"
ANNA, INES = "did:plc:anna", "did:plc:ines"


def decoded(rkey: str, kind: TweetKind, own: Content, **more: Any) -> Tweet:
    """A post with what follows from its other parts."""
    did = own.author_id
    more = {
        "conversation_id": f"{rkey}/{did}",
        "created_at": datetime(2026, 1, 15, 10, 35, tzinfo=UTC),
        **more,
    }
    url = f"https://bsky.app/profile/{did}/post/{rkey}"
    return Tweet(NativeId(f"{rkey}/{did}"), kind, own, text=own.text, url=url, **more)


SKI = decoded(
    "3kanna1",
    "original",
    Content(
        text="Ski & sledge ❄️ #Snow with @berta.example.com example.com/tra… 日本",
        hashtags=("Snow", "Alps"),
        mentions=("berta.example.com",),
        mention_ids=("did:plc:berta",),
        links=("https://example.com/tracks?a=1&b=2",),
        descriptions=("All <tracks>", "Where the snow is"),
        author_id=ANNA,
    ),
    lang="en-GB",
)
GOLDEN = {
    "post": SKI,
    "post_v2": SKI,
    "reply": decoded(
        "3kines1",
        "reply",
        Content(text="me too", descriptions=("an avalanche",), author_id=INES),
        reply_to_id="did:web:finn.example.com",
        conversation_id="3kroot/did:plc:emil",
        media=("photo", "photo"),
    ),
    "quote_with_gif": decoded(
        "3kines2",
        "quote",
        Content(text="look", descriptions=("it comes down",), author_id=INES),
        quoted=Content(author_id="did:plc:emil"),
        media=("animated_gif",),
    ),
    "quoting_reply": decoded(
        "3kines3",
        "quote",
        Content(text="it will thaw", author_id=INES),
        quoted=Content(author_id="did:plc:finn"),
        reply_to_id="did:plc:emil",
        conversation_id="3kroot/did:plc:emil",
    ),
    "gallery": decoded(
        "3kanna2",
        "original",
        Content(descriptions=("peak 1", "peak 2", "peak 3"), author_id=ANNA),
        created_at=datetime(2026, 1, 15, 9, 35, tzinfo=UTC),
        media=("photo", "photo", "photo"),
    ),
    "video_of_list": decoded(
        "3kanna3", "original", Content(text="my list", author_id=ANNA), media=("video",)
    ),
    "update": decoded(
        "3kanna1", "original", Content(text="corrected", author_id=ANNA), edited=True
    ),
    "odd_facets": decoded(
        "3kanna4",
        "original",
        Content(
            text="@é.example.com@zoe.example.com ünd",
            hashtags=("ignored", "nowhere"),
            mentions=("zoe.example.com",),
            mention_ids=tuple(
                f"did:plc:{name}"
                for name in ("all", "zoe", "part", "cut", "back", "typed", "placeless")
            ),
            links=("https://example.com/x",),
            author_id=ANNA,
        ),
    ),
}


def v1(kind: str, **more: object) -> bytes:
    return json.dumps({"did": ANNA, "time_us": 1768473305000001, "kind": kind, **more}).encode()


def v2(kind: str, **more: object) -> bytes:
    name = f"network.bsky.jetstream.subscribeEvents#{kind}"
    about = {"seq": 7001, "time": "2026-01-15T10:35:05.000001Z", "did": ANNA}
    about = {} if kind == "info" else about
    return json.dumps({"$type": "message", "payload": {"$type": name, **about, **more}}).encode()


def account(**status: object) -> dict[str, object]:
    return {"account": {"did": ANNA, "seq": 3, "time": "2026-01-15T10:35:05Z", **status}}


DELETE = {"operation": "delete", "collection": "app.bsky.feed.post", "rkey": "3kanna1"}
LIKE = {"operation": "create", "collection": "app.bsky.feed.like", "rkey": "3k", "record": {}}
OTHERS: list[tuple[bytes, Message]] = [
    (v1("commit", commit=DELETE), Deletion(NativeId("3kanna1/did:plc:anna"))),
    (v2("commit", **DELETE), Deletion(NativeId("3kanna1/did:plc:anna"))),
    (v1("commit", commit=LIKE), ControlNotice("ignored", "create of app.bsky.feed.like")),
    (v1("identity", identity={"handle": "Anna.Example.com"}),
     HandleChange(ANNA, "anna.example.com")),
    (v2("identity", identity={"handle": "handle.invalid"}), HandleChange(ANNA, None)),
    (v2("identity", identity={"did": ANNA}), HandleChange(ANNA, None)),
    (v2("identity", identity={"handle": ["anna"]}), HandleChange(ANNA, None)),
    (v1("identity", seq=9), HandleChange(ANNA, None)),
    (v1("account", **account(active=True)), AccountStatus(ANNA, "active")),
    (v2("account", **account(active=False, status="deleted")), AccountStatus(ANNA, "deleted")),
    (v2("account", **account(active=False, status="takendown")), AccountStatus(ANNA, "takendown")),
    (v2("account", **account(active=False, status="suspended")), AccountStatus(ANNA, "suspended")),
    (v2("account", **account(active=False)), AccountStatus(ANNA, "deactivated")),
    (v2("account", **account(active=False, status="invented")), AccountStatus(ANNA, "deactivated")),
    (v2("account", **account(active=False, status="throttled")),
     ControlNotice("account", "did:plc:anna: throttled")),
    (v2("account", **account(active=False, status="desynchronized")),
     ControlNotice("account", "did:plc:anna: desynchronized")),
    (v2("sync", sync={"did": ANNA, "rev": "3k"}), AuthorResync(ANNA)),
    (v2("info", name="OutdatedCursor", message="resumed from 5"),
     ControlNotice("warning", "OutdatedCursor: resumed from 5")),
    (b'{"$type":"error","error":"ConsumerTooSlow","message":"too slow"}',
     ControlNotice("error", "ConsumerTooSlow: too slow")),
    (b'{"$type":"error"}', ControlNotice("error", "")),
]  # fmt: skip
NO_ID = {**DELETE, "operation": "create", "record": {"text": "x"}}
REFUSED = [
    (v1("commit", commit={**NO_ID, "rkey": "a/b"}), "no_id"),
    (v1("commit", commit={**NO_ID, "rkey": 5}), "no_id"),
    (v2("commit", **NO_ID, did="anna"), "no_id"),
    (v2("commit", **NO_ID, did=5), "no_id"),
    (v1("commit", commit={**DELETE, "operation": "create"}), "bad_shape"),
    (v1("commit", commit={**NO_ID, "record": ["x"]}), "bad_shape"),
    (v1("commit"), "bad_shape"),
    (v1("account", account={"status": 5}), "bad_shape"),
    (b'{"type":"com","did":"did:plc:anna","commit":{"type":"c"}}', "bad_shape"),
    (b"[]", "not_object"),
]


@pytest.mark.parametrize("name", GOLDEN)
def test_a_post_is_decoded_completely(name: str) -> None:
    assert decode((MESSAGES / f"{name}.json").read_bytes()) == GOLDEN[name]


def test_each_frame_is_tested() -> None:
    assert {path.stem for path in MESSAGES.iterdir()} == set(GOLDEN)


@pytest.mark.parametrize(("frame", "message"), OTHERS)
def test_another_message_is_decoded(frame: bytes, message: Message) -> None:
    assert decode(frame) == message


@pytest.mark.parametrize(("frame", "reason"), REFUSED)
def test_an_invalid_message_is_rejected_with_its_reason(frame: bytes, reason: str) -> None:
    with pytest.raises(Reject) as refused:
        decode(frame)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2026-01-15T10:44:59Z", datetime(2026, 1, 15, 10, 44, 59, tzinfo=UTC)),
        ("2026-01-15T23:00:00+14:00", datetime(2026, 1, 15, 9, tzinfo=UTC)),
        ("2026-01-15T09:00:00.1234567899Z", datetime(2026, 1, 15, 9, 0, 0, 123456, tzinfo=UTC)),
        ("2007-05-01T00:00:00Z", datetime(2007, 5, 1, tzinfo=UTC)),  # imported from elsewhere
        ("2026-01-15T12:00:00Z", None),
        ("2099-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("24-01-01", None),
        ("", None),
        (1768473305, None),
    ],
)
@pytest.mark.parametrize("wire", [v1, v2])
def test_only_a_plausible_time_of_creation_is_believed(
    created: object, expected: datetime | None, wire: Any
) -> None:
    commit = {**NO_ID, "record": {"text": "x", "createdAt": created}}
    tweet = decode(wire("commit", commit=commit) if wire is v1 else wire("commit", **commit))
    assert isinstance(tweet, Tweet)
    assert (tweet.created_at, tweet.text) == (expected, "x")


def test_a_post_of_nothing_but_wrong_types_keeps_its_text() -> None:
    facets = [
        {"index": {"byteStart": [], "byteEnd": {}}, "features": [number]} for number in range(60)
    ]
    record = {
        "text": "kept",
        "facets": facets,
        "tags": [[]],
        "langs": [1],
        "embed": "x",
        "reply": 5,
    }
    tweet = decode(v2("commit", **{**NO_ID, "record": record}))
    assert isinstance(tweet, Tweet)
    assert tweet == decoded(
        "3kanna1", "original", Content(text="kept", author_id=ANNA), created_at=None
    )


def test_only_an_error_is_urgent() -> None:
    error = b'{"message":"too slow","error":"ConsumerTooSlow","$type":"error"}'
    assert urgent(error) == ControlNotice("error", "ConsumerTooSlow: too slow")
    quoted = v2("commit", **{**NO_ID, "record": {"text": 'she said "error"', "error": "error"}})
    for frame in (quoted, v2("info", name="OutdatedCursor"), b"error", b'"error"', b"\xff"):
        assert urgent(frame) is None


TIME = 1768473305000001


@pytest.mark.parametrize(
    ("frame", "position"),
    [
        (v1("commit", commit=DELETE), EventPosition(None, TIME)),
        (v1("commit", commit=DELETE, cursor=9), EventPosition(None, TIME)),  # a number of v2
        (v2("commit", **DELETE), EventPosition(7001, TIME)),
        (v2("commit", **DELETE, witnessedAt="2026-01-15T10:35:05.5Z"),
         EventPosition(7001, TIME + 499_999)),
        (v2("commit", **{**NO_ID, "record": {"seq": 1, "time": "x", "text": "\\"}}),
         EventPosition(7001, TIME)),
        (v2("commit", seq="1"), EventPosition(None, TIME)),
        (v2("commit", time=5), None),
        (v2("commit", time="noon"), None),
        (v2("info", name="OutdatedCursor"), None),
        (b'{"time_us":-1}', None),
        (b'{"time_us":1.5}', None),
        (b'{"time_us":1e999}', None),
        (b'{"time_us":', None),
        (b"\xff", None),
    ],
)  # fmt: skip
def test_where_an_event_stands(frame: bytes, position: EventPosition | None) -> None:
    assert event_position(frame) == position
