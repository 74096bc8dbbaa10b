"""Webhooks whose receiver fails, hangs, or is where none may be; and a Postgres that is away."""

import asyncio
from collections.abc import Sequence

import pytest
from aiohttp import web

from stream.store import alert_facts, webhook_deliveries
from web_app import database_away
from webhook_bench import WebhookBench
from webhook_receiver import Receiver, hang, ok, receiving, status

ALL_DELIVERED = "SELECT count(*) = 2 FROM webhook_deliveries WHERE state = 'delivered'"
FINISHED = "SELECT count(*) = 1 FROM webhook_deliveries WHERE state = '{}'"


async def test_a_retry_has_the_same_id_and_what_follows_waits_in_order(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    receiver.answer = status(500)
    hook, secret = await hooks.add(receiver.url)
    async with hooks.passing_on() as sinks:
        await hooks.store("snow 1")
        await hooks.eventually(lambda: receiver.received)
        await hooks.store("snow 2")
        assert "status 500" in await hooks.fails(hook)
        [found] = sinks.webhooks
        await hooks.eventually(lambda: found.failed == 1)
        oldest = await hooks.value("SELECT min(received_at) FROM tweets")
        assert (found.delivered, found.waiting_since) == (0, oldest.timestamp())
        wait = await hooks.value(
            "SELECT extract(epoch FROM next_at - tried_at)::float FROM webhook_deliveries"
        )
        assert 0 < wait < 60  # 5 s, or 15 s after another try; less what the note itself took
        receiver.answer = ok
        await hooks.due()
        await hooks.eventually(lambda: receiver.texts[-1] == "snow 2")
        await hooks.works(hook)
        await hooks.eventually(lambda: found.waiting_since is None)
        assert (found.delivered, found.failed, found.given_up) == (2, 1, 0)
    first, second, third = receiver.received
    assert first.id == second.id != third.id
    assert first.body == second.body
    second.verify(secret)
    assert receiver.texts == ["snow 1", "snow 1", "snow 2"]


async def test_retry_after_is_obeyed_up_to_a_day(hooks: WebhookBench, receiver: Receiver) -> None:
    hook, _ = await hooks.add(receiver.url)
    wait = "SELECT extract(epoch FROM next_at - tried_at)::float FROM webhook_deliveries"
    async with hooks.passing_on():
        for asked, waited in (("3600", 3600), ("99999999", 86_400)):
            receiver.answer = status(503, **{"Retry-After": asked})
            await hooks.store("snow")
            await hooks.due()

            async def later(seconds: float = waited) -> bool:
                found = await hooks.database.fetch(wait)
                return bool(found) and abs((found[0][0] or 0) - seconds) < 5

            await hooks.eventually(later)
    assert await hooks.fails(hook)


async def test_410_disables_a_webhook_and_resuming_continues_where_it_stopped(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    receiver.answer = status(410)
    hook, _ = await hooks.add(receiver.url)
    async with hooks.passing_on() as sinks:
        await hooks.store("snow 1")

        async def disabled() -> bool:
            return (await hooks.get(hook)).state == "disabled"

        await hooks.eventually(disabled)
        await hooks.eventually(lambda: [each.state for each in sinks.webhooks] == ["disabled"])
        assert "410" in (await hooks.get(hook)).reason
        await hooks.store("snow 2")
        receiver.answer = ok
        await hooks.resume(hook)
        await hooks.eventually(lambda: receiver.texts == ["snow 1", "snow 1", "snow 2"])


async def test_five_days_of_failure_disable_a_webhook(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    receiver.answer = status(500)
    hook, _ = await hooks.add(receiver.url)
    async with hooks.passing_on():
        await hooks.store("snow 1")
        await hooks.fails(hook)
        await hooks.execute("UPDATE webhooks SET failing_since = now() - interval '121 hours'")
        await hooks.due()

        async def disabled() -> bool:
            found = await hooks.get(hook)
            return found.state == "disabled" and "5 days" in found.reason

        await hooks.eventually(disabled)


async def test_after_three_days_a_message_is_a_dead_letter_that_can_be_sent_again(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    receiver.answer = status(500)
    hook, _ = await hooks.add(receiver.url)
    async with hooks.passing_on() as sinks:
        [first, *_] = await hooks.store("snow 1", "snow 2", "snow 3")
        await hooks.fails(hook)
        await hooks.execute("UPDATE webhook_deliveries SET began_at = now() - interval '73 hours'")
        await hooks.due()

        async def is_dead() -> bool:
            return bool(
                await hooks.value("SELECT count(*) FROM webhook_deliveries WHERE state = 'dead'")
            )

        await hooks.eventually(is_dead)
        await hooks.eventually(lambda: [each.given_up for each in sinks.webhooks] == [1])
        receiver.answer = ok
        await hooks.store("snow 4")
        await hooks.eventually(lambda: receiver.texts[-1] == "snow 4")
        assert len({each.id for each in receiver.received}) == 2  # the position moved on
        await hooks.delete(first)
        [row] = await hooks.database.fetch("SELECT id FROM webhook_deliveries WHERE state = 'dead'")
        async with hooks.database.acquire() as connection:
            assert await webhook_deliveries.send_again(connection, hook, row["id"])
        await hooks.eventually(lambda: receiver.texts[-2:] == ["snow 2", "snow 3"])
    again = receiver.of("tweets.matched")[-1]
    assert again.id == receiver.received[0].id
    assert again.texts == ["snow 2", "snow 3"]  # the first one was deleted meanwhile


async def test_a_message_of_which_nothing_is_left_does_not_count_as_a_success(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    """Else a receiver that is gone for good would never be disabled."""
    receiver.answer = status(500)
    hook, _ = await hooks.add(receiver.url)
    async with hooks.passing_on():
        numbers = await hooks.store("snow")
        await hooks.fails(hook)
        before = await hooks.get(hook)
        await hooks.delete(*numbers)
        await hooks.due()
        await hooks.eventually(lambda: hooks.value(FINISHED.format("delivered")))
        after = await hooks.get(hook)
    assert "Nothing was sent" in await hooks.value(
        "SELECT answer FROM webhook_deliveries WHERE state = 'delivered'"
    )
    assert after.failing_since == before.failing_since is not None
    assert after.position != before.position


async def test_redirects_are_not_followed(hooks: WebhookBench, receiver: Receiver) -> None:
    receiver.answer = status(302, Location="http://127.0.0.1:1/other")
    hook, _ = await hooks.add(receiver.url)
    async with hooks.passing_on():
        await hooks.store("snow")
        reason = await hooks.fails(hook)
    assert "redirects to http://127.0.0.1:1/other (status 302)" in reason
    assert "Redirects are not followed" in reason
    assert len(receiver.received) == 1


async def test_the_answer_is_read_only_to_a_bound(hooks: WebhookBench, receiver: Receiver) -> None:
    hook, _ = await hooks.add(receiver.url)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        while True:
            await response.write(b"<b>\0 no" * 1000)

    receiver.answer = endless
    async with hooks.passing_on():
        await hooks.store("snow")
        await hooks.fails(hook)
    answer = await hooks.value("SELECT answer FROM webhook_deliveries")
    assert answer.startswith("<b>\ufffd no")
    assert len(answer) == 500


async def test_a_receiver_that_hangs_delays_no_other_one(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    async with receiving() as dead:
        dead.answer = hang
        await hooks.add(dead.url, name="dead")
        await hooks.add(receiver.url, name="well")
        async with hooks.passing_on():
            await hooks.store("snow 1")
            await hooks.eventually(lambda: dead.received)
            await hooks.eventually(lambda: receiver.texts == ["snow 1"])
            await hooks.store("snow 2")
            await hooks.eventually(lambda: receiver.texts == ["snow 1", "snow 2"])
    assert len(dead.received) == 1


async def test_reading_an_archive_delays_no_other_webhook(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    reading = asyncio.Event()

    async def read(_: int) -> Sequence[bytes]:
        reading.set()
        await asyncio.Event().wait()
        raise AssertionError

    await hooks.add(receiver.url, name="well")
    async with hooks.passing_on() as sinks, receiving() as other:
        sinks.read_archived = read
        again, _ = await hooks.add(other.url, name="again")
        await hooks.store("snow 1")
        await hooks.eventually(lambda: other.texts == receiver.texts == ["snow 1"])
        await hooks.eventually(lambda: hooks.value(ALL_DELIVERED))
        await hooks.execute(
            "INSERT INTO archives (day, state, path)"
            " SELECT min(received_at)::date, 'dropped', 'a' FROM tweets"
        )
        await hooks.execute(
            "UPDATE webhook_deliveries SET state = 'again', next_at = now() WHERE webhook_id = $1",
            again,
        )
        await reading.wait()
        await hooks.store("snow 2")
        await hooks.eventually(lambda: receiver.texts == ["snow 1", "snow 2"])


@pytest.mark.parametrize(
    ("url", "allowed", "words"),
    [
        ("http://127.0.0.1:{port}/", [], "this address is private"),
        ("http://localhost:{port}/", [], "this address is private"),
        ("http://[::ffff:127.0.0.1]:{port}/", [], "this address is private"),
        ("http://169.254.169.254/", ["0.0.0.0/0"], "link-local or of a cloud's metadata"),
        ("http://8.8.8.8/", ["10.0.0.0/8"], "http, which is not encrypted"),
        ("http://8.8.8.8/", [], "http, which is not encrypted"),
    ],
)
async def test_an_address_that_is_not_allowed_disables_a_webhook_and_loses_nothing(
    hooks: WebhookBench, receiver: Receiver, url: str, allowed: list[str], words: str
) -> None:
    """Also when a row names it that no check has seen, as after a change of DNS or settings."""
    hook, _ = await hooks.add(url.format(port=receiver.port))
    async with hooks.passing_on(allowed_networks=allowed):
        await hooks.store("snow 1")
        assert words in await hooks.fails(hook)
        await hooks.store("snow 2")
        async with hooks.database.acquire() as connection:
            [disabled] = await alert_facts.disabled_webhooks(connection)
        assert words in disabled.reason
    assert receiver.received == []
    await hooks.execute("UPDATE webhooks SET url = $1", receiver.url)
    await hooks.resume(hook)
    async with hooks.passing_on():
        await hooks.eventually(lambda: receiver.texts == ["snow 1", "snow 2"])


async def test_a_name_with_an_address_that_is_not_allowed_is_tried_again(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    """As it may be its name server that is wrong."""
    hook, _ = await hooks.add(f"http://localhost:{receiver.port}/")
    async with hooks.passing_on(allowed_networks=["10.0.0.0/8"]):
        await hooks.store("snow")
        assert "this address is private" in await hooks.fails(hook)
        assert (await hooks.get(hook)).state == "active"
    assert receiver.received == []
    async with hooks.passing_on():
        await hooks.due()
        await hooks.eventually(lambda: receiver.texts == ["snow"])


async def test_what_is_sent_again_is_not_tried_for_days_after_410(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    await hooks.add(receiver.url)
    async with hooks.passing_on():
        await hooks.store("snow")
        await hooks.eventually(lambda: hooks.value(FINISHED.format("delivered")))
        receiver.answer = status(410)
        await hooks.execute("UPDATE webhook_deliveries SET state = 'again', next_at = now()")
        await hooks.eventually(lambda: hooks.value(FINISHED.format("dead")))


async def test_deliveries_and_dead_letters_are_bounded(
    hooks: WebhookBench, receiver: Receiver
) -> None:
    hook, _ = await hooks.add(receiver.url)
    await hooks.execute(
        "INSERT INTO webhook_deliveries (webhook_id, message_id, event, tweets, state, created_at,"
        " next_at) SELECT $1, n::text, event, '{}', state, now(), NULL"
        " FROM generate_series(1, 300) AS n, (VALUES ('tweets.matched', 'dead'),"
        " ('tweets.matched', 'delivered'), ('webhook.test', 'dead')) AS kinds (event, state)",
        hook,
    )
    number = "SELECT count(*) = {} FROM webhook_deliveries"
    async with hooks.passing_on():
        await hooks.store("snow 1")
        await hooks.eventually(lambda: hooks.value(number.format(50 + 300)))
        receiver.answer = status(500)
        await hooks.store("snow 2")
        await hooks.fails(hook)
        await hooks.execute("UPDATE webhook_deliveries SET began_at = now() - interval '73 hours'")
        await hooks.due()
        await hooks.eventually(lambda: hooks.value(number.format(50 + 100)))
    dead_letters = "state = 'dead' AND event <> 'webhook.test'"
    assert await hooks.value(f"{number.format(100)} WHERE {dead_letters}")  # tests displace none


async def test_while_postgres_is_away_tweets_wait_and_nothing_counts_as_a_fault(
    hooks: WebhookBench,
    receiver: Receiver,
    server: str,
    database: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await hooks.add(receiver.url)

    async def noted() -> bool:
        """Else it comes a second time, which is right."""
        query = "SELECT count(*) = 1 FROM webhook_deliveries WHERE state = 'delivered'"
        return bool(await hooks.value(query))

    async with hooks.passing_on() as sinks:
        await hooks.store("snow 1")
        await hooks.eventually(noted)
        with database_away(server, database):
            await hooks.eventually(lambda: not sinks.statuses)
        await hooks.store("snow 2")
        await hooks.eventually(lambda: receiver.texts == ["snow 1", "snow 2"])
    assert "failed" not in caplog.text
