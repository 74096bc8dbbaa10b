"""Exports have every tweet of their tracks once, in order, from tables and archives as one."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from exporting import ExportBench
from monitor.export import task
from stream.config import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stream.db import Database
    from stream.store.exports import Part
    from test.conftest import Eventually
    from test.db.conftest import ArchiveBench

DAY, NEXT = date(2026, 3, 14), date(2026, 3, 15)
NUMBER = 300
SHOWN = """
SELECT DISTINCT tweets.id FROM tweets JOIN matches ON tweet_id = tweets.id
WHERE track_id = ANY (%s) AND NOT 'XX' = ANY (coalesce(withheld, '{}')) ORDER BY 1
"""


@pytest.fixture
async def tweets(archive_bench: ArchiveBench) -> ArchiveBench:
    """Two days of tweets of the tracks 1 and 7."""
    await archive_bench.fill(day=NEXT, first=50_000)
    archive_bench.rows("INSERT INTO tracks (id, value) OVERRIDING SYSTEM VALUE VALUES (7, 'seven')")
    return archive_bench


@pytest.fixture
def bench(tweets: ArchiveBench, connected: Database, tmp_path: Path) -> ExportBench:
    settings = msgspec.structs.replace(
        Settings(), data_dir=str(tmp_path), archive=tweets.settings.archive
    )
    return ExportBench(connected, settings)


async def test_the_rows_are_those_of_sql(bench: ExportBench, tweets: ArchiveBench) -> None:
    made = await bench.made(tracks=[1, 7])
    found = tweets.rows(SHOWN, [1, 7])
    assert made.ids == [row[0] for row in found] != []
    number = tweets.rows("SELECT rows, state FROM exports")
    assert number == [(len(found), "done")]


async def test_each_value_is_that_of_the_flat_view(
    bench: ExportBench, tweets: ArchiveBench
) -> None:
    made = await bench.made(format="ndjson")
    names = "native_id, url, kind, lang, author, author_id, text, hashtags, links, media, likes"
    rows = tweets.rows(
        f"SELECT id::text, {names} FROM tweets_flat"
        " WHERE id IN (SELECT tweet_id FROM matches WHERE track_id = 1) ORDER BY tweets_flat.id"
    )
    keys = ["id", *names.split(", ")]
    assert [tuple(row[key] for key in keys) for row in made.json_rows] == rows != []


async def test_words_are_compared_as_on_pages(bench: ExportBench, tweets: ArchiveBench) -> None:
    """By case folding, which lower case is not."""
    tweets.rows(
        "UPDATE tweets SET text = 'Große Straße' WHERE id IN"
        " (SELECT tweet_id FROM matches WHERE track_id = 1 ORDER BY 1 LIMIT 20)"
    )
    found = tweets.rows(SHOWN.replace("ORDER", "AND text = 'Große Straße' ORDER"), [1])
    made = await bench.made(words="STRASSE große")
    assert made.ids == [row[0] for row in found] != []


async def test_it_says_how_far_it_is(bench: ExportBench) -> None:
    number = await bench.request()
    said: list[str] = []
    await bench.do(number, said.append)
    rows = (await bench.row(number)).rows
    assert f"{rows:,} tweets, up to " in said[-2]
    assert said[-1].startswith("writing ")


async def test_csv_and_ndjson_have_the_same(bench: ExportBench) -> None:
    as_csv = (await bench.made()).csv_rows
    as_json = (await bench.made(format="ndjson")).json_rows
    assert [row["text"] for row in as_csv] == [row["text"] for row in as_json]
    assert [json.loads(row["terms"]) for row in as_csv] == [row["terms"] for row in as_json]
    assert [row["created_at"] for row in as_csv] == [row["created_at"] or "" for row in as_json]


async def test_a_dropped_day_is_exported_as_before(
    bench: ExportBench, tweets: ArchiveBench
) -> None:
    before = (await bench.made(tracks=[1, 7], part_rows=30)).data
    await tweets.run(DAY, drop=True)
    made = await bench.made(tracks=[1, 7], part_rows=30)
    assert made.data == before
    assert len(made.data) > 5
    await tweets.run(NEXT, drop=True)
    assert (await bench.made(tracks=[1, 7], part_rows=30)).data == before


async def test_late_tweets_of_a_dropped_day_are_among_the_others(
    bench: ExportBench, tweets: ArchiveBench
) -> None:
    await tweets.run(DAY, drop=True)
    before = (await bench.made()).ids
    await tweets.fill(50, first=1000)
    late = [row[0] for row in tweets.rows(SHOWN, [1])]
    ids = (await bench.made()).ids
    assert ids == sorted({*before, *late})
    assert len(ids) > len(before)


async def test_without_the_archive_an_export_says_what_to_do(
    bench: ExportBench, tweets: ArchiveBench
) -> None:
    await tweets.run(DAY, drop=True)
    bench.settings = msgspec.structs.replace(bench.settings, archive=Settings().archive)
    number = await bench.request()
    assert await bench.do(number) is None
    row = await bench.row(number)
    assert row.state == "failed"
    assert "2026-03-14" in row.reason
    assert "`archive.url`" in row.reason


async def test_the_progress_is_the_share_of_the_time_with_tweets(
    bench: ExportBench,
    tweets: ArchiveBench,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
) -> None:
    """Also while a part is being written, and when it begins with the first tweet there is."""
    monkeypatch.setattr(task, "RENEW_INTERVAL", 0.01)
    seen: list[tuple[int, float]] = []
    save = task.ExportTask._save

    async def look_then_save(own: task.ExportTask, parts: Sequence[Part], **rest: bool) -> None:
        before = sum(rows for rows, _ in seen[-1:])

        async def is_shown() -> bool:
            return (await bench.row(number)).rows == before + parts[-1].rows

        await eventually(is_shown)
        row = await bench.row(number)
        seen.append((row.rows, row.progress or 0.0))
        await save(own, parts, **rest)

    monkeypatch.setattr(task.ExportTask, "_save", look_then_save)
    until = datetime(2026, 3, 16, tzinfo=UTC)
    number = await bench.request(tracks=[1, 7], part_rows=100, until=until)
    assert await bench.do(number) is not None
    progress = [share for _, share in seen]
    assert len(progress) >= 3
    assert progress == sorted(progress)
    assert 0 < progress[0] < 0.5 < progress[-1] <= 1
