"""What webhooks deliver: signed, in batches, in order, and only what their users may see."""

from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from stream.sinks import webhook_secrets
from stream.store import search, webhook_deliveries, webhooks
from stream.store.webhook_deliveries import NewDelivery
from stream.tweet import TrackId
from webhook_bench import WebhookBench
from webhook_receiver import Receiver, ok, status


async def test_tweets_of_followed_tracks_arrive_signed_and_the_position_is_committed(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    hook, secret = await hooks.add(receiver.url, [hooks.snow])
    before = (await hooks.get(hook)).position
    async with hooks.passing_on():
        await hooks.store("snow 1", "rain 1", "snow and rain")
        await hooks.eventually(lambda: len(receiver.texts) == 2)
        found = receiver.received[0]
        message = found.verify(secret)
        with pytest.raises(WebhookVerificationError):
            found.verify(webhook_secrets.new_secret())
        assert message["type"] == "tweets.matched"
        assert message["data"]["v"] == 1
        assert receiver.texts == ["snow 1", "snow and rain"]
        [_, both] = message["data"]["tweets"]
        assert [each["track"] for each in both["matches"]] == [str(hooks.snow)]

        async def committed() -> bool:
            return (await hooks.get(hook)).position != before

        await hooks.eventually(committed)
    async with hooks.passing_on():  # it continues there
        await hooks.store("snow 2")
        await hooks.eventually(lambda: len(receiver.texts) == 3)
    assert receiver.texts == ["snow 1", "snow and rain", "snow 2"]


async def test_a_webhook_of_many_tracks_gets_only_their_tweets(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    """These are read in another way: all tweets, and then those of the tracks are picked."""
    rows = await hooks.database.fetch(
        "INSERT INTO tracks (value, owner) SELECT 'word' || n, 'ana' FROM generate_series(1, $1)"
        " AS n RETURNING id",
        search.MANY_TRACKS,
    )
    many = [TrackId(row["id"]) for row in rows]
    await hooks.add(receiver.url, [*many, hooks.snow])
    rain = [f"rain {number}" for number in range(150)]
    async with hooks.passing_on():
        await hooks.store(*rain, "snow 1", *rain, "snow and rain")
        await hooks.eventually(lambda: receiver.texts == ["snow 1", "snow and rain"])
    both = receiver.received[-1].message["data"]["tweets"][-1]
    assert [each["track"] for each in both["matches"]] == [str(hooks.snow)]


async def test_the_headers_are_those_of_standard_webhooks(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    await hooks.add(receiver.url)
    async with hooks.passing_on():
        await hooks.store("snow")
        await hooks.eventually(lambda: receiver.received)
    headers = receiver.received[0].headers
    assert headers["webhook-id"].startswith("msg_")
    assert abs(int(headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 300
    assert headers["webhook-signature"].startswith("v1,")
    assert headers["content-type"] == "application/json"


async def test_a_batch_has_at_most_100_tweets_and_256_kb_and_a_larger_tweet_comes_alone(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    await hooks.add(receiver.url)
    texts = [f"snow {number}" for number in range(250)]
    long = [f"snow {number} " + "é" * 40_000 for number in range(5)]  # 80 kB each
    giant = "snow " + "x" * 300_000
    await hooks.store(*texts)
    await hooks.store(*long, giant, "snow last")
    async with hooks.passing_on():
        await hooks.eventually(lambda: len(receiver.texts) >= 257)
    assert receiver.texts == [*texts, *long, giant, "snow last"]
    sizes = [len(each.texts) for each in receiver.received]
    assert sizes[:2] == [100, 100]
    assert max(sizes) == 100
    for each in receiver.received:
        assert len(each.body) <= 256_000 or each.texts == [giant]


async def test_a_deletion_follows_its_tweet(hooks: WebhookBench, receiver: Receiver) -> None:
    await hooks.add(receiver.url, [hooks.snow])
    async with hooks.passing_on():
        first, other = await hooks.store("snow 1", "rain 1")
        await hooks.eventually(lambda: receiver.texts == ["snow 1"])
        key = receiver.received[0].message["data"]["tweets"][0]["id"]
        await hooks.delete(first, other)
        await hooks.store("snow 2")
        await hooks.eventually(lambda: receiver.of("tweet.deleted"))
        await hooks.eventually(lambda: receiver.texts[-1] == "snow 2")
    [deleted] = receiver.of("tweet.deleted")
    [each] = deleted.message["data"]["deletions"]
    assert (each["id"], each["tracks"]) == (key, [str(hooks.snow)])
    assert each["deleted_at"]


async def test_many_deletions_come_in_batches_of_at_most_100(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    await hooks.add(receiver.url)
    numbers = await hooks.store(*(f"snow {number}" for number in range(150)))
    await hooks.delete(*numbers)

    def sizes() -> list[int]:
        return [len(each.message["data"]["deletions"]) for each in receiver.of("tweet.deleted")]

    async with hooks.passing_on():
        await hooks.eventually(lambda: sum(sizes()) == 150)
    assert max(sizes()) == 100


async def test_deletions_are_not_kept_waiting_by_tweets(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    """However many tweets wait, a deletion comes with the second message."""
    await hooks.add(receiver.url)
    [first] = await hooks.store("snow")
    async with hooks.passing_on():
        await hooks.eventually(lambda: receiver.texts == ["snow"])
    await hooks.store(*(f"snow {number}" for number in range(500)))
    await hooks.delete(first)
    async with hooks.passing_on():
        await hooks.eventually(lambda: len(receiver.texts) == 501)
    assert [each.type for each in receiver.received].index("tweet.deleted") <= 2


async def test_a_track_that_is_no_longer_shared_is_sent_no_more_not_even_what_waits(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    await hooks.execute("UPDATE tracks SET owner = 'bo' WHERE value = 'rain'")
    await hooks.execute("INSERT INTO track_shares SELECT $1, $2", hooks.rain, hooks.user)
    receiver.answer = status(500)
    hook, _ = await hooks.add(receiver.url)
    async with hooks.passing_on():
        await hooks.store("rain 1", "snow 1", "snow and rain")
        await hooks.fails(hook)
        assert receiver.texts == ["rain 1", "snow 1", "snow and rain"]
        await hooks.execute("DELETE FROM track_shares")
        receiver.received.clear()
        receiver.answer = ok
        await hooks.due()
        await hooks.store("rain 2", "snow 2")
        await hooks.eventually(lambda: receiver.texts == ["snow 1", "snow and rain", "snow 2"])
    [_, both] = receiver.received[0].message["data"]["tweets"]
    assert [each["track"] for each in both["matches"]] == [str(hooks.snow)]


@pytest.mark.parametrize("how", ["enabled = false", "role = 'viewer'"])
async def test_a_user_who_may_not_have_webhooks_gets_nothing(
    hooks: WebhookBench, receiver: Receiver, how: str
) -> None:
    await hooks.add(receiver.url)
    async with hooks.passing_on():
        await hooks.store("snow 1")
        await hooks.eventually(lambda: receiver.texts == ["snow 1"])
        await hooks.execute(f"UPDATE users SET {how}")
        assert hooks.sinks is not None
        await hooks.eventually(lambda: hooks.sinks and not hooks.sinks.statuses)
        await hooks.store("snow 2")
        await hooks.execute("UPDATE users SET enabled = true, role = 'user'")
        await hooks.eventually(lambda: receiver.texts == ["snow 1", "snow 2"])


async def test_after_a_new_secret_messages_have_both_signatures_until_a_written_time(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    hook, former = await hooks.add(receiver.url)
    secret = webhook_secrets.new_secret()
    sealed, until = webhook_secrets.rotate(hooks.vault, await hooks.get(hook), secret)
    assert until is not None
    async with hooks.database.acquire() as connection:
        await webhooks.set_secrets(connection, hook, sealed, until)
    async with hooks.passing_on():
        await hooks.store("snow 1")
        await hooks.eventually(lambda: len(receiver.received) == 1)
        await hooks.execute("UPDATE webhooks SET old_secret_until = now() - interval '1 s'")
        await hooks.store("snow 2")
        await hooks.eventually(lambda: len(receiver.received) == 2)
    both, one = receiver.received
    assert both.verify(secret) == both.verify(former)
    one.verify(secret)
    with pytest.raises(WebhookVerificationError):
        one.verify(former)


async def test_a_test_is_sent_once_also_while_the_webhook_is_paused(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    receiver.answer = status(500)
    hook, secret = await hooks.add(receiver.url)
    await hooks.execute("UPDATE webhooks SET state = 'paused'")
    async with hooks.passing_on():
        new = NewDelivery("msg_test", "webhook.test", (), "", "again", datetime.now(UTC))
        async with hooks.database.acquire() as connection:
            await webhook_deliveries.add(connection, hook, new)
        await hooks.eventually(lambda: receiver.received)

        async def done() -> bool:
            return bool(await hooks.value("SELECT state = 'dead' FROM webhook_deliveries"))

        await hooks.eventually(done)
    [found] = receiver.received
    assert found.verify(secret)["type"] == "webhook.test"
