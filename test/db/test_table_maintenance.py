"""Tables are pruned by age, in batches, and nothing else is deleted."""

import msgspec
import pytest

from monitor.maintenance import table_maintenance
from stream.config import RetentionSettings, Settings
from stream.db import Database
from stream.store import rollups

FILL = """
INSERT INTO track_minutes SELECT track, now() - day * interval '1 day', 1
    FROM generate_series(1, 40) AS track, generate_series(1, 200) AS day;
INSERT INTO track_hours SELECT track_id, minute, 1, 1 FROM track_minutes;
INSERT INTO source_minutes SELECT source, now() - day * interval '1 day', outcome, 1
    FROM generate_series(1, 3) AS source, generate_series(1, 200) AS day,
         unnest(ARRAY['stored', 'duplicate']) AS outcome;
INSERT INTO events (at, kind, text) SELECT now() - day * interval '1 day', 'daemon', ''
    FROM generate_series(800, 1, -1) AS day;
INSERT INTO track_gaps (source_id, track_id, began_at, ended_at)
    SELECT 1, day, now() - day * interval '1 day',
           CASE WHEN day <> 799 THEN now() - day * interval '1 day' END
    FROM generate_series(800, 1, -1) AS day;
INSERT INTO rejects SELECT tweet_key(now() - day * interval '1 day', 1), 1,
        now() - day * interval '1 day', 'not_json', '', ''
    FROM generate_series(1, 800) AS day;
INSERT INTO alerts (rule, severity, text, remedy, opened_at, closed_at)
    SELECT 'r' || day, 'notice', '', '', now() - day * interval '1 day',
           CASE WHEN day % 2 = 0 THEN now() - day * interval '1 day' END
    FROM generate_series(1, 800) AS day;
INSERT INTO alert_mutes (rule, until) VALUES ('old', now() - interval '2 years'),
    ('new', now() - interval '2 days'), ('for ever', NULL);
INSERT INTO track_days SELECT track_id, minute::date, 1, 1 FROM track_minutes;
INSERT INTO source_hours SELECT source_id, minute, outcome, 1 FROM source_minutes;
INSERT INTO gaps (source_id, began_at, ended_at, cause)
    SELECT 1, now() - day * interval '1 day',
           CASE WHEN day <> 799 THEN now() - day * interval '1 day' END, 'network'
    FROM generate_series(800, 1, -1) AS day;
INSERT INTO track_history (track_id, at, action)
    SELECT day, now() - day * interval '1 day', 'changed' FROM generate_series(800, 1, -1) AS day;
INSERT INTO author_tombstones (network, author_id, changed_at, pending)
    SELECT 'x_v1', day::text, now() - day * interval '1 day',
           CASE WHEN day = 799 THEN '{deleted}' ELSE '{}' END::text[]
    FROM generate_series(1, 800) AS day;
INSERT INTO users (name) VALUES ('ann');
INSERT INTO sessions (hash, user_id, expires_at)
    SELECT sha256(day::text::bytea), users.id, now() - day * interval '1 day'
    FROM generate_series(-5, 800) AS day, users;
INSERT INTO invites (hash, expires_at)
    SELECT sha256(day::text::bytea), now() - day * interval '1 day'
    FROM generate_series(-5, 800) AS day;
INSERT INTO archive_changes SELECT '2026-03-14'::date + n % 3, n::text::xid8
    FROM generate_series(1, 300) AS n;
INSERT INTO daemons (id, host, pid, role, seen_at) SELECT gen_random_uuid(), 'h', hours,
    'standby', now() - hours * interval '1 hour' FROM generate_series(1, 50) AS hours;
"""
COUNTS = """
SELECT (SELECT count(*) FROM track_minutes) AS track_minutes,
       (SELECT count(*) FROM track_hours) AS track_hours,
       (SELECT count(*) FROM source_minutes) AS source_minutes,
       (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM rejects) AS rejects,
       (SELECT count(*) FROM alerts) AS alerts, (SELECT count(*) FROM alert_mutes) AS mutes,
       (SELECT count(*) FROM track_gaps) AS track_gaps,
       (SELECT count(*) FROM track_days) AS track_days,
       (SELECT count(*) FROM source_hours) AS source_hours,
       (SELECT count(*) FROM gaps) AS gaps,
       (SELECT count(*) FROM track_history) AS track_history,
       (SELECT count(*) FROM author_tombstones) AS author_tombstones,
       (SELECT count(*) FROM sessions) AS sessions, (SELECT count(*) FROM invites) AS invites,
       (SELECT count(*) FROM archive_changes) AS archive_changes,
       (SELECT count(*) FROM daemons) AS daemons
"""


@pytest.fixture
async def filled(connected: Database) -> Database:
    await connected.execute(FILL)
    return connected


async def counts(database: Database) -> dict[str, int]:
    [row] = await database.fetch(COUNTS)
    return dict(row)


@pytest.mark.parametrize("batch", [table_maintenance.BATCH_ROWS, 97])
async def test_older_rows_are_deleted_and_no_younger_ones(
    filled: Database, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_maintenance, "BATCH_ROWS", batch)
    monkeypatch.setattr(table_maintenance, "PAUSE_BETWEEN_BATCHES", 0)
    keep = RetentionSettings(
        track_minutes_days=90,
        counts_days=120,
        events_days=365,
        rejects_days=30,
        gaps_days=40,
        history_days=50,
        deletions_days=60,
    )
    for _ in range(2):  # and once more changes nothing
        await table_maintenance.prune(filled, msgspec.structs.replace(Settings(), retention=keep))
        assert await counts(filled) == {
            "track_minutes": 40 * 89,
            "track_hours": 40 * 119,
            "track_days": 40 * 120,  # of which the first is not over yet
            "source_hours": 3 * 2 * 119,
            "gaps": 39 + 1,  # the open one stays
            "track_history": 49,
            "author_tombstones": 59 + 1,  # what has not reached the tweets stays
            "sessions": 6,
            "invites": 6,
            "archive_changes": 3,
            "source_minutes": 3 * 2 * 89,
            "events": 364,
            "rejects": 29,
            "alerts": 364 + 436 // 2,  # the open ones stay, however old
            "mutes": 2,
            "track_gaps": 39 + 1,  # the open one stays
            "daemons": 23,
        }


async def test_zero_days_are_for_ever(filled: Database) -> None:
    before = await counts(filled)
    keep = RetentionSettings(
        track_minutes_days=0,
        counts_days=0,
        events_days=0,
        rejects_days=0,
        gaps_days=0,
        history_days=0,
        deletions_days=0,
    )
    await table_maintenance.prune(filled, msgspec.structs.replace(Settings(), retention=keep))
    after = await counts(filled)
    by_themselves = {"alerts", "mutes", "daemons", "sessions", "invites", "archive_changes"}
    for name in before.keys() - by_themselves:
        assert after[name] == before[name]


async def test_minutes_are_found_by_the_key_and_not_by_reading_them_all(filled: Database) -> None:
    """The table of minutes is the largest of our own books."""
    for statement in (rollups._PRUNE_TRACK_MINUTES, rollups._PRUNE_SOURCE_MINUTES):
        async with filled.transaction() as connection:
            await connection.execute("ANALYZE; SET LOCAL enable_seqscan = off")
            plan = await connection.fetch(
                "EXPLAIN " + statement.replace("$1", "now()").replace("$2", "10")
            )
        assert "Seq Scan" not in "\n".join(row[0] for row in plan)
