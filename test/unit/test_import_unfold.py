"""Out of what people have come the messages of a network, their bytes as they were."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from stream.errors import Reject
from stream.importing.unfold import Unfolder
from stream.jsontext import sanitize_for_jsonb
from stream.networks.registry import NETWORKS
from stream.tweet import ControlNotice, Deletion, NetworkName, Tweet

STATUS = {
    "created_at": "Wed Feb 15 10:00:00 +0000 2023",
    "id": 1600000000000009500,
    "id_str": "1600000000000009500",
    "text": "snow day",
    "user": {"id_str": "7", "screen_name": "river_watch"},
}
FLAT = {"id": "1700000000000000004", "text": "snow day", "author_id": "5"}


def as_json(document: object) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def unfolded(network: NetworkName, document: object) -> list[bytes]:
    return list(Unfolder(network)(as_json(document)))


def tweets(network: NetworkName, document: object) -> list[Tweet]:
    """The tweets of a document; nothing else may be in it."""
    unfolder = Unfolder(network)
    found = [unfolder.decode(sanitize_for_jsonb(each)[0]) for each in unfolder(as_json(document))]
    assert all(isinstance(message, Tweet) for message in found)
    assert unfolder.understood == len(found)
    return [message for message in found if isinstance(message, Tweet)]


def test_json_in_a_string_is_read() -> None:
    text = json.dumps(json.dumps(STATUS)).encode()
    assert unfolded("x_v1", text) == [json.dumps(STATUS).encode()]
    assert len(tweets("x_v1", json.dumps(json.dumps([STATUS, STATUS])).encode())) == 2
    assert unfolded("x_v1", b'"just words"') == [b'"just words"']


def test_not_a_number_is_null() -> None:
    odd = STATUS | {"score": float("nan"), "low": [float("-inf")], "note": 'NaN, "Infinity"'}
    [body] = unfolded("x_v1", json.dumps(odd).encode())
    assert json.loads(body) == odd | {"score": None, "low": [None]}
    assert len(tweets("x_v1", json.dumps(odd).encode())) == 1
    named = json.dumps(STATUS | {"text": "NaN"}).encode()
    assert unfolded("x_v1", named) == [named]
    assert unfolded("x_v1", b'{"text":NaN') == [b'{"text":NaN']


WRAPPED: dict[str, Any] = {
    "a page of search/tweets": {"statuses": [STATUS], "search_metadata": {"count": 1}},
    "a list": [STATUS],
    "an account's archive": {"tweet": STATUS},
    "status": {"status": STATUS, "_score": 1},
    "Elasticsearch": {"_index": "tweets", "_id": "1", "_source": STATUS},
    "Kafka Connect": {"schema": {"type": "struct"}, "payload": STATUS},
    "a site stream": {"for_user": "5", "message": STATUS},
    "by id": {"globalObjects": {"tweets": {"1600000000000009500": STATUS}}},
    "deep": {"a": {"b": [{"c": {"d": STATUS}}]}},
    "data, as v2 has": {"data": STATUS},
    "an event of another program": {"event": "update", "data": STATUS},
    "beside a key of a control message": {"warning": {"code": "x"}, "tweet": STATUS},
    "premium search": {"results": [STATUS], "requestParameters": {"maxResults": 100}},
}


@pytest.mark.parametrize("document", WRAPPED.values(), ids=WRAPPED)
def test_a_wrapped_tweet_is_unwrapped_unchanged(document: object) -> None:
    assert unfolded("x_v1", document) == [json.dumps(STATUS).encode()]
    [tweet] = tweets("x_v1", document)
    assert tweet.own.author == "river_watch"


def test_a_lone_surrogate_does_not_cost_the_page() -> None:
    torn = STATUS | {"text": "snow day \ud83d"}
    assert tweets("x_v1", torn)[0].text == "snow day \ufffd"
    assert unfolded("x_v1", torn) == [json.dumps(torn).encode()]
    assert len(tweets("x_v1", {"statuses": [STATUS, torn]})) == 2
    assert len(tweets("x_v2", {"data": [FLAT, FLAT | {"text": "snow \ud83d"}]})) == 2


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(STATUS | {"text": "sn\u00f6w"}, ensure_ascii=False).encode("latin-1"),
        json.dumps(STATUS | {"id_str": "0", "id": 10**30}).encode(),
    ],
)
def test_an_invalid_tweet_is_not_counted_as_understood(line: bytes) -> None:
    unfolder = Unfolder("x_v1")
    assert list(unfolder(line)) == [line]
    assert not unfolder.understood


def test_the_hint_for_text_that_is_not_utf8() -> None:
    assert "not in UTF-8" in Unfolder("x_v1").hint(
        '{"id":"5","text":"sn\u00f6w"}'.encode("latin-1")
    )


def test_an_unknown_object_among_tweets_is_kept() -> None:
    other = {"limit_reached": True}
    found = unfolded("x_v1", {"statuses": [STATUS, other, None]})
    assert found == [json.dumps(STATUS).encode(), json.dumps(other).encode(), b"null"]


@pytest.mark.parametrize(
    ("network", "document"),
    [
        ("x_v1", {"statuses": [], "search_metadata": {"count": 0}}),
        ("x_v2", {"meta": {"result_count": 0}}),
        ("x_v2", {"data": [], "meta": {"result_count": 0, "next_token": "x"}}),
        ("x_v1", []),
    ],
)
def test_an_empty_page_holds_nothing(network: NetworkName, document: object) -> None:
    assert unfolded(network, document) == []


def user(number: int) -> dict[str, object]:
    return {"id": str(number), "username": f"user{number}", "name": "A B"}


def test_each_post_of_a_page_keeps_the_objects_it_refers_to() -> None:
    page = {
        "data": [
            {
                "id": "10",
                "text": "RT @user2: look",
                "author_id": "1",
                "referenced_tweets": [{"type": "retweeted", "id": "20"}],
                "entities": {"mentions": [{"username": "user2"}]},
            },
            {
                "id": "11",
                "text": "a picture",
                "author_id": "3",
                "attachments": {"media_keys": ["3_1"], "poll_ids": ["9"]},
                "geo": {"place_id": "abc"},
                "in_reply_to_user_id": "4",
            },
            {"id": "12", "text": "alone"},
            {"id": "13", "note": "without a text"},
        ],
        "includes": {
            "users": [user(number) for number in range(1, 8)],
            "tweets": [
                {
                    "id": "20",
                    "text": "look",
                    "author_id": "2",
                    "referenced_tweets": [{"type": "quoted", "id": "21"}],
                },
                {"id": "21", "text": "seen", "author_id": "5"},
                {"id": "22", "text": "of another page", "author_id": "6"},
            ],
            "media": [{"media_key": "3_1", "type": "photo"}, {"media_key": "3_2"}],
            "places": [{"id": "abc", "full_name": "Berlin"}],
            "polls": [{"id": "9", "options": []}],
        },
        "meta": {"result_count": 4},
        "__twarc": {"version": "2.0"},
    }
    first, second, third, fourth = map(json.loads, unfolded("x_v2", page))
    assert first["data"] == page["data"][0]  # type: ignore[index]  # a list
    assert [one["id"] for one in first["includes"]["users"]] == ["1", "2", "5"]
    assert [one["id"] for one in first["includes"]["tweets"]] == ["20", "21"]
    assert [one["id"] for one in second["includes"]["users"]] == ["3", "4"]
    counts = {kind: len(entries) for kind, entries in second["includes"].items()}
    assert counts == {"users": 2, "media": 1, "polls": 1, "places": 1}
    assert third == {"data": {"id": "12", "text": "alone"}}
    assert fourth == {"id": "13", "note": "without a text"}
    tweet = NETWORKS["x_v2"].decode(json.dumps(first).encode())
    assert isinstance(tweet, Tweet)
    parts = (tweet.own, tweet.reposted, tweet.quoted)
    assert [part and part.author for part in parts] == ["user1", "user2", "user5"]


@pytest.mark.parametrize(
    "document",
    [
        {"id": "1", "text": "by default fields", "edit_history_tweet_ids": ["1"]},
        {"id": "1", "text": "flat", "created_at": "2023-01-01T00:00:00.000Z", "lang": "en"},
        {"id": 1, "text": "a number"},
        {"data": {"id": "1", "text": "enveloped"}},
        {"data": [{"id": "1", "text": "in a page"}], "meta": {}},
        [{"id": "1", "text": "in an array"}],
    ],
)
def test_posts_without_an_author_are_stored(document: object) -> None:
    [tweet] = tweets("x_v2", document)
    assert (tweet.native_id, tweet.own.author_id) == ("1", None)


MONGO = b"""{"_id": {"$oid": "58e1"}, "id": {"$numberLong": "1700000000000000012"}, "text": "snow",
 "user": {"id": {"$numberLong": "5"}, "screen_name": "ann"}, "created_at": {"$date": %s}}"""


@pytest.mark.parametrize(
    "date", [b'"2023-01-01T00:00:00Z"', b"1672531200000", b'{"$numberLong": "1672531200000"}']
)
def test_tweets_exported_from_mongodb(date: bytes) -> None:
    [tweet] = tweets("x_v1", MONGO % date)
    assert (tweet.native_id, tweet.own.author_id) == ("1700000000000000012", "5")
    assert tweet.created_at == datetime(2023, 1, 1, tzinfo=UTC)
    assert json.loads(unfolded("x_v1", MONGO % date)[0])["_id"] == "58e1"


def test_a_tweet_stored_under_its_id() -> None:
    found = {"text": "snow", "user": {"screen_name": "ann"}}
    [number] = tweets("x_v1", {"_id": {"$numberLong": "17"}, **found})
    assert number.native_id == "17"
    [tweet] = tweets("x_v1", {"_id": "17", **found})
    assert tweet.native_id == "17"


def test_tweets_of_the_graphql_api() -> None:
    def result(number: str, **legacy: object) -> dict[str, Any]:
        author = {"rest_id": "7", "legacy": {"screen_name": "ann"}}
        return {
            "rest_id": number,
            "core": {"user_results": {"result": author}},
            "legacy": {"full_text": "snow", **legacy},
        }

    repost = result("2", retweeted_status_result={"result": result("1")})
    [tweet] = tweets("x_v1", {"tweet_results": {"result": {"tweet": repost}}})
    assert (tweet.native_id, tweet.own.author, tweet.kind) == ("2", "ann", "repost")
    assert tweet.reposted is not None
    assert tweet.reposted.author == "ann"


def test_tweets_as_activity_streams() -> None:
    activity: dict[str, Any] = {
        "id": "tag:search.twitter.com,2005:1600000000000009900",
        "objectType": "activity",
        "verb": "post",
        "postedTime": "2014-05-01T10:00:00.000Z",
        "body": "snow #day",
        "actor": {"id": "id:twitter.com:7", "preferredUsername": "river_watch"},
        "object": {"objectType": "note"},
        "twitter_lang": "en",
        "twitter_entities": {"hashtags": [{"text": "day"}]},
        "inReplyTo": {"link": "http://twitter.com/ann/statuses/5"},
    }
    [tweet] = tweets("x_v1", activity)
    assert (tweet.native_id, tweet.kind, tweet.lang) == ("1600000000000009900", "reply", "en")
    assert (tweet.own.author, tweet.own.author_id) == ("river_watch", "7")
    assert tweet.own.hashtags == ("day",)
    assert tweet.created_at is not None
    share = activity | {"verb": "share", "object": activity, "id": "tag:search.twitter.com,2005:8"}
    [tweet] = tweets("x_v1", share)
    assert (tweet.native_id, tweet.kind) == ("8", "repost")
    assert json.loads(unfolded("x_v1", share)[0]).items() >= share.items()  # nothing was lost


NOT_UNDERSTOOD: list[tuple[NetworkName, Any, str]] = [
    ("x_v1", {"data": FLAT}, "--network x_v2"),
    ("x_v1", FLAT, "--network x_v2"),
    ("x_v1", {"data": [FLAT]}, "--network x_v2"),
    ("x_v2", STATUS, "--network x_v1"),
    ("x_v2", {"tweet": STATUS}, "--network x_v1"),
    ("x_v2", {"statuses": [STATUS]}, "--network x_v1"),
    ("x_v1", {"info": {"message": "Replay Request Completed"}}, "keys: info"),
    ("x_v1", {"friends": None, "event": {"a": 1}}, "keys: event, friends"),
    ("x_v2", {"title": "a blog", "body": "no tweet"}, "keys: body, title"),
    ("x_v2", {"errors": [{"message": "Rate limit exceeded"}]}, "keys: errors"),
    ("x_v1", {"id": 5, "name": "an account", "screen_name": "ann"}, "keys: id, name"),
    ("x_v1", {"text": "no id"}, "no_id"),
    ("x_v1", {"id": 5, "rawContent": "snow", "user": {"id": 7}}, "keys: id, rawContent"),
    ("x_v2", {"data": [{"id": "5", "username": "ann"}]}, "no tweet in it"),
]


@pytest.mark.parametrize(("network", "document", "hint"), NOT_UNDERSTOOD)
def test_an_unknown_document_is_rejected_with_a_hint(
    network: NetworkName, document: object, hint: str
) -> None:
    text = json.dumps(document).encode()
    unfolder = Unfolder(network)
    assert list(unfolder(text)) == [text]
    assert not unfolder.understood
    with pytest.raises(Reject) as caught:
        unfolder.decode(text)
    assert hint in str(caught.value)


def test_control_messages_are_passed_on_unchanged() -> None:
    unfolder = Unfolder("x_v1")
    gone = b'{"delete":{"status":{"id_str":"5","user_id_str":"7"}}}'
    assert list(unfolder(gone)) == [gone]
    assert unfolder.decode(gone) == Deletion("5")  # type: ignore[arg-type]  # a NativeId
    assert unfolder.understood == 1
    limit = unfolder.decode(b'{"limit":{"track":5}}')
    assert isinstance(limit, ControlNotice)


@pytest.mark.parametrize(
    "text",
    [
        *("2023-01-01 00:00:00", "2023-01-01T00:00:00Z", "2023-01-01T01:00:00+01:00"),
        *("2023-01-01 00:00:00 UTC", "2023-01-01 00:00:00 +0000"),
        "Sun Jan 01 00:00:00 +0000 2023",
    ],
)
def test_dates_as_other_tools_write_them(text: str) -> None:
    [tweet] = tweets("x_v1", STATUS | {"created_at": text})
    assert tweet.created_at == datetime(2023, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[",
        b"{",
        b'{"data":}',
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b"[" * 5000 + b"]" * 5000,
        b'{"statuses":[{"id":1,"text":"\xff"}]}',
        b'{"data":[{"id":"1","text":"x"}],"includes":{"users":[5,null,{"id":{}}],"tweets":7}}',
        b'{"legacy":5}',
        b'{"legacy":{"full_text":"x","id_str":5},"core":[]}',
        b'{"body":"x","postedTime":5,"id":"tag:1","actor":[]}',
        b'{"for_user":1,"message":[]}',
        b'{"_id":"5","text":"\\ud800"}',
        b'{"a":{"$date":{"$date":"x"}},"id":5,"text":"x"}',
        b'{"id":5,"text":"x","n":{"$numberLong":"' + b"9" * 5000 + b'"}}',
    ],
)
@pytest.mark.parametrize("network", ["x_v1", "x_v2"])
def test_an_invalid_document_is_decoded_or_rejected(network: NetworkName, text: bytes) -> None:
    unfolder = Unfolder(network)
    for body in unfolder(text):
        try:
            unfolder.decode(body)
        except Reject:
            continue
