"""Webhooks on a database that is filled as the writer fills it, and a real receiver."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from standardwebhooks.webhooks import WebhookVerificationError

from stream.config import Settings
from stream.config.settings import SinkSettings, WebhookSettings
from stream.db import Database
from stream.sinks import webhook_secrets
from stream.sinks.reader import head_position
from stream.sinks.runner import Sinks
from stream.store import sources, users, webhook_deliveries, webhooks
from stream.store.webhook_deliveries import NewDelivery
from stream.store.webhooks import NewWebhook, Webhook
from stream.tweet import Frame, Match, SourceId, TrackId, Tweet, UserId
from stream.vault import Vault
from web_app import database_away
from webhook_receiver import Receiver, hang, ok, receiving, status
from x_tweets import store_frames, v1_tweet

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually

NOON = round(datetime(2026, 3, 14, 12, tzinfo=UTC).timestamp() * 1e6)
LOCAL = ["127.0.0.0/8"]


class WebhookBench:
    """A database with a user and two tracks, and a vault."""

    def __init__(self, database: Database, folder: Path, eventually: Eventually) -> None:
        self.database = database
        self.vault = Vault(folder)
        self.eventually = eventually
        self.sinks: Sinks | None = None
        self.user = UserId(0)
        self.snow, self.rain = TrackId(0), TrackId(0)
        self._source = SourceId(0)
        self._number = 0

    async def prepare(self) -> None:
        async with self.database.acquire() as connection:
            self.user = await users.add(connection, "ana", "user", None)
            self._source = await sources.add(connection, "main", "x_v1")
        rows = await self.database.fetch(
            "INSERT INTO tracks (value, owner) VALUES ('snow', 'ana'), ('rain', 'ana') RETURNING id"
        )
        self.snow, self.rain = (TrackId(row["id"]) for row in rows)

    def match(self, found: Tweet) -> Sequence[Match]:
        words = {"snow": self.snow, "rain": self.rain}
        return [Match(track, word, "text") for word, track in words.items() if word in found.text]

    @contextlib.asynccontextmanager
    async def passing_on(self, **given: Any) -> AsyncIterator[Sinks]:
        settings = SinkSettings(webhooks=WebhookSettings(**({"allowed_networks": LOCAL} | given)))
        self.sinks = Sinks(self.database, Settings(sinks=settings), self.vault)
        task = asyncio.create_task(self.sinks.run())
        try:
            yield self.sinks
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def add(
        self, url: str, follow: Sequence[TrackId] | None = None, name: str = "mine"
    ) -> tuple[int, str]:
        """A webhook from here on; its id and secret."""
        secret = webhook_secrets.new_secret()
        async with self.database.acquire() as connection:
            position = str(await head_position(connection))
            new = NewWebhook(name, url, follow, webhook_secrets.seal(self.vault, secret), position)
            return await webhooks.add(connection, self.user, new), secret

    async def get(self, webhook_id: int) -> Webhook:
        async with self.database.acquire() as connection:
            found = await webhooks.by_id(connection, webhook_id)
        assert found is not None
        return found

    async def store(self, *texts: str) -> list[str]:
        """One batch of tweets; their native ids."""
        frames = []
        for text in texts:
            self._number += 1
            frames.append(Frame(NOON + self._number, v1_tweet(self._number, text), self._number))
        await store_frames(self.database, self._source, frames, self.match)
        if self.sinks is not None:
            self.sinks.wake()
        return [str(self._number - len(texts) + place + 1) for place in range(len(texts))]

    async def delete(self, *native_ids: str) -> None:
        """The network's messages that these are deleted."""
        frames = []
        for native_id in native_ids:
            self._number += 1
            deleted = {"id": int(native_id), "id_str": native_id, "user_id": 5, "user_id_str": "5"}
            body = json.dumps({"delete": {"status": deleted, "timestamp_ms": "1773489600000"}})
            frames.append(Frame(NOON + self._number, body.encode(), self._number))
        await store_frames(self.database, self._source, frames, self.match)

    async def fails(self, webhook_id: int) -> str:
        """Why a webhook fails, as soon as it says so."""

        async def met() -> bool:
            return bool((await self.get(webhook_id)).reason)

        await self.eventually(met)
        return (await self.get(webhook_id)).reason

    async def works(self, webhook_id: int) -> None:
        async def met() -> bool:
            found = await self.get(webhook_id)
            return (found.reason, found.failing_since) == ("", None)

        await self.eventually(met)

    async def due(self) -> None:
        """It is time for the next tries."""
        await self.execute(
            "UPDATE webhook_deliveries SET next_at = now() WHERE next_at IS NOT NULL"
        )

    async def resume(self, webhook_id: int) -> None:
        async with self.database.transaction() as connection:
            await webhooks.set_state(connection, webhook_id, "active")
            await webhook_deliveries.try_now(connection, webhook_id)

    async def execute(self, statement: str, *values: object) -> None:
        await self.database.execute(statement, *values)

    async def value(self, query: str, *values: object) -> Any:
        [row] = await self.database.fetch(query, *values)
        return row[0]


@pytest.fixture
async def bench(connected: Database, tmp_path: Path, eventually: Eventually) -> WebhookBench:
    made = WebhookBench(connected, tmp_path, eventually)
    await made.prepare()
    return made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def test_tweets_of_followed_tracks_arrive_signed_and_the_position_is_committed(
    bench: WebhookBench, receiver: Receiver
) -> None:
    hook, secret = await bench.add(receiver.url, [bench.snow])
    before = (await bench.get(hook)).position
    async with bench.passing_on():
        await bench.store("snow 1", "rain 1", "snow and rain")
        await bench.eventually(lambda: len(receiver.texts) == 2)
        found = receiver.received[0]
        message = found.verify(secret)
        with pytest.raises(WebhookVerificationError):
            found.verify(webhook_secrets.new_secret())
        assert message["type"] == "tweets.matched"
        assert message["data"]["v"] == 1
        assert receiver.texts == ["snow 1", "snow and rain"]
        [_, both] = message["data"]["tweets"]
        assert [each["track"] for each in both["matches"]] == [str(bench.snow)]

        async def committed() -> bool:
            return (await bench.get(hook)).position != before

        await bench.eventually(committed)
    async with bench.passing_on():  # it continues there
        await bench.store("snow 2")
        await bench.eventually(lambda: len(receiver.texts) == 3)
    assert receiver.texts == ["snow 1", "snow and rain", "snow 2"]


async def test_the_headers_are_those_of_standard_webhooks(
    bench: WebhookBench, receiver: Receiver
) -> None:
    await bench.add(receiver.url)
    async with bench.passing_on():
        await bench.store("snow")
        await bench.eventually(lambda: receiver.received)
    headers = receiver.received[0].headers
    assert headers["webhook-id"].startswith("msg_")
    assert abs(int(headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 300
    assert headers["webhook-signature"].startswith("v1,")
    assert headers["content-type"] == "application/json"


async def test_a_batch_has_at_most_100_tweets_and_256_kb_and_a_larger_tweet_comes_alone(
    bench: WebhookBench, receiver: Receiver
) -> None:
    await bench.add(receiver.url)
    texts = [f"snow {number}" for number in range(250)]
    long = [f"snow {number} " + "é" * 40_000 for number in range(5)]  # 80 kB each
    giant = "snow " + "x" * 300_000
    await bench.store(*texts)
    await bench.store(*long, giant, "snow last")
    async with bench.passing_on():
        await bench.eventually(lambda: len(receiver.texts) >= 257)
    assert receiver.texts == [*texts, *long, giant, "snow last"]
    sizes = [len(each.texts) for each in receiver.received]
    assert sizes[:2] == [100, 100]
    assert max(sizes) == 100
    for each in receiver.received:
        assert len(each.body) <= 256_000 or each.texts == [giant]


async def test_a_retry_has_the_same_id_and_what_follows_waits_in_order(
    bench: WebhookBench, receiver: Receiver
) -> None:
    receiver.answer = status(500)
    hook, secret = await bench.add(receiver.url)
    async with bench.passing_on():
        await bench.store("snow 1")
        await bench.eventually(lambda: receiver.received)
        await bench.store("snow 2")
        assert "status 500" in await bench.fails(hook)
        wait = await bench.value(
            "SELECT extract(epoch FROM next_at - tried_at)::float FROM webhook_deliveries"
        )
        assert 5 <= wait <= 6.1
        receiver.answer = ok
        await bench.due()
        await bench.eventually(lambda: receiver.texts[-1] == "snow 2")
        await bench.works(hook)
    first, second, third = receiver.received
    assert first.id == second.id != third.id
    assert first.body == second.body
    second.verify(secret)
    assert receiver.texts == ["snow 1", "snow 1", "snow 2"]


async def test_retry_after_is_obeyed_up_to_a_day(bench: WebhookBench, receiver: Receiver) -> None:
    hook, _ = await bench.add(receiver.url)
    wait = "SELECT extract(epoch FROM next_at - tried_at)::float FROM webhook_deliveries"
    async with bench.passing_on():
        for asked, waited in (("3600", 3600), ("99999999", 86_400)):
            receiver.answer = status(503, **{"Retry-After": asked})
            await bench.store("snow")
            await bench.due()

            async def later(seconds: float = waited) -> bool:
                found = await bench.database.fetch(wait)
                return bool(found) and abs((found[0][0] or 0) - seconds) < 5

            await bench.eventually(later)
    assert await bench.fails(hook)


async def test_410_disables_a_webhook_and_resuming_continues_where_it_stopped(
    bench: WebhookBench, receiver: Receiver
) -> None:
    receiver.answer = status(410)
    hook, _ = await bench.add(receiver.url)
    async with bench.passing_on():
        await bench.store("snow 1")

        async def disabled() -> bool:
            return (await bench.get(hook)).state == "disabled"

        await bench.eventually(disabled)
        assert "410" in (await bench.get(hook)).reason
        await bench.store("snow 2")
        receiver.answer = ok
        await bench.resume(hook)
        await bench.eventually(lambda: receiver.texts == ["snow 1", "snow 1", "snow 2"])


async def test_five_days_of_failure_disable_a_webhook(
    bench: WebhookBench, receiver: Receiver
) -> None:
    receiver.answer = status(500)
    hook, _ = await bench.add(receiver.url)
    async with bench.passing_on():
        await bench.store("snow 1")
        await bench.fails(hook)
        await bench.execute("UPDATE webhooks SET failing_since = now() - interval '121 hours'")
        await bench.due()

        async def disabled() -> bool:
            found = await bench.get(hook)
            return found.state == "disabled" and "5 days" in found.reason

        await bench.eventually(disabled)


async def test_after_three_days_a_message_is_a_dead_letter_that_can_be_sent_again(
    bench: WebhookBench, receiver: Receiver
) -> None:
    receiver.answer = status(500)
    hook, _ = await bench.add(receiver.url)
    async with bench.passing_on():
        [first, *_] = await bench.store("snow 1", "snow 2", "snow 3")
        await bench.fails(hook)
        await bench.execute("UPDATE webhook_deliveries SET began_at = now() - interval '73 hours'")
        await bench.due()

        async def is_dead() -> bool:
            return bool(
                await bench.value("SELECT count(*) FROM webhook_deliveries WHERE state = 'dead'")
            )

        await bench.eventually(is_dead)
        receiver.answer = ok
        await bench.store("snow 4")
        await bench.eventually(lambda: receiver.texts[-1] == "snow 4")
        assert len({each.id for each in receiver.received}) == 2  # the position moved on
        await bench.delete(first)
        [row] = await bench.database.fetch("SELECT id FROM webhook_deliveries WHERE state = 'dead'")
        async with bench.database.acquire() as connection:
            assert await webhook_deliveries.send_again(connection, hook, row["id"])
        await bench.eventually(lambda: receiver.texts[-2:] == ["snow 2", "snow 3"])
    again = receiver.of("tweets.matched")[-1]
    assert again.id == receiver.received[0].id
    assert again.texts == ["snow 2", "snow 3"]  # the first one was deleted meanwhile


async def test_redirects_are_not_followed(bench: WebhookBench, receiver: Receiver) -> None:
    receiver.answer = status(302, Location="http://127.0.0.1:1/other")
    hook, _ = await bench.add(receiver.url)
    async with bench.passing_on():
        await bench.store("snow")
        reason = await bench.fails(hook)
    assert "redirects to http://127.0.0.1:1/other (status 302)" in reason
    assert "Redirects are not followed" in reason
    assert len(receiver.received) == 1


async def test_the_answer_is_read_only_to_a_bound(bench: WebhookBench, receiver: Receiver) -> None:
    hook, _ = await bench.add(receiver.url)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        while True:
            await response.write(b"<b>\0 no" * 1000)

    receiver.answer = endless
    async with bench.passing_on():
        await bench.store("snow")
        await bench.fails(hook)
    answer = await bench.value("SELECT answer FROM webhook_deliveries")
    assert answer.startswith("<b>\ufffd no")
    assert len(answer) == 500


async def test_a_deletion_follows_its_tweet(bench: WebhookBench, receiver: Receiver) -> None:
    await bench.add(receiver.url, [bench.snow])
    async with bench.passing_on():
        first, other = await bench.store("snow 1", "rain 1")
        await bench.eventually(lambda: receiver.texts == ["snow 1"])
        key = receiver.received[0].message["data"]["tweets"][0]["id"]
        await bench.delete(first, other)
        await bench.store("snow 2")
        await bench.eventually(lambda: receiver.of("tweet.deleted"))
        await bench.eventually(lambda: receiver.texts[-1] == "snow 2")
    [deleted] = receiver.of("tweet.deleted")
    [each] = deleted.message["data"]["deletions"]
    assert (each["id"], each["tracks"]) == (key, [str(bench.snow)])
    assert each["deleted_at"]


async def test_deletions_are_not_kept_waiting_by_tweets(
    bench: WebhookBench, receiver: Receiver
) -> None:
    """However many tweets wait, a deletion comes with the second message."""
    await bench.add(receiver.url)
    [first] = await bench.store("snow")
    async with bench.passing_on():
        await bench.eventually(lambda: receiver.texts == ["snow"])
    await bench.store(*(f"snow {number}" for number in range(500)))
    await bench.delete(first)
    async with bench.passing_on():
        await bench.eventually(lambda: len(receiver.texts) == 501)
    assert [each.type for each in receiver.received].index("tweet.deleted") <= 2


async def test_a_track_that_is_no_longer_shared_is_sent_no_more_not_even_what_waits(
    bench: WebhookBench, receiver: Receiver
) -> None:
    await bench.execute("UPDATE tracks SET owner = 'bo' WHERE value = 'rain'")
    await bench.execute("INSERT INTO track_shares SELECT $1, $2", bench.rain, bench.user)
    receiver.answer = status(500)
    hook, _ = await bench.add(receiver.url)
    async with bench.passing_on():
        await bench.store("rain 1", "snow 1", "snow and rain")
        await bench.fails(hook)
        assert receiver.texts == ["rain 1", "snow 1", "snow and rain"]
        await bench.execute("DELETE FROM track_shares")
        receiver.received.clear()
        receiver.answer = ok
        await bench.due()
        await bench.store("rain 2", "snow 2")
        await bench.eventually(lambda: receiver.texts == ["snow 1", "snow and rain", "snow 2"])
    [_, both] = receiver.received[0].message["data"]["tweets"]
    assert [each["track"] for each in both["matches"]] == [str(bench.snow)]


@pytest.mark.parametrize("how", ["enabled = false", "role = 'viewer'"])
async def test_a_user_who_may_not_have_webhooks_gets_nothing(
    bench: WebhookBench, receiver: Receiver, how: str
) -> None:
    await bench.add(receiver.url)
    async with bench.passing_on():
        await bench.store("snow 1")
        await bench.eventually(lambda: receiver.texts == ["snow 1"])
        await bench.execute(f"UPDATE users SET {how}")
        assert bench.sinks is not None
        await bench.eventually(lambda: bench.sinks and not bench.sinks.statuses)
        await bench.store("snow 2")
        await bench.execute("UPDATE users SET enabled = true, role = 'user'")
        await bench.eventually(lambda: receiver.texts == ["snow 1", "snow 2"])


async def test_a_receiver_that_hangs_delays_no_other_one(
    bench: WebhookBench, receiver: Receiver
) -> None:
    async with receiving() as dead:
        dead.answer = hang
        await bench.add(dead.url, name="dead")
        await bench.add(receiver.url, name="well")
        async with bench.passing_on():
            await bench.store("snow 1")
            await bench.eventually(lambda: dead.received)
            await bench.eventually(lambda: receiver.texts == ["snow 1"])
            await bench.store("snow 2")
            await bench.eventually(lambda: receiver.texts == ["snow 1", "snow 2"])
    assert len(dead.received) == 1


async def test_after_a_new_secret_messages_have_both_signatures_until_a_written_time(
    bench: WebhookBench, receiver: Receiver
) -> None:
    hook, former = await bench.add(receiver.url)
    secret = webhook_secrets.new_secret()
    sealed, until = webhook_secrets.rotate(bench.vault, await bench.get(hook), secret)
    assert until is not None
    async with bench.database.acquire() as connection:
        await webhooks.set_secrets(connection, hook, sealed, until)
    async with bench.passing_on():
        await bench.store("snow 1")
        await bench.eventually(lambda: len(receiver.received) == 1)
        await bench.execute("UPDATE webhooks SET old_secret_until = now() - interval '1 s'")
        await bench.store("snow 2")
        await bench.eventually(lambda: len(receiver.received) == 2)
    both, one = receiver.received
    assert both.verify(secret) == both.verify(former)
    one.verify(secret)
    with pytest.raises(WebhookVerificationError):
        one.verify(former)


@pytest.mark.parametrize(
    ("url", "allowed", "words"),
    [
        ("http://127.0.0.1:{port}/", [], "this address is private"),
        ("http://localhost:{port}/", [], "this address is private"),
        ("http://localhost:{port}/", ["10.0.0.0/8"], "this address is private"),
        ("http://[::ffff:127.0.0.1]:{port}/", [], "this address is private"),
        ("http://169.254.169.254/", ["0.0.0.0/0"], "link-local or of a cloud's metadata"),
    ],
)
async def test_a_private_address_is_refused_when_the_connection_is_made(
    bench: WebhookBench, receiver: Receiver, url: str, allowed: list[str], words: str
) -> None:
    """Also when a row names it that no check has seen, as after a change of DNS."""
    hook, _ = await bench.add(url.format(port=receiver.port))
    async with bench.passing_on(allowed_networks=allowed):
        await bench.store("snow")
        assert words in await bench.fails(hook)
    assert receiver.received == []


async def test_a_test_is_sent_once_also_while_the_webhook_is_paused(
    bench: WebhookBench, receiver: Receiver
) -> None:
    receiver.answer = status(500)
    hook, secret = await bench.add(receiver.url)
    await bench.execute("UPDATE webhooks SET state = 'paused'")
    async with bench.passing_on():
        new = NewDelivery("msg_test", "webhook.test", (), "", "again", datetime.now(UTC))
        async with bench.database.acquire() as connection:
            await webhook_deliveries.add(connection, hook, new)
        await bench.eventually(lambda: receiver.received)

        async def done() -> bool:
            return bool(await bench.value("SELECT state = 'dead' FROM webhook_deliveries"))

        await bench.eventually(done)
    [found] = receiver.received
    assert found.verify(secret)["type"] == "webhook.test"


async def test_deliveries_and_dead_letters_are_bounded(
    bench: WebhookBench, receiver: Receiver
) -> None:
    hook, _ = await bench.add(receiver.url)
    await bench.execute(
        "INSERT INTO webhook_deliveries (webhook_id, message_id, event, tweets, state, created_at,"
        " next_at) SELECT $1, n::text, 'tweets.matched', '{}', state, now(), NULL"
        " FROM generate_series(1, 300) AS n, unnest('{delivered, dead}'::text[]) AS state",
        hook,
    )
    async with bench.passing_on():
        await bench.store("snow")
        await bench.eventually(lambda: receiver.received)

        async def pruned() -> bool:
            return bool(await bench.value("SELECT count(*) = 150 FROM webhook_deliveries"))

        await bench.eventually(pruned)


async def test_while_postgres_is_away_tweets_wait_and_nothing_counts_as_a_fault(
    bench: WebhookBench,
    receiver: Receiver,
    server: str,
    database: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await bench.add(receiver.url)

    async def noted() -> bool:
        """Else it comes a second time, which is right."""
        query = "SELECT count(*) = 1 FROM webhook_deliveries WHERE state = 'delivered'"
        return bool(await bench.value(query))

    async with bench.passing_on() as sinks:
        await bench.store("snow 1")
        await bench.eventually(noted)
        with database_away(server, database):
            await bench.eventually(lambda: not sinks.statuses)
        await bench.store("snow 2")
        await bench.eventually(lambda: receiver.texts == ["snow 1", "snow 2"])
    assert "failed" not in caplog.text
