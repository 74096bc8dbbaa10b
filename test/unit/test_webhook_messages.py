"""The messages of webhooks: as large as is allowed, and no larger."""

import random
from datetime import UTC, datetime

import pytest

from stream.sinks.webhook_messages import BATCH_BYTES, fitting, message

NOW = datetime(2026, 3, 14, 12, 0, 0, 123456, UTC)


def sizes_of(*items: int) -> tuple[int, int]:
    """How many items of these sizes fit, and the size of their message."""
    bodies = [b'"' + b"x" * (size - 2) + b'"' for size in items]
    number = fitting(bodies)
    return number, len(message("tweet.deleted", NOW, bodies[:number]))


@pytest.mark.parametrize("most", [10, 100, 5_000, 200_000])
def test_a_message_of_several_tweets_is_within_the_limit_and_nearly_fills_it(most: int) -> None:
    chance = random.Random(most)
    items = [chance.randrange(2, most) for _ in range(2 * BATCH_BYTES // most + 100)]
    number, size = sizes_of(*items)
    assert size <= BATCH_BYTES == 256_000
    assert size + items[number] > BATCH_BYTES - 200


def test_a_tweet_that_is_too_large_comes_alone() -> None:
    assert sizes_of(300_000, 10)[0] == 1
    assert sizes_of(10, 300_000)[0] == 1
