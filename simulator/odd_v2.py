"""X v2 messages that are no plain posts, and posts of an unusual shape (§6)."""

import msgspec

from simulator.connection import Json
from simulator.faults import Armed
from simulator.posts import Post
from simulator.problems import disconnect
from simulator.rules import Rule

_NEW_NAMES = {
    "edit_history_tweet_ids": "edit_history_post_ids",
    "note_tweet": "note_post",
    "referenced_tweets": "referenced_posts",
}


def messages(armed: Armed, rules: list[Rule]) -> list[bytes]:
    """The lines with which this fault shows itself on an open stream."""
    match armed.fault:
        case "operational-disconnect":
            return [farewell("UpstreamOperationalDisconnect", "The stream is being restarted.")]
        case "bare-problem":
            gone = disconnect("OperationalDisconnect", "The stream is being restarted.")
            return [msgspec.json.encode(gone)]
        case "data-errors":
            return [msgspec.json.encode(_with_errors(rules))]
        case "torn-utf8":
            whole = msgspec.json.encode(_post("1790000000000000311", "un café", rules))
            return [whole.replace("é".encode(), "é".encode()[:1])]
        case "unknown-kinds":
            unknown: list[Json] = [
                {"notice": {"kind": "maintenance", "at": "2030-01-01T00:00:00.000Z"}},
                {"data": {"bookmark": {"id": "1", "event_at": "2030-01-01T00:00:00.000Z"}}},
                {},
            ]
            return [msgspec.json.encode(message) for message in unknown]
        case other:
            raise ValueError(f"{other} says nothing on this network")


def farewell(kind: str, detail: str) -> bytes:
    """The message with which the server ends a stream."""
    return msgspec.json.encode({"errors": [disconnect(kind, detail)]})


def edited(post: Post) -> Post:
    """The same post, changed by its author: a new id that names the earlier ones."""
    return msgspec.structs.replace(
        post, id=post.id + 1, text=post.text + " (edit)", edits=(*post.edits, post.id)
    )


def renamed(payload: Json) -> Json:
    """The newer names of the fields, which the specification uses and the examples do not."""
    renamed = dict(payload)
    data = renamed.get("data")
    if isinstance(data, dict):
        renamed["data"] = {_NEW_NAMES.get(key, key): value for key, value in data.items()}
    includes = renamed.get("includes")
    if isinstance(includes, dict):
        renamed["includes"] = {
            "posts" if key == "tweets" else key: value for key, value in includes.items()
        }
    return renamed


def _post(number: str, text: str, rules: list[Rule]) -> Json:
    return {
        "data": {"id": number, "text": text, "edit_history_tweet_ids": [number]},
        "matching_rules": [{"id": rule.id, "tag": rule.tag or ""} for rule in rules[:1]],
    }


def _with_errors(rules: list[Rule]) -> Json:
    post = _post("1790000000000000313", "a post whose quoted post is gone", rules)
    missing = "1790000000000000312"
    post["errors"] = [
        {
            "value": missing,
            "resource_id": missing,
            "resource_type": "tweet",
            "parameter": "referenced_tweets.id",
            "title": "Not Found Error",
            "detail": f"Could not find tweet with referenced_tweets.id: [{missing}].",
            "type": "https://api.twitter.com/2/problems/resource-not-found",
        }
    ]
    return post
