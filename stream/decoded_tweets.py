"""What this process decoded of the tweets it stored last, so that a reader need not do it again.

The reader takes them by their keys, and reads what is missing from the table: so nothing depends on
what is kept.
"""

from collections.abc import Iterable

import msgspec

from stream.store.tweets import IncomingTweet
from stream.tweet import Content, Tweet, TweetId, TweetKind

KEPT = 4000  # tweets, each of less than 1 kB: what comes between two runs at some 400 a second


class DecodedTweet(msgspec.Struct, frozen=True, gc=False):
    """What is counted of a tweet; `contents`: its own and that of the reposted tweet."""

    id: TweetId
    kind: TweetKind
    lang: str | None
    author_id: str | None
    author: str | None
    contents: tuple[Content, ...]


class DecodedTweets:
    """The matched tweets that were stored last; the oldest make way."""

    def __init__(self, kept: int = KEPT) -> None:
        self.kept = kept
        self._tweets: dict[TweetId, DecodedTweet] = {}

    def add(self, arrivals: Iterable[IncomingTweet]) -> None:
        """Keep those that a track matches."""
        for arrival in arrivals:
            if arrival.matches:
                self._tweets[arrival.id] = _decoded(arrival.id, arrival.tweet)
        for key in list(self._tweets)[: max(0, len(self._tweets) - self.kept)]:
            del self._tweets[key]

    def take(self, key: TweetId) -> DecodedTweet | None:
        """Remove and return a tweet, if it is here."""
        return self._tweets.pop(key, None)


def _decoded(key: TweetId, tweet: Tweet) -> DecodedTweet:
    own = tweet.own
    contents = (_items(own),) if tweet.reposted is None else (_items(own), _items(tweet.reposted))
    return DecodedTweet(key, tweet.kind, tweet.lang, own.author_id, own.author, contents)


def _items(content: Content) -> Content:
    """Without the texts, which take most of the memory."""
    return Content(hashtags=content.hashtags, mentions=content.mentions, links=content.links)
