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


@pytest.mark.parametrize("seed", range(50))
def test_a_message_of_several_tweets_is_within_the_limit_and_nearly_fills_it(seed: int) -> None:
    chance = random.Random(seed)
    items = [chance.randrange(2, chance.choice((10, 5_000, 200_000))) for _ in range(100_000 // 10)]
    number, size = sizes_of(*items)
    assert size <= BATCH_BYTES == 256_000
    assert size + items[number] > BATCH_BYTES - 200


def test_a_tweet_that_is_too_large_comes_alone() -> None:
    assert sizes_of(300_000, 10)[0] == 1
    assert sizes_of(10, 300_000)[0] == 1
