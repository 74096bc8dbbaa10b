"""What a reader takes of a batch of which it has read a part by itself."""

from datetime import UTC, datetime

from stream.keys import Cursor, KeyRange, Run, tweet_key
from stream.store.feed import Page, StoredTweet
from stream.tweet import LaneId, TweetId
from web.live.follower import FeedBatch

NOW = datetime(2026, 11, 1, tzinfo=UTC)
FIRST, SECOND = Run(LaneId(1), 1), Run(LaneId(2), 1)


def key(second: int, run: Run) -> TweetId:
    return tweet_key(round((NOW.timestamp() + second) * 1e6), run.lane)


def stored(tweet_id: TweetId) -> StoredTweet:
    return StoredTweet(
        tweet_id, NOW, NOW, "x_v1", str(tweet_id), "original", "en", "7", "ann", None, "snow", b"{}"
    )


def test_a_tweet_is_unread_although_later_ones_of_another_lane_were_read() -> None:
    """The second lane had stored later ones when the first one had not stored these yet."""
    keys = [key(1, SECOND), key(2, FIRST), key(3, SECOND), key(4, FIRST), key(5, SECOND)]
    begin = Cursor({FIRST: key(0, FIRST), SECOND: key(0, SECOND)})
    end = Cursor({FIRST: keys[3], SECOND: keys[4]})
    ranges = [
        KeyRange(run, begin.positions[run], end.positions[run], True) for run in end.positions
    ]
    page = Page([stored(each) for each in keys], end, more=False, ranges=ranges)
    batch = FeedBatch(begin, end, page, {}, {})
    assert [tweet_id for tweet_id, _ in batch.unread(begin)] == keys
    reader = Cursor({FIRST: key(1, FIRST), SECOND: keys[2]})
    assert [tweet_id for tweet_id, _ in batch.unread(reader)] == [keys[1], keys[3], keys[4]]
