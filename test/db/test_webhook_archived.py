"""What a webhook is sent again is read from archives, too, by a process of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deleting import delete_tweets
from monitor import child_process
from monitor.export.delivery_process import ArchivedDeliveries
from stream.db import Database
from stream.store import users
from stream.tweet import NativeId, TrackId
from webhook_bench import WebhookBench
from webhook_receiver import Receiver, receiving

if TYPE_CHECKING:
    from test.conftest import Eventually
    from test.db.conftest import ArchiveBench

DAY, NEXT = date(2026, 3, 14), date(2026, 3, 15)
# Of two days, the first of which will be archived.
DEAD = """
INSERT INTO webhook_deliveries (webhook_id, message_id, event, tweets, state, created_at, next_at)
SELECT $1, 'msg_1', 'tweets.matched', array_agg(id), 'dead', now(), NULL FROM (
    (SELECT tweets.id FROM tweets JOIN matches ON tweet_id = tweets.id
     WHERE track_id = 1 AND tweets.received_at < $2 ORDER BY 1 LIMIT 60)
    UNION ALL
    (SELECT tweets.id FROM tweets JOIN matches ON tweet_id = tweets.id
     WHERE track_id = 1 AND tweets.received_at >= $2 ORDER BY 1 LIMIT 40)) AS found
"""
AGAIN = "UPDATE webhook_deliveries SET state = 'again', began_at = now(), next_at = now()"
RESULT = "SELECT state || ' ' || result FROM webhook_deliveries"


class DeadLetter:
    """A delivery of two days that was given up."""

    def __init__(
        self, hooks: WebhookBench, receiver: Receiver, archives: ArchiveBench, config: Path
    ) -> None:
        self.hooks = hooks
        self.receiver = receiver
        self.archives = archives
        self._config = config
        self.configure(archive={"url": archives.settings.archive.url})

    def configure(self, **settings: object) -> None:
        """The settings of the process that reads."""
        data = str(self._config.parent / "data")
        self._config.write_text(
            json.dumps({"database": self.archives.url, "data_dir": data, **settings})
        )

    async def archive(self) -> None:
        await self.archives.run(DAY)
        await self.archives.run(DAY, drop=True)
        assert self.archives.rows("SELECT min(received_at)::date FROM tweets") == [(NEXT,)]

    async def result(self, wanted: str) -> str:
        """Send it again; its result, as soon as it begins so."""

        async def met() -> bool:
            return str(await self.hooks.value(RESULT)).startswith(wanted)

        command_line = child_process.command(self._config, "webhooks", "read-archived")
        async with self.hooks.passing_on() as sinks:
            sinks.read_archived = ArchivedDeliveries(command_line).read
            await self.hooks.execute(AGAIN)
            await self.hooks.eventually(met)
        return str(await self.hooks.value(RESULT))

    async def sent(self) -> list[dict[str, Any]]:
        """Send it again; the tweets that arrive."""
        before = len(self.receiver.received)
        await self.result("delivered")
        [found] = self.receiver.received[before:]
        assert found.id == "msg_1"
        return list(found.message["data"]["tweets"])


@pytest.fixture
async def letter(
    archive_bench: ArchiveBench, connected: Database, tmp_path: Path, eventually: Eventually
) -> AsyncIterator[DeadLetter]:
    await archive_bench.fill(day=NEXT, first=50_000)
    archive_bench.rows("UPDATE tracks SET owner = 'ana' WHERE id = 1")
    hooks = WebhookBench(connected, tmp_path, eventually)
    async with receiving() as receiver, connected.acquire() as connection:
        hooks.user = await users.add(connection, "ana", "user", None)
        hook, _ = await hooks.add(receiver.url, [TrackId(1)])
        await connection.execute(DEAD, hook, datetime.combine(NEXT, datetime.min.time(), UTC))
        yield DeadLetter(hooks, receiver, archive_bench, tmp_path / "config.yaml")


async def test_what_is_sent_again_is_the_same_before_and_after_its_day_was_archived(
    letter: DeadLetter,
) -> None:
    before = await letter.sent()
    days = [tweet["received_at"][:10] for tweet in before]
    assert days == sorted(days)
    assert set(days) == {str(DAY), str(NEXT)}
    assert {each["track"] for tweet in before for each in tweet["matches"]} == {"1"}
    await letter.archive()
    assert await letter.sent() == before


async def test_what_was_deleted_or_is_not_shared_any_more_is_not_sent_again_from_an_archive(
    letter: DeadLetter,
) -> None:
    before = await letter.sent()
    await letter.archive()
    gone = before[3]
    times = {NativeId(gone["native_id"]): datetime.now(UTC)}
    await delete_tweets(letter.hooks.database, gone["network"], times)
    assert await letter.sent() == [each for each in before if each != gone]
    await letter.hooks.execute("UPDATE tracks SET owner = 'bo'")
    number = len(letter.receiver.received)
    await letter.result("delivered")
    assert len(letter.receiver.received) == number


async def test_an_archive_that_cannot_be_read_is_the_result_and_is_tried_again(
    letter: DeadLetter,
) -> None:
    before = await letter.sent()
    await letter.archive()
    letter.configure()
    why = await letter.result("again Its tweets are in an archive, which cannot be read")
    assert "`archive.url` is not set: set it to where the archive is" in why
    letter.configure(archive={"url": letter.archives.settings.archive.url})
    assert await letter.sent() == before
