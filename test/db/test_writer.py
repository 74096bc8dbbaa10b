"""From the journal to the tables: every tweet once, counted once, whatever is between them."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stream import db, sources
from stream.commit import Terms
from stream.config import JournalSettings
from stream.db import Database
from stream.journal import Journal
from stream.networks.x_v1.decode import decode
from stream.tweet import (
    GapClosed,
    GapOpened,
    Match,
    NetworkName,
    Source,
    StateNote,
    TrackId,
    Tweet,
)
from stream.writer import Writer

ROOMY = JournalSettings(min_free_bytes=0, min_free_percent=0)
LONGEST = 2 << 20  # bytes of a frame
DAY = 86_400_000_000  # microseconds


def tweet(native_id: int, text: str = "snow day", **more: Any) -> bytes:
    """A v1.1 tweet as it comes over the wire."""
    message = {
        "id": native_id,
        "id_str": str(native_id),
        "created_at": "Tue Nov 14 22:13:20 +0000 2023",
        "text": text,
        "user": {"id": 5, "id_str": "5", "screen_name": "ann"},
        "lang": "en",
    }
    return json.dumps(message | more).encode()


def snow(found: Tweet) -> Sequence[Match]:
    """Stands for the matcher: track 1 follows snow."""
    return [Match(TrackId(1), "snow", "text")] if "snow" in found.text else []


class Bench:
    """A journal, a database, and writers between them."""

    def __init__(self, database: Database, journal: Journal, source: Source) -> None:
        self.database = database
        self.journal = journal
        self.source = source
        self.erase = True
        self.keep_unmatched = True

    async def store(self) -> Counter[str]:
        """Let a new writer store what is in the journal; what became of it."""
        terms = Terms(
            network=self.source.network, keep_unmatched=self.keep_unmatched, erase=self.erase
        )
        writer = Writer(
            self.database,
            self.source,
            self.journal,
            decode,
            snow,
            save_every=0.01,
            longest=LONGEST,
            terms=terms,
        )
        writer.drain()
        await writer.run()
        return writer.stored

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.database.fetch(query)]

    async def one(self, query: str) -> Any:
        [[value]] = await self.rows(query)
        return value

    async def counts_agree(self) -> bool:
        """Whether the roll-ups are what a count from scratch gives."""
        wrong = [
            await self.rows(
                f"SELECT track_id, date_trunc('{cut}', received_at, 'UTC'), count(*) FROM matches"
                f" GROUP BY 1, 2 EXCEPT SELECT track_id, {cut}, tweets FROM track_{cut}s"
            )
            for cut in ("minute", "hour", "day")
        ]
        return not any(wrong)

    async def bytes_agree(self) -> bool:
        """Whether hours and days have the same bytes."""
        return bool(
            await self.one(
                "SELECT (SELECT sum(bytes) FROM track_hours) = (SELECT sum(bytes) FROM track_days)"
            )
        )


@pytest.fixture
async def bench(database: str, tmp_path: Path) -> AsyncIterator[Bench]:
    network: NetworkName = "x_v1"
    async with db.connect(database) as connected:
        async with connected.acquire() as connection:
            source_id = await sources.add(connection, "test", network)
        source = Source(source_id, "test", network, None, None, {}, enabled=True)
        with Journal.open(tmp_path / "journal", ROOMY) as journal:
            yield Bench(connected, journal, source)


def set_clock(journal: Journal, microseconds: int) -> None:
    """Frames get stamps from this time on, as if the clock stood there."""
    journal._last = microseconds


async def test_a_tweet_lands_with_its_columns_its_match_and_its_count(bench: Bench) -> None:
    bench.journal.append([tweet(77, "a snow day &amp; more")])
    assert await bench.store() == {"stored": 1}
    [row] = await bench.rows(
        "SELECT network, native_id, kind, lang, author, author_id, url, text, created_at,"
        " doc ->> 'text', received_at = tweet_received_at(id) FROM tweets"
    )
    assert row == (
        "x_v1",
        "77",
        "original",
        "en",
        "ann",
        "5",
        "https://x.com/ann/status/77",
        "a snow day & more",
        datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        "a snow day &amp; more",
        True,
    )
    assert await bench.rows("SELECT track_id, term, field, part FROM track_tweets") == [
        (1, "snow", "text", "own")
    ]
    assert await bench.rows("SELECT track_id, tweets FROM track_minutes") == [(1, 1)]


async def test_each_tweet_delivered_three_times_is_stored_and_counted_once(bench: Bench) -> None:
    """Within a batch, across batches, across a restart, and across midnight."""
    wanted = [tweet(n) for n in range(1, 51)]
    bench.journal.append(wanted + wanted)
    assert await bench.store() == {"stored": 50, "duplicate": 50}
    tomorrow = bench.journal._last + DAY
    set_clock(bench.journal, tomorrow)
    bench.journal.append(wanted)
    assert await bench.store() == {"duplicate": 50}
    assert await bench.one("SELECT count(*) FROM tweets") == 50
    assert await bench.one("SELECT sum(tweets) FROM track_minutes") == 50
    assert await bench.counts_agree()


async def test_frames_on_both_sides_of_midnight_find_their_partitions(bench: Bench) -> None:
    midnight = (time.time_ns() // 1000 // DAY + 40) * DAY
    set_clock(bench.journal, midnight - 11)
    bench.journal.append([tweet(n) for n in range(1, 21)])
    assert await bench.store() == {"stored": 20}
    assert await bench.rows(
        "SELECT count(*) FROM tweets GROUP BY tableoid ORDER BY min(received_at)"
    ) == [(10,), (10,)]


async def test_nothing_is_stored_twice_when_the_answer_to_a_commit_was_lost(bench: Bench) -> None:
    bench.journal.append([tweet(1)])
    await bench.store()
    stored = bench.journal.stored
    # As if the position in memory were from before the commit: the same batch once more.
    await bench.database.execute("UPDATE positions SET position = 0")
    await bench.database.execute("DELETE FROM track_minutes")
    assert await bench.store() == {"duplicate": 1}
    assert await bench.one("SELECT position FROM positions") == stored


async def test_after_a_loss_of_power_new_frames_do_not_fall_behind_the_position(
    bench: Bench, tmp_path: Path
) -> None:
    """Postgres has the last frames, the disk has lost them: what comes next must still be read."""
    folder = tmp_path / "other"
    bench.journal.append([tweet(1)])
    with Journal.open(folder, ROOMY) as bench.journal:
        bench.journal.append([tweet(n) for n in range(1, 11)])
        assert await bench.store() == {"stored": 10}
        whole = bench.journal.end
    [path] = folder.glob("*.journal")
    os.truncate(path, whole // 2)
    with Journal.open(folder, ROOMY) as bench.journal:
        assert await bench.store() == {}
        bench.journal.append([tweet(11), tweet(12)])
        assert await bench.store() == {"stored": 2}
    assert await bench.rows("SELECT left(text, 3) FROM events") == [("cut",)]


async def test_a_row_that_postgres_refuses_is_found_by_halving(bench: Bench) -> None:
    """A number too long for numeric: valid JSON, refused by jsonb alone."""
    poison = tweet(99, "snow").replace(b'"lang"', b'"n": 1e999999, "lang"')
    bench.journal.append(
        [tweet(n) for n in range(1, 14)] + [poison] + [tweet(n) for n in range(20, 40)]
    )
    assert await bench.store() == {"stored": 33, "rejected": 1}
    [(reason, detail, body)] = await bench.rows("SELECT reason, detail, body FROM rejects")
    assert reason == "refused"
    assert "numeric" in detail
    assert body == poison


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"id_str": "1", "text": "torn', "not_json"),
        (b'{"id_str": "1", "text": "\xff\xfe"}', "not_utf8"),
        (b'{"text": "snow", "user": {"id_str": "1"}}', "no_id"),
        (b"[1, 2]", "not_object"),
        (b"x" * LONGEST, "too_large"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too_deep"),
    ],
)
async def test_a_bad_frame_costs_one_reject_and_no_neighbour(
    bench: Bench, body: bytes, reason: str
) -> None:
    bench.journal.append([tweet(1), body, tweet(2)])
    assert await bench.store() == {"stored": 2, "rejected": 1}
    assert await bench.rows("SELECT reason, body FROM rejects") == [(reason, body)]


async def test_what_jsonb_refuses_is_mended_and_counted(bench: Bench) -> None:
    bench.journal.append([tweet(1, "snow \0 and \ud800 alone"), tweet(2, "x" * 1_000_000)])
    stored = await bench.store()
    assert stored == {"stored": 1, "unmatched": 1, "repaired": 1}
    assert await bench.one("SELECT text FROM tweets WHERE native_id = '1'") == (
        "snow \ufffd and \ufffd alone"
    )


async def test_unmatched_tweets_are_kept_or_dropped_by_setting_and_always_counted(
    bench: Bench,
) -> None:
    bench.journal.append([tweet(1, "rain")])
    assert await bench.store() == {"unmatched": 1}
    bench.keep_unmatched = False
    bench.journal.append([tweet(2, "rain"), tweet(3, "snow")])
    assert await bench.store() == {"dropped": 1, "stored": 1}
    assert await bench.rows("SELECT native_id FROM tweets ORDER BY 1") == [("1",), ("3",)]
    assert await bench.rows("SELECT outcome, frames FROM source_minutes ORDER BY 1") == [
        ("dropped", 1),
        ("stored", 1),
        ("unmatched", 1),
    ]


def deletion(native_id: int) -> bytes:
    status = {"id": native_id, "id_str": str(native_id), "user_id": 5, "user_id_str": "5"}
    return json.dumps({"delete": {"status": status}}).encode()


async def test_the_bytes_that_came_are_counted_for_each_track(bench: Bench) -> None:
    frames = [tweet(n) for n in range(1, 6)]
    bench.journal.append(frames)
    await bench.store()
    assert await bench.counts_agree()
    assert await bench.bytes_agree()
    assert await bench.one("SELECT sum(bytes) FROM track_days") == sum(map(len, frames))


async def test_a_deletion_erases_and_wins_over_a_late_arrival(bench: Bench) -> None:
    bench.journal.append([tweet(1), tweet(2), deletion(1), deletion(3)])
    await bench.store()
    bench.journal.append([tweet(1), tweet(3)])
    assert await bench.store() == {"deleted": 2}
    assert await bench.rows("SELECT native_id FROM tweets") == [("2",)]
    assert await bench.rows("SELECT native_id FROM track_tweets") == [("2",)]
    assert await bench.rows("SELECT tweets FROM track_minutes") == [(1,)]
    assert await bench.counts_agree()


async def test_a_deletion_only_flags_when_so_set(bench: Bench) -> None:
    bench.erase = False
    bench.journal.append([tweet(1), deletion(1)])
    await bench.store()
    assert await bench.rows("SELECT native_id FROM tweets WHERE deleted_at IS NOT NULL") == [("1",)]
    assert await bench.counts_agree()


async def test_scrub_geo_removes_places_now_and_later(bench: Bench) -> None:
    point = {"type": "Point", "coordinates": [10.7, 59.9]}
    scrub = {"user_id": 5, "user_id_str": "5", "up_to_status_id": 9, "up_to_status_id_str": "9"}
    bench.journal.append([tweet(1, coordinates=point), tweet(10, coordinates=point)])
    bench.journal.append([json.dumps({"scrub_geo": scrub}).encode(), tweet(2, coordinates=point)])
    await bench.store()
    bench.journal.append([tweet(3, coordinates=point)])
    await bench.store()
    assert await bench.rows(
        "SELECT native_id FROM tweets WHERE doc ? 'coordinates' ORDER BY 1"
    ) == [("10",)]


async def test_withheld_tweets_and_authors_say_so_now_and_later(bench: Bench) -> None:
    status = {"id": 1, "user_id": 5, "withheld_in_countries": ["DE"]}
    late = {"id": 2, "user_id": 5, "withheld_in_countries": ["FR"]}
    author = {"id": 6, "withheld_in_countries": ["XX"]}
    other = {"id": 6, "id_str": "6", "screen_name": "bob"}
    bench.journal.append([tweet(1), tweet(3, user=other)])
    bench.journal.append(
        [
            json.dumps({"status_withheld": status}).encode(),
            json.dumps({"status_withheld": late}).encode(),
            json.dumps({"user_withheld": author}).encode(),
        ]
    )
    await bench.store()
    bench.journal.append([tweet(2), tweet(4, user=other), tweet(5)])
    assert await bench.store() == {"stored": 3}
    assert await bench.rows("SELECT native_id, withheld FROM tweets ORDER BY 1") == [
        ("1", ["DE"]),
        ("2", ["FR"]),
        ("3", ["XX"]),
        ("4", ["XX"]),
        ("5", None),
    ]


async def test_limit_messages_tell_sums_and_their_differences_are_counted(bench: Bench) -> None:
    def limit(number: int) -> bytes:
        return json.dumps({"limit": {"track": number, "timestamp_ms": "1700000000123"}}).encode()

    bench.journal.note(StateNote("connecting", "", 1.0))
    bench.journal.append([limit(5), limit(12)])
    await bench.store()
    bench.journal.append([limit(20)])
    bench.journal.note(StateNote("connecting", "", 2.0))
    bench.journal.append([limit(3)])
    await bench.store()
    assert (
        await bench.one("SELECT sum(frames) FROM source_minutes WHERE outcome = 'withheld'") == 23
    )


async def test_states_and_gaps_reach_their_tables_in_order(bench: Bench) -> None:
    journal = bench.journal
    journal.note(StateNote("streaming", "", 1000.0))
    journal.note(GapOpened(1000.5, "network", "reset by peer"))
    journal.note(GapOpened(1000.7, "killed", "a later word about the same silence"))
    journal.note(StateNote("waiting", "reset by peer", 1001.0, 1005.0))
    await bench.store()
    assert await bench.rows("SELECT state, reason, retry_at IS NOT NULL FROM sources") == [
        ("waiting", "reset by peer", True)
    ]
    journal.note(GapClosed(1010.0))
    await bench.store()
    assert await bench.rows(
        "SELECT extract(epoch FROM began_at)::float, extract(epoch FROM ended_at)::float, cause"
        " FROM gaps"
    ) == [(1000.5, 1010.0, "network")]
    assert [row[0] for row in await bench.rows("SELECT text FROM events ORDER BY id")] == [
        "streaming",
        "waiting: reset by peer",
    ]


async def test_frames_are_kept_while_an_administrator_has_moved_a_table_away(bench: Bench) -> None:
    bench.journal.append([tweet(n) for n in range(1, 11)])
    await bench.database.execute("ALTER TABLE tweets RENAME TO elsewhere")
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        storing = group.create_task(bench.store())
        await asyncio.wait([storing], timeout=0.5)
        assert not storing.done()
        await bench.database.execute("ALTER TABLE elsewhere RENAME TO tweets")
    assert storing.result() == {"stored": 10}


async def test_the_gap_of_a_source_ends_when_the_source_is_removed(bench: Bench) -> None:
    bench.journal.note(GapOpened(1000.5, "network", "reset by peer"))
    await bench.store()
    await bench.database.execute("DELETE FROM sources")
    bench.journal.note(GapOpened(2000.5, "stopped", "the last word of its collector"))
    await bench.store()
    assert await bench.rows("SELECT cause, ended_at IS NOT NULL FROM gaps") == [("network", True)]


async def test_frames_are_kept_while_the_database_is_read_only(bench: Bench, database: str) -> None:
    """A read-only server is one that is failing over: the writer waits and loses nothing."""
    name = await bench.one("SELECT current_database()")
    async with bench.database.dedicated() as connection:
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    bench.journal.append([tweet(n) for n in range(1, 11)])
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        storing = group.create_task(bench.store())
        await asyncio.wait([storing], timeout=0.5)
        assert not storing.done()
        # Over a connection of its own: those of the program refuse a server they cannot write to.
        admin = await psycopg.AsyncConnection.connect(database, autocommit=True)
        async with admin:
            await admin.execute("SET default_transaction_read_only = off")
            await admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert storing.result() == {"stored": 10}
