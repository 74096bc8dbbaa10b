"""What 0006 renamed keeps its rows, and backups with the older names are readable."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from monitor.backup.format import Header, Writer
from monitor.backup.restore import restore
from stream import db
from stream.store import backups, consumer_cursors, events, ingest_log
from stream.store.consumer_cursors import TOP_ITEMS
from stream.store.migrations import available, migrate
from stream.tweet import LaneId, SourceId, TweetId
from stream.vault import Vault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from stream.db import Database

LEDGER = """
CREATE TABLE schema_migrations (
    number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
APPLIED = "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)"
DAY = "2026-03-14"
FILL = f"""
INSERT INTO sources (name, network) VALUES ('main', 'x_v1');
INSERT INTO tracks (value, looked_at) VALUES ('snow', '2026-01-02 03:04:05+00'), ('ice', NULL);
INSERT INTO identities (network, native_id, tweet_id, deleted_at)
    VALUES ('x_v1', '1', 9007199254740993, '2026-01-02 03:04:05+00'), ('x_v1', '2', 2, NULL);
INSERT INTO author_tombstones (network, author_id, deleted_at)
    VALUES ('x_v1', '5', '2026-01-02 03:04:05+00');
INSERT INTO runs VALUES (1, 1, 1000, 2000, false);
INSERT INTO followers (name, cursor) VALUES ('tops', '1.1.2000');
INSERT INTO track_tops VALUES (1, '-infinity', 'hashtag', 'snow', 3);
INSERT INTO chores (name, ran_at, took, failed) VALUES ('pruning', '2026-01-02 03:04+00', 1, 'no');
INSERT INTO thinned_days VALUES ('2026-01-01', 'rule', '2026-01-02 03:04:05+00');
INSERT INTO archives (day, state, path, manifest, thinned_at)
    VALUES ('{DAY}', 'verified', 'x', '{{"n": 12345678901234567890}}', '2026-01-02 03:04:05+00');
INSERT INTO alerts (rule, severity, text, remedy, opened_at, told_at, told, told_severity, missed)
    VALUES ('track_silent', 'warning', 't', 'r', '2026-01-01 00:00+00', '2026-01-02 03:04:05+00', 7,
            'notice', true);
INSERT INTO alerts (rule, subject, severity, text, remedy, opened_at)
    VALUES ('chore_failed', 'digest', 'warning', 't', 'r', '2026-01-01 00:00+00');
INSERT INTO alert_mutes (rule, subject) VALUES ('chore_failed', 'digest');
INSERT INTO events (source_id, kind, text) VALUES
    (1, 'state', 'connecting'), (1, 'state', 'connecting: again'), (1, 'state', 'streaming'),
    (1, 'daemon', 'connecting by other words'), (1, 'state', 'proving: connected');
UPDATE sources SET state = 'proving';
INSERT INTO positions (journal, source_id, position, withheld)
    VALUES (gen_random_uuid(), 1, 5, 7);
INSERT INTO source_minutes VALUES (1, '2026-01-01 00:00+00', 'withheld', 3);
INSERT INTO source_hours VALUES (1, '2026-01-01 00:00+00', 'withheld', 3);
SELECT ensure_day('{DAY}');
SELECT archive_watch('{DAY}');
INSERT INTO archive_touches (day) VALUES ('2026-01-01');
"""
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TWEET = f"""
INSERT INTO tweets (id, received_at, network, native_id, kind, text, doc)
SELECT tweet_key('{DAY} 12:00+00', 1), '{DAY} 12:00+00', 'x_v1', '9', 'original', '', '{{}}'
"""


@pytest.fixture
async def before(empty_database: Callable[[], str]) -> AsyncIterator[Database]:
    """A database with the old names, and with rows."""
    async with db.connect(empty_database()) as database:
        await database.execute(LEDGER)
        for each in available()[:5]:
            await database.execute(each.sql)
            await database.execute(APPLIED, each.number, each.name, each.checksum)
        await database.execute(FILL)
        yield database


async def test_rows_are_found_under_the_new_names(before: Database) -> None:
    await migrate(before)
    for query, expected in (
        (
            "SELECT native_id, tweet_id FROM tweet_ids WHERE deleted_at IS NOT NULL",
            [("1", 9007199254740993)],
        ),
        ("SELECT source_id, run, first_id, last_id FROM ingest_runs", [(1, 1, 1000, 2000)]),
        ("SELECT item, tweets FROM track_top_items", [("snow", 3)]),
        ("SELECT name, failed FROM jobs", [("pruning", "no")]),
        ("SELECT rule, partially_expired_at FROM partially_expired_days", [("rule", AT)]),
        ("SELECT partially_expired_at FROM archives", [(AT,)]),
        ("SELECT subject FROM alerts WHERE rule = 'job_failed'", [("digest",)]),
        ("SELECT state FROM sources", [("connected",)]),
        ("SELECT text FROM events WHERE state = 'connected'", [("connected: connected",)]),
        ("SELECT undelivered FROM positions", [(7,)]),
        ("SELECT outcome, frames FROM source_minutes", [("undelivered", 3)]),
        ("SELECT undelivered FROM stats_hours", [(3,)]),
        ("SELECT subject FROM alert_mutes WHERE rule = 'job_failed'", [("digest",)]),
        ("SELECT last_viewed_at FROM tracks ORDER BY id", [(AT,), (None,)]),
        (
            "SELECT notified_at, notified_count, notified_severity, undelivered FROM alerts"
            " WHERE rule = 'track_silent'",
            [(AT, 7, "notice", True)],
        ),
        (
            "SELECT state FROM events ORDER BY id",
            [("connecting",), ("connecting",), ("streaming",), (None,), ("connected",)],
        ),
    ):
        assert [tuple(row) for row in await before.fetch(query)] == expected, query


async def test_what_the_database_does_by_itself_goes_on(before: Database) -> None:
    await migrate(before)
    async with before.transaction() as connection:
        assert await consumer_cursors.read(connection, TOP_ITEMS) == "1.1.2000"
        assert len(await events.connection_attempts(connection, SourceId(1), 60)) == 2
        await events.add_state(connection, SourceId(1), "connecting", "", time.time())
        assert len(await events.connection_attempts(connection, SourceId(1), 60)) == 3
        run = await ingest_log.note_ingest_run(connection, LaneId(1), TweetId(3000), TweetId(4000))
        assert run == ingest_log.NotedRun(None, late=False)
        await connection.execute(TWEET)  # into a day that was watched before
    rows = await before.fetch("SELECT day::text FROM archive_changes ORDER BY day")
    assert [row["day"] for row in rows] == ["2026-01-01", DAY]
    await before.execute("UPDATE tracks SET value = 'sleet' WHERE value = 'snow'")
    [row] = await before.fetch(
        "SELECT after ->> 'value' AS value FROM track_history WHERE action = 'changed'"
    )
    assert row["value"] == "sleet"


async def test_a_backup_with_the_old_names_is_readable(
    before: Database, empty_database: Callable[[], str], tmp_path: Path
) -> None:
    old_names = {"tweet_ids": "identities"}
    query = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')"
    known = {row["relname"] for row in await before.fetch(query)}
    path = tmp_path / "backup"
    with path.open("wb") as file:
        writer = Writer(file.write, Header(datetime.now(UTC), "0.1.0", "0005_health.sql", None))
        for table in backups.TABLES:
            name = old_names.get(table.name, table.name)
            if name not in known:  # a table of a newer schema
                continue
            writer.begin(name, 9 if table.numbered else None)
            rows = await before.fetch(
                f"SELECT row_to_json(kept)::text AS row FROM {name} AS kept WHERE {table.where}"
            )
            writer.add([row["row"].encode() for row in rows])
        writer.finish()
    await migrate(before)
    async with db.connect(empty_database()) as other:
        await migrate(other)
        await restore(other, Vault(tmp_path), path, None, force=False)
        for table in backups.TABLES:
            if table.name not in ("sources", "events"):  # `events.state` is of the newer schema
                assert await rows_of(other, table) == await rows_of(before, table), table.name
        [row] = await other.fetch("SELECT count(*) FROM events")
        assert row["count"] == 5
        [row] = await other.fetch("SELECT state FROM sources")
        assert row["state"] != "proving"


async def rows_of(database: Database, table: backups.BackupTable) -> list[bytes]:
    async with database.transaction() as connection:
        batches = [batch async for batch in backups.rows(connection, table)]
    return sorted(row for batch in batches for row in batch)
