"""What a sink does not get, as its day was archived and dropped meanwhile, is on record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sink_bench import NOON
from stream.db import Database
from stream.loop_budget import LoopBudget
from stream.sinks.reader import Reader, head_position
from webhook_bench import WebhookBench
from webhook_receiver import Receiver, receiving, status

if TYPE_CHECKING:
    from test.conftest import Eventually
    from test.db.conftest import ArchiveBench

MINUTE, DAY = 60_000_000, 86_400_000_000  # microseconds
DISABLED = "SELECT state = 'disabled' FROM webhooks"
LETTERS = "SELECT message_id, result FROM webhook_deliveries WHERE state = 'dead'"


@pytest.fixture
async def hooks(
    archive_bench: ArchiveBench, connected: Database, tmp_path: Path, eventually: Eventually
) -> WebhookBench:
    hooks = WebhookBench(connected, tmp_path, eventually)
    await hooks.prepare()
    return hooks


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


async def gone(archives: ArchiveBench, microseconds: int) -> None:
    """Archive and drop the day of this time."""
    [(day,)] = archives.rows("SELECT to_timestamp(%s / 1e6::numeric)::date", microseconds)
    await archives.run(day)
    await archives.run(day, drop=True)


async def test_a_day_that_was_dropped_while_a_webhook_was_disabled_is_a_dead_letter(
    archive_bench: ArchiveBench,
    hooks: WebhookBench,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hook, _ = await hooks.add(receiver.url, [hooks.snow])
    receiver.answer = status(410)
    async with hooks.passing_on() as sinks:
        await hooks.store("snow 1")
        await hooks.eventually(lambda: hooks.value(DISABLED))
        hooks.at = NOON + 5 * MINUTE
        await hooks.store("snow 2")
        hooks.at = NOON + DAY
        await hooks.store("rain 3")  # of a day without any for it
        hooks.at = NOON + 2 * DAY
        await hooks.store("snow 4")
        hooks.at = NOON + 3 * DAY
        await hooks.store("snow 5")
        for day in range(3):
            await gone(archive_bench, NOON + day * DAY)
        receiver.answer = status(204)
        await hooks.execute("DELETE FROM webhook_deliveries")  # else it is read from the archive
        await hooks.resume(hook)
        await hooks.eventually(lambda: receiver.texts[-1] == "snow 5")
        assert [each.given_up for each in sinks.webhooks] == [2]
    assert receiver.texts == ["snow 1", "snow 5"]
    words = (
        "The tweets of {} were archived and left Postgres before they were sent."
        " Export the day (page Exports) to get them."
    )
    missed = ["2026-03-14", "2026-03-16"]
    letters = archive_bench.rows(f"{LETTERS} ORDER BY id")
    assert letters == [(f"skipped_{each}", words.format(each)) for each in missed]
    assert all(words.format(each) in caplog.text for each in missed)


async def test_a_sink_that_missed_a_day_says_so_in_the_log(
    archive_bench: ArchiveBench, hooks: WebhookBench, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis has no dead letters; it gets the tweets of all tracks, and of none."""
    async with hooks.database.acquire() as connection:
        position = await head_position(connection)
    await hooks.store("snow 1")
    hooks.at = NOON + 5 * MINUTE
    await hooks.store("snow 1")
    hooks.at = NOON + DAY
    await hooks.store("sun 2")
    hooks.at = NOON + 2 * DAY
    await hooks.store("snow 3")
    for day in range(2):
        await gone(archive_bench, NOON + day * DAY)
    found = await Reader(hooks.database, LoopBudget()).read(position)
    assert len(found.messages) == 1
    missed = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert [text.split()[3] for text in missed] == ["2026-03-14", "2026-03-15"]
    assert "Export the day" in missed[0]


async def test_a_day_is_noted_once_also_after_a_kill(
    archive_bench: ArchiveBench, hooks: WebhookBench, receiver: Receiver
) -> None:
    hook, _ = await hooks.add(receiver.url)
    await hooks.store("snow 1")
    before = (await hooks.get(hook)).position
    hooks.at = NOON + 5 * MINUTE
    await hooks.store("snow 2")
    await gone(archive_bench, NOON)
    hooks.at = NOON + DAY
    for text in ("snow 3", "snow 4"):
        await hooks.execute("UPDATE webhooks SET position = $1", before)
        await hooks.store(text)
        async with hooks.passing_on():
            await hooks.eventually(lambda: receiver.texts[-1:] == [text])  # noqa: B023
    assert len(archive_bench.rows(LETTERS)) == 1


async def test_a_webhook_that_keeps_up_with_a_silent_source_has_missed_nothing(
    archive_bench: ArchiveBench, hooks: WebhookBench, receiver: Receiver
) -> None:
    await hooks.add(receiver.url)
    async with hooks.passing_on():
        await hooks.store("snow 1")
        await hooks.eventually(lambda: receiver.texts == ["snow 1"])
        await gone(archive_bench, NOON)
        hooks.at = NOON + DAY
        await hooks.store("snow 2")
        await hooks.eventually(lambda: receiver.texts == ["snow 1", "snow 2"])
    assert archive_bench.rows(LETTERS) == []
