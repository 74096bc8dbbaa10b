"""Measures how fast posts of Bluesky that belong to no track are recognised, on one core.

The posts are generated from a seed, as messages of Jetstream v2 of about 800 bytes, with the words,
scripts, hashtags and links of matcher.py; a third are replies, a quarter has images with a
description. One in 1,000 has a word that is tracked. The tracks are words and phrases, also with
accents and in Chinese, hashtags, links and accounts that no other post has; some of their words are
frequent.
"""

import functools
import json
import random
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from pgbench import matcher as matching
from stream.jsontext import sanitize_for_jsonb
from stream.matcher import Matcher
from stream.networks.bluesky.decode import decode
from stream.networks.bluesky.event_position import event_position
from stream.networks.bluesky.prefilter import may_match
from stream.query import Query, TrackKind, parse
from stream.tweet import TrackId, Tweet

T = TypeVar("T")
SEED = 13
POSTS = 4000
ROUNDS = 7  # the fastest counts
SIZES = (1_000, 10_000)
ONE_IN = 1_000
CID = "bafyreicvph75m77atsvujmsfl7yxhu7uk4bq37vv2lggwmp4rveydl7oqu"
BASE32 = str.maketrans("0189", "abcd")  # digits that ids do not have


def messages(count: int) -> list[bytes]:
    """`count` messages as received, the same at every call."""
    return [_message(number, tweet) for number, tweet in enumerate(matching.tweets(count))]


def _message(number: int, tweet: Tweet) -> bytes:
    own = tweet.own
    text = f"{own.text} tracked{number % SIZES[0]}x" if number % ONE_IN == 7 else own.text
    span = {"byteStart": 0, "byteEnd": 5}
    features = [
        *({"$type": "app.bsky.richtext.facet#tag", "tag": tag} for tag in own.hashtags),
        *({"$type": "app.bsky.richtext.facet#link", "uri": uri} for uri in own.links[:1]),
    ]
    record: dict[str, object] = {
        "$type": "app.bsky.feed.post",
        "createdAt": "2026-07-04T14:38:06.690Z",
        "facets": [{"index": span, "features": [feature]} for feature in features],
        "langs": ["en"],
        "text": text,
    }
    if number % 3 == 0:
        uri = f"at://did:plc:{number * 7:024d}/app.bsky.feed.post/3mp{number * 7:010d}"
        record["reply"] = {which: {"cid": CID, "uri": uri} for which in ("parent", "root")}
    if number % 4 == 0:
        image = {"$type": "blob", "mimeType": "image/jpeg", "ref": {"$link": CID}, "size": 187484}
        record["embed"] = {
            "$type": "app.bsky.embed.images",
            "images": [{"alt": "A picture of something", "image": image}],
        }
    payload = {
        "$type": "network.bsky.jetstream.subscribeEvents#commit",
        "cid": CID,
        "collection": "app.bsky.feed.post",
        "did": f"did:plc:{number:024d}",
        "operation": "create",
        "record": record,
        "rev": "3mssnqf25k52t",
        "rkey": f"3mp{number:010d}",
        "seq": number + 1,
        "time": "2026-08-11T12:51:08.327784Z",
    }
    whole = {"$type": "message", "payload": payload}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def tracks(count: int) -> list[tuple[TrackId, Query]]:
    """Tracks of all kinds; a smaller count gives the first of a larger."""
    return [(TrackId(at), parse(*track)) for at, track in enumerate(track_values(count))]


def track_values(count: int) -> list[tuple[TrackKind, str]]:
    """Kind and value of these tracks."""
    rng = random.Random(SEED)
    return [_track(rng, at) for at in range(count)]


def _track(  # noqa: PLR0911 - one line for each kind of track
    rng: random.Random, number: int
) -> tuple[TrackKind, str]:
    word, frequent = f"tracked{number}x", rng.choice(matching.SYLLABLES.split())
    match number % 10:
        case 0 | 1 | 2:
            return "keyword", word
        case 3:
            return "keyword", f"{word} {frequent},{frequent} rare{number}"
        case 4:
            return "keyword", f'"{frequent} {word}"'
        case 5:
            return "keyword", f"#{word}"
        case 6:
            return "user", f"did:plc:tracked{number:017d}".translate(BASE32)
        case 7:
            return "query", f"({word} OR #rare{number}) lang:en -is:retweet -{frequent}"
        case 8:
            return "keyword", f"ñandú{number}"
        case _ if number % 20 == 9:
            return "keyword", "".join(chr(0x4E00 + rng.randrange(1500)) for _ in range(5))
        case _:
            return "keyword", f"{word}.example/{number}"


def measure() -> list[tuple[str, float, str]]:
    """Microseconds of processor time per post for the filter, and for what it saves."""
    posts = messages(POSTS)
    tweets = [tweet for post in posts if isinstance(tweet := decode(post), Tweet)]
    rows: list[tuple[str, float, str]] = [
        ("size of a message", sum(map(len, posts)) / len(posts), "bytes"),
        ("reading the cursor", cost(event_position, posts), "µs/post"),
        ("decoding", cost(lambda post: decode(sanitize_for_jsonb(post)[0]), posts), "µs/post"),
    ]
    for size in SIZES:
        matcher = Matcher(tracks(size))
        through = sum(may_match(post, matcher) for post in posts) / len(posts)
        matched = sum(bool(matcher.match(tweet)) for tweet in tweets) / len(posts)
        named = f", {size:,} tracks"
        rows += [
            (f"matching{named}", cost(matcher.match, tweets), "µs/post"),
            (f"pre-filter{named}", cost(functools.partial(_filter, matcher), posts), "µs/post"),
            (f"passed by the pre-filter{named}", 1000 * through, "of 1,000"),
            (f"matching posts{named}", 1000 * matched, "of 1,000"),
        ]
    return rows


def _filter(matcher: Matcher, post: bytes) -> bool:
    return may_match(post, matcher)


def cost(function: Callable[[T], object], items: list[T]) -> float:
    """Microseconds of processor time per item, in the fastest of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for item in items:
            function(item)
        best = min(best, time.process_time() - began)
    return best / len(items) * 1e6


if __name__ == "__main__":
    for name, value, unit in measure():
        sys.stdout.write(f"{name:40} {value:10.2f} {unit}\n")
