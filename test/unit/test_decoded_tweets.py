"""What is kept of the tweets that were stored last: as much as is counted of them, and no more."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.item_counts import items_of
from network_messages import MESSAGES, Post
from stream.decoded_tweets import DecodedTweets
from stream.errors import Reject
from stream.jsontext import sanitize_for_jsonb
from stream.keys import NEXT_KEY
from stream.networks.registry import NETWORKS
from stream.store.feed import StoredTweet
from stream.store.tweets import IncomingTweet
from stream.tweet import NETWORK_NAMES, Match, NetworkName, TrackId, Tweet, TweetId

FRAMES = Path(__file__).parent.parent / "frames"
NOW = datetime.now(UTC)
POSTS = (
    Post("a #cat and #Dog", ("cat", "Dog"), by_nasa=True, lang="de"),
    Post(mentions_nasa=True, answers_nasa=True, link="https://example.com/a?utm_id=1&c=2"),
    Post("#cat", ("cat",), reposts_nasa=True, link="https://example.com/"),
    Post(quotes="a #dog", media="photo"),
)


def arrival(key: int, tweet: Tweet, doc: bytes = b"", *, matched: bool = True) -> IncomingTweet:
    matches = [Match(TrackId(1), "cat", "text")] if matched else []
    return IncomingTweet(TweetId(key), NOW, NOW, tweet, doc, matches, repaired=False)


def tweets(network: NetworkName) -> list[tuple[Tweet, bytes]]:
    bodies = [path.read_bytes() for path in sorted((FRAMES / network).iterdir())]
    bodies += [MESSAGES[network](post) for post in POSTS]
    found = []
    for body in bodies:
        doc, _ = sanitize_for_jsonb(body)
        try:
            message = NETWORKS[network].decode(doc)
        except Reject:
            continue
        if isinstance(message, Tweet):
            found.append((message, doc))
    assert len(found) > len(POSTS)
    return found


@pytest.mark.parametrize("network", NETWORK_NAMES)
def test_what_is_kept_counts_like_the_row(network: NetworkName) -> None:
    for number, (tweet, doc) in enumerate(tweets(network), 1):
        kept = DecodedTweets()
        kept.add([arrival(number * NEXT_KEY, tweet, doc)])
        decoded = kept.take(TweetId(number * NEXT_KEY))
        assert decoded is not None
        row = StoredTweet(
            decoded.id, NOW, None, network, tweet.native_id, tweet.kind, tweet.lang,
            tweet.own.author_id, tweet.own.author, None, tweet.text, doc,
        )  # fmt: skip
        assert items_of(decoded) == items_of(row)
        assert all(content.text == "" for content in decoded.contents)


def test_the_oldest_make_way_and_each_is_taken_once() -> None:
    kept = DecodedTweets(kept=4)
    [(tweet, _), *_] = tweets("x_v1")
    kept.add([arrival(1, tweet), arrival(2, tweet, matched=False)])
    kept.add(arrival(key, tweet) for key in range(3, 8))
    assert [key for key in range(1, 9) if kept.take(TweetId(key))] == [4, 5, 6, 7]
    assert kept.take(TweetId(7)) is None
